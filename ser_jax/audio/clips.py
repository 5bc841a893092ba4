"""Recordings in memory: their check, and resampling of a running signal."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ser_jax.contract import InputError

LONGEST_S = 12 * 3600.0
RATES_HZ = (1000, 768_000)
WINDOWS_S = (0.1, 3600.0)  # range of a maximum window


class Clip(NamedTuple):
    """Recording in memory.

    Attributes:
      samples: [T] or [T, channels], floats in [-1, 1] or int16.
      rate_hz: their rate.
      text: transcript, used by models that read text.
      source: name of the recording in messages.
    """

    samples: np.ndarray
    rate_hz: int
    text: str = ''
    source: str = 'the recording'


def checked_samples(clip: Clip) -> np.ndarray:
    """Return the samples of a clip as float32 [T] or [T, channels].

    Raises:
      InputError: they are no such array, or the rate or length is out of range.
    """
    samples = np.asarray(clip.samples)
    if samples.ndim not in (1, 2) or samples.dtype.kind not in 'fi':
        raise InputError(
            f'{clip.source}: samples must be numbers of shape [T] or [T, channels], got '
            f'{samples.dtype} {list(samples.shape)}'
        )
    if samples.dtype.kind == 'i' and samples.dtype != np.int16:
        raise InputError(
            f'{clip.source}: samples must be floats in [-1, 1] or int16, got {samples.dtype}'
        )
    if not RATES_HZ[0] <= clip.rate_hz <= RATES_HZ[1]:
        raise InputError(
            f'{clip.source}: rate_hz must be {RATES_HZ[0]} to {RATES_HZ[1]}, got {clip.rate_hz}'
        )
    if samples.ndim == 2 and samples.shape[1] > max(64, samples.shape[0]):
        raise InputError(
            f'{clip.source}: samples of shape {list(samples.shape)} have more channels than '
            'samples; expected [T, channels]'
        )
    if len(samples) > LONGEST_S * clip.rate_hz:
        raise InputError(
            f'{clip.source}: the recording lasts {len(samples) / clip.rate_hz:.0f} s; expected at '
            f'most {LONGEST_S:.0f} s: cut it'
        )
    scale = 32768 if samples.dtype == np.int16 else 1
    return np.divide(samples, scale, dtype=np.float32)


def stream_resampler(from_hz: int, to_hz: int) -> Callable[[np.ndarray, bool], np.ndarray]:
    """Return a function (samples, last) that resamples a signal piece by piece."""
    if from_hz == to_hz:
        return _unchanged
    import soxr

    return soxr.ResampleStream(from_hz, to_hz, 1, dtype='float32', quality='HQ').resample_chunk


def _unchanged(samples: np.ndarray, last: bool) -> np.ndarray:
    return samples


def check_window(window_s: float) -> None:
    """Raise InputError unless the maximum window is 0 (as the run was scored) or in WINDOWS_S."""
    low, high = WINDOWS_S
    if window_s and not low <= window_s <= high:  # also refuses NaN
        raise InputError(
            f'window_s must be 0 (as the run was scored) or {low:g} to {high:g} seconds, got '
            f'{window_s:g}'
        )
