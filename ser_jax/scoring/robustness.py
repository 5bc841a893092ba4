"""Effects of conditions: scores of distorted utterances against those of the same ones undistorted.

The rows of both are paired by member and utterance, and the same speakers are drawn for both, so an
effect can be shown although the scores' own intervals overlap. A loss counts as shown if the 95 %
interval of the difference lies below 0; without any effect, one condition in forty would.
"""

import csv
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ser_jax.contract import InputError
from ser_jax.scoring import intervals
from ser_jax.scoring import rows as tables
from ser_jax.scoring.intervals import Interval
from ser_jax.scoring.metrics import Predictions
from ser_jax.scoring.score import TRANSDUCTIVE

_KEY = ('run', 'config', 'corpus', 'protocol', 'modality')
_PAIR = ('member', 'id')


@dataclasses.dataclass(frozen=True)
class Effect:
    """Effect of one condition on one run, corpus, protocol and modality.

    Attributes:
      config: the model's name.
      condition: name of the condition.
      uar: score under the condition.
      clean: score of the same utterances undistorted.
      difference: uar - clean, paired.
      changed: share of the answers that differ from the undistorted utterance's.
      utterances, speakers: number of distinct ones.
    """

    run: str
    config: str
    corpus: str
    protocol: str
    modality: str
    condition: str
    uar: Interval
    clean: Interval
    difference: Interval
    changed: Interval
    utterances: int
    speakers: int

    @property
    def lost(self) -> bool:
        """True if a loss is shown: the interval of the difference lies below 0."""
        return self.difference.high < 0

    @property
    def gained(self) -> bool:
        """True if a gain is shown."""
        return self.difference.low > 0

    @property
    def note(self) -> str:
        """Caveats to print beside every number; '' if there are none."""
        caveats = {
            'inflated': self.protocol.startswith('leaky'),
            'transductive': TRANSDUCTIVE in self.protocol,
            'synthetic': self.corpus == 'synthetic',
        }
        return ', '.join(word for word, holds in caveats.items() if holds)

    def verdict(self, words: str = '') -> str:
        """Return the effect as a clause: 'loses 12.0 points with babble at 10 dB, 95 % 8.1 … 16.2'.

        Args:
          words: description of the condition; '' = its name.
        """
        words, d = words or self.condition, self.difference
        if self.lost:
            points = _points(-d.value), _points(-d.high), _points(-d.low)
            return f'loses {points[0]} points with {words}, 95 % {points[1]} … {points[2]}'
        points = _signed(d.value), _signed(d.low), _signed(d.high)
        if self.gained:
            return f'gains {_points(d.value)} points with {words}, 95 % {points[1]} … {points[2]}'
        return (
            f'is not shown to lose with {words}: {points[0]} points, 95 % {points[1]} … {points[2]}'
        )


def effects(predictions: pa.Table, draws: int = 2000, rng: int = 0) -> list[Effect]:
    """Return the effect of each condition on each run, corpus, protocol and modality but text.

    Args:
      predictions: rows of single members, or their mean, on test sides, see `scoring.rows`.
      draws: number of resamples.
      rng: seed of the draws.

    Raises:
      InputError: a distorted utterance has no undistorted row of the same member.
    """
    result: list[Effect] = []
    reference = _groups(tables.selected(predictions))
    for condition in tables.conditions(predictions):
        under = tables.selected(predictions, condition=condition)
        for key, rows in _groups(under).items():
            if key[-1] != 'text':
                same = _paired(rows, reference.get(key), condition)
                result.append(_effect(key, condition, rows, same, draws, rng))
    order = list(reference)
    return sorted(result, key=lambda e: order.index(tuple(getattr(e, k) for k in _KEY)))


def summary(found: Sequence[Effect], words: Mapping[str, str] | None = None) -> str:
    """Return a clause about the effects on one run: the largest loss, and how many are shown.

    Args:
      found: effects on one run, corpus, protocol and modality, at least one.
      words: descriptions by condition.
    """
    lost = [e for e in found if e.lost]
    tested = 'the one condition' if len(found) == 1 else f'any of {len(found)} conditions'
    if not lost:
        return f'is not shown to lose under {tested} tested'
    worst = min(lost, key=lambda e: e.difference.value)
    clause = worst.verdict((words or {}).get(worst.condition, ''))
    if len(found) == 1:
        return clause
    return f'{clause}; losses are shown under {len(lost)} of {len(found)} conditions tested'


def write_csv(found: Sequence[Effect], path) -> None:
    """Write a line per effect: its keys, note, counts, and every metric with its interval."""
    lines = []
    for e in found:
        line = {k: getattr(e, k) for k in (*_KEY, 'condition', 'note', 'utterances', 'speakers')}
        for name in ('uar', 'clean', 'difference', 'changed'):
            value, low, high, _ = getattr(e, name)
            numbers = {name: value, f'{name}_low': low, f'{name}_high': high}
            line |= {k: '' if np.isnan(x) else f'{x:.6f}' for k, x in numbers.items()}
        lines.append({**line, 'interval_by': e.difference.by})
    with open(path, 'w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, list(lines[0]) if lines else [])
        writer.writeheader()
        writer.writerows(lines)


def _groups(rows: pa.Table) -> dict[tuple, pa.Table]:
    places: dict[tuple, list[int]] = {}
    for i, key in enumerate(zip(*(rows[k].to_pylist() for k in _KEY), strict=True)):
        places.setdefault(key, []).append(i)
    return {key: rows.take(pa.array(at)) for key, at in places.items()}


def _paired(rows: pa.Table, reference: pa.Table | None, condition: str) -> pa.Table:
    """Return the undistorted rows of the same members and utterances, in the same order."""
    place: dict[tuple, int] = {}
    if reference is not None:
        pairs = zip(*(reference[k].to_pylist() for k in _PAIR), strict=True)
        place = {pair: i for i, pair in enumerate(pairs)}
    wanted = list(zip(*(rows[k].to_pylist() for k in _PAIR), strict=True))
    if missing := [pair for pair in wanted if pair not in place]:
        member, id = missing[0]
        raise InputError(
            f'the predictions have {len(missing)} rows with {condition} but no undistorted one of '
            f'the same member, e.g. {member}, {id}; evaluate the run again with --conditions'
        )
    assert reference is not None
    return reference.take(pa.array([place[pair] for pair in wanted]))


def _effect(
    key: tuple, condition: str, rows: pa.Table, same: pa.Table, draws: int, rng: int
) -> Effect:
    classes = sorted({*rows['emotion'].to_pylist(), *_answers(rows), *_answers(same)})
    under, before = _predictions(rows, classes), _predictions(same, classes)
    count = len(classes)
    changed = under.predicted != before.predicted
    return Effect(
        **dict(zip(_KEY, key, strict=True)),
        condition=condition,
        uar=intervals.speaker_bootstrap(under, count, draws, rng)['uar'],
        clean=intervals.speaker_bootstrap(before, count, draws, rng)['uar'],
        difference=intervals.paired_bootstrap(under, before, count, draws, rng),
        changed=intervals.mean_bootstrap(changed, under, draws, rng),
        utterances=len(set(rows['id'].to_pylist())),
        speakers=len(set(rows['speaker'].to_pylist())),
    )


def _answers(rows: pa.Table) -> list[str]:
    return rows['predicted'].to_pylist()


def _predictions(rows: pa.Table, classes: Sequence[str]) -> Predictions:
    place = {word: i for i, word in enumerate(classes)}
    truth = np.array([place[word] for word in rows['emotion'].to_pylist()])
    predicted = np.array([place[word] for word in _answers(rows)])
    rest = (rows[name].to_numpy() for name in ('speaker', 'seed', 'id'))
    return Predictions(truth, predicted, *rest)


def _points(share: float) -> str:
    return f'{100 * share:.1f}'


def _signed(share: float) -> str:
    return f'{100 * share:+.1f}'.replace('-', '−')
