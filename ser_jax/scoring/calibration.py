"""Calibration: agreement of the probability of the top class with its accuracy."""

from typing import NamedTuple

import numpy as np

from ser_jax.scoring import metrics


class Reliability(NamedTuple):
    """Equal-width bins of the top probability: mean confidence, accuracy and utterances; [bins].

    Confidence and accuracy of an empty bin are nan.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # hides tuple.count


def reliability(probabilities, truth, bins: int = 15) -> Reliability:
    """Return the accuracy of the top class, binned by its probability.

    Args:
      probabilities: [N, C].
      truth: [N] class indices.
      bins: number of bins.
    """
    probabilities, truth = np.asarray(probabilities, float), np.asarray(truth)
    confidence = probabilities.max(-1, initial=0.0)
    correct = probabilities.argmax(-1) == truth
    # Bins are (0, 1/bins], (1/bins, 2/bins] ...
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    return Reliability(
        metrics.ratio(np.bincount(place, confidence, minlength=bins), count),
        metrics.ratio(np.bincount(place, correct, minlength=bins), count),
        count,
    )


def calibration_error(bins: Reliability) -> float:
    """Return the expected calibration error; nan without utterances.

    It is the mean |confidence - accuracy| over the bins, weighted by their utterances (Guo et al.,
    2017, eq. 3).
    """
    gap = np.nan_to_num(np.abs(bins.confidence - bins.accuracy))
    return float(metrics.ratio((gap * bins.count).sum(), bins.count.sum()))
