"""Linear classifiers and whitening in closed form, from the statistics of a training side.

NumPy in float64: exact, the same on every device, and a second for a thousand recordings.
"""

import numpy as np

AUTO = -1.0  # shrinkage by Ledoit and Wolf's formula


def discriminant(
    features: np.ndarray, label: np.ndarray, classes: int, shrinkage: float = AUTO
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights [D C] and biases [C] of a linear discriminant analysis with equal priors.

    Equal to `sklearn.discriminant_analysis.LinearDiscriminantAnalysis(solver='lsqr')`; the
    covariance is the mean of the shrunk covariances of the classes.

    Args:
      features: [n D].
      label: int [n], each class in 0 ... classes - 1.
      classes: C; a class without features gets the bias -inf, replaced by -1e9.
      shrinkage: 0 to 1, or AUTO.
    """
    features = np.asarray(features, np.float64)
    present = [c for c in range(classes) if (label == c).any()]
    means = np.stack([features[label == c].mean(0) for c in present])
    spread = within(features, label, classes, shrinkage)
    kernel = np.linalg.lstsq(spread, means.T, rcond=None)[0]
    weights, bias = np.zeros((features.shape[1], classes)), np.full(classes, -1e9)
    offset = -0.5 * np.einsum('cd,dc->c', means, kernel)
    # Their means over classes change no probability, and may be 1e6 times the differences between
    # classes, which float32 would round away.
    weights[:, present] = kernel - kernel.mean(1, keepdims=True)
    bias[present] = offset - offset.mean()
    return weights.astype(np.float32), bias.astype(np.float32)


def within(
    features: np.ndarray, label: np.ndarray, classes: int, shrinkage: float = AUTO
) -> np.ndarray:
    """Return the within-class covariance [D D]: the mean of the shrunk ones of the classes.

    Args:
      features: [n D].
      label: int [n].
      classes: C.
      shrinkage: 0 to 1, or AUTO.
    """
    groups = [features[label == c] for c in range(classes)]
    return np.mean([_covariance(g, shrinkage) for g in groups if len(g)], 0)


def whitening(
    features: np.ndarray, label: np.ndarray, classes: int, shrinkage: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean [D] and the matrix [D D] that make the within-class covariance the identity.

    Within-class covariance normalization (Hatch et al. 2006): (x - mean) @ matrix.
    """
    features = np.asarray(features, np.float64)
    values, vectors = np.linalg.eigh(within(features, label, classes, shrinkage))
    matrix = vectors / np.sqrt(np.maximum(values, values.max() * 1e-9)) @ vectors.T
    return features.mean(0).astype(np.float32), matrix.astype(np.float32)


def _covariance(features: np.ndarray, shrinkage: float) -> np.ndarray:
    """Return the covariance of [n D], shrunk towards a multiple of the identity.

    With AUTO, features are standardized before shrinkage and scaled back after it.
    """
    centered = features - features.mean(0)
    if shrinkage != AUTO:
        return _shrunk(centered.T @ centered / len(features), shrinkage)
    scale = centered.std(0)
    scale[scale == 0] = 1
    centered /= scale
    covariance = centered.T @ centered / len(features)
    shrunk = _shrunk(covariance, ledoit_wolf(centered, covariance))
    return scale[:, None] * shrunk * scale


def _shrunk(covariance: np.ndarray, shrinkage: float) -> np.ndarray:
    """Return (1 - shrinkage) * covariance + shrinkage * mean variance * identity."""
    level = np.trace(covariance) / len(covariance)
    return (1 - shrinkage) * covariance + shrinkage * level * np.eye(len(covariance))


def ledoit_wolf(centered: np.ndarray, covariance: np.ndarray) -> float:
    """Return the shrinkage of least expected error (Ledoit & Wolf 2004) for centered [n D]."""
    count, width = centered.shape
    level = np.trace(covariance) / width
    squares = (centered**2).sum(1)
    # sum of (x_i x_i^T)^2 over entries is |x_i|^4.
    error = ((squares**2).sum() / count - (covariance**2).sum()) / (width * count)
    distance = ((covariance**2).sum() - width * level**2) / width
    return float(min(error, distance) / distance) if error and distance else 0.0
