"""Spectrograms as color pictures for networks pretrained on photographs: VSR's 4 s windows."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import excerpt, features, mel
from ser_jax.contract import Layout

FLOOR = 1e-10  # power of a magnitude of 1e-5, amin of librosa's amplitude_to_db


class VsrSpectrogram(NamedTuple):
    """Mel magnitudes in dB of a whole recording, in 4 s windows: [N, 128, 173], low bands first.

    22.05 kHz, 128 Slaney bands up to Nyquist, windows of 93 ms every 23 ms. Values are in dB
    relative to a magnitude of 1, clipped to `low_db` and `high_db`, the same scale for every
    recording. A last window that is not full has zeros on both sides, also in prediction.

    The published VSR code differs, but its only printed result is a validation loss. Its bands
    reached 20 kHz, so 18 of 128 were empty, and these made its reference (the least value) the
    floor. Its slicer dropped the tail, and a recording of exactly 4.000 s entirely, and did not pad
    in prediction. Colors were scaled per recording. The pictures had plot margins and were JPEGs.
    """

    name: str = 'vsr_spectrogram'
    rate_hz: int = 22050
    window_s: float = 4.0
    bands: int = 128
    fft: int = 2048
    hop: int = 512
    low_db: float = -80.0
    high_db: float = 20.0

    @property
    def samples(self) -> int:
        """Length of a window in samples."""
        return round(self.window_s * self.rate_hz)

    @property
    def shape(self) -> tuple[None, int, int]:
        """Shape of the features of a recording: (None, 128, 173)."""
        return None, self.bands, mel.frame_count(self.samples, self.hop)

    @property
    def layout(self) -> Layout:
        """Layout [N * 173, 128]: adjacent windows."""
        return Layout(self.bands, self.shape[2], self.hop / self.rate_hz, True)

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return the windows of mono samples [T], end to end: float16 [N * 173, 128]."""
        return self(samples).transpose(0, 2, 1).reshape(-1, self.bands).astype(np.float16)

    def traced(self, samples, length):
        """Return the windows [B N*173 128] and lengths [B] of samples [B T]; traceable by JAX."""
        steps, windows = self.shape[2], []
        for start in range(0, samples.shape[1], self.samples):
            rest = jnp.maximum(length - start, 0)
            window, _ = excerpt.traced(samples[:, start:], rest, self.samples, zeros='around')
            windows.append(jnp.swapaxes(self.spectra(window), 1, 2))
        count = jnp.maximum(-(-length // self.samples), 1)
        return jnp.concatenate(windows, 1), steps * count

    def spectra(self, samples):
        """Return dB [..., 128, 173] of windows [..., 88200]; traceable by JAX."""
        magnitude = jnp.sqrt(mel.power_spectrogram(samples, self.fft, self.hop, self.fft))
        bank = mel.mel_bank(self.rate_hz, self.fft, self.bands, 0.0, self.rate_hz / 2)
        magnitude = magnitude @ bank
        decibels = jnp.clip(mel.decibel(magnitude**2, FLOOR), self.low_db, self.high_db)
        return jnp.swapaxes(decibels, -1, -2)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return float32 [N, 128, 173] dB of mono [T] at `rate_hz`; N is 1 for up to 4.000 s."""
        # One window at a time, so that only one shape is compiled.
        windows = excerpt.windows(excerpt.mono(samples), self.samples)
        return np.stack([np.asarray(features.jitted(self.spectra, w)) for w in windows])


@functools.cache
def colors(name: str = 'magma') -> np.ndarray:
    """Return a matplotlib color map as a table: uint8 [256, 3]."""
    import matplotlib

    return matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]


def picture(decibels, low_db: float, high_db: float, size: int = 224, name: str = 'magma'):
    """Convert spectrograms [..., bands, frames] in dB to RGB pictures; traceable by JAX.

    Low frequencies are at the bottom, time runs from left to right, there are no margins. In every
    picture `low_db` and below get the first color, `high_db` and above the last. Values are resized
    bilinearly before the colors are looked up.

    Returns:
      uint8 [..., size, size, 3].
    """
    share = (jnp.clip(decibels, low_db, high_db) - low_db) / (high_db - low_db)
    share = jax.image.resize(share[..., ::-1, :], (*share.shape[:-2], size, size), 'bilinear')
    return jnp.asarray(colors(name))[jnp.round(share * 255).astype(jnp.int32)]


VSR_SPECTROGRAM = VsrSpectrogram()
