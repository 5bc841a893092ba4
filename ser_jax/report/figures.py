"""Figures of a page as PNG files and as inline SVG."""

import re
import warnings
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from ser_jax.report import html

Captioned = tuple[Markup, str]  # a figure and its caption
_DPI = 200  # resolution of the PNG files


class Figures:
    """Writer of figures: PNG files in a folder, inline SVG as return value."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, label: str, figure: Figure) -> Markup:
        """Save `figure` as PNG and return it as SVG.

        Args:
          name: file name without suffix; characters that are unsafe in one are replaced.
          label: description for screen readers.
        """
        file = re.sub(r'[^\w-]+', '_', name)
        with warnings.catch_warnings():
            # A name may be in a script that the font lacks.
            warnings.filterwarnings('ignore', r'Glyph \d+')
            figure.savefig(self.folder / f'{file}.png', dpi=_DPI)
        figure.set_layout_engine('none')  # the layout of the PNG serves the SVG too
        return html.svg(figure, re.sub(r'[^A-Za-z0-9]+', '-', file), label)

    def captioned(self, name: str, label: str, figure: Figure, caption: str) -> Captioned:
        """Save `figure` and return it as SVG, with its caption; arguments as in `__call__`."""
        return self(name, label, figure), caption
