"""MFCCs equal to librosa's, and the 216-step MFCC curve, the input of STSaM and related systems."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import excerpt, mel
from ser_jax.contract import Layout

FLOOR = 1e-10  # amin of librosa's power_to_db
RANGE_DB = 80.0  # and its top_db, relative to the loudest value of a recording


@functools.cache
def dct(bands: int, coefficients: int) -> np.ndarray:
    """Return the first columns of the orthonormal DCT-II: float32 [bands, coefficients]."""
    angles = np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(coefficients))
    scale = np.sqrt(np.where(np.arange(coefficients) == 0, 1, 2) / bands)
    return (np.cos(angles) * scale).astype(np.float32)


def mfcc(mel_power, real, coefficients: int):
    """Return MFCCs of mel-band powers, [F M] -> [F coefficients], as `librosa.feature.mfcc`.

    They agree with librosa's within 1e-4 of the range.

    Args:
      mel_power: power of mel bands, [F M].
      real: bool [F], the frames that are not padding; padding is ignored in the maximum.
      coefficients: number of MFCCs.
    """
    decibels = mel.decibel(mel_power, FLOOR)
    loudest = jnp.max(decibels, where=real[:, None], initial=10 * np.log10(FLOOR))
    return jnp.maximum(decibels, loudest - RANGE_DB) @ dct(mel_power.shape[-1], coefficients)


class MfccCurve(NamedTuple):
    """Mean of 13 MFCCs in each frame of 2.5 s at 44.1 kHz, from 0.5 s on.

    This is the network input of STSaM and Speech-Emotion-Analyzer. The mean is over coefficients,
    not time, so it is a fixed linear functional of the log-mel frame; values are about -70 to +10.
    Frames past the end of a short recording are 0, as published (there from missing values of a
    table). The published live page computed only the frames present and failed on a short
    recording; here the shape is fixed. The published recordings were cut at their own rate and
    resampled by `kaiser_fast`; here they are resampled first (soxr HQ), then cut.
    """

    name: str = 'mfcc_curve'
    rate_hz: int = 44100
    start_s: float = 0.5
    duration_s: float = 2.5
    coefficients: int = 13
    bands: int = 128
    fft: int = 2048
    hop: int = 512

    @property
    def samples(self) -> int:
        """Length of the excerpt in samples."""
        return round(self.duration_s * self.rate_hz)

    @property
    def shape(self) -> tuple[int]:
        """Shape of the features of a recording: (216,)."""
        return (mel.frame_count(self.samples, self.hop),)

    @property
    def layout(self) -> Layout:
        """Layout [216, 1]: time steps of one value."""
        return Layout(1, self.shape[0], self.hop / self.rate_hz, False)

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return the curve of mono samples [T]: float32 [216, 1]."""
        return self(samples)[:, None]

    def traced(self, samples, length):
        """Return curves [B 216 1] and their lengths [B] of samples [B T]; traceable by JAX."""
        start = round(self.start_s * self.rate_hz)
        excerpts, real = excerpt.traced(samples, length, self.samples, start)
        curves = jax.vmap(functools.partial(_curve, self))(excerpts, real)
        return curves[..., None], jnp.full_like(length, self.shape[0])

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return the curve of mono samples [T] at `rate_hz`: float32 [216]."""
        used = excerpt.cut(samples, round(self.start_s * self.rate_hz), self.samples)
        return np.asarray(_curve(self, excerpt.fit(used, self.samples), used.size))


@functools.partial(jax.jit, static_argnums=0)
def _curve(front: MfccCurve, samples, length):
    power = mel.power_spectrogram(samples, front.fft, front.hop, front.fft)
    power = power @ mel.mel_bank(front.rate_hz, front.fft, front.bands, 0.0, front.rate_hz / 2)
    # frame_count(0) is 1, but an empty excerpt has no frame.
    real = jnp.arange(len(power)) < jnp.where(length > 0, mel.frame_count(length, front.hop), 0)
    return jnp.where(real, mfcc(power, real, front.coefficients).mean(-1), 0)


MFCC_CURVE = MfccCurve()
