"""The table of published systems: what they print, what that was measured on, and what we measure, side by side."""

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup, escape
from rich.table import Table
from rich.text import Text

COLUMNS = ('system', 'published, and on what', 'ours under its protocol', 'ours speaker-independent', 'why they differ')
NEEDS_WEIGHTS = 'needs weights'


def cell(run: Mapping[str, Any] | None) -> str:
    """One run in words: accuracy and UAR with intervals, notes, what it was tested on, how long it was trained.

    Args:
      run: `scores` of one run, the headline first, and its `epochs`; None = weights were missing.
    """
    if run is None:
        return NEEDS_WEIGHTS
    s, *others = run['scores']
    note = f' *{s.note}*' if s.note else ''
    parts = [f'WA {s.wa}, UAR {s.uar}{note}']
    if s.auc:
        parts.append(f'AUC {s.auc}{note}, ECE {s.ece:.3f}')
    parts += [f'{o.modality} alone UAR {o.uar.value:.3f}{note}' for o in others]
    plural = '' if s.seeds == 1 else 's'
    parts.append(
        f'{s.protocol}, {s.corpus}, n = {s.utterances:,}, {s.speakers} speakers, {s.folds} folds x {s.seeds} seed{plural}'
    )
    parts.append(f'{run["epochs"]} epochs')
    return '; '.join(parts)


def lines(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str, str, str]]:
    """COLUMNS of every row: `system` and, where they ran, `own` and `speakers_k`."""
    return [
        (
            r['system'].title,
            f'{r["system"].claim}; {r["system"].budget}',
            cell(r.get('own')),
            cell(r.get('speakers_k')),
            r['system'].why,
        )
        for r in rows
    ]


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """As a table of a README."""
    escaped = [[c.replace('|', '\\|') for c in row] for row in lines(rows)]
    head = f'| {" | ".join(COLUMNS)} |\n|{"---|" * len(COLUMNS)}\n'
    return head + ''.join(f'| {" | ".join(row)} |\n' for row in escaped)


def plain(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """As JSON."""
    return [dict(zip(COLUMNS, row, strict=True)) for row in lines(rows)]


def html(rows: Iterable[Mapping[str, Any]]) -> Markup:
    """As a table of the report."""
    row = lambda tag, cells: f'<tr>{"".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells)}</tr>'
    body = ''.join(row('td', [c.replace('*', '') for c in cells]) for cells in lines(rows))
    return Markup(f'<table><thead>{row("th", COLUMNS)}</thead><tbody>{body}</tbody></table>')


def table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """As a rich table: a line in each cell for every statement."""
    result = Table(show_lines=True)
    for name in COLUMNS[:-1]:
        result.add_column(name, overflow='fold')
    for row in lines(rows):
        result.add_row(*(Text(c.replace('; ', '\n').replace('*', '')) for c in row[:-1]))
    return result
