"""Every front end by the name that builders, configs and runs know it by, and what its frames are.

`log_mel` is the house's own; the others are those of published systems. Each hears mono samples at its `rate_hz`; on disk
and in a batch all of them are frames [F, M].
"""

from typing import NamedTuple

import numpy as np

from ser_jax.audio import features, variants
from ser_jax.audio.mfcc import MFCC_CURVE
from ser_jax.audio.picture import VSR_SPECTROGRAM
from ser_jax.audio.spectrogram import LINEAR_SPECTROGRAM, LOG_MEL_40, LOG_MEL_40_PUBLISHED, LOG_MEL_100
from ser_jax.audio.statistics import STATS_162
from ser_jax.contract import InputError

PUBLISHED = (
    MFCC_CURVE, STATS_162, LINEAR_SPECTROGRAM, LOG_MEL_100, VSR_SPECTROGRAM, LOG_MEL_40, LOG_MEL_40_PUBLISHED,
)  # fmt: skip
VARIED = (STATS_162.name,)  # whose builders can store variants of a recording beside it
SOURCES = ('log_mel', 'waveform', *(front.name for front in PUBLISHED))


class Layout(NamedTuple):
    """Shape and meaning of a front end's frames.

    Attributes:
      bands: M.
      steps: F where it is always the same, or of the windows that stand side by side; None where it follows the length.
      hop_s: between frames; for statistics, which are one frame, the length of the excerpt.
      decibels: whether an offset is a gain and a shift of bands a shift of frequencies.
    """

    bands: int
    steps: int | None
    hop_s: float
    decibels: bool


def by_name(source: str):
    """The front end of a builder config that can be trained on; of 'waveform' it is log_mel, computed in the step.

    Raises:
      InputError: there is none of that name.
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
        case (bands,) if front is STATS_162:  # numbers of different kinds: each is normalized by itself
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
    """The frames of a recording of statistics and, one after the other, of its `variants.STORED`: [1 + V, M]."""
    front = by_name(source)
    heard = variants.STORED(id, front.excerpt(samples), front.rate_hz)
    return np.stack([front.describe(version) for _, _, version in heard]).astype(np.float32)


def frames(source: str, samples: np.ndarray) -> np.ndarray:
    """Mono samples [T] at the front end's rate -> frames [F, M], as they are stored: float16, statistics float32.

    The windows of `vsr_spectrogram` stand one after the other.
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
