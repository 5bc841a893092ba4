"""Exploration report of corpora: eda.html (one self-contained page), figures/*.png, tables/*.csv.

This module computes no statistics: its inputs are the tables of `ser_jax.explore.statistics` and
the arrays of opened corpora.
"""

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ser_jax.report import exploration_figures, html
from ser_jax.report.figures import Figures


class Look(NamedTuple):
    """Examples and notes of one corpus.

    Attributes:
      found: `ser_jax.explore.exemplars.Example`s; empty for a text corpus.
      mels, waves: `ser_jax.explore.exemplars.Change`s of the recording `id`; `waves` may be empty.
      notes: sentences shown with the figures.
      sound: builder config that the samples come from, '' if no samples are built.
      command: command that builds the samples if `sound` is ''; '' for a text corpus.
    """

    found: Sequence[Any]
    mels: Sequence[Any]
    waves: Sequence[Any]
    id: str
    notes: Sequence[str]
    sound: str
    command: str


def write(
    output: Path,
    corpora: Sequence[Any],
    tables: Mapping[str, list[dict]],
    looks: Sequence[Look],
    covered: float,
) -> None:
    """Write the page, its figures and tables to the folder `output`.

    Args:
      output: folder; created if missing.
      corpora: opened corpora (`ser_jax.data.utterances.Utterances`), each with one corpus.
      tables: rows by name, from `ser_jax.explore.statistics.tables`; written to tables/<name>.csv.
      looks: one per corpus.
      covered: share of recordings that a sampling rate must cover.
    """
    output = Path(output)
    (output / 'tables').mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        _write_csv(output / 'tables' / f'{name}.csv', rows)
    figures = Figures(output / 'figures')
    pooled = next((r['corpus'] for r in tables['quantiles']), None)
    rates = [r for r in tables['rates'] if r['corpus'] == pooled]
    reached = [r for r in rates if r['share_at_or_above'] >= covered]
    page = html.template('exploration.html.jinja').render(
        names=[u.names[0] for u in corpora],
        totals=tables['corpora'],
        covering=f'rate_hz_covering_{100 * covered:.0f}',
        covered=covered,
        compared=(
            exploration_figures.compared(figures, corpora, tables) if len(corpora) > 1 else None
        ),
        quantiles=[
            r for r in tables['quantiles'] if r['corpus'] == pooled and r['emotion'] == 'all'
        ],
        reach=reached[-1] if reached else None,
        frames=exploration_figures.frames(figures, tables, pooled, covered) if pooled else '',
        corpora=[
            _corpus(figures, f'corpus-{i}', u, tables, look)
            for i, (u, look) in enumerate(zip(corpora, looks, strict=True))
        ],
        tables=[(name, len(rows)) for name, rows in tables.items()],
    )
    (output / 'eda.html').write_text(page, encoding='utf-8')


def _corpus(figures: Figures, anchor: str, u: Any, tables: Mapping, look: Look) -> dict[str, Any]:
    """Return the template variables of one corpus's section."""
    name = u.names[0]
    speakers = sum(r['corpus'] == name for r in tables['speakers'])
    return {
        'name': name,
        'anchor': anchor,
        'facts': u.facts[0],
        'look': look,
        'figures': exploration_figures.of_corpus(figures, u, tables),
        'sheets': exploration_figures.of_recordings(figures, name, look),
        'speakers': speakers,
        'many': speakers > exploration_figures.MOST_SPEAKERS,
        'rows': [r for r in tables['emotions'] if r['corpus'] == name],
        'silent': not (u.seconds > 0).any(),
    }


def _write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Write rows as CSV: floats with six decimals, None and missing keys as empty fields."""
    with path.open('w', newline='', encoding='utf-8') as f:
        columns = dict.fromkeys(itertools.chain.from_iterable(rows))
        writer = csv.DictWriter(f, list(columns), restval='')
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f'{v:.6f}' if isinstance(v, float) else v for k, v in row.items()})
