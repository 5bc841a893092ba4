"""Checks of corpora before training; each check yields findings.

They cover mistakes of published systems: duplicate files, labels that follow the speaker or
another field of the file name, sentences that give the label away, classes without recordings.
"""

import collections
import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from ser_jax.corpora import file_names
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import EMOTIONS
from ser_jax.explore.near_duplicates import Pair

SEVERITIES = ('leak', 'error', 'warning', 'note')


class Finding(NamedTuple):
    """One line of an audit: severity, check, finding, remedy and the items concerned."""

    severity: str
    check: str
    what: str
    do: str = ''
    where: tuple[str, ...] = ()


def corpus_findings(
    u: Utterances, reports: Mapping[str, dict], pairs: Iterable[Pair]
) -> Iterator[Finding]:
    """Yield the findings of all checks of corpora.

    Args:
      u: the opened corpora.
      reports: corpus -> its inspection.json.
      pairs: pairs from `near_duplicates.near_duplicates`.
    """
    yield from same_content(u)
    yield from near_content(u, pairs)
    yield from voices_across(u)
    yield from speakers_alike(u)
    for c, name in enumerate(u.names):
        of = u.select(u.corpus == c)
        yield from left_out(name, reports.get(name, {}))
        yield from support(name, of, u.facts[c].emotions)
        yield from labels_follow_speakers(name, of)
        yield from names_contradict(name, of)
        yield from odd_names(name, of)
        yield from texts_tell(name, of)
        yield from levels(name, of)


def place(u: Utterances, i: int) -> str:
    """Return `corpus/id` of an utterance."""
    return f'{u.names[u.corpus[i]]}/{u.id[i]}'


def same_content(u: Utterances) -> Iterator[Finding]:
    """Yield recordings with equal samples (builders keep one of each within a corpus)."""
    groups = collections.defaultdict(list)
    for i, content in enumerate(u.source_sha256):
        groups[content].append(i)
    for group in (g for g in groups.values() if len(g) > 1):
        yield _copies(u, group, 'are the same recording')


def near_content(u: Utterances, pairs: Iterable[Pair]) -> Iterator[Finding]:
    """Yield copies of one recording whose samples differ."""
    for i, j, agreement in pairs:
        yield _copies(u, [i, j], f'agree by {agreement:.3f}: one recording, processed')


def _copies(u: Utterances, group: list[int], why: str) -> Finding:
    where, labels = tuple(place(u, i) for i in group), sorted({u.emotion[i] for i in group})
    if len(labels) > 1:
        what = f'{" and ".join(where[:3])} {why}, labeled {" and ".join(labels)}'
        return Finding(
            'error',
            'label conflict',
            what,
            'find out which label is right, or leave both out',
            where,
        )
    return Finding(
        'warning',
        'duplicate',
        f'{" and ".join(where[:3])} {why}',
        'keep one, or they may meet across a split',
        where,
    )


def left_out(corpus: str, report: Mapping) -> Iterator[Finding]:
    """Yield the items that the builder skipped, by kind."""
    by_kind = collections.defaultdict(list)
    for s in report.get('skipped', ()):
        by_kind[s['kind']].append(f'{s["source"]}' + (f' ({s["detail"]})' if s['detail'] else ''))
    for kind, items in sorted(by_kind.items()):
        severity = {'duplicate': 'note', 'label conflict': 'error', 'name conflict': 'error'}.get(
            kind, 'warning'
        )
        remedies = {
            'label conflict': 'find out which label is right',
            'name conflict': 'keep one sound of each name',
        }
        do = remedies.get(kind, 'nothing: it was left out')
        yield Finding(
            severity,
            f'left out: {kind}',
            f'{corpus}: {len(items)} when it was built: {items[0]}',
            do,
            tuple(items),
        )


def support(
    corpus: str, u: Utterances, emotions: tuple[str, ...], few: int = 10
) -> Iterator[Finding]:
    """Yield classes with no data or fewer than `few` utterances, and corpora with one label."""
    counts = collections.Counter(u.emotion)
    if missing := [e for e in emotions if not counts[e]]:
        what = f'{corpus} was made with {", ".join(missing)}, but holds no example'
        yield Finding(
            'note', 'class without data', what, 'it is left out, never presented as detectable'
        )
    if small := {e: n for e, n in counts.items() if n < few}:
        what = (
            f'{corpus} holds less than {few} of {", ".join(f"{e} ({n})" for e, n in small.items())}'
        )
        yield Finding(
            'warning',
            'small class',
            what,
            'leave it out (data.emotions) or merge it (data.merge)',
            tuple(small),
        )
    if len(counts) == 1 and len(emotions) > 1 and len(u) >= few:
        what = (
            f'all {len(u)} utterances of {corpus} are {next(iter(counts))}, of '
            f'{len(emotions)} emotions it was made with'
        )
        yield Finding(
            'error', 'one label', what, 'see which field of the file name was read as the emotion'
        )


def labels_follow_speakers(corpus: str, u: Utterances, share: float = 0.9) -> Iterator[Finding]:
    """Yield corpora whose labels are predictable from the speaker.

    Such corpora are sorted by speaker instead of by emotion, or have one speaker per class.
    """
    if len(set(u.speaker)) < 2 or len(set(u.emotion)) < 2:
        return
    told, most = _told_by(u.speaker, u.emotion)
    repeated = len(u) / len(set(u.speaker))
    if repeated >= 5 and told >= share and told - most > 0.2:
        what = (
            f'the speaker alone tells the label of {told:.0%} of {corpus} (always answering '
            f'the largest class: {most:.0%})'
        )
        yield Finding(
            'error',
            'labels follow speakers',
            what,
            'compare the labels with what is heard: were folders speakers?',
        )


def _told_by(clue: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Return the accuracies of the most frequent label per clue and of the one overall."""
    by_clue = collections.defaultdict(collections.Counter)
    for c, e in zip(clue, label, strict=True):
        by_clue[c][e] += 1
    right = sum(max(n.values()) for n in by_clue.values())
    return right / len(label), max(collections.Counter(label).values()) / len(label)


def names_contradict(corpus: str, u: Utterances) -> Iterator[Finding]:
    """Yield files whose published name encodes another emotion or speaker than their label."""
    named = {
        i: n for i, n in ((i, file_names.parse(str(name))) for i, name in enumerate(u.id)) if n
    }
    # Short names without a speaker (a01, sa03) are ambiguous: they count only if they are the
    # majority of a corpus and cover all SAVEE emotions.
    short = [i for i, n in named.items() if not n.speaker]
    if len(short) <= len(u) / 2 or len({named[i].label for i in short}) < len(
        file_names.SAVEE_EMOTIONS
    ):
        named = {i: n for i, n in named.items() if n.speaker}
    wrong, seen = (
        collections.defaultdict(list),
        collections.Counter(n.corpus for n in named.values()),
    )
    for i, n in named.items():
        if u.emotion[i] in EMOTIONS and u.emotion[i] != n.emotion:
            wrong[n.corpus].append(
                f'{u.id[i]} is labeled {u.emotion[i]}, its name says {n.emotion}'
            )
    for of, items in sorted(wrong.items()):
        what = (
            f'{corpus}: {len(items)} of {seen[of]} files with names of {of} contradict them: '
            f'{items[0]}'
        )
        yield Finding(
            'error',
            'names contradict labels',
            what,
            f'take the labels from the names (datasets/{of})',
            tuple(items),
        )
    yield from _voices(
        corpus, {(n.speaker, str(u.speaker[i])) for i, n in named.items() if n.speaker}
    )


def _voices(corpus: str, pairs: set[tuple[str, str]]) -> Iterator[Finding]:
    """Yield mismatches between speakers by file name and by label.

    Args:
      corpus: its name.
      pairs: the (speaker by file name, speaker by label) that occur.
    """
    speakers, voices = collections.defaultdict(set), collections.defaultdict(set)
    for voice, speaker in pairs:
        speakers[voice].add(speaker)
        voices[speaker].add(voice)
    for voice, own in sorted(speakers.items()):
        if len(own) > 1:
            what = (
                f'{corpus}: one voice, {voice} by its file names, under {len(own)} speakers: '
                f'{", ".join(sorted(own)[:3])}'
            )
            yield Finding(
                'error',
                'speaker split',
                what,
                'give it one name, or it stands on both sides',
                tuple(sorted(own)),
            )
    for speaker, of in sorted(voices.items()):
        if len(of) > 1 and not speaker.endswith('_unknown'):
            what = (
                f'{corpus}: {speaker} is {len(of)} voices by its file names: '
                f'{", ".join(sorted(of)[:3])}'
            )
            yield Finding(
                'warning', 'speaker merged', what, 'give each voice its own name', tuple(sorted(of))
            )


def voices_across(u: Utterances) -> Iterator[Finding]:
    """Yield speakers (by published file names) with different labels in several corpora."""
    found = collections.defaultdict(set)
    for i, name in enumerate(u.id if len(u.names) > 1 else ()):
        if (n := file_names.parse(str(name))) and n.speaker:
            found[n.speaker].add((u.names[u.corpus[i]], str(u.speaker[i])))
    for voice, where in sorted(found.items()):
        if len({c for c, _ in where}) > 1 and len({s for _, s in where}) > 1:
            names = ', '.join(f'{s} of {c}' for c, s in sorted(where)[:3])
            what = f'one voice, {voice} by its file names, is {names}'
            yield Finding(
                'error',
                'speaker split',
                what,
                'give it one name, or it stands on both sides',
                tuple(s for _, s in sorted(where)),
            )


def speakers_alike(u: Utterances) -> Iterator[Finding]:
    """Yield speakers whose names differ only in case, spaces, punctuation or Unicode form."""
    groups = collections.defaultdict(set)
    for speaker in map(str, u.speaker):
        groups[re.sub(r'[\W_]+', '', unicodedata.normalize('NFKD', speaker).casefold())].add(
            speaker
        )
    for names in (sorted(g) for g in groups.values() if len(g) > 1):
        what = f'speakers {" and ".join(map(repr, names[:3]))} have nearly the same name'
        yield Finding(
            'warning',
            'speaker split',
            what,
            'give one voice one name, or it stands on both sides',
            tuple(names),
        )


def odd_names(corpus: str, u: Utterances, few: int = 8) -> Iterator[Finding]:
    """Yield names with a field that nearly equals one of the few frequent values there."""
    fields = collections.defaultdict(lambda: collections.defaultdict(list))
    for name in u.id:
        for at, field in enumerate(re.split(r'[-_]', PurePath(str(name)).name)):
            fields[at][field].append(name)
    for values in fields.values():
        if len(values) > few:
            continue
        frequent = [v for v, names in values.items() if len(names) >= 5]
        for value, names in values.items():
            near = difflib.get_close_matches(value, frequent, 1, 0.75)
            if len(names) == 1 and near and value not in frequent:
                what = f'{corpus}/{names[0]} is misnamed: {value} where others have {near[0]}'
                yield Finding(
                    'note',
                    'odd name',
                    what,
                    'nothing, if its speaker and emotion are right',
                    (names[0],),
                )


def texts_tell(corpus: str, u: Utterances, share: float = 0.9) -> Iterator[Finding]:
    """Yield corpora whose repeated sentences give the label away."""
    n = collections.Counter(u.text)
    repeated = np.array([bool(t) and n[t] > 1 for t in u.text])
    if repeated.sum() < 20 or len(set(u.emotion[repeated])) < 2:
        return
    told, most = _told_by(u.text[repeated], u.emotion[repeated])
    if told >= share and told - most > 0.2:
        what = f'the sentence alone tells the label of {told:.0%} of {corpus}'
        yield Finding(
            'warning',
            'text tells the label',
            what,
            'a model that reads it is told the answer: score the sound alone',
        )


def levels(corpus: str, u: Utterances) -> Iterator[Finding]:
    """Yield clipping, near-silence and unusual durations."""
    heard = u.select(u.seconds > 0)
    if not len(heard):
        return
    clipped = heard.clipped > 0
    if clipped.mean() > 0.02:
        loud = collections.Counter(heard.speaker[clipped]).most_common(3)
        who = ', '.join(f'{s} {n}' for s, n in loud)
        yield Finding(
            'warning',
            'clipped',
            f'{corpus}: {clipped.mean():.0%} of recordings are clipped ({who})',
            'nothing; loudness says little there',
            tuple(heard.id[clipped]),
        )
    for what, odd, do in (
        ('quieter than -60 dB', heard.level_db < -60, 'listen to them'),
        ('shorter than 0.3 s', heard.seconds < 0.3, 'listen to them'),
        ('longer than 30 s', heard.seconds > 30, 'cut them into utterances'),
        ('silent for more than 90 % of their time', heard.silence > 0.9, 'listen to them'),
    ):
        if odd.any():
            yield Finding(
                'note',
                'odd recordings',
                f'{corpus}: {odd.sum()} of {len(heard)} are {what}, e.g. {heard.id[odd][0]}',
                do,
                tuple(heard.id[odd]),
            )
