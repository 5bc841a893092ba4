"""Splits from lists: of a published protocol, or of the user's file."""

import collections
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.contract import InputError
from ser_jax.data import speaker_splits
from ser_jax.data.folds import Fold

_FORM = '{"test": [[entry, ...], ...], "valid": [[entry, ...], ...], "train": (the same)}'


class Lists(NamedTuple):
    """The sides of one fold: speakers, utterance ids (`id` or `corpus/id`) or `split/*` of ids.

    Attributes:
      valid: None = speakers of the training side, by the rule of `speaker_splits`.
      train: None = everything that is on no other side.
    """

    test: tuple[str, ...]
    valid: tuple[str, ...] | None = None
    train: tuple[str, ...] | None = None

    def entries(self) -> Iterable[str]:
        """Return all entries of all sides."""
        return itertools.chain(self.test, self.valid or (), self.train or ())

    def written(self) -> dict[str, list[str]]:
        """Return the sides that have a list, as JSON."""
        return {side: list(given) for side, given in self._asdict().items() if given is not None}


class Index:
    """Entries of lists -> indices of scored utterances."""

    def __init__(self, utterances, scored: np.ndarray):
        self.by: dict[str, list[int]] = collections.defaultdict(list)
        for i in scored:
            id, number = str(utterances.id[i]), utterances.corpus[i]
            names = {utterances.speaker[i], id, f'{utterances.names[number]}/{id}'}
            if '/' in id:
                names.add(f'{id.partition("/")[0]}/*')
            for name in names:
                self.by[name].append(int(i))

    def find(self, entries: Iterable[str]) -> np.ndarray:
        """Return the utterances of the entries, sorted; entries that are not built have none."""
        found: set[int] = set()
        for entry in entries:
            found.update(self.by.get(entry, ()))
        return np.array(sorted(found), int)


def of_lists(lists: Sequence[Lists], utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return a fold per entry of `lists`, empty where none of its test utterances is built.

    Validation lists without any built utterance are replaced by the rule of `speaker_splits`,
    unless the training side is a list too.
    """
    index, made = Index(utterances, scored), []
    known = speaker_splits.cast(utterances, scored)
    for i, sides in enumerate(lists):
        name, test = f'fold{i}', index.find(sides.test)
        if not len(test):
            made.append(Fold(name, test, test, test))
            continue
        valid = index.find(sides.valid or ())
        train = scored if sides.train is None else index.find(sides.train)
        train = np.setdiff1d(train, np.concatenate([test, valid]))
        lost = sides.valid and not len(valid) and sides.train is None
        rest = sorted({*utterances.speaker[train]} - {*utterances.speaker[test]})
        if rest and (sides.valid is None or lost):
            chosen = speaker_splits.validation_speakers(
                name, known, rest, members.valid_speakers, i
            )
            is_valid = np.array([s in chosen for s in utterances.speaker[train]], bool)
            train, valid = train[~is_valid], train[is_valid]
        made.append(Fold(name, train, valid, test))
    return made


def from_file(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return the folds of a JSON file with lists of speakers or utterance ids, see `Lists`."""
    lists = _read(members.folds_file)
    known = Index(utterances, scored).by
    listed = set(itertools.chain.from_iterable(fold.entries() for fold in lists))
    if unknown := sorted(listed - set(known)):
        speakers = sorted(set(utterances.speaker[scored]))
        raise InputError(
            f'{members.folds_file} names unknown speakers {", ".join(unknown[:5])}; known are '
            f'{", ".join(speakers[:5])} ... and ids, e.g. {utterances.id[scored[0]]}'
        )
    for entry in sorted(listed):
        corpora = {utterances.corpus[i] for i in known[entry]}
        if len(corpora) > 1 and not entry.endswith('/*'):
            raise InputError(
                f'{members.folds_file} names {entry}, which is in {len(corpora)} corpora; write '
                'corpus/id'
            )
    return of_lists(lists, utterances, scored, members)


def _read(path: str) -> list[Lists]:
    """Return the lists of a file.

    Raises:
      InputError: it cannot be read, or has another form.
    """
    try:
        with open(path) as f:
            content = json.load(f)
        sides = {side: content.get(side) for side in Lists._fields}
        sides = {side: lists for side, lists in sides.items() if lists is not None}
        entries = itertools.chain.from_iterable(itertools.chain.from_iterable(sides.values()))
        if not (sides.get('test') and all(isinstance(entry, str) for entry in entries)):
            raise ValueError('it has no test lists, or entries that are no words')
    except (OSError, ValueError, TypeError, AttributeError) as e:
        raise InputError(
            f'members.folds_file={str(path)!r} cannot be read ({type(e).__name__}: {e}); expected '
            f'JSON {_FORM} whose entries are speakers or utterance ids'
        ) from e
    number = len(sides['test'])
    for side, lists in sides.items():
        if len(lists) != number:
            raise InputError(
                f'{path} has {number} test lists and {len(lists)} {side} lists; expected as many'
            )
    return [_of_fold(_nth(sides, i)) for i in range(number)]


def _nth(sides: Mapping[str, Sequence], i: int) -> dict[str, Sequence[str]]:
    return {side: lists[i] for side, lists in sides.items()}


def parsed(folds: Sequence[Mapping[str, Sequence[str]]]) -> tuple[Lists, ...]:
    """Return the lists of a published protocol's JSON."""
    return tuple(_of_fold(sides) for sides in folds)


def _of_fold(sides: Mapping[str, Sequence[str]]) -> Lists:
    return Lists(**{side: tuple(entries) for side, entries in sides.items()})
