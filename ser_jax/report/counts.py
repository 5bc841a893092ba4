"""Figures of counts: utterances by class and speaker, sentences and words by class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_jax.report.axes import (
    BLUE,
    BLUES,
    COLORS,
    DOUBLE,
    INK,
    LINE,
    MUTED,
    annotate,
    dress,
    name_columns,
    name_rows,
    short,
    single,
)

_CELLS = 40  # most columns of a matrix with room for numbers and names


def by_class(
    classes: Sequence[str], parts: Sequence[Mapping[str, Sequence[int]]], titles: Sequence[str]
) -> Figure:
    """Plot stacked bars, a row per class, a panel per breakdown (sex; channel and intensity).

    Args:
      classes: C names.
      parts: one per panel: the utterances [C] of each segment of the bars, by the segment's name.
      titles: one per panel.
    """
    figure = Figure(figsize=(DOUBLE, max(1.9, 1.05 + 0.2 * len(classes))), layout='constrained')
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for axes, part, title in zip(panels, parts, titles, strict=True):
        dress(axes, title)
        _stacked_bars(axes, part, len(classes))
        legend = axes.legend(
            frameon=False,
            fontsize=7,
            ncols=2,
            loc='upper left',
            # below the panels, which are about 0.9 inches less high than the figure
            bbox_to_anchor=(0, -0.5 / (figure.get_figheight() - 0.9)),
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    name_rows(panels[-1], classes, top=-0.6)
    return figure


def _stacked_bars(axes: Axes, part: Mapping[str, Sequence[int]], rows: int) -> None:
    """Draw a bar per row with a segment per name of `part`, and write the row's sum beside it."""
    left = np.zeros(rows)
    for i, (name, values) in enumerate(part.items()):
        axes.barh(
            range(rows),
            values,
            0.72,
            left,
            color=COLORS[i % len(COLORS)],
            edgecolor='white',
            linewidth=0.5,
            label=short(name),
        )
        left += np.asarray(values)
    for y, total in enumerate(left.tolist()):
        annotate(axes, f'{total:,.0f}', (total, y), (3, 0), va='center', fontsize=7, color=INK)
    axes.set_xlim(0, max(1.0, left.max()) * 1.14)
    axes.set_xlabel('utterances')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))


def by_speaker(
    names: Sequence[str], sexes: Sequence[str], classes: Sequence[str], matrix
) -> Figure:
    """Plot utterances by speaker (columns, women first) and class (rows), as color and number.

    Numbers and names are left out with more than `_CELLS` speakers.

    Args:
      names, sexes: [P].
      classes: [C].
      matrix: [P, C] counts.
    """
    order = sorted(range(len(names)), key=lambda i: (sexes[i], names[i]))
    matrix = np.asarray(matrix)[order].T
    figure = Figure(figsize=(DOUBLE, max(1.7, 1.1 + 0.2 * len(classes))), layout='constrained')
    axes = single(figure, '')
    most = max(1, matrix.max())
    style: dict[str, Any] = {'aspect': 'auto', 'interpolation': 'nearest'}
    image = axes.imshow(matrix, cmap=BLUES, vmin=0, vmax=most, **style)
    axes.set_yticks(range(len(classes)), [short(c) for c in classes], parse_math=False)
    if len(names) <= _CELLS:
        _write_cells(axes, matrix)
        name_columns(axes, [names[i] for i in order], 55, fontsize=6)
    else:
        axes.set_xticks(())
        axes.set_xlabel(f'{len(names)} speakers, one column each')
    axes.tick_params(length=0)
    _mark_groups(axes, [sexes[i] for i in order])
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    bar.ax.tick_params(labelsize=7, color=LINE)
    bar.set_label('utterances', fontsize=7.5, color=MUTED)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    bar.outline.set_visible(False)
    return figure


def _write_cells(axes: Axes, matrix: np.ndarray) -> None:
    """Write the number of each cell; a dot for 0."""
    size = 6 if matrix.shape[1] <= 26 else 4.5
    for (row, column), n in np.ndenumerate(matrix):
        color = 'white' if n > matrix.max() / 2 else INK if n else MUTED
        text = f'{n}' if n else '·'
        axes.text(column, row, text, ha='center', va='center', fontsize=size, color=color)


def _mark_groups(axes: Axes, groups: Sequence[str]) -> None:
    """Write the name and size of each group above its first column; separate groups by lines."""
    for group in dict.fromkeys(groups):
        first = groups.index(group)
        axes.annotate(
            f'{group}, {groups.count(group)}',
            (first - 0.45, -0.58),
            va='bottom',
            fontsize=7,
            color=INK,
            annotation_clip=False,
        )
        if first:
            axes.axvline(first - 0.5, color=INK, linewidth=1)


def bars(classes: Sequence[str], panels: Mapping[str, Sequence[float]]) -> Figure:
    """Plot bars with their values, a row per class, a panel per quantity."""
    figure = Figure(figsize=(DOUBLE, max(1.6, 0.85 + 0.2 * len(classes))), layout='constrained')
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (quantity, values) in zip(all_axes, panels.items(), strict=True):
        dress(axes, '')
        axes.barh(range(len(classes)), values, 0.66, color=BLUE)
        for y, value in enumerate(values):
            number = f'{value:,.1f}' if isinstance(value, float) else f'{value:,}'
            annotate(axes, number, (value, y), (2, 0), va='center', fontsize=6.5, color=INK)
        axes.set_xlim(0, max(1.0, *values) * 1.3)
        axes.set_xlabel(quantity)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(axis='y', length=0)
    name_rows(all_axes[-1], classes, top=-0.6)
    return figure
