"""Personal head: a correction of a model's log-probabilities, taught by a few recordings.

The model stays as it is. A linear function of its embedding is added to its log-probabilities; a
penalty draws it towards 0, the general model. So any model can be taught, without its training
corpus, by a small convex problem (kernel logistic regression with the model as its offset).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from scipy.special import log_softmax

from ser_jax.learn.state import Predicted

RIDGE = 0.01  # weight of the penalty; chosen by benchmarks/personalization.py
_CONSTANT = 0.3  # variance of the offset of a class, where that of the embedding's part is 1
_LOWEST = -16.0  # log-probabilities below are no evidence, but the end of a number format
_FLOOR = 0.2  # least deviation of a dimension, in medians: constant ones carry no sign


class Head(NamedTuple):
    """Correction of the log-probabilities of each of K members: embedding @ kernel + bias."""

    kernel: Any  # [K D C]
    bias: Any  # [K C]


def log_probabilities(probabilities: Any) -> Any:
    """Return the logarithm of probabilities (NumPy or JAX), at least `_LOWEST`."""
    numbers = jnp if isinstance(probabilities, jax.Array) else np
    return numbers.log(numbers.maximum(probabilities, np.exp(_LOWEST)))


def corrected(head: Head, predicted: Predicted) -> Predicted:
    """Return the predictions of K members for B windows, corrected; unsupported classes stay 0.

    It is added to every modality that uses the audio.
    """
    change = jnp.einsum('kbd,kdc->kbc', predicted.embedding, head.kernel) + head.bias[:, None]

    def moved(name: str, p):
        if name == 'text':
            return p
        return jax.nn.softmax(jnp.where(p > 0, log_probabilities(p) + change, -jnp.inf))

    probabilities = {name: moved(name, p) for name, p in predicted.probabilities.items()}
    return predicted._replace(probabilities=probabilities)


def fit(
    probabilities: np.ndarray,
    embedding: np.ndarray,
    label: np.ndarray,
    ridge: float = RIDGE,
) -> Head:
    """Return the head of one member, without a leading axis.

    It minimizes the cross-entropy of the labels, each class with the same weight, plus the penalty.
    Classes without a recording take no part: nothing is learned about them.

    Args:
      probabilities: [n C] of the member.
      embedding: [n D].
      label: int [n].
      ridge: weight of the penalty, above 0; the larger, the closer to the general model.
    """
    answer = log_probabilities(np.asarray(probabilities, np.float64))
    embedding = np.asarray(embedding, np.float64)
    center, scale = embedding.mean(0), embedding.std(0)
    scale = np.maximum(scale, _FLOOR * np.median(scale)) + 1e-6
    scale *= np.sqrt(embedding.shape[1])  # a variance of 1 in all, at any width of the embedding
    scaled = (embedding - center) / scale
    weights = _weights(scaled @ scaled.T + _CONSTANT, answer, label, ridge)
    kernel = scaled.T @ weights / scale[:, None]
    bias = _CONSTANT * weights.sum(0) - center @ kernel
    return Head(kernel.astype(np.float32), bias.astype(np.float32))


def _weights(gram: np.ndarray, answer: np.ndarray, label: np.ndarray, ridge: float) -> np.ndarray:
    """Return the weights [n C] of recordings of least penalized cross-entropy (kernel logistic)."""
    count, classes = answer.shape
    each = np.bincount(label, minlength=classes)
    weight = (count / (each.astype(bool).sum() * np.maximum(each, 1)))[label][:, None]
    target = np.eye(classes)[label]
    base = np.where(each > 0, answer, -1e9)

    def loss(flat):
        weights = flat.reshape(count, classes)
        change = gram @ weights
        log_p = log_softmax(base + change, -1)
        value = -(weight * target * log_p).sum() + ridge / 2 * (weights * change).sum()
        slope = gram @ (weight * (np.exp(log_p) - target) + ridge * weights)
        return value, slope.ravel()

    start = np.zeros(count * classes)
    found = scipy.optimize.minimize(
        loss, start, jac=True, method='L-BFGS-B', options={'maxiter': 200}
    )
    weights = found.x.reshape(count, classes)
    return np.where(each > 0, weights, 0.0)


def apply(head: Head, probabilities: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """Return corrected probabilities [n C] of one member (NumPy), as `corrected` computes them."""
    logits = log_probabilities(probabilities) + embedding @ head.kernel + head.bias
    return np.exp(log_softmax(np.where(probabilities > 0, logits, -np.inf), -1))
