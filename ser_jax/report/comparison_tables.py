"""Rows, sentences and console tables of comparisons and rankings."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ser_jax.scoring.comparison import Comparison, probability
from ser_jax.scoring.intervals import Difference
from ser_jax.scoring.rankings import Place, Study

NONE = '–'
ALONE = 'No other run has the same corpus, protocol, classes and test utterances'


def signed(d: Difference) -> str:
    """Return a difference in points with its interval: '+2.1 [−0.4, +4.6]'."""
    if math.isnan(d.value):
        return NONE
    ends = [f'{100 * x:+.1f}'.replace('-', '−') for x in (d.value, d.low, d.high)]
    return ends[0] if math.isnan(d.low) else f'{ends[0]} [{ends[1]}, {ends[2]}]'


def basis(c: Comparison) -> str:
    """Return the data of a comparison, McNemar's test and the marks, as text."""
    s = c.a.score
    tested = f'{s.corpus}, {s.protocol}' if s.protocol == c.b.score.protocol else s.corpus
    judged = f'; McNemar {probability(c.mcnemar)} ({c.only_b} against {c.only_a})'
    marks = ''.join(f'; {m}' for m in c.marks)
    return (
        f'{tested}; {_count(c.utterances, "utterance")} of {_count(c.speaker_count, "speaker")}'
        f'{judged if c.a.right and c.b.right else ""}{marks}'
    )


def above(place: Place) -> str:
    """Return the comparison with the line above: '−2.7 [−4.5, −0.8], shown'."""
    c = place.above
    if c is None:
        return NONE
    of_this = c if c.b is place.candidate else c.swapped()
    return f'{signed(of_this.uar)}, {"shown" if c.shown else "not shown"}'


def speakers(c: Comparison) -> str:
    """Return the numbers of speakers that each side is better for, as text; '' without them."""
    values = list(c.speakers.values())
    if not values:
        return ''
    better, worse = sum(d.value > 0 for d in values), sum(d.value < 0 for d in values)
    shown = sum(d.low > 0 for d in values), sum(d.high < 0 for d in values)
    return (
        f'{c.b.name} has the higher UAR for {better} of {len(values)} speakers (shown for '
        f'{shown[0]}), {c.a.name} for {worse} (shown for {shown[1]})'
    )


def refusals(study: Study) -> list[str]:
    """Return a sentence per pair that is not compared."""
    return [
        f'{a.name} and {b.name} on {a.score.corpus}: {reason}' for a, b, reason in study.refused
    ]


def ranking_title(ranking: Sequence[Place]) -> str:
    """Return the test that the candidates of a ranking have in common, as text."""
    s, classes = ranking[0].candidate.score, len(ranking[0].candidate.classes)
    return (
        f'{s.corpus}, {s.protocol}: {_count(s.utterances, "utterance")} of '
        f'{_count(s.speakers, "speaker")}, {classes} classes'
    )


def ranking_table(ranking: Sequence[Place]) -> Table:
    """Return a rich table of a ranking; it fits in 80 columns."""
    result = Table(box=None, pad_edge=False, title=ranking_title(ranking), title_justify='left')
    result.add_column('', justify='right', no_wrap=True)
    result.add_column('run', overflow='fold')
    result.add_column('UAR [95 %]', no_wrap=True)
    result.add_column('groups', overflow='fold')
    result.add_column('against the line above', overflow='fold')
    for place in ranking:
        name, uar = _cells(place)
        result.add_row(str(place.rank), name, uar, place.groups, above(place))
    return result


def alone_table(places: Sequence[Place]) -> Table:
    """Return a rich table of candidates whose test no other has; it fits in 80 columns."""
    result = Table(box=None, pad_edge=False, title=ALONE, title_justify='left')
    result.add_column('run', overflow='fold')
    result.add_column('UAR [95 %]', no_wrap=True)
    result.add_column('test', overflow='fold')
    for place in places:
        s = place.candidate.score
        result.add_row(*_cells(place), Text(f'{s.corpus}, {s.protocol}'))
    return result


def _cells(place: Place) -> tuple[Text, Text]:
    """Return the name and modality, and the UAR with its note."""
    s = place.candidate.score
    name = Text(place.candidate.name)
    name.append(f' {s.modality}', 'dim')
    uar = Text(str(s.uar))
    uar.stylize('bold', 0, 5)
    if s.note:
        uar.append(f'\n{s.note}', 'bold yellow' if s.inflated or s.incomplete else 'cyan')
    return name, uar


def class_table(c: Comparison) -> Table:
    """Return a rich table of the differences per class."""
    result = Table(box=None, pad_edge=False)
    result.add_column('recall of')
    result.add_column(f'{c.b.name} − {c.a.name} [95 %]', overflow='fold')
    result.add_column('')
    for name, d in c.recall.items():
        result.add_row(name, signed(d), 'shown' if d.excludes_zero else 'not shown')
    return result


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with the union of their keys; floats with six decimals, nan as empty text."""
    fields: dict[str, None] = {}
    for row in rows:
        fields |= dict.fromkeys(row)
    with path.open('w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, list(fields), restval='')
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _field(value) for name, value in row.items()})


def pair_fields(c: Comparison) -> Iterator[dict[str, Any]]:
    """Yield the rows of a comparison: UAR, each class, each speaker."""
    a, b = c.a.score, c.b.score
    same: dict[str, Any] = {'corpus': a.corpus, 'a': a.run, 'b': b.run}
    same |= {'protocol_a': a.protocol, 'protocol_b': b.protocol}
    same |= {'modality_a': a.modality, 'modality_b': b.modality}
    test: dict[str, Any] = {
        'p_holm': c.holm,
        'pairs': c.pairs,
        'shown': c.shown,
        'utterances': c.utterances,
    }
    test |= {'utterances_a': len(c.a.facts), 'utterances_b': len(c.b.facts)}
    test |= {'speakers': c.speaker_count, 'only_a': c.only_a, 'only_b': c.only_b}
    test |= {'p_mcnemar': c.mcnemar, 'marks': '; '.join(c.marks)}
    yield {**same, 'metric': 'uar', 'part': 'all', **difference_fields(c.uar), **test}
    for name, d in c.recall.items():
        yield {**same, 'metric': 'recall', 'part': name, **difference_fields(d)}
    for name, d in c.speakers.items():
        yield {**same, 'metric': 'uar', 'part': name, **difference_fields(d)}


def ranking_fields(ranking: Sequence[Place]) -> Iterator[dict[str, Any]]:
    """Yield a row per line of a ranking."""
    for place in ranking:
        s = place.candidate.score
        row: dict[str, Any] = {
            'corpus': s.corpus,
            'protocol': s.protocol,
            'rank': place.rank,
            'run': s.run,
        }
        row |= {'config': s.config, 'modality': s.modality, 'note': s.note}
        row |= {'uar': s.uar.value, 'uar_low': s.uar.low, 'uar_high': s.uar.high}
        row |= {'wa': s.wa.value, 'macro_f1': s.macro_f1.value, 'groups': place.groups}
        row |= {'classes': ' '.join(place.candidate.classes), 'utterances': s.utterances}
        row |= {'speakers': s.speakers, 'seeds': s.seeds, 'members': s.members}
        if c := place.above:
            of_this = c if c.b is place.candidate else c.swapped()
            row |= {f'above_{k}': v for k, v in difference_fields(of_this.uar).items()}
            row |= {'above_p_holm': c.holm, 'above_shown': c.shown}
        yield row


def difference_fields(d: Difference) -> dict[str, Any]:
    """Return a difference as fields of a row."""
    return {'difference': d.value, 'low': d.low, 'high': d.high, 'p': d.p, 'by': d.by}


def _field(value):
    if not isinstance(value, float):
        return value
    return '' if math.isnan(value) else f'{value:.6f}'


def _count(n: int, word: str) -> str:
    return f'{n:,} {word}{"" if n == 1 else "s"}'
