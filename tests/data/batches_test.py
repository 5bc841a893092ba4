"""Batch order is a pure function of (member, epoch); windows cover what they promise."""

import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.data import batches
from ser_jax.data.batches import Member

NOBODY = np.array([], np.int32)


@settings(max_examples=50)
@given(
    n=st.integers(1, 60),
    batch=st.integers(1, 9),
    extra=st.integers(0, 3),
    span=st.integers(1, 50),
    seed=st.integers(0, 3),
)
def test_an_epoch_hears_every_utterance_once(n, batch, extra, span, seed):
    train = np.arange(100, 100 + n)
    length = np.random.default_rng(0).integers(1, 80, 200)
    member = Member('m', 0, seed, train, NOBODY, NOBODY)
    steps = batches.steps_per_epoch([member], batch) + extra
    plan = batches.epoch_plan(member, 3, batch, steps, length, span)
    trained = plan.utterance[plan.weight > 0]
    assert sorted(trained) == sorted(train)
    assert plan.utterance.shape == (steps, batch)
    real = plan.weight.sum(1)
    assert real.max() - real.min() <= 1  # short folds lack about equally much in every step
    assert (plan.start >= 0).all() and (
        plan.start <= np.maximum(length[plan.utterance] - span, 0)
    ).all()


def test_order_depends_on_seed_fold_and_epoch_alone():
    length = np.full(100, 60)

    def make(fold, seed, epoch):
        return batches.epoch_plan(
            Member('x', fold, seed, np.arange(50), NOBODY, NOBODY), epoch, 8, 7, length, 30
        )

    first = make(0, 0, 0)
    for again in (make(0, 0, 0),):
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
    for other in (make(1, 0, 0), make(0, 1, 0), make(0, 0, 1)):
        assert (first.utterance != other.utterance).any()


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(1, 500), min_size=1, max_size=12), most=st.integers(2, 120))
def test_windows_cover_every_frame(lengths, most):
    length = np.array(lengths)
    w = batches.windows(np.arange(len(length)), length, most)
    assert (w.length <= most).all() and (np.diff(w.length) >= 0).all()
    for i, n in enumerate(lengths):
        covered = np.zeros(n, bool)
        for s, m in zip(w.start[w.utterance == i], w.length[w.utterance == i], strict=True):
            covered[s : s + m] = True
        assert covered.all()


@pytest.mark.parametrize('bands', [(), (3,)])
def test_cut_windows_are_the_slices_then_zeros(bands):
    values = [np.arange(1, 1 + n * 3).reshape(n, 3)[:, : 3 if bands else 1] for n in (5, 9, 2)]
    values = [v if bands else v[:, 0] for v in values]
    utterance, start = np.array([[0, 1], [2, 1]]), np.array([[3, 0], [0, 4]])
    utterances = types.SimpleNamespace(read=values.__getitem__)
    cut = batches.cut(utterances, utterance, start, 4)
    assert cut.shape == (2, 2, 4, *bands)
    for at in np.ndindex(2, 2):
        expected = values[utterance[at]][start[at] : start[at] + 4]
        np.testing.assert_array_equal(cut[at][: len(expected)], expected)
        assert not cut[at][len(expected) :].any()


@pytest.mark.parametrize(
    'length, most, starts',
    [(100, 20, range(0, 81, 10)), (45, 20, (0, 10, 20, 25)), (20, 20, (0,)), (3, 1, (0, 1, 2))],
)
def test_windows_of_long_utterances_overlap_by_half(length, most, starts):
    cut = batches.windows(np.array([0]), np.array([length]), most)
    assert sorted(cut.start) == list(starts) and (cut.length == most).all()
