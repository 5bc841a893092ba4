"""Temperatures and thresholds: fitted on other speakers, honest about planted overconfidence."""

import numpy as np
import pyarrow as pa
import pytest

from ser_jax.scoring import calibration, rows, scores, temperatures

EMOTIONS = ('calm', 'happy', 'sad', 'angry')


def drawn(n: int, temperature: float, rng: int, skill: float = 1.5):
    """Probabilities [n C] whose confidences are right, made overconfident by `temperature`."""
    g = np.random.default_rng(rng)
    logits = skill * g.normal(size=(n, len(EMOTIONS)))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([g.choice(len(EMOTIONS), p=q) for q in p])
    return calibration.scaled(p, 1 / temperature), truth


def study(temperature: float, side: str = 'test', folds: int = 4, n: int = 400, rng: int = 0):
    """Predictions of `folds` members for `n` utterances of two speakers each."""
    parts = []
    for fold in range(folds):
        p, truth = drawn(n, temperature, rng + 100 * fold + 50 * (side == 'valid'))
        names = np.array(EMOTIONS, object)
        speakers = [f'{side}_{fold}_{i % 2}' for i in range(n)]
        columns = {
            'run': ['runs/a'] * n,
            'config': ['conv'] * n,
            'protocol': ['speakers_k'] * n,
            'member': [f'fold{fold}_seed0'] * n,
            'fold': [fold] * n,
            'seed': [0] * n,
            'modality': ['audio'] * n,
            'corpus': ['ravdess'] * n,
            'id': [f'{side}-{fold}-{i}' for i in range(n)],
            'speaker': speakers,
            'sex': ['female' if i % 2 else 'male' for i in range(n)],
            'emotion': names[truth],
            'predicted': names[p.argmax(1)],
            'side': [side] * n,
            'condition': ['clean'] * n,
        }
        columns |= {f'p_{e}': p[:, i] for i, e in enumerate(EMOTIONS)}
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


@pytest.mark.parametrize('planted', [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize('validated', [True, False])
def test_a_planted_overconfidence_is_found_and_taken_away(planted, validated):
    table = study(planted)
    if validated:
        table = pa.concat_tables([table, study(planted, 'valid')])
    (score,) = scores.scores_by(table, draws=50)
    c = score.calibrated
    assert c.temperature == pytest.approx(planted, rel=0.12)
    assert c.ece < 0.04
    assert (score.ece > 0.08) == (planted != 1.0)
    assert c.fitted_on == ('validation speakers' if validated else 'other folds')
    assert (c.utterances, c.speakers) == (1600, 8)


def test_scaling_changes_no_answer_and_keeps_masked_classes_at_zero():
    p, _ = drawn(200, 2.0, 1)
    p[:, 2] = 0
    p /= p.sum(1, keepdims=True)
    for temperature in (0.3, 1.0, 4.0):
        q = calibration.scaled(p, temperature)
        np.testing.assert_allclose(q.sum(1), 1)
        assert (q.argmax(1) == p.argmax(1)).all() and (q[:, 2] == 0).all()
    np.testing.assert_allclose(calibration.scaled(p, 1.0), p, atol=1e-12)


def changed(table: pa.Table, side: str, fold: int) -> pa.Table:
    """The table with wrong labels on one side of one fold."""
    at = (np.array(table['side']) == side) & (np.array(table['fold']) == fold)
    labels = np.array(table['emotion'].to_pylist(), object)
    labels[at] = np.roll(labels[at], 1)
    return table.set_column(table.column_names.index('emotion'), 'emotion', pa.array(labels))


@pytest.mark.parametrize('validated', [True, False])
def test_no_test_speaker_has_a_part_in_its_own_temperature(validated):
    """Wrong labels of a fold change the answers that are kept in other folds alone, or in none."""
    table = study(2.0)
    if validated:
        table = pa.concat_tables([table, study(2.0, 'valid')])
    other = changed(table, 'test', 1)

    def fold_one(t):
        part = rows.selected(t).filter(pa.compute.equal(rows.selected(t)['fold'], 1))
        return temperatures.calibrated(part, t)

    before, after = fold_one(table), fold_one(other)
    np.testing.assert_array_equal(before.reliability.confidence, after.reliability.confidence)
    assert before.selection.answered == after.selection.answered


def test_the_threshold_keeps_the_promised_error_on_other_speakers():
    (score,) = scores.scores_by(pa.concat_tables([study(2.0), study(2.0, 'valid')]), draws=50)
    chosen = score.calibrated.selection
    assert 0.05 < chosen.answered < 0.95
    assert chosen.error == pytest.approx(temperatures.ERROR, abs=0.03)
    assert score.calibrated.risk[-1] == pytest.approx(1 - score.wa.value)
    assert score.calibrated.risk[:100].mean() < score.calibrated.risk[-1]


def test_no_threshold_is_given_where_none_keeps_the_error():
    table = study(1.0)
    labels = np.random.default_rng(3).permutation(np.array(table['emotion'].to_pylist()))
    table = table.set_column(table.column_names.index('emotion'), 'emotion', pa.array(labels))
    (score,) = scores.scores_by(table, draws=50)
    assert score.calibrated.temperature > 3  # answers by chance get flat probabilities
    assert score.calibrated.selection.answered < 0.02


def test_one_fold_without_validation_speakers_is_not_calibrated():
    (score,) = scores.scores_by(study(2.0, folds=1), draws=50)
    assert score.calibrated is None


def test_a_corpus_of_no_fold_is_calibrated_on_the_folds_of_the_run():
    other = study(2.0, rng=7)
    for name, value in {'protocol': 'cross_corpus', 'corpus': 'tess'}.items():
        other = other.set_column(
            other.column_names.index(name), name, pa.array([value] * other.num_rows)
        )
    own, crossed = scores.scores_by(pa.concat_tables([study(2.0), other]), draws=50)
    assert crossed.protocol == 'cross_corpus' and crossed.calibrated.ece < 0.04
    assert crossed.calibrated.temperature == own.calibrated.temperature


def test_equal_confidences_are_answered_together():
    risk = temperatures._risk(np.array([0.9, 0.9, 0.5, 0.5]), np.array([True, False, False, True]))
    np.testing.assert_allclose(risk, [0.5, 0.5, 0.5, 0.5])
