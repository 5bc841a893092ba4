"""Checks of the splits of a run: speakers, recordings or fitted statistics that leak."""

import collections
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ser_jax.audio import variants
from ser_jax.corpora import file_names
from ser_jax.data import protocols, text
from ser_jax.data.utterances import Utterances, normalization
from ser_jax.explore.findings import Finding, places
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
    leaky = protocols.is_leaky(protocol)
    if leaky:
        yield Finding(
            'leak',
            'protocol',
            f'the protocol of the run is leaky: {protocol}',
            'its scores are inflated; report them as inflated',
        )
    at = places(u)
    missing = _used(members) - set(at)
    if missing:
        what = (
            f'{len(missing)} utterances of the run are not in the built corpora, e.g. '
            f'{min(missing)}'
        )
        yield Finding(
            'error',
            'other data',
            what,
            'audit it with the shards it was trained on (--data_dir)',
            tuple(sorted(missing)),
        )
    sides = {member: _indices(ids_of, at) for member, ids_of in members.items()}
    alike = [*pairs, *_equal(u)]
    do = 'separate them; every protocol does that is not leaky'
    yield from _together(sides, 'speaker', u.speaker, 'leak', do)
    yield from _together(sides, 'session', _sessions(u), 'leak', do)
    if not leaky:
        do = 'use one name per speaker in all corpora, or leave one of them out'
        yield from _together(sides, 'voice', _voices(u), 'leak', do)
    yield from _pairs(u, sides, 'duplicate', [(p.first, p.second) for p in alike], 'one recording')
    yield from _pairs(u, sides, 'augmented sibling', _siblings(u), 'copies of one source')
    yield from _classes(u, sides)
    do = 'nothing, but a model with text input may have learned them'
    yield from _together(sides, 'sentence', _distinct(u.text), 'note', do)


def _used(members: Mapping[str, Mapping[str, list[str]]]) -> set[str]:
    """Return all utterances of a run, 'corpus/id'."""
    used: set[str] = set()
    for ids_of in members.values():
        used.update(*ids_of.values())
    return used


def _indices(ids_of: Mapping[str, list[str]], at: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return the indices of the utterances of each side; ids that `at` lacks are left out."""
    indices = {}
    for side, ids in ids_of.items():
        indices[side] = np.array([at[i] for i in ids if i in at], int)
    return indices


def _distinct(words: Iterable[str]) -> np.ndarray:
    """Return the words [N], an empty one replaced by one that occurs once."""
    return np.array([word or f'?{i}' for i, word in enumerate(words)], object)


def _sessions(u: Utterances) -> np.ndarray:
    """Return the sessions and dialogs [N] by published file names."""
    return _distinct(file_names.sessions(u.id.tolist()))


def _voices(u: Utterances) -> np.ndarray:
    """Return the speakers [N] by published file names, else by label."""
    return file_names.voices(u.id.tolist(), u.speaker.tolist())


def shared(known: Utterances, other: Utterances) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks, bool [N], over `other`: recordings and speakers in `known`.

    Speakers are compared by their names and by file names of published corpora. Only
    `near_duplicates` finds a copy with other samples under another name.
    """
    known_speakers = {*known.speaker, *_voices(known)}
    pairs = zip(other.speaker, _voices(other), strict=True)
    speakers = np.array([not known_speakers.isdisjoint(names) for names in pairs], bool)
    return np.isin(other.source_sha256, known.source_sha256), speakers


def _equal(u: Utterances) -> list[Pair]:
    groups = collections.defaultdict(list)
    for i, content in enumerate(u.source_sha256):
        if not variants.variant_of(u.id[i]):  # `_siblings` finds variants by name
            groups[content].append(i)
    return [Pair(i, j, 1.0) for i, j in _pairs_with_first(groups.values())]


def _siblings(u: Utterances) -> list[tuple[int, int]]:
    """Return pairs whose names differ by the suffix of an augmentation or copy."""
    groups = collections.defaultdict(list)
    for i in range(len(u)):
        groups[u.corpus[i], _AUGMENTED.sub('', variants.source_of(u.id[i]))].append(i)
    return _pairs_with_first(groups.values())


def _pairs_with_first(groups: Iterable[list[int]]) -> list[tuple[int, int]]:
    """Return the pairs of each group's first element with its others."""
    pairs = []
    for first, *others in groups:
        pairs += [(first, other) for other in others]
    return pairs


def _together(sides, what: str, values: np.ndarray, severity: str, do: str) -> Iterator[Finding]:
    """Yield the `values` [N] that are in training or validation and in the test of a member.

    With severity 'leak', also those that are in its training and validation.
    """
    met = collections.defaultdict(list)
    for member, side in sides.items():
        learned = set(values[np.concatenate([side['train'], side['valid']])])
        for value in sorted(learned & set(values[side['test']])):
            met[value].append(member)
        both = set(values[side['train']]) & set(values[side['valid']])
        for value in sorted(both - set(met)) if severity == 'leak' else ():
            met[value].append(f'{member} (validation)')
    if met:
        value, first = next(iter(met.items()))
        yield Finding(
            severity,
            f'{what} on two sides',
            f'{len(met)} {what}s are on two sides, e.g. {value!r} in {first[0]}',
            do,
            tuple(map(str, met)),
        )


def _pairs(
    u: Utterances, sides, check: str, pairs: Iterable[tuple[int, int]], why: str
) -> Iterator[Finding]:
    """Yield pairs whose utterances are on different sides of a member."""
    side_of = {member: _side_by_index(indices) for member, indices in sides.items()}
    met = []
    for i, j in pairs:
        for member, side in side_of.items():
            if i in side and j in side and side[i] != side[j]:
                met.append(f'{u.id[i]} ({side[i]}) and {u.id[j]} ({side[j]}) in {member}')
                break
    if met:
        yield Finding(
            'leak',
            f'{check} on two sides',
            f'{len(met)} pairs of {why} are on two sides, e.g. {met[0]}',
            'split by source, before augmenting; keep one of equal recordings',
            tuple(met),
        )


def _side_by_index(indices: Mapping[str, np.ndarray]) -> dict[int, str]:
    side_of: dict[int, str] = {}
    for side in SIDES:
        side_of |= dict.fromkeys(map(int, indices[side]), side)
    return side_of


def _classes(u: Utterances, sides) -> Iterator[Finding]:
    """Yield untrained classes, validation that overlaps the test, and skewed validation."""
    untrained, skewed, same = [], [], []
    for member, indices in sides.items():
        count = {s: collections.Counter(u.emotion[indices[s]]) for s in SIDES}
        for side in ('valid', 'test'):
            for e in sorted(set(count[side]) - set(count['train'])):
                untrained.append(f'{e} ({side} of {member})')
        if set(indices['valid']) & set(indices['test']):
            same.append(member)
        if count['valid'] and count['test'] and _distance(count['valid'], count['test']) > 0.3:
            skewed.append(member)
    if untrained:
        what = (
            f'{len(untrained)} classes are scored but have no training utterance, e.g. '
            f'{untrained[0]}'
        )
        yield Finding(
            'error', 'untrained class', what, 'do not split by the order of files', tuple(untrained)
        )
    if same:
        what = f'validation and test share utterances in {len(same)} members, e.g. {same[0]}'
        yield Finding(
            'leak',
            'validation is test',
            what,
            'choose the epoch on speakers of the training side',
            tuple(same),
        )
    if skewed:
        what = (
            f'validation and test have different shares of the classes in {len(skewed)} members, '
            f'e.g. {skewed[0]}'
        )
        yield Finding(
            'warning',
            'skewed validation',
            what,
            'take whole speakers, or shuffle before splitting',
            tuple(skewed),
        )


def _distance(a: collections.Counter, b: collections.Counter) -> float:
    """Return the total variation distance of two distributions over classes."""
    return sum(abs(a[e] / a.total() - b[e] / b.total()) for e in {*a, *b}) / 2


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
    at = places(u)
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
            f'the {what} of {len(names)} members was not fitted on their training side alone, e.g. '
            f'{names[0]}'
        )
        yield Finding(
            'leak', f'{what} of other data', line, 'fit it on the training side alone', tuple(names)
        )
