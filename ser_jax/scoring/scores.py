"""Scores from the table of predictions, each with its protocol, counts, interval and note."""

import csv
import dataclasses
import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ser_jax.contract import InputError
from ser_jax.scoring import calibration, intervals, metrics, rows, temperatures
from ser_jax.scoring.calibration import Reliability
from ser_jax.scoring.intervals import Interval
from ser_jax.scoring.metrics import Predictions
from ser_jax.scoring.score import Score, Speaker

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


def scores_by(predictions: pa.Table, draws: int = 2000, rng: int = 0) -> list[Score]:
    """Return one Score of single members per (run, corpus, protocol, modality).

    They are in order of appearance, modalities in the order fused, audio, text. Rows of other
    conditions than 'clean' are left out; rows of the validation side serve calibration alone.

    Args:
      predictions: one row per (run, member, modality, utterance) with COLUMNS (`emotion` is the
        truth) and one column `p_<emotion>` per class. InputError if a column is missing.
      draws, rng: see `intervals.speaker_bootstrap`.
    """
    missing = [c for c in COLUMNS if c not in predictions.column_names]
    if missing:
        raise InputError(
            f'predictions lack the columns {", ".join(missing)}; run python -m ser_jax.evaluate'
        )
    tested, validated = (rows.selected(predictions, s) for s in (rows.TEST, rows.VALIDATION))
    whole = pa.concat_tables([tested, validated])
    result = []
    for group in _groups(tested):
        modalities = _by_modality(tested, group)
        for modality, part in modalities.items():
            basis = _matching(whole, run=group[0], modality=modality)
            of_group = temperatures.calibrated(part, basis)
            score = _score((*group, modality), modalities, draws, rng)
            result.append(dataclasses.replace(score, calibrated=of_group))
    return result


def with_means(predictions: pa.Table, draws: int = 2000, rng: int = 0) -> list[Score]:
    """Return `scores_by`, each followed by the score of the mean of members if it is another.

    That is the score of the answers that `predict` gives: every utterance is answered by the mean
    of the members that never trained on its speaker. If each utterance has one such member, the
    two are the same and the second is left out.
    """
    averaged = rows.mean_of_members(predictions)
    means = {_key(s): s for s in scores_by(averaged, draws, rng)} if averaged.num_rows else {}
    result = []
    for single in scores_by(predictions, draws, rng):
        result.append(single)
        mean = means.get(_key(single))
        if mean is None or single.confusion.sum() == mean.confusion.sum():
            continue
        same = {k: getattr(single, k) for k in _OF_MEMBERS}
        result.append(dataclasses.replace(mean, answer=rows.MEAN, **same))
    return result


def _key(score: Score) -> tuple:
    return score.run, score.corpus, score.protocol, score.modality


# Facts of single members that the score of their mean repeats.
_OF_MEMBERS = ('seeds', 'folds', 'members', 'planned', 'member_uar', 'member_sd')


def _groups(table: pa.Table) -> list[tuple[str, str, str]]:
    """Return the distinct (run, corpus, protocol), in order of appearance."""
    keys = (table[k].to_pylist() for k in ('run', 'corpus', 'protocol'))
    return list(dict.fromkeys(zip(*keys, strict=True)))


def _matching(table: pa.Table, **values: str) -> pa.Table:
    """Return the rows whose columns have these values."""
    for name, value in values.items():
        table = table.filter(pc.equal(table[name], value))
    return table


def _by_modality(table: pa.Table, group: tuple[str, str, str]) -> dict[str, pa.Table]:
    """Return the rows of a group by modality, in the order of MODALITIES."""
    part = _matching(table, **dict(zip(('run', 'corpus', 'protocol'), group, strict=True)))
    found = list(dict.fromkeys(part['modality'].to_pylist()))
    known = [m for m in MODALITIES if m in found]
    ordered = [*known, *(m for m in found if m not in known)]
    return {m: _matching(part, modality=m) for m in ordered}


def paired_interval(a: pa.Table, b: pa.Table, draws: int = 2000, rng: int = 0) -> Interval:
    """Return UAR(a) - UAR(b) with its 95 % interval from the same speakers drawn for both.

    If the interval lies above 0, a is better.

    Args:
      a, b: predictions of one run, corpus, protocol and modality each, on the same utterances;
        InputError otherwise. Seeds and folds may differ.
    """
    utterances = [
        set(zip(*_columns(t, 'corpus', 'id', 'emotion', 'speaker'), strict=True)) for t in (a, b)
    ]
    if utterances[0] != utterances[1]:
        corpus, id, *_ = min(utterances[0] ^ utterances[1])
        raise InputError(
            'paired comparison: expected the same utterances on both sides, got '
            f'{len(utterances[0])} and {len(utterances[1])}; {corpus}/{id} differs or is missing '
            'on one side; evaluate both runs on the same corpora and folds'
        )
    classes = tuple(dict.fromkeys((*_classes(a), *_classes(b))))
    return intervals.paired_bootstrap(
        _predictions(a, classes), _predictions(b, classes), len(classes), draws, rng
    )


def write_csv(scores: list[Score], path) -> None:
    """Write a line per score: its keys, note, counts, and every metric with its interval."""
    lines = []
    for s in scores:
        line = {
            k: getattr(s, k)
            for k in ('run', 'config', 'corpus', 'protocol', 'modality', 'answer', 'note')
        }
        line |= {
            k: getattr(s, k)
            for k in ('utterances', 'speakers', 'seeds', 'folds', 'members', 'planned')
        }
        of_metric = {m: getattr(s, m) for m in metrics.METRICS}
        of_metric |= {f'recall_{c}': i for c, i in s.recall.items()}
        for name, i in of_metric.items():
            line |= {name: i.value, f'{name}_low': i.low, f'{name}_high': i.high}
        line |= {'interval_by': s.uar.by}
        line |= {'auc': s.auc.value, 'auc_low': s.auc.low, 'auc_high': s.auc.high} if s.auc else {}
        line |= {
            k: getattr(s, k) for k in ('chance', 'ece', 'member_uar', 'member_sd', 'speaker_sd')
        }
        gap = s.sex_gap
        line |= {'sex_gap': gap.value, 'sex_gap_low': gap.low, 'sex_gap_high': gap.high}
        line |= _calibration_fields(s)
        lines.append({name: _csv_field(value) for name, value in line.items()})
    # Classes differ between scores: recall columns come last.
    names = dict.fromkeys(itertools.chain.from_iterable(lines))
    fields = sorted(names, key=lambda name: name.startswith('recall_'))
    with open(path, 'w', newline='', encoding='utf-8') as f:
        writer = csv.DictWriter(f, fields, restval='')
        writer.writeheader()
        writer.writerows(lines)


def _calibration_fields(score: Score) -> dict:
    """Return the fields of a calibrated score; none if there is no calibration."""
    c = score.calibrated
    if c is None:
        return {}
    fields = {'temperature': c.temperature, 'calibrated_on': c.fitted_on, 'calibrated_ece': c.ece}
    at = c.selection
    return {**fields, 'threshold': at.threshold, 'answered': at.answered, 'error': at.error}


def _csv_field(value):
    """Return a float with six decimals, nan as empty text, any other value unchanged."""
    if not isinstance(value, float):
        return value
    return '' if np.isnan(value) else f'{value:.6f}'


def _columns(table: pa.Table, *names: str) -> list[np.ndarray]:
    return [table[n].to_numpy() for n in names]


def _classes(table: pa.Table) -> tuple[str, ...]:
    """Return the emotions in the truth or the predictions, in the order of the p_ columns."""
    seen = {*table['emotion'].to_pylist(), *table['predicted'].to_pylist()}
    words = rows.classes(table)
    return (*(w for w in words if w in seen), *sorted(seen - {*words}))


def _predictions(table: pa.Table, classes: tuple[str, ...]) -> Predictions:
    place = {c: i for i, c in enumerate(classes)}
    truth = [place[word] for word in table['emotion'].to_pylist()]
    predicted = [place[word] for word in table['predicted'].to_pylist()]
    rest = _columns(table, 'speaker', 'seed', 'id')
    return Predictions(np.array(truth), np.array(predicted), *rest)


def _reliability(table: pa.Table) -> Reliability:
    """Return the reliability over rows with probabilities."""
    p, truth = rows.probabilities(table)
    known = p.sum(-1) > 0
    return calibration.reliability(p[known], truth[known])


def _auc(table: pa.Table, predicted: Predictions, rng: int) -> Interval | None:
    """Return the AUC of the second of two classes; None for other runs or if one is not tested."""
    words = rows.classes(table)
    if len(words) != 2 or set(table['emotion'].to_pylist()) != set(words):
        return None
    truth = np.array([words.index(e) for e in table['emotion'].to_pylist()])
    p = np.nan_to_num(table[f'p_{words[1]}'].to_numpy().astype(float))
    return intervals.auc_bootstrap(predicted._replace(truth=truth), p, rng=rng)


def _score(key: tuple, modalities: dict[str, pa.Table], draws: int, rng: int) -> Score:
    """Return the score of (run, corpus, protocol, modality) from its rows by modality."""
    run, corpus, protocol, modality = key
    table = modalities[modality]
    others = [m for m in modalities if m != modality] if modality == 'fused' else []
    margins = {m: paired_interval(table, modalities[m], draws, rng) for m in others}
    classes = _classes(table)
    predicted = _predictions(table, classes)
    of_metric = intervals.speaker_bootstrap(predicted, len(classes), draws, rng)
    recall = dict(zip(classes, of_metric.pop('recall'), strict=True))
    speaker, sex, member, fold = _columns(table, 'speaker', 'sex', 'member', 'fold')
    sexes, of_sex = _headlines(predicted, sex, len(classes))
    # Members are scored one by one, so their seeds are not averaged.
    members, of_member = _headlines(predicted._replace(seed=None), member, len(classes))
    speakers = _speakers(predicted, speaker, sex, len(classes))
    matrix = metrics.confusion(predicted.truth, predicted.predicted, len(classes))
    bins = _reliability(table)
    seeds, folds = len(np.unique(predicted.seed)), len(np.unique(fold))
    planned = table['planned'][0].as_py() if 'planned' in table.column_names else folds * seeds
    return Score(
        run=run,
        config=table['config'][0].as_py(),
        corpus=corpus,
        protocol=protocol,
        modality=modality,
        classes=classes,
        confusion=matrix,
        **of_metric,
        recall={c: i for c, i in recall.items() if not np.isnan(i.value)},
        chance=metrics.chance(matrix),
        auc=_auc(table, predicted, rng),
        ece=calibration.calibration_error(bins),
        reliability=bins,
        utterances=len(np.unique(predicted.utterance)),
        speakers=len(speakers),
        seeds=seeds,
        folds=folds,
        members=len(members),
        planned=planned,
        member_uar=float(of_member['uar'].mean()),
        member_sd=float(of_member['uar'].std(ddof=1)) if len(members) > 1 else np.nan,
        by_sex=dict(zip(sexes, map(float, of_sex['uar']), strict=True)),
        by_speaker=speakers,
        margins=margins,
        sex_gap=intervals.gap_bootstrap(predicted, sex, len(classes), draws, rng),
    )


def _headlines(
    predicted: Predictions, column: np.ndarray, classes: int
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Return the distinct values of a column [N], and the headline scores of each."""
    names, unit = np.unique(column, return_inverse=True)
    return list(names), metrics.headline(metrics.cells(predicted, unit, len(names), classes))


def _speakers(
    predicted: Predictions, speaker: np.ndarray, sex: np.ndarray, classes: int
) -> tuple[Speaker, ...]:
    """Return the speakers by name, each with sex, number of utterances, UAR and recalls."""
    names, scores = _headlines(predicted, speaker, classes)
    sex_of = dict(zip(speaker, sex, strict=True))
    utterances = Counter(name for name, _ in set(zip(speaker, predicted.utterance, strict=True)))
    return tuple(
        Speaker(name, sex_of[name], utterances[name], float(uar), tuple(map(float, recall)))
        for name, uar, recall in zip(names, scores['uar'], scores['recall'], strict=True)
    )
