"""Log-mel features of Whisper: relative to a recording's loudest value, 100 frames a second."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ser_jax.audio import features, mel
from ser_jax.contract import Layout

FLOOR = 1e-10
RANGE = 8.0  # decades below the loudest value that are kept


class WhisperMel(NamedTuple):
    """Log10 of Slaney mel bands, floored 8 decades below a recording's maximum, (x + 4) / 4.

    16 kHz, Hann windows of 25 ms every 10 ms, mirrored at the start as in the published features
    (Radford et al. 2022), zero after the end; the last frame is dropped: [T // 160, bands]. The
    published features are those of the recording followed by silence up to 30 s. `silence_s`
    appends that much of it; the frames of the recording itself are the same.
    """

    name: str = 'whisper_mel'
    bands: int = 80
    silence_s: float = 0.0
    rate_hz: int = 16000
    window: int = 400
    hop: int = 160

    @property
    def layout(self) -> Layout:
        """Layout [F, bands]."""
        return Layout(self.bands, None, self.hop / self.rate_hz, False)

    @property
    def _silent(self) -> int:
        """Number of appended samples."""
        return round(self.silence_s * self.rate_hz / self.hop) * self.hop

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return the features of mono samples [T]: float16 [F, bands]."""
        size = features.bucket(max(1, samples.size), self.rate_hz)
        padded = np.zeros((1, size), np.float32)
        padded[0, : samples.size] = samples / (32768 if samples.dtype == np.int16 else 1)
        frames, length = features.jitted(self.traced, padded, np.array([samples.size]))
        return np.asarray(frames[0, : int(length[0])]).astype(np.float16)

    def traced(self, samples, length):
        """Return features [B F bands] and lengths [B] of samples [B T]; traceable by JAX.

        Samples shorter than one hop give one frame, so that no recording is empty.
        """
        # The mirror of the first samples: sample -i is sample i.
        lead = samples[:, self.window // 2 : 0 : -1]
        lead = jnp.pad(lead, ((0, 0), (self.window // 2 - lead.shape[1], 0)))
        silence = jnp.zeros((samples.shape[0], self._silent + 2 * self.hop), samples.dtype)
        whole = jnp.concatenate([lead, samples, silence], 1)
        frames = -(-(samples.shape[1] + self._silent) // self.hop)
        at = jnp.arange(frames)[:, None] * self.hop + np.arange(self.window)
        spectrum = jnp.fft.rfft(whole[:, at] * mel.hann(self.window))
        power = spectrum.real**2 + spectrum.imag**2
        bank = mel.mel_bank(self.rate_hz, self.window, self.bands, 0.0, self.rate_hz / 2)
        decades = jnp.log10(jnp.maximum(power @ bank, FLOOR))
        length = jnp.maximum((length + self._silent) // self.hop, 1)
        real = mel.frame_mask(length, frames)[..., None]
        loudest = jnp.max(decades, (1, 2), where=real, initial=np.log10(FLOOR), keepdims=True)
        return (jnp.maximum(decades, loudest - RANGE) + 4) / 4, length


WHISPER_MEL = WhisperMel()
WHISPER_MEL_128 = WhisperMel('whisper_mel_128', 128)
