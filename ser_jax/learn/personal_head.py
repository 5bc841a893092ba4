"""Personal head: a correction of a model's log-probabilities, taught by a few recordings.

The model stays as it is. A linear function of its embedding is added to its log-probabilities; a
penalty draws it towards 0, the general model. So any model can be taught, without its training
corpus, by a small convex problem (kernel logistic regression with the model as its offset). Away
from the taught recordings the correction fades: other voices get the general model's answers.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from scipy.special import log_softmax

from ser_jax.learn.state import Predicted

RIDGE = 0.001  # weight of the penalty; chosen by benchmarks/personalization.py
_CONSTANT = 0.3  # variance of the offset of a class, where that of the embedding's part is 1
_FADING = 0.5  # squared distance, beyond 1, at which the correction has fallen to 1 / e
_LOWEST = -16.0  # log-probabilities below are no evidence, but the end of a number format
_FLOOR = 0.2  # least deviation of a dimension, in medians: constant ones carry no sign


class Head(NamedTuple):
    """Correction of each of K members: fading(z) * (z @ kernel + bias), see `change`.

    z = (embedding - center) * scale has a mean of 0 and a mean square of about 1 over the taught
    recordings.
    """

    center: Any  # [K D]
    scale: Any  # [K D]
    kernel: Any  # [K D C]
    bias: Any  # [K C]


def log_probabilities(probabilities: Any) -> Any:
    """Return the logarithm of probabilities (NumPy or JAX), at least `_LOWEST`."""
    numbers = jnp if isinstance(probabilities, jax.Array) else np
    return numbers.log(numbers.maximum(probabilities, np.exp(_LOWEST)))


def change(head: Head, embedding: Any) -> Any:
    """Return the correction [... C] of log-probabilities at embeddings [... D] of one member."""
    numbers = jnp if isinstance(embedding, jax.Array) else np
    z = (embedding - head.center) * head.scale
    beyond = numbers.maximum((z**2).sum(-1, keepdims=True) - 1, 0)
    return numbers.exp(-beyond / _FADING) * (z @ head.kernel + head.bias)


def corrected(head: Head, predicted: Predicted) -> Predicted:
    """Return the predictions of K members for B windows, corrected; unsupported classes stay 0.

    The correction is added to every modality that uses the audio.
    """
    added = jax.vmap(change)(head, predicted.embedding)

    def moved(name: str, p):
        if name == 'text':
            return p
        return jax.nn.softmax(jnp.where(p > 0, log_probabilities(p) + added, -jnp.inf))

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
    scale = 1 / (scale * np.sqrt(embedding.shape[1]))  # a square of 1 at any width
    z = (embedding - center) * scale
    weights = _weights(z @ z.T + _CONSTANT, answer, label, ridge)
    head = Head(center, scale, z.T @ weights, _CONSTANT * weights.sum(0))
    return Head(*(x.astype(np.float32) for x in head))


def _weights(gram: np.ndarray, answer: np.ndarray, label: np.ndarray, ridge: float) -> np.ndarray:
    """Return the weights [n C] of recordings of least penalized cross-entropy (kernel logistic)."""
    count, classes = answer.shape
    each = np.bincount(label, minlength=classes)
    weight = (count / (each.astype(bool).sum() * np.maximum(each, 1)))[label][:, None]
    target = np.eye(classes)[label]
    base = np.where(each > 0, answer, -1e9)

    def loss(flat):
        weights = flat.reshape(count, classes)
        added = gram @ weights
        log_p = log_softmax(base + added, -1)
        value = -(weight * target * log_p).sum() + ridge / 2 * (weights * added).sum()
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
    logits = log_probabilities(probabilities) + change(head, embedding)
    return np.exp(log_softmax(np.where(probabilities > 0, logits, -np.inf), -1))
