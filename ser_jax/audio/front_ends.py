"""Registry of front ends by the name used in builders, configs and runs, and their frame layouts.

`log_mel` is this project's; the others are those of published systems. Each takes mono samples at
its `rate_hz`; on disk and in a batch its output is frames [F, M].
"""

from typing import NamedTuple

import numpy as np

from ser_jax.audio import features, variants
from ser_jax.audio.mfcc import MFCC_CURVE
from ser_jax.audio.picture import VSR_SPECTROGRAM
from ser_jax.audio.spectrogram import (
    LINEAR_SPECTROGRAM,
    LOG_MEL_40,
    LOG_MEL_40_PUBLISHED,
    LOG_MEL_100,
)
from ser_jax.audio.statistics import STATS_162
from ser_jax.contract import InputError

PUBLISHED = (
    MFCC_CURVE, STATS_162, LINEAR_SPECTROGRAM, LOG_MEL_100, VSR_SPECTROGRAM, LOG_MEL_40, LOG_MEL_40_PUBLISHED,
)  # fmt: skip
VARIED = (STATS_162.name,)  # their builders can store variants beside a recording
SOURCES = ('log_mel', 'waveform', *(front.name for front in PUBLISHED))


class Layout(NamedTuple):
    """Layout of a front end's frames.

    Attributes:
      bands: M.
      steps: F if it is fixed, or the frames per window of a front end with windows; None if it
        depends on the recording's length.
      hop_s: time between frames; the excerpt's length for statistics, which are one frame.
      decibels: True if adding an offset is a gain and shifting bands shifts frequencies.
    """

    bands: int
    steps: int | None
    hop_s: float
    decibels: bool


def by_name(source: str):
    """Return a front end by the name of its builder config.

    For 'waveform' it is log_mel, which the training step computes.

    Raises:
      InputError: no front end has that name.
    """
    if source in ('log_mel', 'waveform'):
        return features.LOG_MEL
    for front in PUBLISHED:
        if front.name == source:
            return front
    raise InputError(f'features.source={source!r} is no front end; known are {", ".join(SOURCES)}')


def layout(source: str) -> Layout:
    """Return the layout of a source's frames."""
    front = by_name(source)
    if front is features.LOG_MEL:
        return Layout(front.bands, None, front.hop_s, True)
    match front.shape:
        case (bands,) if front is STATS_162:  # different quantities, each normalized separately
            steps = 1
        case (steps,):
            bands = 1
        case (steps, bands):
            pass
        case (_, bands, steps):  # windows, each [bands, steps]
            pass
    hop_s = front.duration_s if front is STATS_162 else front.hop / front.rate_hz
    return Layout(bands, steps, hop_s, source in ('log_mel_100', 'log_mel_40', 'vsr_spectrogram'))


def versions(source: str, id: str, samples: np.ndarray) -> np.ndarray:
    """Return the statistics of a recording and its `variants.STORED`, one row each: [1 + V, M]."""
    front = by_name(source)
    heard = variants.STORED(id, front.excerpt(samples), front.rate_hz)
    return np.stack([front.describe(version) for _, _, version in heard]).astype(np.float32)


def frames(source: str, samples: np.ndarray) -> np.ndarray:
    """Return frames [F, M] of mono samples [T] at the front end's rate, in the dtype of storage.

    The dtype is float16, and float32 for statistics and `mfcc_curve`. The windows of
    `vsr_spectrogram` are concatenated along time.
    """
    front = by_name(source)
    if front is features.LOG_MEL:
        return features.extract([samples])[0].astype(np.float16)
    values = front(samples)
    if values.ndim == 1:
        return (values[None] if front is STATS_162 else values[:, None]).astype(np.float32)
    if values.ndim == 3:
        values = values.transpose(0, 2, 1).reshape(-1, values.shape[1])
    return values.astype(np.float16)
