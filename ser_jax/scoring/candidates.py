"""Candidates of a comparison: one run on one corpus under one protocol with one modality each."""

import dataclasses
import functools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ser_jax.contract import InputError
from ser_jax.scoring import rows
from ser_jax.scoring.metrics import Predictions
from ser_jax.scoring.score import Score
from ser_jax.scoring.scores import MODALITIES, scores_by


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One run on one corpus under one protocol, with one modality.

    Attributes:
      name: short name of the run, unique among those compared.
      score: its score alone; `score.run` is the run in full.
      classes: emotions that it can answer or is tested on, sorted.
      facts: (speaker, emotion) of each test utterance.
      predictions: rows of all seeds, with words instead of class indices.
      right: correctness of the mean of members for each test utterance.
    """

    name: str
    score: Score
    classes: tuple[str, ...]
    facts: dict[str, tuple[str, str]]
    predictions: Predictions
    right: dict[str, bool]

    @functools.cached_property
    def tested(self) -> frozenset[str]:
        """Emotions of the test utterances."""
        return frozenset(emotion for _, emotion in self.facts.values())

    @functools.cached_property
    def key(self) -> tuple:
        """Corpus, protocol, classes and test utterances: equal for candidates of one ranking."""
        tested = frozenset((id, *facts) for id, facts in self.facts.items())
        return self.score.corpus, self.score.protocol, self.classes, tested


def candidates(
    table: pa.Table, name: str, modality: str = '', answer: str = 'member', condition: str = 'clean'
) -> list[Candidate]:
    """Return the candidates in the predictions of one run, one per corpus and protocol.

    Args:
      table: rows with `scores.COLUMNS`; those of the test side are used.
      name: short name of the run.
      modality: '' = fused if the run has it, else audio, else text.
      answer: 'member' scores each member, averaged over seeds; 'mean' the mean of members.
      condition: 'clean', or the name of a disturbance.

    Raises:
      InputError: the run has no rows of that modality or condition, or no probabilities to average.
    """
    table = rows.selected(table, condition=condition)
    table = table.drop_columns([c for c in ('side', 'condition') if c in table.column_names])
    found = [m for m in MODALITIES if m in set(table['modality'].to_pylist())]
    if not found or modality not in ('', *found):
        asked = modality or 'audio'
        raise InputError(
            f'{name} has no predictions of modality {asked} and condition {condition}; it has '
            f'{", ".join(found) or "none"}; give another --modality or --condition'
        )
    table = table.filter(pc.equal(table['modality'], modality or found[0]))
    mean = rows.mean_of_members(table)
    if answer == rows.MEAN and not mean.num_rows:
        raise InputError(f'the predictions of {name} have no probabilities; give --answer=member')
    result = []
    for score in scores_by(table):
        part, averaged = (_of(t, score) for t in (table, mean))
        if answer == rows.MEAN:
            kept = {k: getattr(score, k) for k in ('seeds', 'folds', 'members', 'planned')}
            score, part = dataclasses.replace(*scores_by(averaged), **kept), averaged
        result.append(_candidate(name, score, part, averaged))
    return result


def _of(table: pa.Table, score: Score) -> pa.Table:
    """Return the rows of the score's corpus and protocol."""
    for name in ('corpus', 'protocol'):
        table = table.filter(pc.equal(table[name], getattr(score, name)))
    return table


def _candidate(name: str, score: Score, part: pa.Table, averaged: pa.Table) -> Candidate:
    ids, speaker, truth, predicted, seed = (
        part[c].to_pylist() for c in ('id', 'speaker', 'emotion', 'predicted', 'seed')
    )
    answered = [w for w in rows.classes(part) if (pc.max(part[f'p_{w}']).as_py() or 0) > 0]
    classes = tuple(sorted({*answered, *truth, *predicted}))
    columns = (np.array(x) for x in (truth, predicted, speaker, seed, ids))
    source = averaged if averaged.num_rows else part
    right = pc.equal(source['emotion'], source['predicted']).to_pylist()
    of_id = zip(source['id'].to_pylist(), right, strict=True)
    return Candidate(
        name,
        score,
        classes,
        dict(zip(ids, zip(speaker, truth, strict=True), strict=True)),
        Predictions(*columns),
        dict(of_id) if averaged.num_rows or len(set(ids)) == len(ids) else {},
    )


def objection(a: Candidate, b: Candidate) -> str:
    """Return the reason why a comparison means nothing; '' if there is none."""
    if a.score.corpus != b.score.corpus:
        return f'tested on {a.score.corpus} and on {b.score.corpus}'
    leaky = [s.score.protocol for s in (a, b) if s.score.inflated]
    if leaky and a.score.protocol != b.score.protocol:
        return (
            f'protocol {leaky[0]} has its test speakers in training, which inflates its score; '
            f'{a.score.protocol} against {b.score.protocol}'
        )
    for one, other in ((a, b), (b, a)):
        if odd := sorted(one.tested - set(other.classes)):
            return f'labels differ: only {one.name} has {", ".join(odd)}'
    both = a.facts.keys() & b.facts.keys()
    differ = sorted(id for id in both if a.facts[id] != b.facts[id])
    if differ:
        was, now = (', '.join(s.facts[differ[0]]) for s in (a, b))
        return f'labels differ: {differ[0]} is ({was}) and ({now})'
    return '' if both else 'no test utterance in common'


def extra_classes(a: Candidate, b: Candidate) -> list[str]:
    """Return a sentence per class that only one of the two can answer."""
    odd = sorted(set(a.classes) ^ set(b.classes))
    return [f'only {(a if c in a.classes else b).name} answers {c}' for c in odd]
