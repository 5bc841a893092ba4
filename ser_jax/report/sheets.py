"""Sheets of recordings: waves and spectrograms by class and length, and augmented ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_jax.audio.features import LOG_MEL
from ser_jax.audio.mel import mel_bank
from ser_jax.report.axes import BLUE, DOUBLE, INK, LINE, MUTED, annotate, dress, short

RANGE_DB = 70.0  # values further below the loudest of a sheet or panel are black
ROWS = 10  # classes per sheet
_COLORS = 'magma'
_TICKS_HZ = (500, 1500, 5000)
_BINS = 260  # columns of a wave, more than a panel has pixels


def waves(found: Sequence[Any]) -> Figure:
    """Plot waves, a row per class, a column per quantile of length.

    Each wave is scaled to its peak, which is written in its panel.

    Args:
      found: `ser_jax.explore.exemplars.Example`s of one corpus; panels without samples stay empty.
    """
    figure, cells = _grid(found, 'amplitude', 'each to its own peak')
    for axes, e in cells:
        if e.samples is not None:
            _wave(axes, e.samples, e.rate_hz)
    return figure


def spectrograms(found: Sequence[Any]) -> Figure:
    """Plot linear spectrograms up to the Nyquist frequency, dB below each one's loudest point."""
    top = max(e.rate_hz for e in found if e.samples is not None) / 2000
    figure, cells = _grid(found, 'frequency (kHz)', f'0 to {top:.3g} kHz', color=True)
    for axes, e in cells:
        if e.spectrogram is not None:
            # A panel has about 160 pixels; the loudest of `step` bins is drawn.
            step = max(1, e.spectrogram.shape[1] // 160)
            bins = e.spectrogram.shape[1] // step * step
            image = e.spectrogram[:, :bins].reshape(len(e.spectrogram), -1, step).max(2)
            _image(axes, image - image.max(), e.seconds, e.rate_hz / 2000)
        axes.set_ylim(0, top)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True, prune='upper'))
    return figure


def mels(found: Sequence[Any]) -> Figure:
    """Plot log-mel spectrograms (the input of models), in dB below each one's loudest point."""
    figure, cells = _grid(found, 'frequency (kHz)', f'{LOG_MEL.bands} mel bands', color=True)
    for axes, e in cells:
        _image(axes, e.mel - e.mel.max(), e.seconds, LOG_MEL.bands)
        _mel_ticks(axes)
    return figure


def changed_mels(changes: Sequence[Any], id: str) -> Figure:
    """Plot a recording's log-mel before and after each augmentation, all in one range of dB."""
    figure = Figure(
        figsize=(DOUBLE, 1.5 * -(-len(changes) // 3) + 0.55), dpi=120, layout='constrained'
    )
    grid = figure.subplots(-(-len(changes) // 3), 3, sharex=True, sharey=True, squeeze=False)
    high = float(changes[0].mel.max())
    longest = max(len(c.mel) for c in changes) * LOG_MEL.hop_s
    for axes, change in zip(grid.flat, changes, strict=False):
        dress(axes, '')
        axes.set_title(change.title, fontsize=8, color=INK, loc='left', parse_math=False)
        axes.tick_params(labelsize=6.5)
        image = _image(axes, change.mel, len(change.mel) * LOG_MEL.hop_s, LOG_MEL.bands, high)
        axes.set_xlim(0, longest)
        _mel_ticks(axes)
    for axes in grid.flat[len(changes) :]:
        axes.set_visible(False)
    figure.supxlabel(
        f'time (s), recording {short(id, 40)}', fontsize=8, color=MUTED, parse_math=False
    )
    figure.supylabel('frequency (kHz)', fontsize=8, color=MUTED)
    _bar(figure, image, grid, 'log-mel (dB)')
    return figure


def changed_waves(changes: Sequence[Any], id: str) -> Figure:
    """Plot a recording's wave and log-mel before and after each augmentation, a column per change.

    All waves share one range, and all log-mels another.
    """
    figure = Figure(figsize=(DOUBLE, 2.9), dpi=120, layout='constrained')
    grid = figure.subplots(2, len(changes), sharex=True, sharey='row', squeeze=False)
    high, peak = float(changes[0].mel.max()), max(float(np.abs(c.samples).max()) for c in changes)
    for (top, bottom), change in zip(grid.T, changes, strict=True):
        dress(top, '')
        dress(bottom, '')
        top.set_title(
            change.title.replace(', ', '\n'), fontsize=7.5, color=INK, loc='left', parse_math=False
        )
        _wave(top, change.samples, LOG_MEL.rate_hz, peak)
        top.set_yticks(
            [-peak, 0, peak], labels=[f'{-peak:.2g}'.replace('-', '−'), '0', f'{peak:.2g}']
        )
        image = _image(
            bottom, change.mel, len(change.samples) / LOG_MEL.rate_hz, LOG_MEL.bands, high
        )
        _mel_ticks(bottom)
        for axes in (top, bottom):
            axes.tick_params(labelsize=6.5)
    grid[0, 0].set_ylabel('amplitude')
    grid[1, 0].set_ylabel('frequency (kHz)')
    figure.supxlabel(
        f'time (s), recording {short(id, 40)}', fontsize=8, color=MUTED, parse_math=False
    )
    _bar(figure, image, grid[1], 'log-mel (dB)')
    return figure


def _grid(
    found: Sequence[Any], quantity: str, scale: str, color: bool = False
) -> tuple[Figure, list]:
    """Return a figure of classes x quantiles, and (axes, example) of each panel that has one.

    Panels are placed by fixed margins: the layout solver takes seconds for fifty panels.
    """
    rows = list(dict.fromkeys(e.emotion for e in found))
    columns = sorted({e.quantile for e in found})
    high = 0.72 * len(rows) + 0.85
    figure = Figure(figsize=(DOUBLE, high), dpi=120, facecolor='white')
    grid = figure.subplots(
        len(rows),
        len(columns),
        squeeze=False,
        gridspec_kw={
            'left': 0.92 / DOUBLE,
            'right': 1 - (0.62 if color else 0.1) / DOUBLE,
            'top': 1 - 0.3 / high,
            'bottom': 0.45 / high,
            'wspace': 0.06,
            'hspace': 0.1,
        },
    )
    at = {(e.emotion, e.quantile): e for e in found}
    longest = max(e.seconds for e in found)
    ticks = MaxNLocator(3, steps=(1, 2, 5, 10)).tick_values(0, longest)
    cells = []
    for (r, c), axes in np.ndenumerate(grid):
        dress(axes, '')
        # No shared axes: they propagate limits between all panels, which takes seconds for fifty.
        axes.tick_params(labelsize=6, length=2, labelbottom=r == len(rows) - 1, labelleft=c == 0)
        axes.set_xlim(0, longest)
        axes.set_xticks(ticks[ticks < 0.85 * longest])  # later ones touch the next panel's
        if r == 0:
            title = f'{"length at quantile " if c == 0 else ""}{columns[c]:g}'
            axes.set_title(title, fontsize=7, color=INK, loc='left')
        if c == 0:
            _name_row(axes, rows[r])
        if (rows[r], columns[c]) in at:
            cells.append((axes, at[rows[r], columns[c]]))
        else:
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0, labelleft=False)
    figure.text(
        0.5, 0.06 / high, f'time (s); {quantity}, {scale}', ha='center', fontsize=7.5, color=MUTED
    )
    if color:
        _color_bar(figure, high)
    return figure, cells


def _name_row(axes: Axes, name: str) -> None:
    """Write a name left of a panel."""
    style = {'va': 'center', 'fontsize': 7.5, 'color': INK, 'parse_math': False}
    offset = (-0.9 * 72 + 4, 0)
    annotate(axes, short(name, 14), (0, 0.5), offset, xycoords='axes fraction', **style)


def _color_bar(figure: Figure, high: float) -> None:
    """Draw the colors of RANGE_DB at the right edge of a figure, `high` inches high."""
    box = figure.add_axes((1 - 0.52 / DOUBLE, 0.45 / high, 0.09 / DOUBLE, 1 - 0.75 / high))
    ramp = np.linspace(-RANGE_DB, 0, 64)[:, None]
    box.imshow(ramp, cmap=_COLORS, aspect='auto', origin='lower', extent=(0, 1, -RANGE_DB, 0))
    box.set_xticks(())
    box.yaxis.tick_right()
    box.yaxis.set_label_position('right')
    box.set_ylabel('dB below the loudest', fontsize=7, color=MUTED, labelpad=1)
    box.tick_params(labelsize=6, color=LINE, length=2)
    box.spines[:].set_visible(False)


def _wave(axes, samples: np.ndarray, rate_hz: int, peak: float | None = None) -> None:
    """Draw a wave's envelope, from the lowest to the highest sample of each bin.

    Without `peak`, the wave is scaled to its own peak, which is written in the panel.
    """
    width = max(1, -(-len(samples) // _BINS))
    bins = np.pad(samples, (0, -len(samples) % width), mode='edge').reshape(-1, width)
    at = (np.arange(len(bins)) + 0.5) * width / rate_hz
    highest = float(np.abs(samples).max()) or 1.0
    scale = 1.0 if peak else 1 / highest
    axes.fill_between(at, bins.min(1) * scale, bins.max(1) * scale, color=BLUE, linewidth=0.4)
    limit = 1.05 * (peak or 1.0)
    axes.set_ylim(-limit, limit)
    if peak is None:
        axes.set_yticks(())
        words = f'{20 * np.log10(highest):.0f} dB'.replace('-', '−')
        axes.annotate(
            words, (1, 1), xycoords='axes fraction', ha='right', va='top', fontsize=5.5, color=MUTED
        )


def _image(axes, frames: np.ndarray, seconds: float, top: float, high: float = 0.0):
    """Draw dB frames [F, M] as an image from 0 to `seconds` and from 0 to `top`."""
    return axes.imshow(
        frames.T,
        cmap=_COLORS,
        vmin=high - RANGE_DB,
        vmax=high,
        aspect='auto',
        origin='lower',
        extent=(0, seconds, 0, top),
        interpolation='antialiased',
    )


def _mel_ticks(axes) -> None:
    """Label the axis of bands with frequencies."""
    bank = mel_bank(LOG_MEL.rate_hz, LOG_MEL.fft, LOG_MEL.bands, LOG_MEL.low_hz, LOG_MEL.high_hz)
    hz = np.fft.rfftfreq(LOG_MEL.fft, 1 / LOG_MEL.rate_hz)
    centers = (bank * hz[:, None]).sum(0) / bank.sum(0)
    axes.set_yticks(
        np.interp(_TICKS_HZ, centers, np.arange(LOG_MEL.bands) + 0.5),
        labels=[f'{t / 1000:g}' for t in _TICKS_HZ],
    )
    axes.set_ylim(0, LOG_MEL.bands)


def _bar(figure: Figure, image, axes, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01, aspect=30)
    bar.set_label(label, fontsize=7, color=MUTED)
    bar.ax.tick_params(labelsize=6, color=LINE)
    bar.outline.set_visible(False)
