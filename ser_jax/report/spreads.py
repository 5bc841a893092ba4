"""Figures of corpus statistics by class: counts, lengths, rates, levels, words.

Widths are those of a paper's page (`DOUBLE`) or column (`SINGLE`), in inches.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ser_jax.report.plots import BLUE, GREEN, INK, LINE, MUTED, ORANGE, PURPLE, dress, short

SINGLE, DOUBLE = 3.5, 7.2
# Okabe and Ito's colors without yellow, which is invisible on white. With more classes than colors,
# the marker distinguishes them.
COLORS = (BLUE, '#E69F00', GREEN, ORANGE, PURPLE, '#56B4E9', INK, '#8C8C8C')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '<', '>', 'p', 'h')
LIMIT = 25  # most classes that have a line of quantiles
_BLUES = LinearSegmentedColormap.from_list(
    'counts', ['#ffffff', '#cfe3f2', '#6aaed6', '#1f6fa8', '#08406f']
)
_CELLS = 40  # most columns of a matrix with room for numbers and names


def counts(
    classes: Sequence[str], parts: Sequence[Mapping[str, Sequence[int]]], titles: Sequence[str]
) -> Figure:
    """Plot stacked bars, a row per class, a panel per breakdown (sex; channel and intensity).

    Args:
      classes: C names.
      parts: one per panel: the utterances [C] of each segment of the bars, by the segment's name.
      titles: one per panel.
    """
    figure = Figure(figsize=(DOUBLE, max(1.9, 1.05 + 0.2 * len(classes))), layout='constrained')
    row = np.arange(len(classes))
    for axes, part, title in zip(
        figure.subplots(1, len(parts), sharey=True, squeeze=False)[0], parts, titles, strict=True
    ):
        dress(axes, title)
        left = np.zeros(len(classes))
        for i, (name, values) in enumerate(part.items()):
            axes.barh(
                row,
                values,
                0.72,
                left,
                color=COLORS[i % len(COLORS)],
                edgecolor='white',
                linewidth=0.5,
                label=short(name),
            )
            left += np.asarray(values)
        for y, total in zip(row, left, strict=True):
            axes.annotate(
                f'{total:,.0f}',
                (total, y),
                (3, 0),
                textcoords='offset points',
                va='center',
                fontsize=7,
                color=INK,
            )
        axes.set_xlim(0, max(1.0, left.max()) * 1.14)
        axes.set_xlabel('utterances')
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        legend = axes.legend(
            frameon=False,
            fontsize=7,
            ncols=2,
            loc='upper left',
            bbox_to_anchor=(0, -0.5 / _inches(figure)),
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    axes.set_yticks(row, [short(c) for c in classes], parse_math=False)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    return figure


def speakers(names: Sequence[str], sexes: Sequence[str], classes: Sequence[str], matrix) -> Figure:
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
    axes = figure.subplots()
    dress(axes, '')
    image = axes.imshow(
        matrix,
        cmap=_BLUES,
        vmin=0,
        vmax=max(1, matrix.max()),
        aspect='auto',
        interpolation='nearest',
    )
    axes.set_yticks(range(len(classes)), [short(c) for c in classes], parse_math=False)
    room = len(names) <= _CELLS
    if room:
        for (c, p), n in np.ndenumerate(matrix):
            axes.text(
                p,
                c,
                f'{n}' if n else '·',
                ha='center',
                va='center',
                fontsize=6 if len(names) <= 26 else 4.5,
                color='white' if n > matrix.max() / 2 else INK if n else MUTED,
            )
    axes.set_xticks(
        *((range(len(names)), [short(names[i]) for i in order]) if room else ((), ())),
        rotation=55,
        ha='right',
        rotation_mode='anchor',
        fontsize=6,
        parse_math=False,
    )
    axes.tick_params(length=0)
    ordered = [sexes[i] for i in order]
    groups = [(s, ordered.index(s), ordered.count(s)) for s in dict.fromkeys(ordered)]
    for sex, first, count in groups:
        axes.annotate(
            f'{sex}, {count}',
            (first - 0.45, -0.58),
            va='bottom',
            fontsize=7,
            color=INK,
            annotation_clip=False,
        )
        if first:
            axes.axvline(first - 0.5, color=INK, linewidth=1)
    if not room:
        axes.set_xlabel(f'{len(names)} speakers, one column each')
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01)
    bar.ax.tick_params(labelsize=7, color=LINE)
    bar.set_label('utterances', fontsize=7.5, color=MUTED)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    bar.outline.set_visible(False)
    return figure


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
    at = np.linspace(0, 1, 101)
    for i, (name, group) in enumerate(values.items()):
        style = {'color': COLORS[i % len(COLORS)], 'marker': MARKERS[i % len(MARKERS)]}
        quantiles = np.quantile(group, at, method='lower' if step else 'linear')
        if i < LIMIT:
            left.plot(
                at,
                quantiles,
                linewidth=1.1,
                markersize=3.5,
                markevery=(i % 10, 10),
                label=name,
                clip_on=False,
                drawstyle='steps-post' if step else 'default',
                **style,
            )
        right.plot(
            [group.min(), group.max()],
            [i, i],
            color=style['color'],
            linewidth=5,
            alpha=0.3,
            solid_capstyle='butt',
        )
        right.plot(group.mean(), i, markersize=5, **style)
        right.annotate(
            f'{group.mean():,.4g}',
            (group.mean(), i),
            (0, 5),
            textcoords='offset points',
            ha='center',
            fontsize=6,
            color=INK,
        )
    left.set_xlabel('quantile')
    left.set_ylabel(quantity)
    left.set_xlim(0, 1)
    left.xaxis.set_major_locator(MaxNLocator(5))
    left.grid(color=LINE, linewidth=0.5)
    right.set_yticks(range(len(values)), [short(v) for v in values], parse_math=False)
    right.set_ylim(len(values) - 0.4, -0.8)
    right.set_xlabel(quantity)
    right.grid(axis='x', color=LINE, linewidth=0.5)
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1
    low = 0 if step else low - room
    left.set_ylim(low, high + room)
    right.set_xlim(low, high + room)
    return figure


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


def ranges(
    names: Sequence[str], panels: Mapping[str, Sequence[Sequence[float] | float | None]]
) -> Figure:
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
        shares = False
        for y, row in enumerate(rows):
            if row is None:
                continue
            if shares := np.ndim(row) == 0:
                axes.barh(y, row, 0.6, color=BLUE)
                axes.annotate(
                    f'{100 * row:.3g} %',
                    (row, y),
                    (2, 0),
                    textcoords='offset points',
                    va='center',
                    fontsize=6.5,
                )
            else:
                low, tenth, median, ninetieth, high = row
                axes.plot([low, high], [y, y], color=MUTED, linewidth=0.7)
                axes.plot(
                    [tenth, ninetieth],
                    [y, y],
                    color=BLUE,
                    linewidth=4,
                    alpha=0.45,
                    solid_capstyle='butt',
                )
                axes.plot(median, y, 'o', color=BLUE, markersize=4)
        if shares:
            axes.set_xlim(0, max(0.05, 1.45 * max(r for r in rows if r is not None)))
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=' %'))
        axes.xaxis.set_major_locator(MaxNLocator(2 if shares else 4))
        axes.set_xlabel(quantity)
        axes.tick_params(axis='y', length=0)
    axes.set_yticks(range(len(names)), [short(n) for n in names], parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    return figure


def shares(values: Mapping[str, np.ndarray], quantity: str) -> Figure:
    """Plot the cumulative distributions of several corpora in one panel."""
    figure = Figure(figsize=(SINGLE, 2.6), layout='constrained')
    axes = figure.subplots()
    dress(axes, '')
    for i, (name, group) in enumerate(values.items()):
        x = np.quantile(group, np.linspace(0, 1, 201))
        axes.plot(
            x,
            np.linspace(0, 1, 201),
            color=COLORS[i % len(COLORS)],
            marker=MARKERS[i % len(MARKERS)],
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


def bars(classes: Sequence[str], panels: Mapping[str, Sequence[float]]) -> Figure:
    """Plot bars with their values, a row per class, a panel per quantity."""
    figure = Figure(figsize=(DOUBLE, max(1.6, 0.85 + 0.2 * len(classes))), layout='constrained')
    for axes, (quantity, values) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels.items(), strict=True
    ):
        dress(axes, '')
        axes.barh(range(len(classes)), values, 0.66, color=BLUE)
        for y, value in enumerate(values):
            number = f'{value:,.1f}' if isinstance(value, float) else f'{value:,}'
            axes.annotate(
                number,
                (value, y),
                (2, 0),
                textcoords='offset points',
                va='center',
                fontsize=6.5,
                color=INK,
            )
        axes.set_xlim(0, max(1.0, *values) * 1.3)
        axes.set_xlabel(quantity)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.tick_params(axis='y', length=0)
    axes.set_yticks(range(len(classes)), [short(c) for c in classes], parse_math=False)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    return figure


def _inches(figure: Figure) -> float:
    """Return the approximate height of a figure's panels, to place legends below them."""
    return figure.get_figheight() - 0.9
