"""Checks of names: file names that contradict labels, speakers under several names, odd names."""

import collections
import difflib
import re
import unicodedata
from collections.abc import Iterator
from pathlib import PurePath

from ser_jax.corpora import file_names
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import EMOTIONS
from ser_jax.explore.findings import Finding


def names_contradict(corpus: str, u: Utterances) -> Iterator[Finding]:
    """Yield files whose published name encodes another emotion or speaker than their label."""
    names = _published_names(u)
    contradictions = collections.defaultdict(list)
    for i, name in names.items():
        if u.emotion[i] in EMOTIONS and u.emotion[i] != name.emotion:
            contradictions[name.corpus].append(
                f'{u.id[i]} is labeled {u.emotion[i]}, its name encodes {name.emotion}'
            )
    number = collections.Counter(name.corpus for name in names.values())
    for scheme, items in sorted(contradictions.items()):
        yield Finding(
            'error',
            'names contradict labels',
            f'{corpus}: {len(items)} of {number[scheme]} files with names of {scheme} have labels '
            f'that contradict their names, e.g. {items[0]}',
            f'take the labels from the names (datasets/{scheme})',
            tuple(items),
        )
    yield from _speakers_contradict(
        corpus, {(name.speaker, str(u.speaker[i])) for i, name in names.items() if name.speaker}
    )


def _published_names(u: Utterances) -> dict[int, file_names.FileName]:
    """Return the parsed file name of each utterance that has a published one.

    Short names without a speaker (a01, sa03) are ambiguous: they count only if they are the
    majority of a corpus and cover all SAVEE emotions.
    """
    parsed = {i: file_names.parse(str(name)) for i, name in enumerate(u.id)}
    names = {i: name for i, name in parsed.items() if name}
    short = [name for name in names.values() if not name.speaker]
    emotions = {name.label for name in short}
    if len(short) > len(u) / 2 and len(emotions) >= len(file_names.SAVEE_EMOTIONS):
        return names
    return {i: name for i, name in names.items() if name.speaker}


def _speakers_contradict(corpus: str, pairs: set[tuple[str, str]]) -> Iterator[Finding]:
    """Yield mismatches between speakers by file name and by label.

    Args:
      corpus: its name.
      pairs: the (speaker by file name, speaker by label) that occur.
    """
    labels_of, names_of = collections.defaultdict(set), collections.defaultdict(set)
    for name, label in pairs:
        labels_of[name].add(label)
        names_of[label].add(name)
    for name, labels in sorted(labels_of.items()):
        if len(labels) > 1:
            yield Finding(
                'error',
                'speaker split',
                f'{corpus}: {name} by its file names is labeled as {len(labels)} speakers: '
                f'{", ".join(sorted(labels)[:3])}',
                'use one label, or the speaker may be in both training and test',
                tuple(sorted(labels)),
            )
    for label, names in sorted(names_of.items()):
        if len(names) > 1 and not label.endswith('_unknown'):
            yield Finding(
                'warning',
                'speaker merged',
                f'{corpus}: {label} has file names of {len(names)} speakers: '
                f'{", ".join(sorted(names)[:3])}',
                'use one label per speaker',
                tuple(sorted(names)),
            )


def speakers_across_corpora(u: Utterances) -> Iterator[Finding]:
    """Yield speakers (by published file names) with different labels in several corpora."""
    found = collections.defaultdict(set)
    for i, file in enumerate(u.id if len(u.names) > 1 else ()):
        if (name := file_names.parse(str(file))) and name.speaker:
            found[name.speaker].add((u.names[u.corpus[i]], str(u.speaker[i])))
    for speaker, uses in sorted(found.items()):
        if len({corpus for corpus, _ in uses}) > 1 and len({label for _, label in uses}) > 1:
            labels = ', '.join(f'{label} of {corpus}' for corpus, label in sorted(uses)[:3])
            yield Finding(
                'error',
                'speaker split',
                f'{speaker} by its file names is labeled as {labels}',
                'use one label, or the speaker may be in both training and test',
                tuple(label for _, label in sorted(uses)),
            )


def speakers_alike(u: Utterances) -> Iterator[Finding]:
    """Yield speakers whose names differ only in case, spaces, punctuation or Unicode form."""
    groups = collections.defaultdict(set)
    for speaker in map(str, u.speaker):
        plain = unicodedata.normalize('NFKD', speaker).casefold()
        groups[re.sub(r'[\W_]+', '', plain)].add(speaker)
    for names in (sorted(g) for g in groups.values() if len(g) > 1):
        yield Finding(
            'warning',
            'speaker split',
            f'speakers {" and ".join(map(repr, names[:3]))} have nearly the same name',
            'use one name per speaker, or the speaker may be in both training and test',
            tuple(names),
        )


def odd_names(corpus: str, u: Utterances, few: int = 8) -> Iterator[Finding]:
    """Yield names with a field that nearly equals one of the few frequent values of that field."""
    fields: dict[int, dict[str, list]] = {}
    for name in u.id:
        for position, value in enumerate(re.split(r'[-_]', PurePath(str(name)).name)):
            fields.setdefault(position, {}).setdefault(value, []).append(name)
    for values in fields.values():
        if len(values) > few:
            continue
        frequent = [value for value, names in values.items() if len(names) >= 5]
        for value, names in values.items():
            near = difflib.get_close_matches(value, frequent, 1, 0.75)
            if len(names) == 1 and near and value not in frequent:
                yield Finding(
                    'note',
                    'odd name',
                    f'{corpus}/{names[0]} has {value!r} where other names have {near[0]!r}',
                    'nothing, if its speaker and emotion are right',
                    (names[0],),
                )
