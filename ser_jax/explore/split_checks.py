"""Checks of the splits of a run: speakers, recordings or fitted statistics that leak."""

import collections
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ser_jax.audio import variants
from ser_jax.corpora import file_names
from ser_jax.data import text
from ser_jax.data.utterances import Utterances, normalization
from ser_jax.explore.corpus_checks import Finding
from ser_jax.explore.near_duplicates import Pair

SIDES = ('train', 'valid', 'test')
_ROUNDING = 1e-3  # in deviations: log-mels differ a little between devices
_WORDS = r'noise|noisy|stretch\w*|pitch\w*|shift\w*|speed\w*|slow|fast|gain|aug\w*|copy|orig\w*'
_AUGMENTED = re.compile(rf'(?i)([ _.+-]+({_WORDS})[\d.]*|\s*\(\d+\))+$')


def run_findings(
    u: Utterances,
    protocol: str,
    members: Mapping[str, Mapping[str, list[str]]],
    pairs: Iterable[Pair],
) -> Iterator[Finding]:
    """Yield the findings of all checks of the splits of a run.

    Args:
      u: the utterances with the labels that the run was trained on.
      protocol: name of its protocol.
      members: from folds.json: member -> side -> ['corpus/id', ...].
      pairs: pairs from `near_duplicates.near_duplicates(u)`.
    """
    if protocol.startswith('leaky'):
        yield Finding(
            'leak',
            'protocol',
            f'the run asked for a leak by name: {protocol}',
            'its scores are inflated; quote them so',
        )
    at = {f'{u.names[c]}/{i}': n for n, (c, i) in enumerate(zip(u.corpus, u.id, strict=True))}
    gone = sorted(
        {i for sides in members.values() for ids in sides.values() for i in ids} - set(at)
    )
    if gone:
        what = f'{len(gone)} utterances of the run are not in the built corpora, e.g. {gone[0]}'
        yield Finding(
            'error',
            'other data',
            what,
            'audit it with the shards it was trained on (--data_dir)',
            tuple(gone),
        )
    sides = {
        m: {s: np.array([at[i] for i in ids if i in at], int) for s, ids in of.items()}
        for m, of in members.items()
    }
    alike = [*pairs, *_equal(u)]
    yield from _together(
        sides,
        'speaker',
        u.speaker,
        'leak',
        'separate them; ser_jax does, unless asked for a leaky protocol',
    )
    if not protocol.startswith('leaky'):
        do = 'give each voice one name in all corpora, or leave one of them out'
        yield from _together(sides, 'voice', file_names.voices(u.id, u.speaker), 'leak', do)
    yield from _pairs(u, sides, 'duplicate', [(p.first, p.second) for p in alike], 'one recording')
    yield from _pairs(u, sides, 'augmented sibling', _siblings(u), 'copies of one source')
    yield from _classes(u, sides)
    sentences = np.array([s or f'?{i}' for i, s in enumerate(u.text)], object)
    yield from _together(
        sides, 'sentence', sentences, 'note', 'nothing, but a model that reads may know them'
    )


def shared(own: Utterances, other: Utterances) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks, bool [N], over `other`: recordings and speakers that are also in `own`.

    Speakers are compared by their names and by file names of published corpora. Only
    `near_duplicates` finds a copy with other samples under another name.
    """
    voices = {*own.speaker, *file_names.voices(own.id, own.speaker)}
    pairs = zip(other.speaker, file_names.voices(other.id, other.speaker), strict=True)
    heard = np.array([not voices.isdisjoint(names) for names in pairs], bool)
    return np.isin(other.source_sha256, own.source_sha256), heard


def _equal(u: Utterances) -> list[Pair]:
    groups = collections.defaultdict(list)
    for i, content in enumerate(u.source_sha256):
        if not variants.variant_of(u.id[i]):  # `_siblings` finds variants by name
            groups[content].append(i)
    return [Pair(g[0], j, 1.0) for g in groups.values() for j in g[1:]]


def _siblings(u: Utterances) -> list[tuple[int, int]]:
    """Return pairs whose names differ by the suffix of an augmentation or copy."""
    groups = collections.defaultdict(list)
    for i in range(len(u)):
        groups[u.corpus[i], _AUGMENTED.sub('', variants.source_of(u.id[i]))].append(i)
    return [(g[0], j) for g in groups.values() for j in g[1:]]


def _together(sides, what: str, of: np.ndarray, severity: str, do: str) -> Iterator[Finding]:
    """Yield the values of `of` [N] that are in training or validation and in the test of a member.

    With severity 'leak', also those that are in its training and validation.
    """
    met = collections.defaultdict(list)
    for member, side in sides.items():
        learnt = set(of[np.concatenate([side['train'], side['valid']])])
        for value in sorted(learnt & set(of[side['test']])):
            met[value].append(member)
        chosen = set(of[side['train']]) & set(of[side['valid']])
        for value in sorted(chosen - set(met)) if severity == 'leak' else ():
            met[value].append(f'{member} (validation)')
    if met:
        value, first = next(iter(met.items()))
        yield Finding(
            severity,
            f'{what} on two sides',
            f'{len(met)} {what}s are learnt and scored, e.g. {value!r} in {first[0]}',
            do,
            tuple(map(str, met)),
        )


def _pairs(
    u: Utterances, sides, check: str, pairs: Iterable[tuple[int, int]], why: str
) -> Iterator[Finding]:
    """Yield pairs whose utterances are on different sides of a member."""
    side_of = {m: {int(i): s for s in SIDES for i in of[s]} for m, of in sides.items()}
    met = []
    for i, j in pairs:
        for member, of in side_of.items():
            if i in of and j in of and of[i] != of[j]:
                met.append(f'{u.id[i]} ({of[i]}) and {u.id[j]} ({of[j]}) in {member}')
                break
    if met:
        yield Finding(
            'leak',
            f'{check} on two sides',
            f'{len(met)} pairs of {why} are learnt and scored: {met[0]}',
            'split by source, before augmenting; keep one of equal recordings',
            tuple(met),
        )


def _classes(u: Utterances, sides) -> Iterator[Finding]:
    """Yield untrained classes, validation that overlaps the test, and skewed validation."""
    untrained, skewed, same = [], [], []
    for member, of in sides.items():
        count = {s: collections.Counter(u.emotion[of[s]]) for s in SIDES}
        for side in ('valid', 'test'):
            for e in sorted(set(count[side]) - set(count['train'])):
                untrained.append(f'{e} ({side} of {member})')
        if len(of['valid']) and set(of['valid']) & set(of['test']):
            same.append(member)
        if len(of['valid']) and len(of['test']):
            share = lambda side, count=count, of=of: {
                e: n / len(of[side]) for e, n in count[side].items()
            }
            v, t = share('valid'), share('test')
            if sum(abs(v.get(e, 0) - t.get(e, 0)) for e in {*v, *t}) / 2 > 0.3:
                skewed.append(member)
    if untrained:
        what = (
            f'{len(untrained)} classes are scored but not one example was trained on, e.g. '
            f'{untrained[0]}'
        )
        yield Finding(
            'error', 'untrained class', what, 'do not split by the order of files', tuple(untrained)
        )
    if same:
        what = f'validation shares utterances with the test in {len(same)} members, e.g. {same[0]}'
        yield Finding(
            'leak',
            'validation is test',
            what,
            'choose the epoch on speakers of the training side',
            tuple(same),
        )
    if skewed:
        what = (
            f'validation holds the classes in other shares than the test in {len(skewed)} '
            f'members, e.g. {skewed[0]}'
        )
        yield Finding(
            'warning',
            'skewed validation',
            what,
            'take whole speakers, or shuffle before splitting',
            tuple(skewed),
        )


def fitted(
    u: Utterances,
    members,
    normalizations: Mapping,
    vocabularies: Mapping,
    reads: bool,
    normalize: str = 'train',
) -> Iterator[Finding]:
    """Yield normalizations and vocabularies that were not fitted on the training side alone.

    Args:
      u: the utterances with the labels that the run was trained on.
      members: from folds.json: member -> side -> ['corpus/id', ...].
      normalizations: member -> {'mean', 'std'}, as the run saved them.
      vocabularies: member -> words, as the run saved them.
      reads: True if its model reads text.
      normalize: features.normalize; with 'none' nothing is fitted, and 0 and 1 are saved.
    """
    at = {f'{u.names[c]}/{i}': n for n, (c, i) in enumerate(zip(u.corpus, u.id, strict=True))}
    other = collections.defaultdict(list)
    for member, sides in members.items():
        train = np.array([at[i] for i in sides['train'] if i in at], int)
        if len(train) < len(sides['train']):
            continue  # other data: reported by run_findings
        mean, std = (0.0, 1.0) if normalize == 'none' else normalization(u, train)
        saved = normalizations[member]
        apart = [np.abs(saved['mean'] - mean), np.abs(saved['std'] - std)]
        if (
            np.shape(mean) not in ((), np.shape(saved['mean']))
            or np.max(apart / np.asarray(std)) > _ROUNDING
        ):
            other['normalization'].append(member)
        if reads and vocabularies[member] != text.vocabulary(u.text[train]):
            other['vocabulary'].append(member)
    for what, names in other.items():
        line = (
            f'the {what} of {len(names)} members is not that of their training side, e.g. '
            f'{names[0]}'
        )
        yield Finding(
            'leak', f'{what} of other data', line, 'fit it on the training side alone', tuple(names)
        )
