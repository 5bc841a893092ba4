"""Calibration: the probability of the top class against its accuracy; temperature scaling."""

from typing import NamedTuple

import numpy as np
import scipy.optimize

from ser_jax.scoring import metrics

TEMPERATURES = (0.05, 20.0)


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


def scaled(probabilities, temperature: float) -> np.ndarray:
    """Return probabilities [..., C] with their logarithms divided by `temperature`; 0 stays 0."""
    p = np.asarray(probabilities, float)
    with np.errstate(divide='ignore'):
        log = np.log(p / p.max(-1, keepdims=True)) / temperature
    raised = np.exp(log)
    return raised / raised.sum(-1, keepdims=True)


def best_temperature(probabilities, truth) -> float:
    """Return the temperature of least negative log-likelihood, within TEMPERATURES.

    One number for all classes: it changes confidences and no answer (Guo et al., 2017, sec. 4).

    Args:
      probabilities: [N, C].
      truth: [N] class indices.
    """
    p = np.maximum(np.asarray(probabilities, float), 1e-12)
    rows, truth = np.arange(len(p)), np.asarray(truth)

    def loss(log_temperature: float) -> float:
        q = scaled(p, np.exp(log_temperature))
        return float(-np.log(np.maximum(q[rows, truth], 1e-300)).mean())

    found = scipy.optimize.minimize_scalar(loss, bounds=np.log(TEMPERATURES), method='bounded')
    return float(np.exp(found.x))
