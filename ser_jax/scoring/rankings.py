"""Rankings of candidates by UAR: one per corpus, protocol, set of classes and set of utterances."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from ser_jax.contract import InputError
from ser_jax.scoring.candidates import Candidate
from ser_jax.scoring.comparison import Comparison, pairs

_LETTERS = 'abcdefghijklmnopqrstuvwxyz'


class Place(NamedTuple):
    """A line of a ranking.

    Attributes:
      rank: 1 is the best; equal UARs share a rank.
      groups: letters; candidates that share one are not shown to differ.
      above: comparison with the candidate one line above; None for the first line.
    """

    rank: int
    candidate: Candidate
    groups: str
    above: Comparison | None


class Study(NamedTuple):
    """Rankings of candidates and comparisons of their pairs.

    Attributes:
      refused: pairs on one corpus whose comparison means nothing, with the reason.
    """

    rankings: list[list[Place]]
    compared: list[Comparison]
    refused: list[tuple[Candidate, Candidate, str]]


def study(candidates: Sequence[Candidate], across: bool = True, **options) -> Study:
    """Return the rankings and comparisons of candidates; arguments as in `comparison.pairs`."""
    compared, refused = pairs(candidates, across, **options)
    return Study([ranking(b, compared) for b in boards(candidates)], compared, refused)


def boards(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return the candidates that may be ranked together, the largest sets first."""
    found: dict[tuple, list[Candidate]] = {}
    for c in candidates:
        found.setdefault(c.key, []).append(c)
    return sorted(found.values(), key=lambda b: (-len(b), *map(str, b[0].key[:2])))


def ranking(board: Sequence[Candidate], compared: Sequence[Comparison]) -> list[Place]:
    """Return the candidates from the best UAR down, with the groups that are not shown to differ.

    Args:
      compared: comparisons of all pairs of the board; others are ignored.

    Raises:
      InputError: corpora, protocols, classes or test utterances of the candidates differ.
    """
    check(board)
    order = sorted(board, key=lambda c: (-c.score.uar.value, c.name))
    of_pair = {frozenset((id(c.a), id(c.b))): c for c in compared}

    def between(i: int, j: int) -> Comparison:
        return of_pair[frozenset((id(order[i]), id(order[j])))]

    groups = [''] * len(order)
    for letter, (first, last) in zip(itertools.cycle(_LETTERS), _runs(order, between)):
        for i in range(first, last + 1):
            groups[i] += letter
    result: list[Place] = []
    for i, c in enumerate(order):
        tied = i and c.score.uar.value == order[i - 1].score.uar.value
        rank = result[-1].rank if tied else i + 1
        result.append(Place(rank, c, groups[i], between(i - 1, i) if i else None))
    return result


def _runs(order: Sequence[Candidate], between) -> list[tuple[int, int]]:
    """Return the longest stretches (first, last) of the ranking without a shown difference."""
    found: list[tuple[int, int]] = []
    for first in range(len(order)):
        last = first
        while last + 1 < len(order) and not any(
            between(i, last + 1).shown for i in range(first, last + 1)
        ):
            last += 1
        if not found or last > found[-1][1]:
            found.append((first, last))
    return found


def check(board: Sequence[Candidate]) -> None:
    """Refuse to rank scores that are not of the same test.

    Raises:
      InputError: as in `ranking`.
    """
    first = board[0]
    names = ('corpus', 'protocol', 'classes', 'test utterances')
    for other in board[1:]:
        for name, was, now in zip(names, first.key, other.key, strict=True):
            if was == now:
                continue
            values = f' ({was} and {now})' if name in names[:2] else ''
            raise InputError(
                f'{first.name} and {other.name} have different {name}{values}; their scores are '
                'not ranked together'
            )
