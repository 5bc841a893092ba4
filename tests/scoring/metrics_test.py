"""Properties of the scores, parity with scikit-learn, and the coverage of the intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from ser_jax.scoring import calibration, intervals, metrics
from ser_jax.scoring.metrics import Predictions


def _draw(seed, n=300, classes=5, skill=0.4):
    g = np.random.default_rng(seed)
    truth = g.integers(classes, size=n)
    return truth, np.where(g.random(n) < skill, truth, g.integers(classes, size=n))


def _speakers(g, speakers=20, each=24, classes=4, spread=0.25):
    """Predictions of speakers, each with a recognition rate, 0.6 on average, equal over classes."""
    ability = g.beta(0.6 / spread, 0.4 / spread, speakers)
    truth = np.tile(np.arange(classes), speakers * each // classes)
    speaker = np.repeat(np.arange(speakers), each)
    right = g.random(truth.size) < ability[speaker]
    return Predictions(truth, np.where(right, truth, (truth + 1) % classes), speaker)


@given(st.integers(0, 10_000), st.integers(2, 9))
@settings(max_examples=30)
def test_scores_are_those_of_scikit_learn(seed, classes):
    truth, predicted = _draw(seed, 80, classes)
    present = np.unique(truth)
    matrix = metrics.confusion(truth, predicted, classes)
    got = metrics.scores(matrix)
    np.testing.assert_array_equal(
        matrix, sklearn_metrics.confusion_matrix(truth, predicted, labels=range(classes))
    )
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        truth, predicted, labels=present, average='macro', zero_division=0
    )
    assert got['wa'] == pytest.approx(sklearn_metrics.accuracy_score(truth, predicted))
    assert got['uar'] == got['macro_recall'] == pytest.approx(recall)
    assert got['macro_precision'] == pytest.approx(precision)
    assert got['macro_f1'] == pytest.approx(f1)


def test_confusion_is_scikit_learns():
    truth, predicted = _draw(1)
    expected = sklearn_metrics.confusion_matrix(truth, predicted)
    np.testing.assert_array_equal(metrics.confusion(truth, predicted, 5), expected)


def test_an_absent_class_is_left_out_and_one_never_predicted_has_precision_zero():
    got = metrics.scores([[3, 1, 0], [0, 0, 0], [4, 0, 0]])
    assert got['uar'] == pytest.approx(0.75 / 2)
    assert got['macro_precision'] == pytest.approx((3 / 7 + 0) / 2)
    assert np.isnan(got['recall'][1])
    assert np.isnan(metrics.scores(np.zeros((3, 3)))['uar'])


def test_stacked_matrices_score_as_each_alone():
    stack = np.random.default_rng(0).integers(0, 9, (2, 7, 4, 4))
    got = metrics.scores(stack)
    for i, j in np.ndindex(2, 7):
        for name, value in metrics.scores(stack[i, j]).items():
            np.testing.assert_allclose(got[name][i, j], value, err_msg=name)


def test_indices_out_of_range_are_refused():
    for bad in (-1, 3):
        with pytest.raises(ValueError, match='outside 0'):
            metrics.confusion([0, 1], [bad, 1], 3)


@pytest.mark.parametrize('classes', [2, 4, 8])
def test_a_constant_guess_scores_one_in_c_and_its_interval_says_so(classes):
    g = np.random.default_rng(classes)
    truth = np.concatenate([np.arange(classes), g.integers(classes, size=397)])
    answers = Predictions(truth, np.full(truth.size, 1), g.integers(10, size=truth.size))
    got = intervals.speaker_bootstrap(answers, classes, draws=300)['uar']
    assert (
        got.value
        == pytest.approx(1 / classes)
        == pytest.approx(metrics.chance(metrics.confusion(truth, truth, classes)))
    )
    assert got.low - 1e-12 <= 1 / classes <= got.high + 1e-12


def test_perfect_answers_score_one_everywhere():
    truth, _ = _draw(3)
    got = intervals.speaker_bootstrap(Predictions(truth, truth, truth % 7), 5, draws=200)
    for name in metrics.METRICS:
        assert got[name][:3] == (1, 1, 1)


def test_order_and_names_do_not_matter():
    truth, predicted = _draw(4)
    g = np.random.default_rng(5)
    speaker, seed = g.integers(12, size=300), g.integers(3, size=300)
    one = intervals.speaker_bootstrap(Predictions(truth, predicted, speaker, seed), 5, draws=200)
    order = g.permutation(300)
    names = np.array([f'x_{i:02d}' for i in range(12)])
    two = intervals.speaker_bootstrap(
        Predictions(truth[order], predicted[order], names[speaker[order]], seed[order] * 10), 5, 200
    )
    assert one == two
    swap = g.permutation(5)  # classes by other numbers
    three = intervals.speaker_bootstrap(
        Predictions(swap[truth], swap[predicted], speaker, seed), 5, draws=200
    )
    np.testing.assert_allclose(three['uar'][:3], one['uar'][:3], rtol=1e-6)


def test_the_value_is_the_mean_over_seeds_of_the_pooled_folds():
    truth, predicted = _draw(6)
    seed, speaker = np.arange(300) % 3, np.arange(300) % 11
    got = intervals.speaker_bootstrap(Predictions(truth, predicted, speaker, seed), 5, draws=50)
    for name in ('uar', 'macro_f1'):
        each = [
            metrics.scores(metrics.confusion(truth[seed == s], predicted[seed == s], 5))[name]
            for s in range(3)
        ]
        assert got[name].value == pytest.approx(np.mean(each))
        assert got[name].low < got[name].value < got[name].high


def test_the_bootstrap_is_the_plain_one_written_as_a_matrix_product():
    answers = _speakers(np.random.default_rng(7), speakers=6)
    got = intervals.speaker_bootstrap(answers, 4, draws=500, rng=8)['uar']
    g, drawn = np.random.default_rng(8), []
    for chosen in g.integers(6, size=(500, 6)):
        rows = np.concatenate([np.flatnonzero(answers.speaker == s) for s in chosen])
        drawn.append(
            metrics.scores(metrics.confusion(answers.truth[rows], answers.predicted[rows], 4))[
                'uar'
            ]
        )
    np.testing.assert_allclose(got[1:3], np.percentile(drawn, (2.5, 97.5)), rtol=1e-6)


def test_the_interval_covers_the_truth_and_utterances_alone_would_not():
    g = np.random.default_rng(9)
    by_speaker = by_utterance = 0
    for _ in range(300):
        answers = _speakers(g)
        low, high = intervals.speaker_bootstrap(answers, 4, draws=400)['uar'][1:3]
        by_speaker += low <= 0.6 <= high
        rows = intervals.speaker_bootstrap(
            answers._replace(speaker=np.arange(answers.truth.size)), 4, draws=400
        )['uar']
        by_utterance += rows.low <= 0.6 <= rows.high
    assert 0.90 <= by_speaker / 300 <= 0.98
    assert by_utterance / 300 < 0.80  # what the cluster bootstrap is for


def test_one_speaker_falls_back_to_utterances_drawn_with_all_their_seeds():
    truth, predicted = _draw(10)
    one = Predictions(truth, predicted, np.full(300, 'a'), None, np.arange(300))
    got = intervals.speaker_bootstrap(one, 5)['uar']
    assert got.by == 'utterance' and got.low < got.value < got.high
    twice = Predictions(
        np.tile(truth, 2),
        np.tile(predicted, 2),
        np.full(600, 'a'),
        np.repeat([0, 1], 300),
        np.tile(np.arange(300), 2),
    )
    assert (
        intervals.speaker_bootstrap(twice, 5)['uar'] == got
    )  # a second, equal seed adds no certainty
    assert (
        intervals.speaker_bootstrap(one._replace(speaker=np.arange(300) % 2), 5)['uar'].by
        == 'speaker'
    )


def test_draws_in_parts_are_the_draws_at_once(monkeypatch):
    answers = _speakers(np.random.default_rng(3), speakers=7)
    at_once = intervals.speaker_bootstrap(answers, 4, draws=100)
    monkeypatch.setattr(intervals, '_COUNTS', 7 * 30)  # 30 draws a part, the last one 10
    assert intervals.speaker_bootstrap(answers, 4, draws=100) == at_once


def test_a_seed_that_lacks_speakers_is_left_out_where_it_has_nothing():
    truth, predicted = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 1, 0, 0, 1, 1])
    got = intervals.speaker_bootstrap(
        Predictions(truth, predicted, [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]), 2, draws=100
    )['uar']
    assert not np.isnan(got[:3]).any()


def test_paired_differences_vanish_for_equals_and_show_what_single_intervals_hide():
    g = np.random.default_rng(11)
    a = _speakers(g)
    same = intervals.paired_bootstrap(a, a, 4, draws=200)
    assert same[:3] == (0, 0, 0)
    worse = a._replace(
        predicted=np.where(g.random(a.truth.size) < 0.08, (a.truth + 1) % 4, a.predicted)
    )
    got = intervals.paired_bootstrap(a, worse, 4)
    assert got.low > 0 and got.by == 'speaker'
    back = intervals.paired_bootstrap(worse, a, 4)
    np.testing.assert_allclose((back.value, back.low, back.high), (-got.value, -got.high, -got.low))
    single = [intervals.speaker_bootstrap(x, 4)['uar'] for x in (a, worse)]
    assert single[1].high > single[0].low  # unpaired, the intervals overlap


def calibration_error(probabilities, truth) -> float:
    return calibration.calibration_error(calibration.reliability(probabilities, truth))


def test_calibration_error_is_zero_for_honest_probabilities_and_the_gap_for_boasting():
    g = np.random.default_rng(12)
    p = g.dirichlet(np.full(4, 0.7), 40_000)
    honest = (p.cumsum(1) > g.random((len(p), 1))).argmax(1)
    assert calibration_error(p, honest) < 0.015
    sure = np.tile([1.0, 0.0], (100, 1))
    assert calibration_error(sure, np.arange(100) % 4 == 0) == pytest.approx(0.25)
    bins = calibration.reliability(p, honest, bins=10)
    assert (
        bins.count.sum() == len(p) and bins.count[:2].sum() == 0
    )  # the top of four is at least 0.25
    assert np.isnan(calibration_error(np.zeros((0, 4)), []))


@given(st.integers(0, 10_000))
def test_auc_is_scikit_learns(seed):
    random = np.random.default_rng(seed)
    truth = np.r_[0, 1, random.integers(0, 2, 30)]
    probability = np.round(random.random(32), 1)  # with ties
    assert metrics.auc(truth == 1, probability) == pytest.approx(
        sklearn_metrics.roc_auc_score(truth, probability)
    )


def test_auc_averages_over_seeds_and_its_interval_draws_speakers():
    random = np.random.default_rng(0)
    truth = np.tile([0, 1], 60)
    probability = np.clip(0.5 + 0.2 * (truth - 0.5) + 0.2 * random.standard_normal(120), 0, 1)
    seed, speaker = np.repeat([0, 1], 60), np.tile(np.repeat(list('abcdef'), 10), 2)
    answers = metrics.Predictions(truth, truth, speaker, seed)
    found = intervals.auc_bootstrap(answers, probability)
    each = [metrics.auc(truth[seed == s] == 1, probability[seed == s]) for s in (0, 1)]
    assert found.value == pytest.approx(np.mean(each)) and found.low < found.value < found.high
    assert found.by == 'speaker' and found == intervals.auc_bootstrap(answers, probability)
    assert intervals.auc_bootstrap(answers, -probability).value == pytest.approx(1 - found.value)
    assert np.isnan(metrics.auc([True, True], [0.1, 0.2]))
