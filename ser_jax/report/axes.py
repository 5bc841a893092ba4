"""Style of all figures: widths, colors and markers, and the plain axes that they are drawn on.

Figures use no pyplot state, so they are safe in threads and need no display. The background is
white, for print. The colors are those of Okabe and Ito (2008), which color-blind readers can
distinguish; a marker, a line style or text repeats every distinction made by color.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

SINGLE, DOUBLE = 3.5, 7.2  # inches: the width of a column and of a page of a paper
BLUE, ORANGE, GREEN, PURPLE = '#0072B2', '#D55E00', '#009E73', '#B0578D'
INK, MUTED, LINE = '#1f2933', '#667380', '#d9dee3'
# Okabe and Ito's colors without yellow, which is invisible on white. With more classes than colors,
# the marker distinguishes them.
COLORS = (BLUE, '#E69F00', GREEN, ORANGE, PURPLE, '#56B4E9', INK, '#8C8C8C')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '<', '>', 'p', 'h')
BLUES = LinearSegmentedColormap.from_list(
    'blues', ['#ffffff', '#cfe3f2', '#6aaed6', '#1f6fa8', '#08406f']
)


def single(figure: Figure, title: str) -> Axes:
    """Return the only axes of a figure."""
    axes = figure.subplots()
    dress(axes, title)
    return axes


def dress(axes: Axes, title: str) -> None:
    """Apply the style of all figures; set the title."""
    axes.figure.set_facecolor('white')  # type: ignore[union-attr]
    # parse_math=False: a $ in a name is no formula.
    axes.set_title(short(title, 60), fontsize=10, color=INK, loc='left', parse_math=False)
    axes.tick_params(colors=INK, labelsize=8, color=LINE)
    axes.xaxis.label.set(fontsize=8.5, color=MUTED)
    axes.yaxis.label.set(fontsize=8.5, color=MUTED)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    for side in ('left', 'bottom'):
        axes.spines[side].set_color(LINE)


def short(text: str, most: int = 22) -> str:
    """Return the text, with its middle replaced by an ellipsis if it is longer than `most`."""
    return text if len(text) <= most else f'{text[: most // 2]}…{text[-(most // 2) + 1 :]}'


def name_rows(axes: Axes, names: Sequence[str], top: float) -> None:
    """Label the rows 0, 1, ... with names, the first at the top."""
    axes.set_yticks(range(len(names)), [short(n) for n in names], parse_math=False)
    axes.set_ylim(len(names) - 0.4, top)


def name_columns(axes: Axes, names: Sequence[str], rotation: float, **style) -> None:
    """Label the columns 0, 1, ... with slanted names."""
    axes.set_xticks(
        range(len(names)),
        [short(n) for n in names],
        rotation=rotation,
        ha='right',
        rotation_mode='anchor',
        parse_math=False,
        **style,
    )


def annotate(
    axes: Axes, text: str, point: tuple[float, float], offset: tuple[float, float], **style
) -> None:
    """Write a text at a point of the data, shifted by an offset in points."""
    axes.annotate(text, point, offset, textcoords='offset points', **style)
