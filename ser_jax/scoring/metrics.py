"""Metrics on arrays: UAR, WA, macro precision, recall, F1, calibration, and intervals by speaker.

Conventions. UAR (unweighted average recall) is the mean recall over the classes that occur in the
truth; precision and F1 are averaged over the same classes; a class that is never predicted has
precision 0; WA is the share of correct predictions. A headline score pools the predictions of all
test folds of one seed into one confusion matrix, computes the metric from it, and averages over
seeds. Its interval resamples whole speakers, because the utterances of one speaker are not
independent (cluster bootstrap: Field and Welsh, 2007; percentile interval: Efron and Tibshirani,
1993, ch. 13). With fewer than about ten speakers such an interval is too narrow.
`ser_jax.scoring.scores` applies these functions to tables of predictions.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.stats

METRICS = ('uar', 'wa', 'macro_precision', 'macro_recall', 'macro_f1')
_COUNTS = 4_000_000  # maximum number of resampling counts in memory


class Interval(NamedTuple):
    """A value, its 95 % interval, and the resampled unit: 'speaker' or 'utterance'."""

    value: float
    low: float
    high: float
    by: str

    def __str__(self) -> str:
        return f'{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]'


class Answers(NamedTuple):
    """Predictions of a run, one row per utterance, seed and member that scores it; all [N].

    Attributes:
      truth, predicted: class indices.
      speaker: names.
      seed: None = one seed.
      utterance: ids, so that all rows of one utterance are drawn together; None = each row is its
        own utterance.
    """

    truth: Any
    predicted: Any
    speaker: Any
    seed: Any = None
    utterance: Any = None


class Reliability(NamedTuple):
    """Equal-width bins of the top probability: mean confidence, accuracy and utterances; [bins].

    Confidence and accuracy of an empty bin are nan.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def confusion(truth, predicted, classes: int, weight=None) -> np.ndarray:
    """Return the confusion matrix, float [classes, classes]; rows: truth, columns: predictions.

    Args:
      truth, predicted: [N] class indices in 0 ... classes - 1; ValueError otherwise.
      weight: [N], weight of each utterance; None = 1.
    """
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    for index in (truth, predicted):
        if index.size and not (index.min() >= 0 and index.max() < classes):
            raise ValueError(
                f'class indices {index.min()} ... {index.max()} are outside 0 ... {classes - 1}'
            )
    cells = np.bincount(truth * classes + predicted, weight, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(float)


def scores(matrix) -> dict[str, np.ndarray]:
    """Return METRICS [...] and `recall` [..., C] of confusion matrices [..., C, C].

    Recall is nan for absent classes; all metrics of a matrix without utterances are nan.
    `macro_recall` is another name of UAR.
    """
    matrix = np.asarray(matrix, float)
    hit, shown, called = np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(-1), matrix.sum(-2)
    present = shown > 0

    def macro(x):
        return ratio(np.where(present, x, 0.0).sum(-1), present.sum(-1))

    recall = ratio(hit, shown)
    uar = macro(recall)
    return {
        'uar': uar,
        'wa': ratio(hit.sum(-1), matrix.sum((-2, -1))),
        'macro_precision': macro(ratio(hit, called, 0.0)),
        'macro_recall': uar,
        'macro_f1': macro(ratio(2 * hit, shown + called, 0.0)),
        'recall': recall,
    }


def chance(matrix) -> float:
    """Return the UAR of a constant or random guess: 1 / classes in the truth of [C, C]."""
    return 1 / max(1, int((np.asarray(matrix).sum(-1) > 0).sum()))


def cells(answers: Answers, unit, units: int, classes: int) -> np.ndarray:
    """Return one confusion matrix per seed and unit, float32 [seeds, units, classes, classes].

    `unit` [N] is the index of each row's unit, e.g. its speaker or sex.
    """
    n = len(answers.truth)
    _, seed = (
        (np.unique(answers.seed, return_inverse=True))
        if answers.seed is not None
        else (0, np.zeros(n, np.int64))
    )
    seeds = int(seed.max(initial=0)) + 1
    place = ((seed * units + unit) * classes + answers.truth) * classes + answers.predicted
    counts = np.bincount(place, minlength=seeds * units * classes**2)
    return counts.reshape(seeds, units, classes, classes).astype(np.float32)


def headline(matrices) -> dict[str, np.ndarray]:
    """Return `scores` of [seeds, ..., C, C], averaged over the seeds that have utterances.

    METRICS are [...], recall is [..., C].
    """
    return {name: mean(score, 0) for name, score in scores(matrices).items()}


def speaker_bootstrap(
    answers: Answers, classes: int, draws: int = 2000, rng: int = 0
) -> dict[str, Any]:
    """Return 95 % intervals of the headline scores; speakers are resampled with replacement.

    Args:
      draws: number of resamples.
      rng: seed of the draws; the result is a function of the arguments.

    Returns:
      {metric: Interval} for METRICS, and 'recall': a list of C Intervals (nan for classes absent
      from the truth). `by` is 'speaker', or 'utterance' if there are fewer than 2 speakers, so that
      utterances are resampled instead.
    """
    unit, units, by = _units(answers)
    matrices = cells(answers, unit, units, classes)
    value = headline(matrices.sum(1))
    drawn = headline(_resample(matrices, draws, rng))
    result = {m: Interval(float(value[m]), *_ends(drawn[m]), by) for m in METRICS}
    result['recall'] = [
        Interval(float(v), *_ends(d), by)
        for v, d in zip(value['recall'], drawn['recall'].T, strict=True)
    ]
    return result


def paired_bootstrap(
    a: Answers, b: Answers, classes: int, draws: int = 2000, rng: int = 0
) -> Interval:
    """Return UAR(a) - UAR(b) with its 95 % interval from the same speakers drawn for both.

    If the interval lies above 0, a is better. Both sides have the same utterances
    (`ser_jax.scoring.scores.paired_interval` checks it); seeds may differ.
    """
    n = len(a.truth)
    rows = [
        np.arange(n) if a.utterance is None else a.utterance,
        np.arange(n) if b.utterance is None else b.utterance,
    ]
    both = Answers(None, None, np.concatenate([a.speaker, b.speaker]), None, np.concatenate(rows))
    unit, units, by = _units(both)
    matrices = [
        cells(side, u, units, classes) for side, u in zip((a, b), np.split(unit, [n]), strict=True)
    ]
    seeds = len(matrices[0])
    matrices = np.concatenate(matrices)

    def difference(m):
        return headline(m[:seeds])['uar'] - headline(m[seeds:])['uar']

    return Interval(
        float(difference(matrices.sum(1))), *_ends(difference(_resample(matrices, draws, rng))), by
    )


def auc(truth, probability) -> float:
    """Return the area under the ROC curve.

    It is the share of pairs in which the positive has the higher probability than the negative;
    ties count half. It is nan if either is missing.

    Args:
      truth: bool [N].
      probability: [N], probability of True.
    """
    truth, rank = np.asarray(truth, bool), scipy.stats.rankdata(probability)
    positive, negative = int(truth.sum()), int((~truth).sum())
    above = rank[truth].sum() - positive * (positive + 1) / 2  # Mann and Whitney (1947)
    return float(ratio(above, positive * negative))


def auc_bootstrap(answers: Answers, probability, draws: int = 500, rng: int = 0) -> Interval:
    """Return `auc` of class 1, averaged over seeds, with its 95 % interval by speaker.

    Args:
      answers: predictions whose `truth` is 0 or 1.
      probability: [N], probability of class 1.
    """
    unit, units, by = _units(answers)
    truth, probability = np.asarray(answers.truth) == 1, np.asarray(probability)
    seed = np.zeros(len(truth)) if answers.seed is None else np.asarray(answers.seed)
    rows = [np.flatnonzero(unit == u) for u in range(units)]

    def of(at: np.ndarray) -> float:
        each = np.array(
            [auc(truth[at[seed[at] == s]], probability[at[seed[at] == s]]) for s in np.unique(seed)]
        )
        return float(mean(each, 0))

    generator = np.random.default_rng(rng)
    drawn = [
        of(np.concatenate([rows[u] for u in generator.integers(units, size=units)]))
        for _ in range(draws)
    ]
    return Interval(of(np.arange(len(truth))), *_ends(np.array(drawn)), by)


def reliability(probabilities, truth, bins: int = 15) -> Reliability:
    """Return the accuracy of the top class, binned by its probability.

    Args:
      probabilities: [N, C].
      truth: [N] class indices.
      bins: number of bins.
    """
    probabilities, truth = np.asarray(probabilities, float), np.asarray(truth)
    sure = probabilities.max(-1, initial=0.0)
    right = probabilities.argmax(-1) == truth
    # Bins are (0, 1/bins], (1/bins, 2/bins] ...
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    confidence, accuracy = (
        ratio(np.bincount(place, x, minlength=bins), count) for x in (sure, right)
    )
    return Reliability(confidence, accuracy, count)


def expected_calibration_error(probabilities, truth, bins: int = 15) -> float:
    """Return the mean |confidence - accuracy| over equal-width bins, weighted by their utterances.

    Source: Guo et al., 2017, eq. 3.
    """
    return calibration_error(reliability(probabilities, truth, bins))


def calibration_error(bins: Reliability) -> float:
    """Return the expected calibration error of given bins; nan without utterances."""
    gap = np.nan_to_num(np.abs(bins.confidence - bins.accuracy))
    return float(ratio((gap * bins.count).sum(), bins.count.sum()))


def ratio(over, under, otherwise: float = np.nan) -> np.ndarray:
    """Return over / under, `otherwise` where `under` is 0."""
    over, under = np.broadcast_arrays(np.asarray(over, float), np.asarray(under, float))
    return np.divide(over, under, out=np.full(over.shape, otherwise), where=under > 0)


def mean(x, axis: int) -> np.ndarray:
    """Return the mean of values that are not nan; nan if there are none (nanmean would warn)."""
    known = ~np.isnan(x)
    return ratio(np.where(known, x, 0.0).sum(axis), known.sum(axis))


def _units(answers: Answers) -> tuple[np.ndarray, int, str]:
    """Return the units to resample: the unit of every row [N], their number, and their kind."""
    names, unit = np.unique(np.asarray(answers.speaker), return_inverse=True)
    if len(names) > 1:
        return unit, len(names), 'speaker'
    if answers.utterance is None:
        return np.arange(len(unit)), len(unit), 'utterance'
    names, unit = np.unique(np.asarray(answers.utterance), return_inverse=True)
    return unit, len(names), 'utterance'


def _resample(matrices: np.ndarray, draws: int, rng: int) -> np.ndarray:
    """Sum the confusion of `units` units drawn with replacement, `draws` times.

    [seeds, units, C, C] -> [seeds, draws, C, C].
    """
    seeds, units, classes, _ = matrices.shape
    generator, flat = np.random.default_rng(rng), matrices.transpose(1, 0, 2, 3).reshape(units, -1)
    result = np.empty((draws, flat.shape[1]), np.float32)
    step = max(1, _COUNTS // units)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = generator.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        result[start : start + size] = counts.astype(np.float32) @ flat
    return result.reshape(draws, seeds, classes, classes).swapaxes(0, 1)


def _ends(drawn: np.ndarray) -> tuple[float, float]:
    """Return the 2.5th and 97.5th percentile of the draws that are not nan."""
    drawn = drawn[~np.isnan(drawn)]
    return tuple(map(float, np.percentile(drawn, (2.5, 97.5)))) if drawn.size else (np.nan, np.nan)
