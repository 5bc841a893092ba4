"""Spectrograms as pictures, for networks that were trained on photographs: VSR's 4 s windows, and the colors they get."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import excerpt, mel

FLOOR = 1e-10  # a magnitude of 1e-5, librosa's amplitude_to_db


class VsrSpectrogram(NamedTuple):
    """Mel magnitudes in dB of all of a recording, in 4 s windows: [N, 128, 173], bands from low to high.

    22.05 kHz, 128 Slaney bands up to Nyquist, windows of 93 ms every 23 ms; dB relative to a magnitude of 1, held between
    `low_db` and `high_db`: the same scale for every recording. A last window that is not full has zeros around it, also
    when predicting.

    What VSR published differs, and no number it printed depends on it (a validation loss alone): bands reached 20 kHz, so
    18 of 128 were empty; those made its reference (the least value) the floor; its slicer dropped the tail, and an exact
    4.000 s altogether, and did not pad when predicting; colors were stretched for each recording apart; margins of the
    plot and JPEG were part of the picture.
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
        """Length of a window."""
        return round(self.window_s * self.rate_hz)

    @property
    def shape(self) -> tuple[None, int, int]:
        """Shape of the features of a recording: (None, 128, 173)."""
        return None, self.bands, mel.frame_count(self.samples, self.hop)

    def excerpt(self, samples: np.ndarray) -> np.ndarray:
        """All of [T]; variants are made of this."""
        return excerpt.mono(samples)

    def spectra(self, samples):
        """Windows [..., 88200] -> dB [..., 128, 173]. Traceable by JAX."""
        magnitude = jnp.sqrt(mel.power_spectrogram(samples, self.fft, self.hop, self.fft))
        magnitude = magnitude @ mel.mel_bank(self.rate_hz, self.fft, self.bands, 0.0, self.rate_hz / 2)
        decibels = jnp.clip(mel.decibel(magnitude**2, FLOOR), self.low_db, self.high_db)
        return jnp.swapaxes(decibels, -1, -2)

    def describe(self, heard: np.ndarray) -> np.ndarray:
        """[T] -> float32 [N, 128, 173]; N is 1 for a recording of up to 4.000 s."""
        # Window by window: one shape to compile, whatever the length.
        return np.stack([np.asarray(_spectra(self, window)) for window in excerpt.windows(heard, self.samples)])

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Mono [T] at `rate_hz` -> float32 [N, 128, 173] dB."""
        return self.describe(self.excerpt(samples))


@functools.partial(jax.jit, static_argnums=0)
def _spectra(front: VsrSpectrogram, samples):
    return front.spectra(samples)


@functools.cache
def colors(name: str = 'magma') -> np.ndarray:
    """A matplotlib color map as a table: uint8 [256, 3]."""
    import matplotlib

    return matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]


def picture(decibels, low_db: float, high_db: float, size: int = 224, name: str = 'magma'):
    """Spectrograms dB [..., bands, frames] as RGB pictures: uint8 [..., size, size, 3]. Traceable by JAX.

    Low frequencies at the bottom, time from left to right, no margins; `low_db` and below is the first color, `high_db`
    and above the last, the same in every picture. Values are resized bilinearly before they become colors.
    """
    share = (jnp.clip(decibels, low_db, high_db) - low_db) / (high_db - low_db)
    share = jax.image.resize(share[..., ::-1, :], (*share.shape[:-2], size, size), 'bilinear')
    return jnp.asarray(colors(name))[jnp.round(share * 255).astype(jnp.int32)]


def write_png(path: str | Path, pixels) -> None:
    """Writes one picture, uint8 [height, width, 3], as PNG."""
    from PIL import Image

    Image.fromarray(np.asarray(pixels)).save(path, format='PNG')


VSR_SPECTROGRAM = VsrSpectrogram()
