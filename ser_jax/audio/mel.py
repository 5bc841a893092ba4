"""Short-time spectra as pure functions of arrays, shared by all front ends.

Framing follows librosa's `center=True, pad_mode='constant'`: frame f is centered on sample f * hop
and the signal is zero outside, so padding a recording with zeros changes none of its own frames.
"""

import functools

import jax.numpy as jnp
import numpy as np


def frame_count(samples, hop: int):
    """Return the number of frames of a signal of `samples` samples: 1 + samples // hop."""
    return 1 + samples // hop


def frame_mask(length, frames: int):
    """Return a mask [B, frames] for lengths [B]: True on real frames, False on padding."""
    return jnp.arange(frames) < length[:, None]


@functools.cache
def hann(window: int) -> np.ndarray:
    """Return a periodic Hann window: float32 [window]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)


def _mel_from_hz(hz):
    """Convert Hz to Slaney's mel (Auditory Toolbox, 1998), linear below 1 kHz, log above."""
    linear = np.asarray(hz, float) * 3 / 200
    log = 15 + 27 * np.log(np.maximum(hz, 1e-9) / 1000) / np.log(6.4)
    return np.where(np.asarray(hz) < 1000, linear, log)


def _hz_from_mel(mel):
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@functools.cache
def mel_bank(rate_hz: int, fft: int, bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Return triangular mel filters of unit area (Slaney): float32 [fft // 2 + 1, bands].

    Equal to `librosa.filters.mel(htk=False, norm='slaney').T`.

    Raises:
      ValueError: `high_hz` lies above the Nyquist frequency, so some bands would be empty.
    """
    if high_hz > rate_hz / 2:
        raise ValueError(
            f'high_hz must be at most the Nyquist frequency, {rate_hz / 2}, got {high_hz}'
        )
    edges = _hz_from_mel(np.linspace(_mel_from_hz(low_hz), _mel_from_hz(high_hz), bands + 2))
    bins = np.fft.rfftfreq(fft, 1 / rate_hz)[:, None]
    rise = (bins - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - bins) / np.diff(edges)[1:]
    triangles = np.maximum(0, np.minimum(rise, fall))
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)


def frame(samples, window: int, hop: int):
    """Return overlapping frames, [..., T] -> [..., 1 + T // hop, window].

    Frame f starts at sample f * hop - window // 2. The frames are concatenated from shifted blocks
    of `hop` samples, on a CPU a third faster than gathering single samples.
    """
    frames, blocks = frame_count(samples.shape[-1], hop), -(-window // hop)
    lead = [(0, 0)] * (samples.ndim - 1)
    padded = jnp.pad(samples, [*lead, (window // 2, (blocks + 1) * hop)])
    padded = padded[..., : (frames + blocks - 1) * hop]
    rows = padded.reshape(*samples.shape[:-1], frames + blocks - 1, hop)
    shifted = [rows[..., i : i + frames, :] for i in range(blocks)]
    return jnp.concatenate(shifted, axis=-1)[..., :window]


def power_spectrogram(samples, window: int, hop: int, fft: int):
    """Return |STFT|^2 over Hann windows zero-padded to `fft`.

    [..., T] -> [..., 1 + T // hop, fft // 2 + 1].
    """
    spectrum = jnp.fft.rfft(frame(samples, window, hop) * hann(window), fft)
    return spectrum.real**2 + spectrum.imag**2


def decibel(power, floor: float):
    """Return 10 log10(max(power, floor)): dB relative to a power of 1."""
    return 10 * jnp.log10(jnp.maximum(power, floor))
