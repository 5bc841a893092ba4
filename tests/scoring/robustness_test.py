"""Effects of conditions: a planted fragility is found, absent ones are not, pairs are the same."""

import csv

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.contract import InputError
from ser_jax.scoring import robustness, rows, scores

EMOTIONS = ('calm', 'happy', 'sad', 'angry')


def answers(rng, condition, skill=0.7, same=None, keep=0.0, run='runs/a', modality='audio'):
    """A row per seed, speaker and utterance; a share `keep` of the answers is that of `same`."""
    table = []
    for seed, s, k in np.ndindex(2, 12, 12):
        truth = EMOTIONS[k % 4]
        wrong = EMOTIONS[(k + 1 + rng.integers(3)) % 4]
        predicted = truth if rng.random() < skill else wrong
        if same is not None and rng.random() < keep:
            predicted = same[len(table)]['predicted']
        table.append(
            {
                'run': run, 'config': 'conv_bilstm', 'protocol': 'speakers_k',
                'member': f'fold{s % 2}_seed{seed}', 'fold': s % 2, 'seed': seed,
                'modality': modality, 'corpus': 'ravdess', 'id': f'{s}-{k}',
                'speaker': f'ravdess_{s}', 'sex': 'male', 'emotion': truth,
                'predicted': predicted, 'condition': condition,
                **{f'p_{e}': 0.7 if e == predicted else 0.1 for e in EMOTIONS},
            }
        )  # fmt: skip
    return table


def study(seed=0, **under):
    """Undistorted answers of skill 0.7, and those with each condition: (skill, share kept)."""
    rng = np.random.default_rng(seed)
    table = answers(rng, 'clean')
    whole = list(table)
    for condition, (skill, keep) in under.items():
        whole += answers(rng, condition, skill, table, keep)
    return pa.Table.from_pylist(whole)


def found(table):
    return {e.condition: e for e in robustness.effects(table, draws=500)}


@pytest.mark.parametrize('seed', range(5))
def test_a_planted_fragility_is_found_and_absent_ones_are_not(seed):
    table = study(seed, white_10db=(0.5, 0.0), telephone=(0.7, 0.9), gain_20db=(0.7, 1.0))
    effects = found(table)
    assert effects['white_10db'].lost and not effects['white_10db'].gained
    assert effects['white_10db'].difference.value == pytest.approx(-0.2, abs=0.09)
    assert not effects['telephone'].lost
    assert effects['gain_20db'].difference[:3] == (0, 0, 0)
    assert effects['gain_20db'].changed[:3] == (0, 0, 0)
    of_run = list(effects.values())
    words = {'white_10db': 'white noise at 10 dB'}
    line = robustness.summary(of_run, words)
    assert line.startswith('loses ') and ' points with white noise at 10 dB, 95 % ' in line
    assert 'under 1 of 3 conditions' in line
    assert robustness.summary(of_run[1:]) == 'is not shown to lose under any of 2 conditions tested'


def test_without_an_effect_few_of_many_conditions_are_found():
    """Answers drawn again with the same skill: of 60 intervals, 1.5 are expected below 0."""
    none = {f'c{i}': (0.7, 0.5) for i in range(60)}
    lost = [e.lost for e in found(study(7, **none)).values()]
    assert len(lost) == 60 and sum(lost) <= 6


def test_the_interval_of_the_difference_covers_the_planted_one():
    """In 40 simulations a 95 % interval misses 2; 8 would be improbable (p < 0.002)."""
    missed = 0
    for seed in range(40):
        d = found(study(100 + seed, white_0db=(0.5, 0.0)))['white_0db'].difference
        missed += not d.low <= -0.2 <= d.high
    assert missed < 8


def test_an_effect_is_paired_with_the_same_utterances_and_members():
    """Undistorted rows of other utterances change nothing."""
    table = study(white_10db=(0.5, 0.5))
    part = table.filter(
        pa.array(
            [
                c == 'clean' or int(i.split('-')[1]) < 4
                for c, i in zip(*(table[n].to_pylist() for n in ('condition', 'id')), strict=True)
            ]
        )
    )
    few = part.filter(pa.array([int(i.split('-')[1]) < 4 for i in part['id'].to_pylist()]))
    assert part.num_rows > few.num_rows
    assert found(part) == found(few)
    effect = found(part)['white_10db']
    assert (effect.utterances, effect.speakers) == (48, 12)
    (clean,) = scores.scores_by(rows.selected(few), draws=500)
    (noisy,) = scores.scores_by(
        rows.selected(few, condition='white_10db').drop(['condition']), draws=500
    )
    for interval, score in ((effect.clean, clean), (effect.uar, noisy)):
        np.testing.assert_allclose(interval[:3], score.uar[:3], atol=1e-12)
    assert effect.difference.value == pytest.approx(noisy.uar.value - clean.uar.value)
    pairs = zip(
        rows.selected(few)['predicted'].to_pylist(),
        rows.selected(few, condition='white_10db')['predicted'].to_pylist(),
        strict=True,
    )
    assert effect.changed.value == pytest.approx(np.mean([a != b for a, b in pairs]))


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random):
    table = study(white_10db=(0.5, 0.5), telephone=(0.7, 0.5))
    order = list(range(table.num_rows))
    random.shuffle(order)
    assert found(table.take(pa.array(order))) == found(table)


def test_runs_stay_apart_and_texts_are_left_out():
    rng = np.random.default_rng(0)
    table = answers(rng, None) + answers(rng, 'white_0db', 0.5)
    for run, modality in (('runs/b', 'audio'), ('runs/b', 'text')):
        table += answers(rng, None, run=run, modality=modality)
        table += answers(rng, 'white_0db', 0.6, run=run, modality=modality)
    effects = robustness.effects(pa.Table.from_pylist(table), draws=200)
    assert [(e.run, e.modality) for e in effects] == [('runs/a', 'audio'), ('runs/b', 'audio')]
    assert effects[0].uar.value < effects[1].uar.value
    assert robustness.effects(pa.Table.from_pylist(table[:288]).drop(['condition'])) == []


def test_a_distorted_utterance_without_its_undistorted_row_is_refused():
    table = study(white_10db=(0.5, 0.5)).slice(1)
    with pytest.raises(InputError, match=r'1 rows with white_10db .* fold0_seed0, 0-0; evaluate'):
        robustness.effects(table)


def test_the_verdict_and_the_file_have_the_numbers(tmp_path):
    effects = robustness.effects(study(white_10db=(0.4, 0.0), gain_20db=(0.95, 0.0)), draws=200)
    loss, gain = effects
    d = loss.difference
    assert loss.verdict() == (
        f'loses {-100 * d.value:.1f} points with white_10db, 95 % {-100 * d.high:.1f} … '
        f'{-100 * d.low:.1f}'
    )
    assert gain.gained and gain.verdict('more').startswith('gains ')
    same = robustness.effects(study(white_10db=(0.7, 1.0)), draws=200)[0]
    assert same.verdict('noise').startswith('is not shown to lose with noise: +0.0 points, 95 %')
    robustness.write_csv(effects, tmp_path / 'robustness.csv')
    lines = list(csv.DictReader((tmp_path / 'robustness.csv').read_text().splitlines()))
    assert [line['condition'] for line in lines] == ['white_10db', 'gain_20db']
    assert float(lines[0]['difference_low']) == pytest.approx(d.low, abs=1e-6)
    assert lines[0]['interval_by'] == 'speaker' and lines[0]['utterances'] == '144'
