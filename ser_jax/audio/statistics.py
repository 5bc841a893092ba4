"""162 means over time of a recording, from S. Burnwal's notebook.

Zero-crossing rate, chroma, MFCC, RMS and mel power.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import excerpt, features, mel
from ser_jax.audio.mfcc import mfcc
from ser_jax.contract import InputError, Layout

SILENT = 1e-10  # librosa's threshold below which a sample counts as zero


def zero_crossing_rate(samples, window: int, hop: int):
    """Return the share of sign changes in each frame, [T] -> [1 + T // hop].

    Equal to `librosa.feature.zero_crossing_rate`.
    """
    below = jnp.where(jnp.abs(samples) <= SILENT, 0.0, samples) < 0
    changes = jnp.concatenate([jnp.zeros(1), below[1:] != below[:-1]])
    # Changes are counted within a frame, so not before its first sample.
    return mel.frame(changes, window, hop)[..., 1:].sum(-1) / window


def loudness(samples, window: int, hop: int):
    """Return the root mean square of each frame, [T] -> [1 + T // hop], as librosa's `rms`."""
    return jnp.sqrt((mel.frame(samples, window, hop) ** 2).mean(-1))


def chroma(samples: np.ndarray, rate_hz: int, fft: int, hop: int) -> np.ndarray:
    """Return the energy of the twelve pitch classes relative to the strongest.

    This is librosa's own `chroma_stft`: its tuning is the mode of a histogram, which another FFT's
    rounding could move. The cases in which it warns (a recording shorter than a window, no
    pitch found) are handled before the call: builders run in threads, and warnings cannot be
    silenced in one thread alone. [T] -> [1 + T // hop, 12].
    """
    import librosa

    whole = np.pad(samples, (0, max(0, fft - samples.size)))
    spectrum = librosa.stft(whole, n_fft=fft, hop_length=hop)
    power = np.abs(spectrum[:, : mel.frame_count(samples.size, hop)]) ** 2
    pitches, strengths = librosa.piptrack(S=power, sr=rate_hz, n_fft=fft)
    strong = pitches > 0
    if found := strong.any():
        strong &= strengths >= np.median(strengths[strong])
    tuning = librosa.pitch_tuning(pitches[strong], bins_per_octave=12) if found else 0.0
    return librosa.feature.chroma_stft(
        S=power, sr=rate_hz, n_fft=fft, hop_length=hop, tuning=tuning
    ).T


class Stats162(NamedTuple):
    """Means over time of 2.5 s at 22.05 kHz, from 0.6 s on.

    They are, in order: zero-crossing rate 1, chroma 12, MFCC 20, RMS 1, mel power 128. The
    published network treats this index as time. Means are over the recording's own frames, so the
    three variants that the notebook stored (plain, with noise, stretched and shifted in pitch)
    differ in length but not in shape. The notebook made variants before it split the rows into
    training and test, so 94 % of its test rows had a sibling in training: see
    `ser_jax.audio.variants`. It cut recordings before resampling; here they are cut after it.
    """

    name: str = 'stats162'
    rate_hz: int = 22050
    start_s: float = 0.6
    duration_s: float = 2.5
    coefficients: int = 20
    bands: int = 128
    fft: int = 2048
    hop: int = 512

    @property
    def shape(self) -> tuple[int]:
        """Shape of the features of a recording: (162,)."""
        return (1 + 12 + self.coefficients + 1 + self.bands,)

    @property
    def layout(self) -> Layout:
        """Layout [1, 162]: different quantities, each normalized separately."""
        return Layout(self.shape[0], 1, self.duration_s, False)

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return the statistics of mono samples [T]: float32 [1, 162]."""
        return self(samples)[None]

    def traced(self, samples, length):
        """Raise InputError: chroma is librosa's own, which cannot be compiled."""
        raise InputError(
            f'features.input={self.name!r} cannot be computed inside the step, because its '
            f'chroma is that of librosa; set features.source={self.name!r}'
        )

    def excerpt(self, samples: np.ndarray) -> np.ndarray:
        """Return the part of [T] that is used; variants are made from it."""
        return excerpt.cut(
            samples, round(self.start_s * self.rate_hz), round(self.duration_s * self.rate_hz)
        )

    def describe(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 [162] of an excerpt [T] of any length; zeros if it is empty."""
        if not samples.size:
            return np.zeros(self.shape, np.float32)
        # Padded to one of a few lengths, so that few shapes are compiled.
        padded = excerpt.fit(samples, features.bucket(samples.size, self.rate_hz))
        crossings, coefficients, rms, bands = _means(self, padded, samples.size)
        tones = chroma(samples, self.rate_hz, self.fft, self.hop).mean(0)
        return np.concatenate([crossings, tones, coefficients, rms, bands]).astype(np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 [162] of mono samples [T] at `rate_hz`."""
        return self.describe(self.excerpt(samples))


@functools.partial(jax.jit, static_argnums=0)
def _means(front: Stats162, samples, length):
    power = mel.power_spectrogram(samples, front.fft, front.hop, front.fft)
    power = power @ mel.mel_bank(front.rate_hz, front.fft, front.bands, 0.0, front.rate_hz / 2)
    real = jnp.arange(len(power)) < mel.frame_count(length, front.hop)

    def mean(values):
        rows = values.reshape(len(values), -1)
        return jnp.where(real[:, None], rows, 0).sum(0) / real.sum()

    # Padding repeats the last sample, as in librosa: zeros could add a crossing.
    extended = jnp.where(jnp.arange(len(samples)) < length, samples, samples[length - 1])
    return (
        mean(zero_crossing_rate(extended, front.fft, front.hop)),
        mean(mfcc(power, real, front.coefficients)),
        mean(loudness(samples, front.fft, front.hop)),
        mean(power),
    )


STATS_162 = Stats162()
