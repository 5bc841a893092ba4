"""Excerpts of recordings for front ends of fixed length: cut, padded, or split into windows."""

import jax.numpy as jnp
import numpy as np

from ser_jax.contract import InputError


def mono(samples: np.ndarray) -> np.ndarray:
    """Return samples [T] as float32 in [-1, 1]; int16 is scaled by 1/32768.

    Raises:
      InputError: the array has more than one axis, so its channels are not mixed yet.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise InputError(
            'expected mono samples [T] as from ser_jax.audio.wav.prepare, got shape '
            f'{samples.shape}'
        )
    scale = 32768 if samples.dtype == np.int16 else 1
    return samples.astype(np.float32) / scale


def cut(samples: np.ndarray, start: int, most: int) -> np.ndarray:
    """Return up to `most` samples from `start` on, or from 0 on if the recording is too short."""
    samples = mono(samples)
    return samples[start if samples.size > start else 0 :][:most]


def fit(samples: np.ndarray, size: int, zeros: str = 'after') -> np.ndarray:
    """Return exactly `size` samples: the first, or all with zeros 'before', 'after' or 'around'."""
    samples = samples[:size]
    missing = size - samples.size
    before = {'before': missing, 'after': 0, 'around': missing // 2}[zeros]
    return np.pad(samples, (before, missing - before))


def traced(samples, length, size: int, start: int = 0, zeros: str = 'after'):
    """Compute `fit(cut(samples, start, size), size, zeros)` of each row; traceable by JAX.

    Args:
      samples: [B T], of which the first `length` [B] are not padding.

    Returns:
      Excerpts [B size] and the numbers of their real samples [B].
    """
    first = jnp.where(length > start, start, 0)
    real = jnp.clip(length - first, 0, size)
    missing = size - real
    before = {'before': missing, 'after': 0 * missing, 'around': missing // 2}[zeros]
    at = jnp.arange(size) - before[:, None]
    inside = (at >= 0) & (at < real[:, None])
    taken = jnp.clip(first[:, None] + at, 0, samples.shape[1] - 1)
    return jnp.where(inside, jnp.take_along_axis(samples, taken, 1), 0), real


def windows(samples: np.ndarray, size: int) -> np.ndarray:
    """Split a recording into adjacent windows, [max(1, ceil(T / size)), size].

    A last window that is not full has zeros on both sides.
    """
    starts = range(0, max(1, samples.size), size)
    return np.stack([fit(samples[start : start + size], size, 'around') for start in starts])
