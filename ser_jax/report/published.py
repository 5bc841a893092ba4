"""Table of published systems: published scores with their test data, beside reproduced scores."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape
from rich.table import Table
from rich.text import Text

COLUMNS = (
    'system',
    'published, and on what',
    'ours under its protocol',
    'ours speaker-independent',
    'why they differ',
)
NEEDS_WEIGHTS = 'needs weights'


def cell(run: Mapping[str, Any] | None) -> str:
    """Return a run as text: accuracy and UAR with intervals, notes, test data, length of training.

    Args:
      run: `scores` of the run, the main one first, and its `training` as text. None if weights
        were missing, empty if training stopped with an error.
    """
    if run is None:
        return NEEDS_WEIGHTS
    if not run:
        return 'stopped'
    s, *others = run['scores']
    note = f' *{s.note}*' if s.note else ''
    parts = [f'WA {s.wa}, UAR {s.uar}{note}']
    if s.auc:
        parts.append(f'AUC {s.auc}{note}, ECE {s.ece:.3f}')
    parts += [f'{o.modality} alone UAR {o.uar.value:.3f}{note}' for o in others]
    plural = '' if s.seeds == 1 else 's'
    parts.append(
        f'{s.protocol}, {s.corpus}, n = {s.utterances:,}, {s.speakers} speakers, {s.folds} folds x '
        f'{s.seeds} seed{plural}'
    )
    parts.append(run['training'])
    return '; '.join(parts)


def lines(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the texts of each row by COLUMNS.

    Args:
      rows: each with a `system` and, for the protocols that ran, the runs `own` and `speakers_k`.
    """
    cells = (
        (
            r['system'].title,
            f'{r["system"].claim}; {r["system"].budget}',
            cell(r.get('own')),
            cell(r.get('speakers_k')),
            r['system'].why,
        )
        for r in rows
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells]


def renewed(
    before: list[dict[str, str]], lines: list[dict[str, str]], order: Sequence[str]
) -> list[dict[str, str]]:
    """Return the lines of an earlier table, updated with those of systems that ran again.

    Args:
      before: lines of the earlier table.
      lines: lines of the systems that ran again.
      order: titles of all systems, in the order of the table.
    """
    by_system = {line[COLUMNS[0]]: line for line in [*before, *lines]}
    return sorted(
        by_system.values(), key=lambda line: [*order, line[COLUMNS[0]]].index(line[COLUMNS[0]])
    )


def markdown(lines: Iterable[Mapping[str, str]]) -> str:
    """Return the table as Markdown for a README."""
    head = f'| {" | ".join(COLUMNS)} |\n|{"---|" * len(COLUMNS)}\n'
    return head + ''.join(map(_markdown_row, lines))


def _markdown_row(line: Mapping[str, str]) -> str:
    cells = (cell.replace('|', '\\|') for cell in line.values())
    return f'| {" | ".join(cells)} |\n'


def html(lines: Iterable[Mapping[str, str]]) -> Markup:
    """Return the table as HTML for the report."""
    body = ''.join(_html_row('td', line.values()) for line in lines).replace('*', '')
    head = _html_row('th', COLUMNS)
    return Markup(f'<table><thead>{head}</thead><tbody>{body}</tbody></table>')


def _html_row(tag: str, cells: Iterable[str]) -> str:
    return '<tr>' + ''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells) + '</tr>'


def table(lines: Iterable[Mapping[str, str]]) -> Table:
    """Return the table for the console, without its last column, a line per statement."""
    result = Table(show_lines=True)
    for name in COLUMNS[:-1]:
        result.add_column(name, overflow='fold')
    for line in lines:
        result.add_row(*(Text(line[c].replace('; ', '\n').replace('*', '')) for c in COLUMNS[:-1]))
    return result
