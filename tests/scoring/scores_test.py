"""Predictions become scores that carry their protocol, counts, interval and note."""

import csv

import numpy as np
import pyarrow as pa
import pytest

from ser_jax.contract import InputError
from ser_jax.scoring import calibration, scores

EMOTIONS = ('calm', 'happy', 'sad')


def predictions(
    run='runs/a',
    protocol='speakers_k',
    corpus='ravdess',
    modalities=('audio',),
    skill=0.6,
    speakers=6,
    seeds=2,
):
    """Two balanced folds by speaker; `skill` is the share of correct audio predictions."""
    g, rows = np.random.default_rng(0), []
    for seed, s, m, k in np.ndindex(seeds, speakers, len(modalities), 12):
        truth, bonus = EMOTIONS[k % 3], {'fused': 0.3, 'audio': 0.0, 'text': -0.2}[modalities[m]]
        predicted = truth if g.random() < skill + bonus else EMOTIONS[(k + 1) % 3]
        rows.append(
            {
                'run': run,
                'config': 'conv_bilstm',
                'protocol': protocol,
                'member': f'fold{s % 2}_seed{seed}',
                'fold': s % 2,
                'seed': seed,
                'modality': modalities[m],
                'corpus': corpus,
                'id': f'{s}-{k}',
                'speaker': f'{corpus}_{s}',
                'sex': ('male', 'female')[s % 2],
                'emotion': truth,
                'predicted': predicted,
                **{f'p_{e}': 0.8 if e == predicted else 0.1 for e in EMOTIONS},
                'p_boredom': None,
            }
        )
    return pa.Table.from_pylist(rows)


def test_a_score_carries_what_it_was_measured_on():
    table = predictions()
    (s,) = scores.scores_by(table)
    assert (s.run, s.config, s.corpus, s.protocol, s.modality) == (
        'runs/a',
        'conv_bilstm',
        'ravdess',
        'speakers_k',
        'audio',
    )
    assert (s.utterances, s.speakers, s.seeds, s.folds, s.members) == (72, 6, 2, 2, 4)
    assert s.classes == EMOTIONS and s.chance == pytest.approx(1 / 3)  # boredom occurs nowhere
    assert s.confusion.sum() == table.num_rows
    right = np.mean(
        [
            a == b
            for a, b in zip(
                table['emotion'].to_pylist(), table['predicted'].to_pylist(), strict=True
            )
        ]
    )
    assert s.wa.value == pytest.approx(right)
    assert s.uar.low <= s.uar.value <= s.uar.high
    assert set(s.recall) == set(EMOTIONS)
    assert s.ece == pytest.approx(abs(right - 0.8), abs=1e-6)
    assert s.member_uar == pytest.approx(s.uar.value)  # balanced folds
    assert s.sex_gap.low <= s.sex_gap.value <= s.sex_gap.high
    assert s.sex_gap.value == pytest.approx(s.by_sex['female'] - s.by_sex['male'])
    assert [(p.name, p.sex, p.utterances) for p in s.by_speaker][:2] == [
        ('ravdess_0', 'male', 12),
        ('ravdess_1', 'female', 12),
    ]
    assert np.mean([p.uar for p in s.by_speaker]) == pytest.approx(s.uar.value)
    assert str(s).startswith(
        f'UAR {s.uar.value:.3f} ['
    ) and '6 speakers, 2 seeds, 95 % by speaker' in str(s)


def test_notes_name_what_is_inflated_synthetic_or_incomplete():
    table = predictions(protocol='leaky_random', corpus='synthetic')
    (s,) = scores.scores_by(table)
    assert s.inflated and s.synthetic and s.note == 'inflated, synthetic'
    assert ' inflated, synthetic (' in str(s)
    (honest,) = scores.scores_by(predictions())
    assert honest.note == ''
    (part,) = scores.scores_by(
        predictions().filter(pa.compute.not_equal(predictions()['member'], 'fold1_seed1'))
    )
    assert part.note == 'incomplete' and part.members == 3


def test_the_planned_members_of_a_run_decide_what_is_incomplete():
    """Also in a table of one prediction."""
    table = predictions()
    for planned, note in ((4, ''), (5, 'incomplete')):
        column = pa.array([planned] * table.num_rows)
        (s,) = scores.scores_by(table.append_column('planned', column))
        assert s.planned == planned and s.note == note
    (one,) = scores.scores_by(table.slice(0, 1).append_column('planned', pa.array([4])))
    assert one.planned == 4 and one.incomplete and np.isnan(one.member_sd)


def uar(rows: list[dict]) -> float:
    """Mean over the emotions in the truth of the share recognized."""
    right = {e: [r['predicted'] == e for r in rows if r['emotion'] == e] for e in EMOTIONS}
    return float(np.mean([np.mean(x) for x in right.values() if x]))


@pytest.mark.parametrize('seeds', [1, 2])
def test_scores_of_parts_are_those_of_their_rows_alone(seeds):
    """Of members, one of which is few; of sexes and speakers, whose seeds are averaged."""
    table = predictions(speakers=5, seeds=seeds)
    (s,) = scores.scores_by(table)
    rows = table.to_pylist()

    def part(**given):
        return [r for r in rows if given.items() <= r.items()]

    members = [uar(part(fold=f, seed=k)) for f in range(2) for k in range(seeds)]
    assert s.member_uar == pytest.approx(np.mean(members))
    assert s.member_sd == pytest.approx(np.std(members, ddof=1)) and s.members == len(members)
    for sex, value in s.by_sex.items():
        assert value == pytest.approx(np.mean([uar(part(sex=sex, seed=k)) for k in range(seeds)]))
    for p in s.by_speaker:
        each = [part(speaker=p.name, seed=k) for k in range(seeds)]
        assert p.uar == pytest.approx(np.mean([uar(x) for x in each]))
        assert p.utterances == 12 and len(p.recall) == len(EMOTIONS)


def test_groups_keep_their_order_and_fusion_is_compared_with_its_parts():
    table = pa.concat_tables(
        [predictions('runs/z', modalities=('text', 'audio', 'fused')), predictions('runs/b')]
    )
    got = scores.scores_by(table)
    assert [(s.run, s.modality) for s in got] == [
        ('runs/z', m) for m in ('fused', 'audio', 'text')
    ] + [('runs/b', 'audio')]
    fused, audio, *_ = got
    assert set(fused.margins) == {'audio', 'text'} and not audio.margins
    assert fused.margins['audio'].value == pytest.approx(fused.uar.value - audio.uar.value)
    assert fused.margins['text'].low > 0


def test_rows_in_any_order_give_the_same_scores():
    table = predictions()
    (a,), (b,) = (
        scores.scores_by(t)
        for t in (table, table.take(pa.array(np.random.default_rng(1).permutation(table.num_rows))))
    )
    assert (a.uar, a.macro_f1, a.by_speaker) == (b.uar, b.macro_f1, b.by_speaker)
    assert a.ece == pytest.approx(b.ece)


def test_a_paired_interval_of_different_utterances_is_refused():
    a, b = predictions(skill=0.9), predictions(skill=0.4, seeds=1)
    assert scores.paired_interval(a, b).low > 0
    assert scores.paired_interval(a, a)[:3] == (0, 0, 0)
    with pytest.raises(InputError, match='72 and 60; ravdess/5-0 differs or is missing'):
        scores.paired_interval(a, predictions(speakers=5))


def test_draws_and_their_seed_reach_every_interval():
    table = predictions(modalities=('audio', 'fused'))
    a, b = (table.filter(pa.compute.equal(table['modality'], m)) for m in ('fused', 'audio'))
    for measure in (
        lambda *draw: scores.paired_interval(a, b, *draw),
        lambda *draw: scores.scores_by(table, *draw)[0].margins['audio'],
        lambda *draw: scores.scores_by(table, *draw)[0].uar,
    ):
        first, again, other, fewer = (measure(*x) for x in ((90, 0), (90, 0), (90, 1), (9, 0)))
        assert first == again and first[1:3] != other[1:3] and first[1:3] != fewer[1:3]


def test_a_single_speaker_is_scored_by_utterance():
    (s,) = scores.scores_by(predictions(speakers=1))
    assert s.uar.by == 'utterance' and '95 % by utterance' in str(s)
    assert np.isnan(s.sex_gap.value)


def test_predictions_without_probabilities_or_rows():
    table = predictions()
    bare = table.drop_columns([c for c in table.column_names if c.startswith('p_')])
    (s,), (full,) = scores.scores_by(bare), scores.scores_by(table)
    assert np.isnan(s.ece) and s.uar == full.uar
    assert scores.scores_by(table.slice(0, 0)) == []
    with pytest.raises(InputError, match='lack the columns speaker, sex'):
        scores.scores_by(table.drop_columns(['sex', 'speaker']))


def test_a_true_emotion_without_a_probability_is_never_recognized():
    table = predictions()
    (s,) = scores.scores_by(table.drop_columns('p_sad'))
    p = np.stack([table[f'p_{e}'].to_numpy() for e in ('calm', 'happy')], 1)
    truth = np.array([('calm', 'happy', 'sad').index(e) for e in table['emotion'].to_pylist()])
    assert s.ece == pytest.approx(calibration.calibration_error(calibration.reliability(p, truth)))


def test_csv_holds_every_score_with_note_and_interval(tmp_path):
    got = scores.scores_by(
        pa.concat_tables(
            [predictions(), predictions('runs/b', 'leaky_random', modalities=('audio', 'fused'))]
        )
    )
    scores.write_csv(got, tmp_path / 'scores.csv')
    with open(tmp_path / 'scores.csv', newline='') as f:
        lines = list(csv.DictReader(f))
    assert [x['note'] for x in lines] == ['', 'inflated', 'inflated']
    names = list(lines[0])
    recalls = [n.startswith('recall_') for n in names]
    assert names[0] == 'run' and recalls == sorted(recalls) and any(recalls)  # recalls come last
    for line, s in zip(lines, got, strict=True):
        assert float(line['uar']) == pytest.approx(s.uar.value, abs=1e-6)
        assert float(line['uar_low']) <= float(line['uar']) <= float(line['uar_high'])
        assert (line['protocol'], line['utterances'], line['speakers'], line['seeds']) == (
            s.protocol,
            '72',
            '6',
            '2',
        )
        assert line['interval_by'] == 'speaker' and float(line['recall_sad']) == pytest.approx(
            s.recall['sad'].value, abs=1e-6
        )


def test_two_classes_keep_their_auc_beside_a_run_of_more():
    two = predictions(run='runs/b')
    two = two.filter(
        pa.array(
            [
                e != 'sad' and p != 'sad'
                for e, p in zip(
                    *(two[c].to_pylist() for c in ('emotion', 'predicted')), strict=True
                )
            ]
        )
    )
    two = two.drop(['p_sad', 'p_boredom'])
    (alone,) = scores.scores_by(two)
    both = scores.scores_by(pa.concat_tables([predictions(), two], promote_options='default'))
    assert {s.run: s.auc for s in both} == {
        'runs/a': None,
        'runs/b': alone.auc,
    } and alone.auc is not None
