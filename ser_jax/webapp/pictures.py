"""Pictures of recordings as PNG: waveform and spectrogram, legible on light and dark pages."""

import io

import numpy as np
from matplotlib.figure import Figure

from ser_jax.webapp.sounds import RATE_HZ

_FFT, _HOP, _TOP_HZ, _RANGE_DB = 512, 160, 6000, 70.0
_INK, _WAVE = '#808890', '#2a8c97'  # mid grey is legible on both


def waveform(samples: np.ndarray) -> bytes:
    """Return the picture of samples [T]: the range of each column."""
    figure = Figure(figsize=(8, 1.5), dpi=110)
    axes = figure.add_subplot()
    columns = np.array_split(samples, min(800, len(samples)))
    low, high = [c.min() for c in columns], [c.max() for c in columns]
    time_s = np.linspace(0, len(samples) / RATE_HZ, len(columns))
    axes.fill_between(time_s, low, high, facecolor=_WAVE, edgecolor=_WAVE, linewidth=0.6)
    peak = max(0.05, float(np.abs(samples).max()))
    axes.set(xlim=(0, time_s[-1] or 1), ylim=(-peak, peak), yticks=[], xlabel='time, s')
    return _png(figure, axes)


def spectrogram(samples: np.ndarray, reference: float) -> bytes:
    """Return the picture of samples [T] in dB below a reference power, the same for all pieces."""
    figure = Figure(figsize=(4, 2.4), dpi=110)
    axes = figure.add_subplot()
    top = round(_TOP_HZ / RATE_HZ * _FFT)
    decibels = 10 * np.log10(power(samples) / reference + 1e-12)
    axes.imshow(
        decibels[:, :top].T,
        origin='lower',
        aspect='auto',
        cmap='magma',
        vmin=-_RANGE_DB,
        vmax=0,
        extent=(0, len(samples) / RATE_HZ, 0, _TOP_HZ / 1000),
    )
    axes.set(xlabel='time, s', ylabel='kHz')
    return _png(figure, axes)


def power(samples: np.ndarray) -> np.ndarray:
    """Return the power spectrogram of samples [T]: [frames, _FFT // 2 + 1]."""
    padded = np.pad(samples, (0, max(0, _FFT - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    return np.abs(np.fft.rfft(frames * np.hanning(_FFT))) ** 2


def reference(samples: np.ndarray) -> float:
    """Return the highest power of a recording."""
    return max(1e-9, float(power(samples).max()))


def _png(figure: Figure, axes) -> bytes:
    for name in ('top', 'right', 'left'):
        axes.spines[name].set_visible(False)
    axes.spines['bottom'].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.xaxis.label.set(color=_INK, size=8)
    axes.yaxis.label.set(color=_INK, size=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', transparent=True, bbox_inches='tight', pad_inches=0.05)
    return buffer.getvalue()
