"""Log-mel features, one implementation for shards and prediction.

An extractor maps mono samples at its rate to float32 frames; `extract` applies it to any number of
recordings, jitted once per length bucket.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import mel
from ser_jax.contract import Layout


class LogMel(NamedTuple):
    """Log-mel spectrogram: floored mel-band power in dB relative to a full-scale square (power 1).

    64 Slaney bands from 50 Hz to 8 kHz over 25 ms Hann windows every 10 ms. The floor of 1e-10
    (-100 dB) lies below 16-bit quantization noise, so only digital silence reaches it.
    """

    name: str = 'log_mel'
    rate_hz: int = 16000
    window_s: float = 0.025
    hop_s: float = 0.010
    fft: int = 512
    bands: int = 64
    low_hz: float = 50.0
    high_hz: float = 8000.0
    floor: float = 1e-10

    @property
    def hop(self) -> int:
        """Number of samples between frames."""
        return round(self.hop_s * self.rate_hz)

    @property
    def layout(self) -> Layout:
        """Layout [F, bands]."""
        return Layout(self.bands, None, self.hop_s, True)

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return the log-mel spectrogram of mono samples [T]: float16 [F, bands]."""
        return extract([samples], self)[0].astype(np.float16)

    def traced(self, samples, length):
        """Return log-mel spectrograms [B F bands] and lengths [B]; traceable by JAX."""
        return self(samples), mel.frame_count(length, self.hop)

    def __call__(self, samples):
        """Return the log-mel spectrogram of float samples; traceable by JAX.

        Args:
          samples: [..., T] in [-1, 1] at `rate_hz`.

        Returns:
          [..., 1 + T // hop, bands] in dB.
        """
        power = mel.power_spectrogram(
            samples, round(self.window_s * self.rate_hz), self.hop, self.fft
        )
        return mel.decibel(
            power @ mel.mel_bank(self.rate_hz, self.fft, self.bands, self.low_hz, self.high_hz),
            self.floor,
        )


LOG_MEL = LogMel()
RATE_HZ = LOG_MEL.rate_hz


@functools.partial(jax.jit, static_argnums=0)
def jitted(function, *arrays):
    """Apply a hashable function of arrays, compiled once per shape."""
    return function(*arrays)


def audible_span(frames: np.ndarray, below_db: float, margin: int = 10) -> tuple[int, int]:
    """Return the span (first, last + 1) of log-mel frames [F, M] without silence at both ends.

    Silence lies more than `below_db` below the power of the loudest frame; 0 keeps all frames.
    `margin` frames are kept on both sides. Acted corpora have up to two seconds of room noise
    before and after the words, which differs between recordings.
    """
    if not below_db or not len(frames):
        return 0, len(frames)
    power = np.mean(10 ** (frames.astype(np.float32) / 10), axis=1)
    loud = np.flatnonzero(power >= power.max() * 10 ** (-below_db / 10))
    return max(0, int(loud[0]) - margin), min(len(frames), int(loud[-1]) + margin + 1)


def audible_spans(frames, length, below_db: float, margin: int = 10):
    """Return `audible_span` of each row of log-mel frames [B F M]: [B], [B]; traceable by JAX.

    Args:
      frames: rows whose first `length` [B] frames are not padding.
      length: at least 1 each.
      below_db: as in `audible_span`, more than 0.
      margin: frames kept on both sides.
    """
    power = jnp.mean(10 ** (frames.astype(jnp.float32) / 10), axis=2)
    power = jnp.where(mel.frame_mask(length, frames.shape[1]), power, 0)
    loud = power >= power.max(1, keepdims=True) * 10 ** (-below_db / 10)
    first, last = jnp.argmax(loud, 1), loud.shape[1] - jnp.argmax(loud[:, ::-1], 1)
    return jnp.maximum(0, first - margin), jnp.minimum(length, last + margin)


def bucket(samples: int, smallest: int = 16000) -> int:
    """Return the padded length of a recording: the next of 1, 1.5, 2, 3, 4, 6 ... times `smallest`.

    With few lengths, few shapes are compiled.
    """
    size = smallest
    while size < samples:
        size *= 2
    return size * 3 // 4 if size > smallest and size * 3 // 4 >= samples else size


def extract(
    recordings: Sequence[np.ndarray], extractor: LogMel = LOG_MEL, batch: int = 8
) -> list[np.ndarray]:
    """Return the features of mono recordings of any lengths, in order.

    Args:
      recordings: arrays [T_i] at `extractor.rate_hz`, float in [-1, 1] or int16 (times 1/32768).
      extractor: the feature extractor.
      batch: recordings of a bucket computed together; 8 fit a CPU's cache, 32 take almost three
        times as long there.

    Returns:
      float32 arrays [1 + T_i // hop, bands]. They do not depend on the other recordings of a batch.
    """
    scaled = [
        r.astype(np.float32) / 32768 if r.dtype == np.int16 else np.asarray(r, np.float32)
        for r in recordings
    ]
    by_bucket: dict[int, list[int]] = {}
    for i, r in enumerate(scaled):
        by_bucket.setdefault(bucket(max(1, r.size)), []).append(i)
    out: list[np.ndarray] = [np.empty(0)] * len(scaled)
    for size, members in sorted(by_bucket.items()):
        # A batch has at most `batch` * 8 s, so batches of long recordings have fewer rows.
        rows = max(1, min(batch, batch * 8 * extractor.rate_hz // size))
        for start in range(0, len(members), rows):
            chosen = members[start : start + rows]
            padded = np.zeros((rows if len(members) > 1 else 1, size), np.float32)
            for row, i in enumerate(chosen):
                padded[row, : scaled[i].size] = scaled[i]
            frames = np.asarray(jitted(extractor, jnp.asarray(padded)))
            for row, i in enumerate(chosen):
                out[i] = frames[row, : mel.frame_count(scaled[i].size, extractor.hop)]
    return out
