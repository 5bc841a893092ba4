"""Tables of numbers of utterances: by attributes, by emotion and by speaker."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial

import numpy as np

from ser_jax.contract import CHANNELS, INTENSITIES, SEXES
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import ordered


def classes(corpus: Utterances) -> tuple[str, ...]:
    """Return the emotions that a corpus declares or holds, in the order of the vocabulary."""
    declared = itertools.chain.from_iterable(info.emotions for info in corpus.facts)
    return ordered([*corpus.emotion, *declared])


def by_attributes(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per combination of corpus, emotion, sex, channel and intensity that occurs."""
    rows = []
    for u in corpora:
        found = Counter(zip(u.emotion, u.sex, u.channel, u.intensity, strict=True))
        for key in sorted(found, key=partial(_position, classes(u))):
            names = dict(zip(('emotion', 'sex', 'channel', 'intensity'), key, strict=True))
            rows.append({'corpus': u.names[0], **names, 'utterances': found[key]})
    return rows


def _position(emotions: tuple[str, ...], key: tuple[str, str, str, str]) -> tuple[int, ...]:
    """Return the place of (emotion, sex, channel, intensity) in the order of the vocabularies."""
    vocabularies = (emotions, SEXES, CHANNELS, INTENSITIES)
    return tuple(words.index(word) for words, word in zip(vocabularies, key, strict=True))


def by_emotion(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per corpus and emotion, including emotions without utterances.

    Columns: utterances in all and by sex, channel and intensity; share, hours and speakers.
    """
    rows = []
    for u in corpora:
        for e in classes(u):
            at = u.emotion == e
            rows.append(
                {
                    'corpus': u.names[0],
                    'emotion': e,
                    'utterances': int(at.sum()),
                    'share': float(at.mean()),
                    'hours': float(u.seconds[at].sum(dtype=np.float64) / 3600),
                    'speakers': len(set(u.speaker[at])),
                    **_counted(u.sex[at], 'sex', SEXES),
                    **_counted(u.channel[at], 'channel', CHANNELS),
                    **_counted(u.intensity[at], 'intensity', INTENSITIES),
                }
            )
    return rows


def _counted(values: np.ndarray, field: str, words: Sequence[str]) -> dict[str, int]:
    """Return the number of utterances per word; the column of 'unknown' has the field's name."""
    count = Counter(values.tolist())
    return {f'{field}_{w}' if w == 'unknown' else w: count[w] for w in words}


def by_speaker(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per speaker: utterances, hours, and utterances of every emotion."""
    known = ordered([*itertools.chain.from_iterable(map(classes, corpora))])
    rows = []
    for u in corpora:
        sex = dict(zip(u.speaker, u.sex, strict=True))
        hours: dict[str, float] = defaultdict(float)
        found: dict[str, Counter] = defaultdict(Counter)
        for speaker, emotion, seconds in zip(u.speaker, u.emotion, u.seconds, strict=True):
            hours[speaker] += float(seconds) / 3600
            found[speaker][emotion] += 1
        for s in sorted(found):
            row = {
                'corpus': u.names[0],
                'speaker': s,
                'sex': sex[s],
                'utterances': found[s].total(),
                'hours': hours[s],
            }
            rows.append(row | {e: found[s][e] for e in known})
    return rows
