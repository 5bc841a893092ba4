"""Personal heads: a shift of a speaker is repaired, the general model is the limit, JAX = NumPy."""

import numpy as np
import pytest
from scipy.special import softmax

from ser_jax.learn import personal_head
from ser_jax.learn.personal_head import Head
from ser_jax.learn.state import Predicted

C, D = 4, 30


def world(seed: int, shift: float, count: int):
    """Embeddings around the centers of classes, a linear model of them, and a speaker's shift.

    The shift is along the difference of two classes, so the model takes many for one of them.
    """
    random = np.random.default_rng(seed)
    centers = 0.7 * random.standard_normal((C, D))
    offset = shift * (centers[1] - centers[0])

    def speaker(name: int, moved: bool):
        noise = np.random.default_rng([seed, name])
        label = np.arange(count) % C
        x = centers[label] + noise.standard_normal((count, D)) + (offset if moved else 0)
        return softmax(x @ centers.T - (centers**2).sum(1) / 2, 1), x, label

    return speaker


def accuracy(probabilities, label) -> float:
    return float((probabilities.argmax(1) == label).mean())


@pytest.mark.parametrize('seed', range(3))
def test_a_planted_shift_is_repaired_and_costs_others_little(seed):
    speaker = world(seed, 0.7, 200)
    p, x, label = speaker(1, True)
    head = personal_head.fit(p[:12], x[:12], label[:12])
    before = accuracy(p[12:], label[12:])
    after = accuracy(personal_head.apply(head, p[12:], x[12:]), label[12:])
    assert before < 0.75 and after > before + 0.05
    other_p, other_x, other = speaker(2, False)
    taught = personal_head.apply(head, other_p, other_x)
    assert accuracy(taught, other) > accuracy(other_p, other) - 0.08


def test_far_from_the_taught_recordings_the_general_model_answers():
    p, x, label = world(0, 1.0, 40)(1, True)
    head = personal_head.fit(p, x, label)
    np.testing.assert_allclose(personal_head.apply(head, p, x + 30), p, atol=1e-6)


@pytest.mark.parametrize('seed', range(3))
def test_without_a_shift_nothing_is_lost(seed):
    speaker = world(seed, 0.0, 200)
    p, x, label = speaker(1, False)
    head = personal_head.fit(p[:12], x[:12], label[:12])
    other_p, other_x, other = speaker(2, False)
    for probabilities, embedding, truth in (
        (p[12:], x[12:], label[12:]),
        (other_p, other_x, other),
    ):
        taught = personal_head.apply(head, probabilities, embedding)
        assert accuracy(taught, truth) > accuracy(probabilities, truth) - 0.02


def test_the_general_model_is_the_limit_of_a_large_penalty():
    p, x, label = world(0, 1.0, 40)(1, True)
    head = personal_head.fit(p, x, label, ridge=1e7)
    np.testing.assert_allclose(personal_head.apply(head, p, x), p, atol=1e-4)


def test_an_emotion_that_was_not_taught_keeps_its_score():
    p, x, label = world(0, 1.0, 40)(1, True)
    some = label != 2
    head = personal_head.fit(p[some], x[some], label[some])
    assert not head.kernel[:, 2].any() and head.bias[2] == 0
    assert np.abs(head.kernel[:, 1]).max() > 0


def test_scale_and_place_of_the_embedding_do_not_matter():
    p, x, label = world(1, 1.0, 24)(1, True)
    a = personal_head.apply(personal_head.fit(p, x, label), p, x)
    moved = 7 + 50 * x
    b = personal_head.apply(personal_head.fit(p, moved, label), p, moved)
    np.testing.assert_allclose(a, b, atol=2e-3)


def test_the_head_in_the_compiled_function_is_that_of_numpy_and_excluded_classes_stay_0():
    p, x, label = world(2, 1.0, 24)(1, True)
    p = np.where(np.arange(C) == 3, 0, p).astype(np.float32)
    p, x = p / p.sum(1, keepdims=True), x.astype(np.float32)
    some = label != 3
    head = personal_head.fit(p[some], x[some], label[some])
    stacked = Head(*(v[None] for v in head))
    both = {'audio': p[None], 'text': p[None]}
    given = personal_head.corrected(stacked, Predicted(both, x[None]))
    np.testing.assert_allclose(
        given.probabilities['audio'][0], personal_head.apply(head, p, x), atol=1e-5
    )
    assert not np.asarray(given.probabilities['audio'])[..., 3].any()
    np.testing.assert_array_equal(given.probabilities['text'], p[None])  # no part of the audio
