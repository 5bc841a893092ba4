"""Mel-frequency cepstral coefficients equal to librosa's, and the 216-step curve that STSaM and its family read."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import excerpt, mel

FLOOR = 1e-10  # librosa's power_to_db
RANGE_DB = 80.0  # and how far below the loudest value of a recording it lets another lie


@functools.cache
def dct(bands: int, coefficients: int) -> np.ndarray:
    """The first columns of the orthonormal DCT-II: float32 [bands, coefficients]."""
    angles = np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(coefficients))
    scale = np.sqrt(np.where(np.arange(coefficients) == 0, 1, 2) / bands)
    return (np.cos(angles) * scale).astype(np.float32)


def mfcc(mel_power, real, coefficients: int):
    """MFCCs of mel-band powers, [F M] -> [F coefficients], as `librosa.feature.mfcc` (1e-4 of the range).

    Args:
      real: bool [F], the recording's own frames; padding must not decide what its loudest value is.
    """
    decibels = mel.decibel(mel_power, FLOOR)
    loudest = jnp.max(decibels, where=real[:, None], initial=10 * np.log10(FLOOR))
    return jnp.maximum(decibels, loudest - RANGE_DB) @ dct(mel_power.shape[-1], coefficients)


class MfccCurve(NamedTuple):
    """One number per frame: the mean of 13 MFCCs over 2.5 s at 44.1 kHz, from 0.5 s on.

    What STSaM and Speech-Emotion-Analyzer feed their networks. Averaged over the coefficients, not over time, it is a
    fixed linear functional of the log-mel frame; values run from about -70 to +10. Frames past the end of a short
    recording are 0, as published (there by a table's missing values). The published live page computed only the frames
    that there were and failed on a short recording; here the shape is always the same. The published recordings were cut
    at their own rate and resampled by `kaiser_fast`; here they come resampled (soxr HQ) and are cut then.
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
        """Length of the excerpt."""
        return round(self.duration_s * self.rate_hz)

    @property
    def shape(self) -> tuple[int]:
        """Shape of the features of a recording: (216,)."""
        return (mel.frame_count(self.samples, self.hop),)

    def excerpt(self, samples: np.ndarray) -> np.ndarray:
        """The part of [T] that is heard; variants are made of this."""
        return excerpt.cut(samples, round(self.start_s * self.rate_hz), self.samples)

    def describe(self, heard: np.ndarray) -> np.ndarray:
        """An excerpt [T] -> float32 [216]."""
        padded = excerpt.fit(heard, self.samples)
        return np.asarray(_curve(self, padded, min(heard.size, self.samples)))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Mono [T] at `rate_hz` -> float32 [216]."""
        return self.describe(self.excerpt(samples))


@functools.partial(jax.jit, static_argnums=0)
def _curve(front: MfccCurve, samples, length):
    power = mel.power_spectrogram(samples, front.fft, front.hop, front.fft)
    power = power @ mel.mel_bank(front.rate_hz, front.fft, front.bands, 0.0, front.rate_hz / 2)
    # Nothing heard is no frame at all, rather than one of silence.
    real = jnp.arange(len(power)) < jnp.where(length > 0, mel.frame_count(length, front.hop), 0)
    return jnp.where(real, mfcc(power, real, front.coefficients).mean(-1), 0)


MFCC_CURVE = MfccCurve()
