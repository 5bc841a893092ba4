"""Metrics on arrays: UAR, WA, macro precision, recall, F1, AUC.

Conventions. UAR (unweighted average recall) is the mean recall over the classes that occur in the
truth; precision and F1 are averaged over the same classes; a class that is never predicted has
precision 0; WA is the share of correct predictions. A headline score pools the predictions of all
test folds of one seed into one confusion matrix, computes the metric from it, and averages over
seeds. `ser_jax.scoring.scores` applies these functions to tables of predictions.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.stats

METRICS = ('uar', 'wa', 'macro_precision', 'macro_recall', 'macro_f1')


class Predictions(NamedTuple):
    """Predicted and true classes of a run, all [N].

    A row is one utterance of one seed, scored by one member.

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


def confusion(truth, predicted, classes: int) -> np.ndarray:
    """Return the confusion matrix, float [classes, classes]; rows: truth, columns: predictions.

    Args:
      truth, predicted: [N] class indices in 0 ... classes - 1; ValueError otherwise.
    """
    truth, predicted = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    for index in (truth, predicted):
        if index.size and not (index.min() >= 0 and index.max() < classes):
            raise ValueError(
                f'class indices {index.min()} ... {index.max()} are outside 0 ... {classes - 1}'
            )
    cells = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes).astype(float)


def scores(matrix) -> dict[str, np.ndarray]:
    """Return METRICS [...] and `recall` [..., C] of confusion matrices [..., C, C].

    Recall is nan for absent classes; all metrics of a matrix without utterances are nan.
    `macro_recall` is another name of UAR.
    """
    matrix = np.asarray(matrix, float)
    correct = np.diagonal(matrix, axis1=-2, axis2=-1)
    support, predicted = matrix.sum(-1), matrix.sum(-2)
    present = support > 0

    def macro(x):
        return ratio(np.where(present, x, 0.0).sum(-1), present.sum(-1))

    recall = ratio(correct, support)
    uar = macro(recall)
    return {
        'uar': uar,
        'wa': ratio(correct.sum(-1), matrix.sum((-2, -1))),
        'macro_precision': macro(ratio(correct, predicted, 0.0)),
        'macro_recall': uar,
        'macro_f1': macro(ratio(2 * correct, support + predicted, 0.0)),
        'recall': recall,
    }


def chance(matrix) -> float:
    """Return the UAR of a constant or random guess: 1 / classes in the truth of [C, C]."""
    return 1 / max(1, int((np.asarray(matrix).sum(-1) > 0).sum()))


def cells(predictions: Predictions, unit, units: int, classes: int) -> np.ndarray:
    """Return one confusion matrix per seed and unit, float32 [seeds, units, classes, classes].

    `unit` [N] is the index of each row's unit, e.g. its speaker or sex.
    """
    n = len(predictions.truth)
    seed = np.zeros(n, np.int64)
    if predictions.seed is not None:
        seed = np.unique(predictions.seed, return_inverse=True)[1]
    seeds = int(seed.max(initial=0)) + 1
    place = ((seed * units + unit) * classes + predictions.truth) * classes + predictions.predicted
    counts = np.bincount(place, minlength=seeds * units * classes**2)
    return counts.reshape(seeds, units, classes, classes).astype(np.float32)


def headline(matrices) -> dict[str, np.ndarray]:
    """Return `scores` of [seeds, ..., C, C], averaged over the seeds that have utterances.

    METRICS are [...], recall is [..., C].
    """
    return {name: mean(score, 0) for name, score in scores(matrices).items()}


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


def ratio(over, under, otherwise: float = np.nan) -> np.ndarray:
    """Return over / under, `otherwise` where `under` is 0."""
    over, under = np.broadcast_arrays(np.asarray(over, float), np.asarray(under, float))
    return np.divide(over, under, out=np.full(over.shape, otherwise), where=under > 0)


def mean(x, axis: int) -> np.ndarray:
    """Return the mean of values that are not nan; nan if there are none (nanmean would warn)."""
    known = ~np.isnan(x)
    return ratio(np.where(known, x, 0.0).sum(axis), known.sum(axis))
