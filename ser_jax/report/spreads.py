"""Figures of distributions by class or corpus: lengths, rates, levels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ser_jax.report.axes import (
    BLUE,
    COLORS,
    DOUBLE,
    INK,
    LINE,
    MARKERS,
    MUTED,
    ORANGE,
    SINGLE,
    annotate,
    dress,
    name_rows,
    short,
    single,
)

_LIMIT = 25  # most classes that have a line of quantiles


def quantile_lines(values: Mapping[str, np.ndarray], quantity: str, step: bool = False) -> Figure:
    """Plot a class's quantiles as a line (left), and its mean as mark and extremes as bar (right).

    Args:
      values: values [n] by class, n > 0.
      quantity: with its unit, e.g. 'length (s)'.
      step: True if values are few and discrete.
    """
    figure = Figure(figsize=(DOUBLE, max(2.4, 1.0 + 0.2 * len(values))), layout='constrained')
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    dress(left, '')
    dress(right, '')
    for i, (name, group) in enumerate(values.items()):
        if i < _LIMIT:
            _quantile_line(left, i, name, group, step)
        _mean_and_extremes(right, i, group)
    left.set_xlabel('quantile')
    left.set_ylabel(quantity)
    left.set_xlim(0, 1)
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.grid(color=LINE, linewidth=0.5)
    name_rows(right, [*values], top=-0.8)
    right.set_xlabel(quantity)
    right.grid(axis='x', color=LINE, linewidth=0.5)
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1
    low = 0 if step else low - margin
    left.set_ylim(low, high + margin)
    right.set_xlim(low, high + margin)
    return figure


def _style(i: int) -> dict[str, Any]:
    """Return the color and the marker of the class at position `i`."""
    return {'color': COLORS[i % len(COLORS)], 'marker': MARKERS[i % len(MARKERS)]}


def _quantile_line(axes: Axes, i: int, name: str, group: np.ndarray, step: bool) -> None:
    at = np.linspace(0, 1, 101)
    axes.plot(
        at,
        np.quantile(group, at, method='lower' if step else 'linear'),
        linewidth=1.1,
        markersize=3.5,
        markevery=(i % 10, 10),
        label=name,
        clip_on=False,
        drawstyle='steps-post' if step else 'default',
        **_style(i),
    )


def _mean_and_extremes(axes: Axes, row: int, group: np.ndarray) -> None:
    style, mean = _style(row), float(group.mean())
    bar: dict[str, Any] = {'linewidth': 5, 'alpha': 0.3, 'solid_capstyle': 'butt'}
    axes.plot([group.min(), group.max()], [row, row], color=style['color'], **bar)
    axes.plot(mean, row, markersize=5, **style)
    annotate(axes, f'{mean:,.4g}', (mean, row), (0, 5), ha='center', fontsize=6, color=INK)


def frames_by_rate(rows: Sequence[Mapping], covered: float) -> Figure:
    """Plot the window length and the share of recordings by sampling rate.

    Left, the samples that contain a share of the recordings uncut, over the rate they are resampled
    to. Right, the share of recordings made at this rate or higher.

    Args:
      rows: rows of one corpus in `frames.csv`: rate_hz, share_at_or_above, samples_<per cent>.
      covered: share that is marked.
    """
    figure = Figure(figsize=(DOUBLE, 2.6), layout='constrained')
    left, right = figure.subplots(1, 2)
    dress(left, '')
    dress(right, '')
    rate = np.array([r['rate_hz'] for r in rows]) / 1000
    columns = [c for c in rows[0] if c.startswith('samples_')]
    for i, column in enumerate(columns):
        percent = column.removeprefix('samples_')
        left.plot(
            rate,
            [r[column] / 1000 for r in rows],
            color=COLORS[i],
            marker=MARKERS[i],
            markersize=4,
            linewidth=1.1,
            label=f'{percent} % of the recordings',
        )
    left.set_xlabel('sampling rate (kHz)')
    left.set_ylabel('samples (thousand)')
    left.legend(frameon=False, fontsize=7)
    share = np.array([r['share_at_or_above'] for r in rows])
    right.plot(
        rate, share, color=BLUE, marker='o', markersize=4, linewidth=1.1, drawstyle='steps-pre'
    )
    right.axhline(covered, color=ORANGE, linewidth=1, linestyle='--')
    right.annotate(
        f'{100 * covered:.0f} %',
        (1, covered),
        (-2, -3),
        xycoords=('axes fraction', 'data'),
        va='top',
        ha='right',
        textcoords='offset points',
        fontsize=7,
        color=ORANGE,
    )
    right.set_ylim(-0.03, 1.03)
    right.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=' %'))
    right.set_xlabel('sampling rate (kHz)')
    right.set_ylabel('recorded at this rate or higher')
    for axes in (left, right):
        axes.grid(color=LINE, linewidth=0.5)
        axes.set_xlim(0, rate.max() * 1.03)
    left.set_ylim(bottom=0)
    return figure


def ranges(names: Sequence[str], panels: Mapping[str, Sequence[Any]]) -> Figure:
    """Plot a row per name, a panel per quantity: median, 10th to 90th percentile, extremes.

    The median is a mark, the percentiles are a bar, the extremes a hairline.

    Args:
      names: one per row.
      panels: rows by quantity with its unit. A row is (min, q10, median, q90, max), a share (drawn
        as a bar) or None if unknown.
    """
    figure = Figure(figsize=(DOUBLE, max(1.6, 0.85 + 0.2 * len(names))), layout='constrained')
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (quantity, rows) in zip(all_axes, panels.items(), strict=True):
        dress(axes, '')
        axes.grid(axis='x', color=LINE, linewidth=0.5)
        axes.set_axisbelow(True)
        shares = any(np.ndim(row) == 0 for row in rows if row is not None)
        for y, row in enumerate(rows):
            if row is not None:
                _share(axes, y, row) if shares else _range(axes, y, row)
        if shares:
            axes.set_xlim(0, max(0.05, 1.45 * max(r for r in rows if r is not None)))
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=' %'))
        axes.xaxis.set_major_locator(MaxNLocator(2 if shares else 4))
        axes.set_xlabel(quantity)
        axes.tick_params(axis='y', length=0)
    name_rows(all_axes[-1], names, top=-0.6)
    return figure


def _share(axes: Axes, y: int, share: float) -> None:
    axes.barh(y, share, 0.6, color=BLUE)
    annotate(axes, f'{100 * share:.3g} %', (share, y), (2, 0), va='center', fontsize=6.5)


def _range(axes: Axes, y: int, row: Sequence[float]) -> None:
    low, tenth, median, ninetieth, high = row
    bar: dict[str, Any] = {'linewidth': 4, 'alpha': 0.45, 'solid_capstyle': 'butt'}
    axes.plot([low, high], [y, y], color=MUTED, linewidth=0.7)
    axes.plot([tenth, ninetieth], [y, y], color=BLUE, **bar)
    axes.plot(median, y, 'o', color=BLUE, markersize=4)


def shares(values: Mapping[str, np.ndarray], quantity: str) -> Figure:
    """Plot the cumulative distributions of several corpora in one panel."""
    figure = Figure(figsize=(SINGLE, 2.6), layout='constrained')
    axes = single(figure, '')
    for i, (name, group) in enumerate(values.items()):
        x = np.quantile(group, np.linspace(0, 1, 201))
        axes.plot(
            x,
            np.linspace(0, 1, 201),
            **_style(i),
            markersize=3.5,
            markevery=(7 * i % 20, 40),
            linewidth=1.2,
            label=short(name),
        )
    axes.set_xlabel(quantity)
    axes.set_ylabel('recordings at or below')
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=' %'))
    axes.grid(color=LINE, linewidth=0.5)
    for text in axes.legend(frameon=False, fontsize=7).get_texts():
        text.set_parse_math(False)
    return figure
