"""Registry of front ends by the name used in builders, configs and runs.

`log_mel` is this project's; the others are those of published systems. `waveform` keeps the
samples, from which the compiled step computes the features that a model reads.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ser_jax.audio import features, soundness, variants, wav
from ser_jax.audio.clips import Clip, checked_samples
from ser_jax.audio.features import LOG_MEL
from ser_jax.audio.mfcc import MFCC_CURVE
from ser_jax.audio.picture import VSR_SPECTROGRAM
from ser_jax.audio.spectrogram import (
    LINEAR_SPECTROGRAM,
    LOG_MEL_40,
    LOG_MEL_40_PUBLISHED,
    LOG_MEL_100,
)
from ser_jax.audio.statistics import STATS_162
from ser_jax.audio.whisper_mel import WHISPER_MEL, WHISPER_MEL_128
from ser_jax.contract import FrontEnd, InputError, Layout


class Waveform(NamedTuple):
    """Samples at 16 kHz as int16."""

    name: str = 'waveform'
    rate_hz: int = features.RATE_HZ

    @property
    def layout(self) -> Layout:
        """Layout [T], without bands."""
        return Layout(0, None, 1 / self.rate_hz, False)

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return mono samples [T] as int16 [T]."""
        return wav.int16(samples)

    def traced(self, samples, length):
        """Return the samples [B T] and lengths [B] as they are."""
        return samples, length


WAVEFORM = Waveform()
ENCODERS = (WHISPER_MEL, WHISPER_MEL_128)  # of pretrained encoders, computed from samples
PUBLISHED = (
    MFCC_CURVE,
    STATS_162,
    LINEAR_SPECTROGRAM,
    LOG_MEL_100,
    VSR_SPECTROGRAM,
    LOG_MEL_40,
    LOG_MEL_40_PUBLISHED,
)
STORED = tuple(f.name for f in (LOG_MEL, WAVEFORM, *PUBLISHED))  # builder configs
FRONT_ENDS: dict[str, FrontEnd] = {f.name: f for f in (LOG_MEL, WAVEFORM, *PUBLISHED, *ENCODERS)}
VARIED = (STATS_162.name,)  # their builders can store variants beside a recording
TRIMMED = (LOG_MEL.name, WAVEFORM.name)  # their silence can be trimmed when shards are read


def by_name(name: str, knob: str = 'features.source') -> FrontEnd:
    """Return a front end by its name.

    Args:
      name: a key of `FRONT_ENDS`.
      knob: the setting that holds `name`, for the message.

    Raises:
      InputError: no front end has that name.
    """
    if name not in FRONT_ENDS:
        raise InputError(f'{knob} must be one of {", ".join(FRONT_ENDS)}, got {name!r}')
    return FRONT_ENDS[name]


def model_input(source: str, name: str = '') -> FrontEnd:
    """Return the front end whose features a model reads from shards of `source`.

    Args:
      source: name of the stored front end.
      name: name of the front end of the model, which the step computes from samples; '' = as
        stored, and log_mel from samples.

    Raises:
      InputError: the features cannot be computed from those of `source`.
    """
    stored = by_name(source)
    default = LOG_MEL.name if stored is WAVEFORM else source
    wanted = by_name(name or default, 'features.input')
    if wanted is not stored and stored is not WAVEFORM:
        raise InputError(
            f'features.input={name!r} is computed from samples; set features.source='
            f'{WAVEFORM.name!r}'
        )
    if wanted.rate_hz != stored.rate_hz:
        raise InputError(
            f'features.input={name!r} is computed from samples at {wanted.rate_hz} Hz, and '
            f'{source} has {stored.rate_hz} Hz; set features.source={name!r}'
        )
    return wanted


def described(source: FrontEnd, wanted: FrontEnd, values: np.ndarray) -> np.ndarray:
    """Return the frames [F M] that a model reads, from the stored values of one recording."""
    if wanted is source:
        return values
    return features.extract([values])[0] if wanted is LOG_MEL else wanted.stored(values)


def audible_span(source: FrontEnd, values: np.ndarray, below_db: float) -> tuple[int, int]:
    """Return the span (first, last + 1) of stored values without silence at both ends.

    Args:
      source: the stored front end, one of `TRIMMED` unless `below_db` is 0.
      values: its output for one recording.
      below_db: see `features.audible_span`; 0 keeps all values.
    """
    if not below_db:
        return 0, len(values)
    first, last = features.audible_span(described(source, LOG_MEL, values), below_db)
    hop = 1 if source is LOG_MEL else LOG_MEL.hop
    return first * hop, min(last * hop, len(values))


def of_clip(
    source: FrontEnd,
    clip: Clip,
    below_db: float,
    speech: Callable[[np.ndarray, int], tuple[int, int]] | None = None,
) -> tuple[np.ndarray, int]:
    """Return the stored form of a recording without silence at its ends, and its start in it.

    Args:
      source: the stored front end.
      clip: the recording.
      below_db: see `audible_span`.
      speech: function that returns the span of samples to keep, None = all.

    Raises:
      InputError: the samples are unusable.
    """
    samples = soundness.checked(checked_samples(clip), clip.rate_hz, source.rate_hz, clip.source)
    before = 0
    if speech:
        start, end = speech(samples, source.rate_hz)
        before, samples = round(start / source.rate_hz / source.layout.hop_s), samples[start:end]
    values = source.stored(samples)
    first, last = audible_span(source, values, below_db)
    return values[first:last], before + first


def trimmed(source: FrontEnd, values, length, below_db: float):
    """Remove the silence at both ends of the rows of a batch; traceable by JAX.

    As `values[slice(*audible_span(source, values, below_db))]` for each row of values [B T ...],
    whose first `length` [B] are not padding; the result has the same shape and its own lengths.
    """
    if not below_db:
        return values, length
    frames, count = (values, length) if source is LOG_MEL else LOG_MEL.traced(values, length)
    first, last = features.audible_spans(frames, count, below_db)
    hop = 1 if source is LOG_MEL else LOG_MEL.hop
    first, last = first * hop, jnp.minimum(last * hop, length)
    index = jnp.minimum(first[:, None] + jnp.arange(values.shape[1]), values.shape[1] - 1)
    index = index.reshape(*index.shape, *[1] * (values.ndim - 2))
    return jnp.take_along_axis(values, index, 1), last - first


def stored_and_trimmed(source: FrontEnd, dtype: np.dtype, samples, length, below_db: float):
    """Return values as shards hold them, without silence at both ends; traceable by JAX.

    Args:
      source: the stored front end.
      dtype: dtype of its `stored` values.
      samples: [B T] in [-1, 1], zero from `length` [B] on.
      length: number of samples of each row.
      below_db: see `trimmed`.

    Returns:
      Values [B T' ...], rounded as in storage, and their lengths [B].
    """
    if dtype == np.int16:
        samples = jnp.clip(jnp.rint(samples * 32768), -32768, 32767)
        values, count = trimmed(source, samples / 32768, length, below_db)
        return values * 32768, count
    values, count = source.traced(samples, length)
    values = values.astype(dtype).astype(jnp.float32)
    return trimmed(source, values, count, below_db)


def varied_samples(id: str, values: np.ndarray) -> np.ndarray:
    """Return the variant that an id names of stored samples, int16 [T]; see `variants.CHANGES`."""
    name = variants.variant_of(id)
    if not name:
        return values
    rng = variants.generator(variants.source_of(id), name, variants.STORED.seed)
    samples = values.astype(np.float32) / 32768
    return wav.int16(variants.CHANGES[name](samples, WAVEFORM.rate_hz, rng))


def versions(source: str, id: str, samples: np.ndarray) -> np.ndarray:
    """Return the statistics of a recording and its `variants.STORED`, one row each: [1 + V, M]."""
    if source not in VARIED:
        raise InputError(f'variants are stored for {", ".join(VARIED)} only, got {source!r}')
    excerpts = variants.STORED(id, STATS_162.excerpt(samples), STATS_162.rate_hz)
    return np.stack([STATS_162.describe(e) for _, _, e in excerpts]).astype(np.float32)
