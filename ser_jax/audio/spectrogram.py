"""Spectrograms of fixed length at 16 kHz: DeepEmo's linear one and the mel it meant, and the 40 bands of the Nooks."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import excerpt, mel


def uncentered(samples, window: int, hop: int, fft: int):
    """|STFT|^2 whose frame f begins at sample f * hop: [..., T] -> [..., 1 + (T - window) // hop, fft // 2 + 1].

    As `tf.signal.stft` and `librosa.stft(center=False)`. `hop` divides half the window.
    """
    lead, frames = window // 2 // hop, 1 + (samples.shape[-1] - window) // hop
    return mel.power_spectrogram(samples, window, hop, fft)[..., lead : lead + frames, :]


class Spectrogram(NamedTuple):
    """The first 3.125 s at 16 kHz, shorter recordings with zeros before them: 1553 frames of 20 ms every 2 ms.

    As DeepEmo computes it, magnitudes neither scaled nor logarithmic ([1553, 257], `bands=0`), or as mel bands in dB
    ([1553, 100]). DeepEmo's own mel path was never run: it left out an argument, and it gave the mel matrix the number of
    samples (50,000) for the sampling rate, which puts every band at a third of its frequency. Neither is reproduced.

    Magnitudes are librosa's within 1e-6 of the range, decibels within 3e-4: a band of one bin 90 dB below its frame's
    peak is where a float32 FFT rounds.
    """

    name: str = 'linear_spectrogram'
    bands: int = 0
    rate_hz: int = 16000
    samples: int = 50000
    window: int = 320
    hop: int = 32
    fft: int = 512
    floor: float = 1e-10

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the features of a recording: (1553, 257), or (1553, bands)."""
        return 1 + (self.samples - self.window) // self.hop, self.bands or self.fft // 2 + 1

    def excerpt(self, samples: np.ndarray) -> np.ndarray:
        """The part of [T] that is heard; variants are made of this."""
        return excerpt.cut(samples, 0, self.samples)

    def spectra(self, samples):
        """[..., 50000] -> [..., 1553, 257] magnitudes or [..., 1553, bands] dB. Traceable by JAX."""
        power = uncentered(samples, self.window, self.hop, self.fft)
        if not self.bands:
            return jnp.sqrt(power)
        bank = mel.mel_bank(self.rate_hz, self.fft, self.bands, 0.0, self.rate_hz / 2)
        return mel.decibel(power @ bank, self.floor)

    def describe(self, heard: np.ndarray) -> np.ndarray:
        """An excerpt [T] -> float32 [1553, M]."""
        return np.asarray(_spectra(self, excerpt.fit(heard, self.samples, 'before')))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Mono [T] at `rate_hz` -> float32 [1553, M]."""
        return self.describe(self.excerpt(samples))


class LogMel40(NamedTuple):
    """40 mel bands of up to 5.208 s (250,000 samples at 48 kHz), 25 ms Hann windows every 12.5 ms.

    16 kHz, Slaney bands, dB: [F, 40] with at most 417 frames; `padded` gives all 417 and how many of them are real. With
    `published=True` what "Speech Sentiment Analysis with CNNs & LSTMs" computed, [1251, 40]: the 48 kHz of RAVDESS put
    into a filter bank made for 16 kHz, so each band stands for three times its frequency; raw power (no logarithm, no
    scaling) in HTK bands without area normalization; windows of 8 ms; signals mirrored at both ends (torchaudio's
    defaults, parity by librosa); padding not told from sound. Channels are mixed before: the few stereo recordings of
    RAVDESS broke the published batches.
    """

    name: str = 'log_mel_40'
    rate_hz: int = 16000
    duration_s: float = 250000 / 48000
    window: int = 400
    hop: int = 200
    bands: int = 40
    floor: float = 1e-10
    published: bool = False

    @property
    def samples(self) -> int:
        """Length of the longest excerpt."""
        return round(self.duration_s * self.rate_hz)

    @property
    def frames(self) -> int:
        """Frames of the longest excerpt."""
        return mel.frame_count(self.samples, self.hop)

    @property
    def shape(self) -> tuple[int | None, int]:
        """Shape of the features of a recording: (None, 40), or (1251, 40) as published."""
        return self.frames if self.published else None, self.bands

    def excerpt(self, samples: np.ndarray) -> np.ndarray:
        """The part of [T] that is heard; variants are made of this."""
        return excerpt.cut(samples, 0, self.samples)

    def spectra(self, samples):
        """[..., T] -> [..., 1 + T // 200, 40]. Traceable by JAX."""
        if not self.published:
            bank = mel.mel_bank(self.rate_hz, self.window, self.bands, 0.0, self.rate_hz / 2)
            return mel.decibel(mel.power_spectrogram(samples, self.window, self.hop, self.window) @ bank, self.floor)
        edges = [(0, 0)] * (samples.ndim - 1)
        mirrored = jnp.pad(samples, [*edges, (self.window // 2,) * 2], mode='reflect')
        return uncentered(mirrored, self.window, self.hop, self.window) @ _bank_as_published(self.window, self.bands)

    def padded(self, samples: np.ndarray) -> tuple[np.ndarray, int]:
        """Mono [T] at `rate_hz` -> (float32 [frames, 40], how many of the frames are not padding)."""
        heard = self.excerpt(samples)
        frames = np.asarray(_spectra(self, excerpt.fit(heard, self.samples)))
        return frames, self.frames if self.published else mel.frame_count(heard.size, self.hop)

    def describe(self, heard: np.ndarray) -> np.ndarray:
        """An excerpt [T] -> float32 [F, 40], real frames only; as published, all of them."""
        frames, real = self.padded(heard)
        return frames[:real]

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Mono [T] at `rate_hz` -> float32 [F, 40]."""
        return self.describe(samples)


@functools.partial(jax.jit, static_argnums=0)
def _spectra(front, samples):
    return front.spectra(samples)


@functools.cache
def _bank_as_published(fft: int, bands: int) -> np.ndarray:
    """HTK's mel bands for 16 kHz with peaks of 1, which the published system used on 48 kHz: [fft // 2 + 1, bands]."""
    import librosa

    return librosa.filters.mel(sr=16000, n_fft=fft, n_mels=bands, htk=True, norm=None).T


LINEAR_SPECTROGRAM = Spectrogram()
LOG_MEL_100 = Spectrogram('log_mel_100', bands=100)
LOG_MEL_40 = LogMel40()
LOG_MEL_40_PUBLISHED = LogMel40('log_mel_40_published', rate_hz=48000, published=True)
