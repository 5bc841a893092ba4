"""Scores from the table of predictions, each with its protocol, counts, interval and note."""

import csv
import dataclasses
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ser_jax.contract import InputError
from ser_jax.scoring import metrics
from ser_jax.scoring.metrics import Answers, Interval, Reliability

MODALITIES = ('fused', 'audio', 'text')
COLUMNS = (
    'run',
    'config',
    'protocol',
    'member',
    'fold',
    'seed',
    'modality',
    'corpus',
    'id',
    'speaker',
    'sex',
    'emotion',
    'predicted',
)


class Speaker(NamedTuple):
    """Test speaker: utterances, UAR, and recall per class (nan for classes without utterances)."""

    name: str
    sex: str
    utterances: int
    uar: float
    recall: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Score:
    """Score of one run on one corpus under one protocol, for one modality.

    Attributes:
      config: the model's name.
      classes: the emotions on the axes of `confusion`.
      confusion: [C, C] counts summed over seeds; rows are the truth.
      uar ... macro_f1, recall (of every class in the truth): mean over seeds, with interval.
      chance: UAR of a constant guess.
      ece: expected calibration error of `reliability`, nan without probabilities.
      utterances, speakers: number of distinct ones in the test.
      seeds, folds, members: number of distinct ones in the predictions.
      planned: number of members of the complete run, from the column `planned`; folds * seeds if
        there is no such column.
      member_uar, member_sd: mean and standard deviation of the UARs of single members
        (folds x seeds); the deviation is nan for one member.
      by_sex: UAR per sex.
      by_speaker: one entry per speaker.
      margins: for a fused score, paired UAR(fused) - UAR(other modality); empty otherwise.
      auc: area under the ROC curve for the probability of the second of two classes; None unless
        there are two.
    """

    run: str
    config: str
    corpus: str
    protocol: str
    modality: str
    classes: tuple[str, ...]
    confusion: np.ndarray
    uar: Interval
    wa: Interval
    macro_precision: Interval
    macro_recall: Interval
    macro_f1: Interval
    recall: dict[str, Interval]
    chance: float
    ece: float
    reliability: Reliability
    utterances: int
    speakers: int
    seeds: int
    folds: int
    members: int
    planned: int
    member_uar: float
    member_sd: float
    by_sex: dict[str, float]
    by_speaker: tuple[Speaker, ...]
    margins: dict[str, Interval]
    auc: Interval | None = None

    @property
    def inflated(self) -> bool:
        """True if the protocol is leaky: test speakers also occur in training."""
        return self.protocol.startswith('leaky')

    @property
    def synthetic(self) -> bool:
        """True if no human speech was scored."""
        return self.corpus == 'synthetic'

    @property
    def incomplete(self) -> bool:
        """True if some of the planned members are missing."""
        return self.members < self.planned

    @property
    def note(self) -> str:
        """Caveats to print beside every number of this score; '' if there are none."""
        return ', '.join(
            word for word in ('inflated', 'synthetic', 'incomplete') if getattr(self, word)
        )

    @property
    def sex_gap(self) -> float:
        """UAR of female minus UAR of male speakers; nan if one is missing."""
        return self.by_sex.get('female', np.nan) - self.by_sex.get('male', np.nan)

    def __str__(self) -> str:
        plural = '' if self.seeds == 1 else 's'
        return (
            f'UAR {self.uar}{f" {self.note}" if self.note else ""} ({self.corpus}, '
            f'{self.protocol}, {self.modality}, '
            f'{self.utterances} utterances, {self.speakers} speakers, {self.seeds} seed{plural}, '
            f'95 % by {self.uar.by})'
        )


def scores_by(predictions: pa.Table, draws: int = 2000, rng: int = 0) -> list[Score]:
    """Return one Score per (run, corpus, protocol, modality).

    They are in order of appearance, modalities in the order fused, audio, text.

    Args:
      predictions: one row per (run, member, modality, utterance) with COLUMNS (`emotion` is the
        truth) and one column `p_<emotion>` per class. InputError if a column is missing.
      draws, rng: see `metrics.speaker_bootstrap`.
    """
    missing = [c for c in COLUMNS if c not in predictions.column_names]
    if missing:
        raise InputError(
            f'predictions lack the columns {", ".join(missing)}; run python -m ser_jax.evaluate'
        )
    groups: dict[tuple, dict[str, list[int]]] = {}
    keys = [predictions[k].to_pylist() for k in ('run', 'corpus', 'protocol', 'modality')]
    for i, (*key, modality) in enumerate(zip(*keys, strict=True)):
        groups.setdefault(tuple(key), {}).setdefault(modality, []).append(i)
    result = []
    for key, modalities in groups.items():
        parts = {m: predictions.take(pa.array(rows)) for m, rows in modalities.items()}
        for modality in sorted(
            parts, key=lambda m: MODALITIES.index(m) if m in MODALITIES else len(MODALITIES)
        ):
            others = [m for m in parts if m != modality] if modality == 'fused' else []
            margins = {m: paired_interval(parts[modality], parts[m], draws, rng) for m in others}
            result.append(_score((*key, modality), parts[modality], margins, draws, rng))
    return result


def paired_interval(a: pa.Table, b: pa.Table, draws: int = 2000, rng: int = 0) -> Interval:
    """Return UAR(a) - UAR(b) with its 95 % interval from the same speakers drawn for both.

    If the interval lies above 0, a is better.

    Args:
      a, b: predictions of one run, corpus, protocol and modality each, on the same utterances;
        InputError otherwise. Seeds and folds may differ.
    """
    heard = [
        set(zip(*_columns(t, 'corpus', 'id', 'emotion', 'speaker'), strict=True)) for t in (a, b)
    ]
    if heard[0] != heard[1]:
        odd = min(heard[0] ^ heard[1])[:2]
        raise InputError(
            f'a paired comparison got different utterances ({len(heard[0])} and {len(heard[1])}; '
            f'{"/".join(odd)} is '
            'not on both sides alike); evaluate both runs on the same corpora and folds'
        )
    classes = tuple(dict.fromkeys((*_classes(a), *_classes(b))))
    return metrics.paired_bootstrap(
        _answers(a, classes), _answers(b, classes), len(classes), draws, rng
    )


def write_csv(scores: list[Score], path) -> None:
    """Write a line per score: its keys, note, counts, and every metric with its interval."""
    lines = []
    for s in scores:
        line = {
            k: getattr(s, k) for k in ('run', 'config', 'corpus', 'protocol', 'modality', 'note')
        }
        line |= {
            k: getattr(s, k)
            for k in ('utterances', 'speakers', 'seeds', 'folds', 'members', 'planned')
        }
        intervals = {m: getattr(s, m) for m in metrics.METRICS} | {
            f'recall_{c}': i for c, i in s.recall.items()
        }
        for name, i in intervals.items():
            line |= {name: i.value, f'{name}_low': i.low, f'{name}_high': i.high}
        line |= {'interval_by': s.uar.by}
        line |= {'auc': s.auc.value, 'auc_low': s.auc.low, 'auc_high': s.auc.high} if s.auc else {}
        line |= {k: getattr(s, k) for k in ('chance', 'ece', 'member_uar', 'member_sd', 'sex_gap')}
        lines.append(
            {
                k: ('' if np.isnan(v) else f'{v:.6f}') if isinstance(v, float) else v
                for k, v in line.items()
            }
        )
    # Classes differ between scores: recall columns come last.
    fields = sorted(
        {k: None for line in lines for k in line}, key=lambda k: k.startswith('recall_')
    )
    with open(path, 'w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, fields, restval='')
        writer.writeheader()
        writer.writerows(lines)


def _columns(table: pa.Table, *names: str) -> list[np.ndarray]:
    return [table[n].to_numpy() for n in names]


def _words(table: pa.Table) -> list[str]:
    """Return the classes with probabilities; those of other runs in the table are all null."""
    names = [c for c in table.column_names if c.startswith('p_')]
    return [c.removeprefix('p_') for c in names if table[c].null_count < table.num_rows]


def _classes(table: pa.Table) -> tuple[str, ...]:
    """Return the emotions in the truth or the predictions, in the order of the p_ columns."""
    seen = {*table['emotion'].to_pylist(), *table['predicted'].to_pylist()}
    words = _words(table)
    return (*(w for w in words if w in seen), *sorted(seen - {*words}))


def _answers(table: pa.Table, classes: tuple[str, ...]) -> Answers:
    place = {c: i for i, c in enumerate(classes)}
    truth, predicted = ([place[w] for w in table[c].to_pylist()] for c in ('emotion', 'predicted'))
    return Answers(np.array(truth), np.array(predicted), *_columns(table, 'speaker', 'seed', 'id'))


def _reliability(table: pa.Table) -> Reliability:
    """Return the reliability over rows with probabilities; classes the run lacks are null or 0."""
    words = _words(table)
    p = np.zeros((table.num_rows, max(1, len(words))))
    for i, w in enumerate(words):
        p[:, i] = np.nan_to_num(table[f'p_{w}'].to_numpy().astype(float))
    place = {w: i for i, w in enumerate(words)}
    truth = np.array([place.get(e, -1) for e in table['emotion'].to_pylist()])
    known = p.sum(-1) > 0
    return metrics.reliability(p[known], truth[known])


def _auc(table: pa.Table, answers: Answers, rng: int) -> Interval | None:
    """Return the AUC of the second of two classes; None for other runs or if one is not tested."""
    words = _words(table)
    if len(words) != 2 or set(table['emotion'].to_pylist()) != set(words):
        return None
    truth = np.array([words.index(e) for e in table['emotion'].to_pylist()])
    p = np.nan_to_num(table[f'p_{words[1]}'].to_numpy().astype(float))
    return metrics.auc_bootstrap(answers._replace(truth=truth), p, rng=rng)


def _score(
    key: tuple, table: pa.Table, margins: dict[str, Interval], draws: int, rng: int
) -> Score:
    classes = _classes(table)
    answers = _answers(table, classes)
    intervals = metrics.speaker_bootstrap(answers, len(classes), draws, rng)
    recall = {
        c: i for c, i in zip(classes, intervals.pop('recall'), strict=True) if not np.isnan(i.value)
    }
    speaker, sex, member, fold = _columns(table, 'speaker', 'sex', 'member', 'fold')

    def within(column: np.ndarray, seed=answers.seed) -> tuple[list[str], dict[str, np.ndarray]]:
        names, unit = np.unique(column, return_inverse=True)
        return list(names), metrics.headline(
            metrics.cells(answers._replace(seed=seed), unit, len(names), len(classes))
        )

    names, of_speaker = within(speaker)
    sexes, of_sex = within(sex)
    members, of_member = within(member, seed=None)
    sex_of, spoken = dict(zip(speaker, sex, strict=True)), dict.fromkeys(names, 0)
    for name, _ in set(zip(speaker, answers.utterance, strict=True)):
        spoken[name] += 1
    rows = zip(names, of_speaker['uar'], of_speaker['recall'], strict=True)
    matrix = metrics.confusion(answers.truth, answers.predicted, len(classes))
    bins = _reliability(table)
    run, corpus, protocol, modality = key
    seeds, folds = len(np.unique(answers.seed)), len(np.unique(fold))
    planned = table['planned'][0].as_py() if 'planned' in table.column_names else folds * seeds
    return Score(
        run=run,
        config=table['config'][0].as_py(),
        corpus=corpus,
        protocol=protocol,
        modality=modality,
        classes=classes,
        confusion=matrix,
        **intervals,
        recall=recall,
        chance=metrics.chance(matrix),
        auc=_auc(table, answers, rng),
        ece=metrics.calibration_error(bins),
        reliability=bins,
        utterances=len(np.unique(answers.utterance)),
        speakers=len(names),
        seeds=seeds,
        folds=folds,
        members=len(members),
        planned=planned,
        member_uar=float(of_member['uar'].mean()),
        member_sd=float(of_member['uar'].std(ddof=1)) if len(members) > 1 else np.nan,
        by_sex=dict(zip(sexes, map(float, of_sex['uar']), strict=True)),
        by_speaker=tuple(
            Speaker(n, sex_of[n], spoken[n], float(u), tuple(map(float, r))) for n, u, r in rows
        ),
        margins=margins,
    )
