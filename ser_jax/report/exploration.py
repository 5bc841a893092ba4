"""Exploration report of corpora: eda.html (one self-contained page), figures/*.png, tables/*.csv.

This module computes no statistics: its inputs are the tables of `ser_jax.explore.statistics` and
the arrays of opened corpora.
"""

import csv
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ser_jax.report import html, sheets, spreads

_DPI = 200  # resolution of the PNG files
_SPEAKERS = 200  # with more speakers there is only the table, no figure
_RANGE = ('min', 'q10', 'median', 'q90', 'max')


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
    page = html.template('exploration.html.jinja').render(
        names=[u.names[0] for u in corpora],
        totals=tables['corpora'],
        covering=f'rate_hz_covering_{100 * covered:.0f}',
        covered=covered,
        compared=_compared(figures, corpora, tables) if len(corpora) > 1 else None,
        pooled=pooled,
        quantiles=[
            r for r in tables['quantiles'] if r['corpus'] == pooled and r['emotion'] == 'all'
        ],
        coverage=[r for r in tables['frames'] if r['corpus'] == pooled],
        reach=next(
            (
                r
                for r in reversed(tables['rates'])
                if r['corpus'] == pooled and r['share_at_or_above'] >= covered
            ),
            None,
        ),
        frames=_frames(figures, tables, pooled, covered) if pooled else '',
        corpora=[
            _corpus(figures, i, u, tables, look)
            for i, (u, look) in enumerate(zip(corpora, looks, strict=True))
        ],
        tables=[(name, len(rows)) for name, rows in tables.items()],
    )
    (output / 'eda.html').write_text(page, encoding='utf-8')


def _compared(
    figures: Figures, corpora: Sequence[Any], tables: Mapping
) -> dict[str, list[tuple[Markup, str]]]:
    """Return figures that compare all corpora, with captions.

    Figures in 'pair' are as wide as a column, those in 'wide' as the page.
    """
    emotions = _ordered([r['emotion'] for r in tables['emotions']], tables)
    number = {(r['corpus'], r['emotion']): r['utterances'] for r in tables['emotions']}
    parts = {u.names[0]: [number.get((u.names[0], e), 0) for e in emotions] for u in corpora}
    wide = [
        (
            figures(
                'counts',
                'Utterances by emotion and corpus',
                spreads.counts(emotions, [parts], ['by corpus']),
            ),
            'Utterances of every emotion, by corpus.',
        )
    ]
    heard = [u for u in corpora if (u.seconds > 0).any()]
    if not heard:
        return {'pair': [], 'wide': wide}
    of = lambda field: {u.names[0]: getattr(u, field)[u.seconds > 0] for u in heard}
    pair = [
        (
            figures(
                'lengths_compared', 'Lengths by corpus', spreads.shares(of('seconds'), 'length (s)')
            ),
            'Lengths: the share of recordings that are this short or shorter.',
        ),
        (
            figures(
                'levels_compared',
                'Levels by corpus',
                spreads.shares(of('level_db'), 'level (dB re full scale)'),
            ),
            'Levels: root mean square of each recording.',
        ),
    ]
    wide += [
        (
            figures(
                'measures_compared',
                'Levels, peaks, clipping and silence by corpus',
                _ranges(tables, [(u.names[0], 'all') for u in heard], [u.names[0] for u in heard]),
            ),
            _RANGES,
        ),
    ]
    if len(heard) > 1:
        emotion = np.concatenate([u.emotion[u.seconds > 0] for u in heard])
        by_class = lambda field: _grouped(
            emotion, np.concatenate([getattr(u, field)[u.seconds > 0] for u in heard]), emotions
        )
        wide += [
            (
                figures(
                    'lengths',
                    'Lengths by emotion, all corpora',
                    spreads.quantile_lines(by_class('seconds'), 'length (s)'),
                ),
                'Lengths by emotion, all corpora together.',
            ),
            (
                figures('rates', 'Rates by emotion, all corpora', _rates(by_class('rate_hz'))),
                'Sampling rates as recorded, by emotion, all corpora together.',
            ),
        ]
    return {'pair': pair, 'wide': wide}


_RANGES = (
    'Dot: median; bar: the middle 80 %; line: smallest to largest. Bars of clipping: share '
    'of the recordings.'
)


def _corpus(figures: Figures, index: int, u: Any, tables: Mapping, look: Look) -> dict:
    """Return the template variables of one corpus's section: figures, facts, notes."""
    name, shown = u.names[0], []
    rows = [r for r in tables['emotions'] if r['corpus'] == name]
    emotions = [r['emotion'] for r in rows]
    show = lambda key, label, figure, caption: shown.append(
        (figures(f'{key}_{name}', f'{label}, {name}', figure), caption)
    )
    parts = _parts(name, emotions, tables['counts'])
    show(
        'counts',
        'Utterances by class',
        spreads.counts(emotions, [*parts.values()], [*parts]),
        'Utterances of every class.',
    )
    people = [r for r in tables['speakers'] if r['corpus'] == name]
    if len(people) <= _SPEAKERS:
        matrix = [[p[e] for e in emotions] for p in people]
        figure = spreads.speakers(
            [p['speaker'].removeprefix(f'{name}_') for p in people],
            [p['sex'] for p in people],
            emotions,
            matrix,
        )
        show(
            'speakers',
            'Utterances by speaker and class',
            figure,
            'Who shows what: utterances by speaker and class.',
        )
    heard = u.seconds > 0
    if heard.any():
        show(
            'lengths',
            'Lengths by class',
            spreads.quantile_lines(
                _grouped(u.emotion[heard], u.seconds[heard], emotions), 'length (s)'
            ),
            'Lengths by class: quantiles (left); mean, shortest and longest (right).',
        )
        show(
            'rates',
            'Sampling rates by class',
            _rates(_grouped(u.emotion[heard], u.rate_hz[heard], emotions)),
            'Sampling rates as recorded, by class: quantiles (left); mean, lowest and highest '
            '(right).',
        )
        audible = [e for e in emotions if (heard & (u.emotion == e)).any()]
        show(
            'measures',
            'Levels, peaks, clipping and silence by class',
            _ranges(tables, [(name, e) for e in ('all', *audible)], ['all', *audible]),
            _RANGES,
        )
    said = [r for r in tables['words'] if r['corpus'] == name and r['emotion'] != 'all']
    if said:
        panels = {
            'texts': 'texts',
            'sentences': 'distinct sentences',
            'sentences_only_here': 'of this class alone',
            'distinct_words': 'distinct words',
            'words_per_text': 'words per text',
        }
        figure = spreads.bars(
            [r['emotion'] for r in said],
            {label: [r[k] for r in said] for k, label in panels.items()},
        )
        show(
            'words',
            'Sentences and words by class',
            figure,
            'What is said: where many sentences belong to one class alone, the words tell the '
            'emotion.',
        )
    return {
        'name': name,
        'anchor': f'corpus-{index}',
        'facts': u.facts[0],
        'total': tables['corpora'][index],
        'look': look,
        'figures': shown,
        'sheets': _sheets(figures, name, look),
        'people': len(people),
        'many': len(people) > _SPEAKERS,
        'rows': rows,
        'silent': not heard.any(),
    }


def _sheets(figures: Figures, name: str, look: Look) -> list[tuple[Markup, str]]:
    """Return the sheets of one corpus with captions, `sheets.ROWS` classes per sheet."""
    out = []
    show = lambda key, label, figure, caption: out.append(
        (figures(key, f'{label}, {name}', figure), caption)
    )
    classes = list(dict.fromkeys(e.emotion for e in look.found))
    for start in range(0, len(classes), sheets.ROWS):
        some = [e for e in look.found if e.emotion in classes[start : start + sheets.ROWS]]
        end = f'{name}_{1 + start // sheets.ROWS}' if start else name
        what = 'Five recordings of each class, at five quantiles of its lengths'
        if any(e.samples is not None for e in some):
            words = f'{what}: waves, each to its own peak (written, dB re full scale).'
            show(f'waves_{end}', 'Waves by class', sheets.waves(some), words)
            what = 'The same recordings'
            show(
                f'spectrograms_{end}',
                'Spectrograms by class',
                sheets.spectrograms(some),
                f'{what}: spectrograms.',
            )
        words = f'{what}: log-mel spectrograms, what models hear.'
        show(f'mels_{end}', 'Log-mel spectrograms by class', sheets.mels(some), words)
    if look.mels:
        words = (
            'What augmentation does to a log-mel, stronger than experiments usually set it. '
            'Masks are filled with the mean'
        )
        figure = sheets.changed_mels(look.mels, look.id)
        show(
            f'augmented_mels_{name}',
            'Log-mel before and after augmentation',
            figure,
            f'{words} of the corpus.',
        )
    if look.waves:
        words = 'What augmentation does to a waveform, and what its log-mel then looks like.'
        figure = sheets.changed_waves(look.waves, look.id)
        show(f'augmented_waves_{name}', 'Waves before and after augmentation', figure, words)
    return out


def _parts(
    name: str, emotions: Sequence[str], rows: Sequence[dict]
) -> dict[str, dict[str, list[int]]]:
    """Return utterance counts per emotion, by sex and by channel and intensity.

    A breakdown without information (all unknown, or a single group) is left out; at least one of
    the two is returned.
    """
    parts: dict[str, dict[str, list[int]]] = {'by sex': {}, 'by channel and intensity': {}}
    for r in (r for r in rows if r['corpus'] == name):
        both = r['channel'] if r['intensity'] == 'unknown' else f'{r["channel"]}, {r["intensity"]}'
        for part, key in zip(parts.values(), (r['sex'], both), strict=True):
            part.setdefault(key, [0] * len(emotions))[emotions.index(r['emotion'])] += r[
                'utterances'
            ]
    if set(parts['by sex']) == {'unknown'}:
        del parts['by sex']
    elif len(parts['by channel and intensity']) == 1:
        del parts['by channel and intensity']
    return parts


def _frames(figures: Figures, tables: Mapping, pooled: str, covered: float) -> Markup:
    rows = [r for r in tables['frames'] if r['corpus'] == pooled]
    return figures(
        'frames_by_rate', 'Samples needed by sampling rate', spreads.frames_by_rate(rows, covered)
    )


def _rates(groups: Mapping[str, np.ndarray]) -> Figure:
    return spreads.quantile_lines(
        {e: v / 1000 for e, v in groups.items()}, 'sampling rate (kHz)', step=True
    )


def _ranges(tables: Mapping, keys: Sequence[tuple[str, str]], names: Sequence[str]) -> Figure:
    """Levels, peaks, clipping and silence of (corpus, emotion) groups."""
    found = {(r['corpus'], r['emotion'], r['measure']): r for r in tables['measures']}
    spread = lambda measure: [[found[(*k, measure)][q] for q in _RANGE] for k in keys]
    return spreads.ranges(
        names,
        {
            'level (dB re full scale)': spread('level_db'),
            'peak (1 = full scale)': spread('peak'),
            'clipped': [found[(*k, 'clipped')]['mean'] for k in keys],
            'silence (share of time)': spread('silence'),
        },
    )


def _grouped(
    emotion: np.ndarray, values: np.ndarray, order: Sequence[str]
) -> dict[str, np.ndarray]:
    return {e: values[emotion == e] for e in order if (emotion == e).any()}


def _ordered(emotions: Sequence[str], tables: Mapping) -> list[str]:
    """Return the emotions in vocabulary order, the column order of the table of speakers."""
    columns = list(tables['speakers'][0])
    return [e for e in columns if e in set(emotions)]


def _write_csv(path: Path, rows: Sequence[dict]) -> None:
    """Write rows as CSV: floats with six decimals, None and missing keys as empty fields."""
    with path.open('w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, list(dict.fromkeys(k for r in rows for k in r)), restval='')
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f'{v:.6f}' if isinstance(v, float) else v for k, v in row.items()})
