"""Spectrograms at 16 kHz: DeepEmo's linear one and its intended mel, and the Nooks' 40 bands."""

import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ser_jax.audio import excerpt, features, mel
from ser_jax.contract import Layout


def uncentered(samples, window: int, hop: int, fft: int):
    """Return |STFT|^2 in which frame f begins at sample f * hop.

    The framing is that of `tf.signal.stft` and `librosa.stft(center=False)`. `hop` must divide half
    the window. [..., T] -> [..., 1 + (T - window) // hop, fft // 2 + 1].
    """
    lead, frames = window // 2 // hop, 1 + (samples.shape[-1] - window) // hop
    return mel.power_spectrogram(samples, window, hop, fft)[..., lead : lead + frames, :]


class Spectrogram(NamedTuple):
    """Spectrogram of the first 3.125 s at 16 kHz: 1553 frames of 20 ms every 2 ms.

    Shorter recordings have zeros before them. `bands=0` gives DeepEmo's magnitudes, neither scaled
    nor logarithmic, [1553, 257]; otherwise the result is mel bands in dB, [1553, 100]. DeepEmo's
    own mel path was never run: it lacks an argument, and it passes the number of samples (50,000)
    as sampling rate, which puts every band at a third of its frequency. Neither is reproduced.

    Magnitudes agree with librosa's within 1e-6 of the range, decibels within 3e-4: float32 rounding
    of the FFT shows in a band of one bin that is 90 dB below its frame's peak.
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

    @property
    def layout(self) -> Layout:
        """Layout [1553, M]."""
        return Layout(self.shape[1], self.shape[0], self.hop / self.rate_hz, bool(self.bands))

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return the spectrogram of mono samples [T]: float16 [1553, M]."""
        return self(samples).astype(np.float16)

    def traced(self, samples, length):
        """Return spectrograms [B 1553 M] and lengths [B] of samples [B T]; traceable by JAX."""
        excerpts, _ = excerpt.traced(samples, length, self.samples, zeros='before')
        return self.spectra(excerpts), jnp.full_like(length, self.shape[0])

    def spectra(self, samples):
        """Return magnitudes [..., 1553, 257] or dB [..., 1553, bands]; traceable by JAX.

        Args:
          samples: [..., 50000].
        """
        power = uncentered(samples, self.window, self.hop, self.fft)
        if not self.bands:
            return jnp.sqrt(power)
        bank = mel.mel_bank(self.rate_hz, self.fft, self.bands, 0.0, self.rate_hz / 2)
        return mel.decibel(power @ bank, self.floor)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return the spectrogram of mono samples [T] at `rate_hz`: float32 [1553, M]."""
        padded = excerpt.fit(excerpt.mono(samples), self.samples, 'before')
        return np.asarray(features.jitted(self.spectra, padded))


class LogMel40(NamedTuple):
    """40 mel bands of up to 5.208 s (250,000 samples at 48 kHz), 25 ms Hann windows every 12.5 ms.

    By default 16 kHz, Slaney bands, dB: [F, 40] with at most 417 frames.

    `published=True` gives the features of "Speech Sentiment Analysis with CNNs & LSTMs",
    [1251, 40]: RAVDESS at 48 kHz in a filter bank made for 16 kHz, so each band covers three times
    its nominal frequency; raw power (no logarithm, no scaling) in HTK bands without area
    normalization; windows of 8 ms; signals mirrored at both ends (torchaudio's defaults; tests
    compare with librosa); padding not masked. Channels are mixed first: the few stereo recordings
    of RAVDESS broke the published batches.
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
        """Length of the longest excerpt in samples."""
        return round(self.duration_s * self.rate_hz)

    @property
    def frames(self) -> int:
        """Number of frames of the longest excerpt."""
        return mel.frame_count(self.samples, self.hop)

    @property
    def shape(self) -> tuple[int | None, int]:
        """Shape of the features of a recording: (None, 40), or (1251, 40) as published."""
        return self.frames if self.published else None, self.bands

    @property
    def layout(self) -> Layout:
        """Layout [F, 40], or [1251, 40] as published."""
        decibels = not self.published  # the published ones are raw power
        return Layout(self.bands, self.shape[0], self.hop / self.rate_hz, decibels)

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return the mel bands of mono samples [T]: float16 [F, 40]."""
        return self(samples).astype(np.float16)

    def traced(self, samples, length):
        """Return mel bands [B 417 40] and lengths [B] of samples [B T]; traceable by JAX."""
        excerpts, real = excerpt.traced(samples, length, self.samples)
        frames = mel.frame_count(real, self.hop)
        return self.spectra(excerpts), jnp.full_like(
            real, self.frames
        ) if self.published else frames

    def spectra(self, samples):
        """Return mel bands [..., 1 + T // 200, 40] of [..., T]; traceable by JAX."""
        if not self.published:
            bank = mel.mel_bank(self.rate_hz, self.window, self.bands, 0.0, self.rate_hz / 2)
            power = mel.power_spectrogram(samples, self.window, self.hop, self.window)
            return mel.decibel(power @ bank, self.floor)
        edges = [(0, 0)] * (samples.ndim - 1)
        mirrored = jnp.pad(samples, [*edges, (self.window // 2,) * 2], mode='reflect')
        power = uncentered(mirrored, self.window, self.hop, self.window)
        return power @ _bank_as_published(self.window, self.bands)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 [F, 40] of mono [T] at `rate_hz`, without padding unless `published`."""
        used = excerpt.cut(samples, 0, self.samples)
        frames = np.asarray(features.jitted(self.spectra, excerpt.fit(used, self.samples)))
        return frames if self.published else frames[: mel.frame_count(used.size, self.hop)]


@functools.cache
def _bank_as_published(fft: int, bands: int) -> np.ndarray:
    """Return HTK's mel bands for 16 kHz with peaks of 1: [fft // 2 + 1, bands].

    The published system applied them to 48 kHz.
    """
    import librosa

    return librosa.filters.mel(sr=16000, n_fft=fft, n_mels=bands, htk=True, norm=None).T


LINEAR_SPECTROGRAM = Spectrogram()
LOG_MEL_100 = Spectrogram('log_mel_100', bands=100)
LOG_MEL_40 = LogMel40()
LOG_MEL_40_PUBLISHED = LogMel40('log_mel_40_published', rate_hz=48000, published=True)
