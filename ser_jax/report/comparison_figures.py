"""Figures of comparisons: paired differences with their intervals."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ser_jax.report.axes import BLUE, INK, LINE, MUTED, name_rows, single
from ser_jax.scoring.intervals import Difference

_WIDTH, _ROW = 7.2, 0.27  # inches


def differences(
    labels: Sequence[str], values: Sequence[Difference], shown: Sequence[bool], title: str = ''
) -> Figure:
    """Plot a row per paired difference of UAR or recall, in points, with its 95 % interval.

    Args:
      labels: one per row, the first on top.
      values: one per row; nan ends are not drawn.
      shown: the marker is filled and blue where True, hollow and grey elsewhere.
      title: title of the figure.
    """
    R = len(labels)
    figure = Figure(figsize=(_WIDTH, max(1.3, 0.8 + _ROW * R)), layout='constrained')
    axes = single(figure, title)
    axes.axvline(0, color=INK, linewidth=0.9)
    for y, (d, filled) in enumerate(zip(values, shown, strict=True)):
        color = BLUE if filled else MUTED
        axes.axhline(y, color=LINE, linewidth=0.5, zorder=0)
        ends = 100 * np.array([d.low, d.high])
        axes.plot(ends, [y, y], color=color, linewidth=2, solid_capstyle='butt')
        axes.plot(
            100 * d.value, y, 'o', color=color, markerfacecolor=color if filled else 'white',
            markersize=6,
        )  # fmt: skip
    name_rows(axes, labels, -0.6)
    axes.tick_params(axis='y', length=0, labelsize=8)
    axes.set_xlabel('difference in points with 95 % interval; filled: shown')
    return figure
