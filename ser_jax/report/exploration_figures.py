"""Figures of the exploration report with captions: all corpora, one corpus, its recordings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ser_jax.report import counts, sheets, spreads
from ser_jax.report.figures import Captioned, Figures

MOST_SPEAKERS = 200  # with more speakers there is only the table, no figure
_RANGE = ('min', 'q10', 'median', 'q90', 'max')
_RANGES = (
    'Dot: median; bar: the middle 80 %; line: smallest to largest. Bars of clipping: share of the '
    'recordings.'
)
_WORDS = {  # column of the table of words -> title of its panel
    'texts': 'texts',
    'sentences': 'distinct sentences',
    'sentences_only_here': 'of this class alone',
    'distinct_words': 'distinct words',
    'words_per_text': 'words per text',
}


def compared(
    figures: Figures, corpora: Sequence[Any], tables: Mapping
) -> dict[str, list[Captioned]]:
    """Return figures that compare all corpora, with captions.

    Figures in 'pair' are as wide as a column, those in 'wide' as the page.
    """
    emotions = _ordered([r['emotion'] for r in tables['emotions']], tables)
    number = {(r['corpus'], r['emotion']): r['utterances'] for r in tables['emotions']}
    parts = {}
    for u in corpora:
        parts[u.names[0]] = [number.get((u.names[0], e), 0) for e in emotions]
    figure = counts.by_class(emotions, [parts], ['by corpus'])
    caption = 'Utterances of every emotion, by corpus.'
    wide = [figures.captioned('counts', 'Utterances by emotion and corpus', figure, caption)]
    audible = [u for u in corpora if (u.seconds > 0).any()]
    if not audible:
        return {'pair': [], 'wide': wide}
    names = [u.names[0] for u in audible]
    figure = _ranges(tables, [(name, 'all') for name in names], names)
    label = 'Levels, peaks, clipping and silence by corpus'
    wide.append(figures.captioned('measures_compared', label, figure, _RANGES))
    if len(audible) > 1:
        wide += _pooled(figures, audible, emotions)
    return {'pair': _distributions(figures, audible), 'wide': wide}


def _distributions(figures: Figures, corpora: Sequence[Any]) -> list[Captioned]:
    """Return the cumulative distributions of lengths and levels by corpus."""
    lengths = spreads.shares(_by_corpus(corpora, 'seconds'), 'length (s)')
    levels = spreads.shares(_by_corpus(corpora, 'level_db'), 'level (dB re full scale)')
    short = 'Lengths: the share of recordings that are this short or shorter.'
    loud = 'Levels: root mean square of each recording.'
    return [
        figures.captioned('lengths_compared', 'Lengths by corpus', lengths, short),
        figures.captioned('levels_compared', 'Levels by corpus', levels, loud),
    ]


def _pooled(figures: Figures, corpora: Sequence[Any], emotions: Sequence[str]) -> list[Captioned]:
    """Return lengths and sampling rates by emotion over all corpora."""
    emotion = np.concatenate([*_by_corpus(corpora, 'emotion').values()])
    seconds = np.concatenate([*_by_corpus(corpora, 'seconds').values()])
    rate_hz = np.concatenate([*_by_corpus(corpora, 'rate_hz').values()])
    lengths = spreads.quantile_lines(_grouped(emotion, seconds, emotions), 'length (s)')
    long = 'Lengths by emotion, all corpora together.'
    rates = _rates(_grouped(emotion, rate_hz, emotions))
    fast = 'Sampling rates as recorded, by emotion, all corpora together.'
    return [
        figures.captioned('lengths', 'Lengths by emotion, all corpora', lengths, long),
        figures.captioned('rates', 'Rates by emotion, all corpora', rates, fast),
    ]


def of_corpus(figures: Figures, u: Any, tables: Mapping) -> list[Captioned]:
    """Return the figures of the statistics of one corpus, with captions."""
    name = u.names[0]
    emotions = [r['emotion'] for r in tables['emotions'] if r['corpus'] == name]
    parts = _parts(name, emotions, tables['counts'])
    figure = counts.by_class(emotions, [*parts.values()], [*parts])
    label = f'Utterances by class, {name}'
    captioned = [figures.captioned(f'counts_{name}', label, figure, 'Utterances of every class.')]
    speakers = [r for r in tables['speakers'] if r['corpus'] == name]
    if len(speakers) <= MOST_SPEAKERS:
        figure = counts.by_speaker(
            [s['speaker'].removeprefix(f'{name}_') for s in speakers],
            [s['sex'] for s in speakers],
            emotions,
            [list(map(s.__getitem__, emotions)) for s in speakers],
        )
        caption = 'Utterances by speaker and class'
        label = f'{caption}, {name}'
        captioned.append(figures.captioned(f'speakers_{name}', label, figure, f'{caption}.'))
    if (u.seconds > 0).any():
        captioned += _of_audio(figures, u, tables, emotions)
    rows = [r for r in tables['words'] if r['corpus'] == name and r['emotion'] != 'all']
    if rows:
        panels = {}
        for column, title in _WORDS.items():
            panels[title] = [r[column] for r in rows]
        figure = counts.bars([r['emotion'] for r in rows], panels)
        caption = (
            'Sentences and words: where many sentences belong to one class alone, the words '
            'reveal the emotion.'
        )
        label = f'Sentences and words by class, {name}'
        captioned.append(figures.captioned(f'words_{name}', label, figure, caption))
    return captioned


def _of_audio(
    figures: Figures, u: Any, tables: Mapping, emotions: Sequence[str]
) -> list[Captioned]:
    """Return lengths, sampling rates and levels of one corpus by class."""
    name, has_audio = u.names[0], u.seconds > 0
    audible = [e for e in emotions if (has_audio & (u.emotion == e)).any()]
    seconds = _grouped(u.emotion[has_audio], u.seconds[has_audio], emotions)
    rates = _grouped(u.emotion[has_audio], u.rate_hz[has_audio], emotions)
    lengths = spreads.quantile_lines(seconds, 'length (s)')
    long = 'Lengths by class: quantiles (left); mean, shortest and longest (right).'
    fast = (
        'Sampling rates as recorded, by class: quantiles (left); mean, lowest and highest (right).'
    )
    measures = _ranges(tables, [(name, e) for e in ('all', *audible)], ['all', *audible])
    label = f'Levels, peaks, clipping and silence by class, {name}'
    return [
        figures.captioned(f'lengths_{name}', f'Lengths by class, {name}', lengths, long),
        figures.captioned(f'rates_{name}', f'Sampling rates by class, {name}', _rates(rates), fast),
        figures.captioned(f'measures_{name}', label, measures, _RANGES),
    ]


def of_recordings(figures: Figures, name: str, look: Any) -> list[Captioned]:
    """Return the sheets of one corpus with captions, `sheets.ROWS` classes per sheet.

    Args:
      look: `ser_jax.report.exploration.Look` of the corpus.
    """
    captioned = []
    classes = list(dict.fromkeys(e.emotion for e in look.found))
    for start in range(0, len(classes), sheets.ROWS):
        examples = [e for e in look.found if e.emotion in classes[start : start + sheets.ROWS]]
        end = f'{name}_{1 + start // sheets.ROWS}' if start else name
        captioned += _sheets(figures, name, end, examples)
    if look.mels:
        caption = (
            'Augmentations of a log-mel, stronger than experiments usually set them. Masks are '
            'filled with the mean of the corpus.'
        )
        figure = sheets.changed_mels(look.mels, look.id)
        label = f'Log-mel before and after augmentation, {name}'
        captioned.append(figures.captioned(f'augmented_mels_{name}', label, figure, caption))
    if look.waves:
        figure = sheets.changed_waves(look.waves, look.id)
        label = f'Waves before and after augmentation, {name}'
        caption = 'Augmentations of a waveform, and the log-mels of the results.'
        captioned.append(figures.captioned(f'augmented_waves_{name}', label, figure, caption))
    return captioned


def _sheets(figures: Figures, name: str, end: str, examples: Sequence[Any]) -> list[Captioned]:
    """Return waves, spectrograms and log-mels of some classes; `end` ends the file names."""
    captioned = []
    subject = 'Five recordings of each class, at five quantiles of its lengths'
    if any(e.samples is not None for e in examples):
        picture = figures(f'waves_{end}', f'Waves by class, {name}', sheets.waves(examples))
        scale = 'waves, each scaled to its peak (in its panel, dB re full scale).'
        captioned.append((picture, f'{subject}: {scale}'))
        subject = 'The same recordings'
        label = f'Spectrograms by class, {name}'
        picture = figures(f'spectrograms_{end}', label, sheets.spectrograms(examples))
        captioned.append((picture, f'{subject}: spectrograms.'))
    label = f'Log-mel spectrograms by class, {name}'
    picture = figures(f'mels_{end}', label, sheets.mels(examples))
    captioned.append((picture, f'{subject}: log-mel spectrograms, the input of models.'))
    return captioned


def frames(figures: Figures, tables: Mapping, corpus: str, covered: float) -> Markup:
    """Return the figure of samples needed by sampling rate, of the rows of `corpus`."""
    rows = [r for r in tables['frames'] if r['corpus'] == corpus]
    figure = spreads.frames_by_rate(rows, covered)
    return figures('frames_by_rate', 'Samples needed by sampling rate', figure)


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
            numbers = part.setdefault(key, [0] * len(emotions))
            numbers[emotions.index(r['emotion'])] += r['utterances']
    if set(parts['by sex']) == {'unknown'}:
        del parts['by sex']
    elif len(parts['by channel and intensity']) == 1:
        del parts['by channel and intensity']
    return parts


def _rates(groups: Mapping[str, np.ndarray]) -> Figure:
    khz = {e: rates / 1000 for e, rates in groups.items()}
    return spreads.quantile_lines(khz, 'sampling rate (kHz)', step=True)


def _ranges(tables: Mapping, keys: Sequence[tuple[str, str]], names: Sequence[str]) -> Figure:
    """Plot levels, peaks, clipping and silence of (corpus, emotion) groups."""
    rows = {(r['corpus'], r['emotion'], r['measure']): r for r in tables['measures']}

    def ranges(measure: str) -> list[list[float]]:
        return [list(map(rows[(*key, measure)].__getitem__, _RANGE)) for key in keys]

    panels = {
        'level (dB re full scale)': ranges('level_db'),
        'peak (1 = full scale)': ranges('peak'),
        'clipped': [rows[(*key, 'clipped')]['mean'] for key in keys],
        'silence (share of time)': ranges('silence'),
    }
    return spreads.ranges(names, panels)


def _by_corpus(corpora: Sequence[Any], field: str) -> dict[str, np.ndarray]:
    """Return a field of the recordings of each corpus by its name."""
    return {u.names[0]: getattr(u, field)[u.seconds > 0] for u in corpora}


def _grouped(
    emotion: np.ndarray, values: np.ndarray, order: Sequence[str]
) -> dict[str, np.ndarray]:
    return {e: values[emotion == e] for e in order if (emotion == e).any()}


def _ordered(emotions: Sequence[str], tables: Mapping) -> list[str]:
    """Return the emotions in vocabulary order, the column order of the table of speakers."""
    columns = list(tables['speakers'][0])
    return [e for e in columns if e in set(emotions)]
