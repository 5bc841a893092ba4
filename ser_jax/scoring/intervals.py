"""95 % intervals of metrics by resampling whole speakers.

The utterances of one speaker are not independent (cluster bootstrap: Field and Welsh, 2007;
percentile interval: Efron and Tibshirani, 1993, ch. 13). With fewer than about ten speakers such an
interval is too narrow.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from ser_jax.scoring import metrics
from ser_jax.scoring.metrics import Predictions

_COUNTS = 4_000_000  # maximum number of resampling counts in memory


class Interval(NamedTuple):
    """A value, its 95 % interval, and the resampled unit: 'speaker' or 'utterance'."""

    value: float
    low: float
    high: float
    by: str

    def __str__(self) -> str:
        return f'{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]'


class Difference(NamedTuple):
    """A paired difference with its 95 % interval and the p-value of no difference.

    Attributes:
      value: nan if one side has no such value; p is 1 then.
      low, high: nan if there is no interval.
      by: the resampled unit, 'speaker' or 'utterance'.
      units: their number.
    """

    value: float
    low: float
    high: float
    p: float
    by: str
    units: int

    @property
    def excludes_zero(self) -> bool:
        """True if the interval lies above or below 0."""
        return self.low > 0 or self.high < 0

    def __neg__(self) -> 'Difference':
        """Return the difference of the swapped sides; a 0 stays 0."""
        value, low, high = (0.0 - x for x in (self.value, self.high, self.low))
        return self._replace(value=value, low=low, high=high)


def speaker_bootstrap(
    predictions: Predictions, classes: int, draws: int = 2000, rng: int = 0
) -> dict[str, Any]:
    """Return 95 % intervals of the headline scores; speakers are resampled with replacement.

    Args:
      draws: number of resamples.
      rng: seed of the draws; the result is a function of the arguments.

    Returns:
      {metric: Interval} for `metrics.METRICS`, and 'recall': a list of C Intervals (nan for classes
      absent from the truth). `by` is 'speaker', or 'utterance' if there are fewer than 2 speakers,
      so that utterances are resampled instead.
    """
    unit, units, by = _units(predictions)
    matrices = metrics.cells(predictions, unit, units, classes)
    value = metrics.headline(matrices.sum(1))
    drawn = metrics.headline(_resample(matrices, draws, rng))
    result: dict[str, Any] = {
        m: Interval(float(value[m]), *_ends(drawn[m]), by) for m in metrics.METRICS
    }
    result['recall'] = [
        Interval(float(v), *_ends(d), by)
        for v, d in zip(value['recall'], drawn['recall'].T, strict=True)
    ]
    return result


def paired_bootstrap(
    a: Predictions, b: Predictions, classes: int, draws: int = 2000, rng: int = 0
) -> Interval:
    """Return UAR(a) - UAR(b) with its 95 % interval from the same speakers drawn for both.

    If the interval lies above 0, a is better. Both sides have the same utterances
    (`ser_jax.scoring.scores.paired_interval` checks it); seeds may differ.
    """
    matrices, seeds, by = _paired_cells(a, b, classes)
    drawn = _resample(matrices, draws, rng)
    value = _paired(matrices.sum(1), seeds, 'uar')
    return Interval(float(value), *_ends(_paired(drawn, seeds, 'uar')), by)


def paired_difference(
    a: Predictions, b: Predictions, classes: int, draws: int = 2000, rng: int = 0
) -> tuple[Difference, list[Difference]]:
    """Return UAR(a) - UAR(b), and the same for the recall of each of the C classes.

    The interval is value ± t s, where s is the standard deviation of the difference over draws of
    the same units for both sides, times sqrt(n / (n - 1)), and t the quantile of Student's
    distribution with n - 1 degrees of freedom, n units. With few speakers the percentiles of the
    draws are too narrow, this interval is not (Efron and Tibshirani, 1993, ch. 12; Cameron, Gelbach
    and Miller, 2008). The p-value is of the same distribution, so it is below 0.05 if and only if
    the interval excludes 0. Swapping the sides changes the sign alone.
    """
    matrices, seeds, by = _paired_cells(a, b, classes)
    units, drawn = matrices.shape[1], _resample(matrices, draws, rng)
    total = matrices.sum(1)
    uar, recall = (
        (_paired(total, seeds, name), _paired(drawn, seeds, name)) for name in ('uar', 'recall')
    )
    of_class = zip(recall[0], recall[1].T, strict=True)
    return _difference(*uar, by, units), [_difference(v, d, by, units) for v, d in of_class]


def _difference(measured: np.ndarray, drawn: np.ndarray, by: str, units: int) -> Difference:
    value, drawn = float(measured), drawn[~np.isnan(drawn)]
    if np.isnan(value) or len(drawn) < 2 or units < 2:
        return Difference(value, np.nan, np.nan, 1.0, by, units)
    spread = float(drawn.std(ddof=1) * np.sqrt(units / (units - 1)))
    if spread < 1e-7:  # float32 counts; all units differ equally
        if abs(value) < 1e-7:
            return Difference(0.0, 0.0, 0.0, 1.0, by, units)
        sign_test = 2 * 0.5**units
        if sign_test >= 0.05:  # too few to exclude chance
            return Difference(value, np.nan, np.nan, 1.0, by, units)
        return Difference(value, value, value, sign_test, by, units)
    reach = float(scipy.stats.t.ppf(0.975, units - 1) * spread)
    p = 2 * float(scipy.stats.t.sf(abs(value) / spread, units - 1))
    return Difference(value, value - reach, value + reach, p, by, units)


def _paired_cells(a: Predictions, b: Predictions, classes: int) -> tuple[np.ndarray, int, str]:
    """Return the confusions of a, then of b, [seeds of both, units, C, C]; seeds of a; the unit."""
    n = len(a.truth)
    rows = [
        np.arange(n) if a.utterance is None else a.utterance,
        np.arange(len(b.truth)) if b.utterance is None else b.utterance,
    ]
    both = Predictions(
        None, None, np.concatenate([a.speaker, b.speaker]), None, np.concatenate(rows)
    )
    unit, units, by = _units(both)
    matrices = [
        metrics.cells(side, u, units, classes)
        for side, u in zip((a, b), np.split(unit, [n]), strict=True)
    ]
    return np.concatenate(matrices), len(matrices[0]), by


def _paired(matrices: np.ndarray, seeds: int, name: str) -> np.ndarray:
    """Return a metric of the first `seeds` of [seeds of both, ..., C, C] minus that of the rest."""
    return metrics.headline(matrices[:seeds])[name] - metrics.headline(matrices[seeds:])[name]


def mean_bootstrap(values, predictions: Predictions, draws: int = 2000, rng: int = 0) -> Interval:
    """Return the mean of one value per row [N], with its 95 % interval by speaker."""
    unit, units, by = _units(predictions)
    total = np.bincount(unit, np.asarray(values, float), units)
    count = np.bincount(unit, minlength=units)
    drawn = np.random.default_rng(rng).integers(units, size=(draws, units))
    means = metrics.ratio(total[drawn].sum(1), count[drawn].sum(1))
    return Interval(float(metrics.ratio(total.sum(), count.sum())), *_ends(means), by)


def gap_bootstrap(
    predictions: Predictions, sex, classes: int, draws: int = 2000, rng: int = 0
) -> Interval:
    """Return UAR(female) - UAR(male) with its 95 % interval; speakers are drawn within each sex.

    Args:
      sex: [N]; rows of other words are left out. Without one of both the interval is nan.
    """
    drawn, value, sex = [], [], np.asarray(sex)
    for i, word in enumerate(('female', 'male')):
        at = np.flatnonzero(sex == word)
        if not len(at):
            return Interval(np.nan, np.nan, np.nan, 'speaker')
        side = Predictions(*(None if x is None else np.asarray(x)[at] for x in predictions))
        unit, units, by = _units(side)
        matrices = metrics.cells(side, unit, units, classes)
        value.append(float(metrics.headline(matrices.sum(1))['uar']))
        drawn.append(metrics.headline(_resample(matrices, draws, rng + i))['uar'])
    return Interval(value[0] - value[1], *_ends(drawn[0] - drawn[1]), by)


def auc_bootstrap(
    predictions: Predictions, probability, draws: int = 500, rng: int = 0
) -> Interval:
    """Return `auc` of class 1, averaged over seeds, with its 95 % interval by speaker.

    Args:
      predictions: predictions whose `truth` is 0 or 1.
      probability: [N], probability of class 1.
    """
    unit, units, by = _units(predictions)
    truth, probability = np.asarray(predictions.truth) == 1, np.asarray(probability)
    seed = np.zeros(len(truth)) if predictions.seed is None else np.asarray(predictions.seed)
    rows = [np.flatnonzero(unit == u) for u in range(units)]

    def mean_auc(at: np.ndarray) -> float:
        each = []
        for s in np.unique(seed):
            of_seed = at[seed[at] == s]
            each.append(metrics.auc(truth[of_seed], probability[of_seed]))
        return float(metrics.mean(np.array(each), 0))

    generator = np.random.default_rng(rng)
    drawn = []
    for _ in range(draws):
        units_drawn = generator.integers(units, size=units)
        drawn.append(mean_auc(np.concatenate([rows[u] for u in units_drawn])))
    return Interval(mean_auc(np.arange(len(truth))), *_ends(np.array(drawn)), by)


def _units(predictions: Predictions) -> tuple[np.ndarray, int, str]:
    """Return the units to resample: the unit of every row [N], their number, and their kind."""
    names, unit = np.unique(np.asarray(predictions.speaker), return_inverse=True)
    if len(names) > 1:
        return unit, len(names), 'speaker'
    if predictions.utterance is None:
        return np.arange(len(unit)), len(unit), 'utterance'
    names, unit = np.unique(np.asarray(predictions.utterance), return_inverse=True)
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
    if not drawn.size:
        return np.nan, np.nan
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)
