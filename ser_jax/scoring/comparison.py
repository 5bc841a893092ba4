"""Paired comparison of candidates on the test utterances that both have.

The interval is for the trained models as they are: speakers are drawn anew, trainings are not.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.stats

from ser_jax.contract import InputError
from ser_jax.scoring import intervals
from ser_jax.scoring.candidates import Candidate, extra_classes, objection
from ser_jax.scoring.intervals import Difference
from ser_jax.scoring.metrics import Predictions

LEVEL = 0.05
_SPEAKER_DRAWS = 500


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Candidate b minus candidate a, on the test utterances that both have.

    Attributes:
      uar: difference of UAR, averaged over the seeds of each side.
      recall: difference per class of the common truth.
      speakers: difference of UAR per speaker, its interval by utterance; empty if not asked for.
      only_a, only_b: utterances that only one side's mean of members classifies correctly.
      mcnemar: p-value of McNemar's exact test on them.
      marks: facts that make the two unlike.
      pairs, holm: number of pairs in the family, and p of `uar` corrected for it (Holm, 1979).
    """

    a: Candidate
    b: Candidate
    uar: Difference
    recall: dict[str, Difference]
    speakers: dict[str, Difference]
    only_a: int
    only_b: int
    mcnemar: float
    utterances: int
    speaker_count: int
    marks: tuple[str, ...]
    pairs: int = 1
    holm: float = 1.0

    @property
    def shown(self) -> bool:
        """True if the interval excludes 0 and the p-value corrected for the family is small."""
        return self.uar.excludes_zero and self.holm < LEVEL

    @property
    def verdict(self) -> str:
        """'shown' or 'not shown', with the number of pairs and the corrected p if they decide."""
        if np.isnan(self.uar.low):
            return f'not shown, {self.uar.units} {self.uar.by}s are too few for an interval'
        if self.uar.excludes_zero and self.pairs > 1:
            of = f'among {self.pairs} pairs ({probability(self.holm)}, Holm)'
            return f'shown {of}' if self.shown else f'not shown {of}'
        return 'shown' if self.shown else 'not shown'

    def swapped(self) -> 'Comparison':
        """Return the comparison with a and b swapped."""
        return dataclasses.replace(
            self,
            a=self.b,
            b=self.a,
            uar=-self.uar,
            recall={name: -d for name, d in self.recall.items()},
            speakers={name: -d for name, d in self.speakers.items()},
            only_a=self.only_b,
            only_b=self.only_a,
        )

    def __str__(self) -> str:
        d, names = self.uar, (self.b.name, self.a.name)
        if d.value < 0:  # the better one comes first
            names, d = names[::-1], -d
        interval = '' if np.isnan(d.low) else f', 95 % {points(d.low)} … {points(d.high)}'
        if points(d.value) in ('0.0', '−0.0'):
            return f'{names[1]} and {names[0]} differ by 0.0 points{interval}: {self.verdict}'
        by = f'{names[0]} is better than {names[1]} by {points(d.value)} points'
        return f'{by}{interval}: {self.verdict}'

    @property
    def share(self) -> tuple[float, float]:
        """Shares of the test utterances of a and of b that both have."""
        return self.utterances / len(self.a.facts), self.utterances / len(self.b.facts)


def points(difference: float) -> str:
    """Return a difference of shares as points of 100, with one decimal."""
    return f'{100 * difference:.1f}'.replace('-', '−')


def probability(p: float) -> str:
    """Return a p-value as text: 'p = 0.012', 'p < 0.001'."""
    return 'p < 0.001' if p < 0.001 else f'p = {p:.3f}'


def compare(
    a: Candidate, b: Candidate, by_speaker: bool = True, draws: int = 2000, rng: int = 0
) -> Comparison:
    """Return the paired comparison of two candidates.

    Raises:
      InputError: the comparison means nothing (`objection`).
    """
    if reason := objection(a, b):
        raise InputError(f'{a.name} and {b.name} cannot be compared: {reason}')
    common = a.facts.keys() & b.facts.keys()
    ids = np.array(sorted(common))
    words = sorted({*a.classes, *b.classes})
    left, right = (_indexed(_common(s, ids), words) for s in (a, b))
    uar, recalls = intervals.paired_difference(right, left, len(words), draws, rng)
    tested = {a.facts[id][1] for id in common}
    names = sorted({a.facts[id][0] for id in common})
    speakers = {}
    for speaker in names if by_speaker else ():
        one, other = (_restricted(p, [speaker], 'speaker') for p in (right, left))
        of_speaker = intervals.paired_difference(one, other, len(words), _SPEAKER_DRAWS, rng)
        speakers[speaker] = of_speaker[0]
    only_a, only_b = _discordant(a, b, common)
    return Comparison(
        a,
        b,
        uar,
        {c: d for c, d in zip(words, recalls, strict=True) if c in tested},
        speakers,
        only_a,
        only_b,
        mcnemar(only_a, only_b),
        len(common),
        len(names),
        tuple(_marks(a, b, len(common))),
        holm=uar.p,
    )


def _common(candidate: Candidate, ids: np.ndarray) -> Predictions:
    """Return the rows of the utterances `ids`, which the candidate has."""
    every = len(ids) == len(candidate.facts)
    return candidate.predictions if every else _restricted(candidate.predictions, ids)


def _restricted(p: Predictions, names: Sequence[str] | np.ndarray, column: str = 'utterance'):
    at = np.flatnonzero(np.isin(getattr(p, column), names))
    return Predictions(*(np.asarray(x)[at] for x in p))


def _indexed(p: Predictions, words: Sequence[str]) -> Predictions:
    """Return predictions with the places of their classes in `words`, which is sorted."""
    truth, predicted = (np.searchsorted(words, side) for side in (p.truth, p.predicted))
    return p._replace(truth=truth, predicted=predicted)


def _discordant(a: Candidate, b: Candidate, common: Iterable[str]) -> tuple[int, int]:
    judged = [id for id in common if id in a.right and id in b.right]
    only_a = sum(a.right[id] and not b.right[id] for id in judged)
    return only_a, sum(b.right[id] and not a.right[id] for id in judged)


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the p-value of McNemar's exact test (1947): both numbers of equal expectation."""
    n = only_a + only_b
    return float(scipy.stats.binomtest(only_a, n).pvalue) if n else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm, 1979), in the given order."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def _marks(a: Candidate, b: Candidate, common: int) -> Iterable[str]:
    """Yield the facts that make two candidates unlike."""
    if a.score.transductive != b.score.transductive:
        yield 'transductive against inductive'
    if a.score.protocol != b.score.protocol:
        yield f'protocols differ: {a.score.protocol} and {b.score.protocol}'
    if a.score.modality != b.score.modality:
        yield f'modalities differ: {a.score.modality} and {b.score.modality}'
    yield from extra_classes(a, b)
    for word in ('inflated', 'synthetic', 'partial'):
        if getattr(a.score, word) and getattr(b.score, word):
            yield word
    for s in (a, b):
        if s.score.incomplete:
            yield f'{s.name} incomplete'
    if common < max(len(a.facts), len(b.facts)):
        yield f'common part: {common:,} of {len(a.facts):,} and {len(b.facts):,} utterances'


def pairs(
    chosen: Sequence[Candidate],
    across: bool = True,
    details: int = 10,
    draws: int = 2000,
    rng: int = 0,
) -> tuple[list[Comparison], list[tuple[Candidate, Candidate, str]]]:
    """Return the comparisons of pairs on a corpus, and the refused pairs with the reason.

    Pairs of one ranking come first. p-values are corrected within families (Holm): the pairs of
    one ranking, and on each corpus all pairs of different rankings.

    Args:
      across: also compare candidates that are not ranked together.
      details: maximum number of pairs whose speakers are compared too.
    """
    sought, refused = [], []
    for a, b in itertools.combinations(chosen, 2):
        if a.score.corpus != b.score.corpus or a.score.run == b.score.run:
            continue
        if not across and a.key != b.key:
            continue
        if reason := objection(a, b):
            refused.append((a, b, reason))
        else:
            sought.append((a, b))
    families: dict[tuple, list[Comparison]] = {}
    for a, b in sought:
        family = a.key if a.key == b.key else (a.score.corpus,)
        done = compare(a, b, len(sought) <= details, draws, rng)
        families.setdefault(family, []).append(done)
    result = []
    for of_family in families.values():
        corrected = holm([c.uar.p for c in of_family])
        for c, p in zip(of_family, corrected, strict=True):
            result.append(dataclasses.replace(c, pairs=len(of_family), holm=p))
    return sorted(result, key=lambda c: c.a.key != c.b.key), refused
