"""Averages: of parameters over steps, and of windows over an utterance."""

import jax
import numpy as np

from ser_jax.data import batches
from tests.learn.members_test import group_of, sgd


def test_the_averaged_variables_are_those_of_tensorflow_s_average(data_dir):
    """In the first steps nearly the variables themselves, later the decay that was asked for."""
    c = sgd(data_dir)
    c.optim.ema = 0.25
    group = group_of(c, [0])
    state = group.init()
    expected = group.host(state.variables)
    for step, state in enumerate(group.train_epoch(state, 0)):
        decay = min(0.25, (1 + step) / (10 + step))
        now = group.host({'variables': state.variables, 'average': state.average})
        expected = jax.tree.map(
            lambda a, v, decay=decay: decay * a + (1 - decay) * v, expected, now['variables']
        )
        for average, wanted in zip(*map(jax.tree.leaves, (now['average'], expected)), strict=True):
            np.testing.assert_allclose(average, wanted, rtol=1e-4, atol=1e-6)
        if step == 4:  # 1/10, 2/11, 3/12, then 1/4
            break
    candidate = jax.tree.leaves(group.host(group.learner.candidate(state)))
    for kept, wanted in zip(candidate, jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(kept, wanted, rtol=1e-4, atol=1e-6)


def test_windows_of_unequal_length_count_by_their_length(data_dir, monkeypatch):
    group = group_of(sgd(data_dir), [0])
    variables, most, length = group.init().variables, 60, group.utterances.length
    at = np.flatnonzero((length > 70) & (length < 110))[:6]
    first = batches.Windows(at, np.zeros_like(at), np.full_like(at, most))
    second = batches.Windows(at, np.full_like(at, most), length[at] - most)
    assert len(at) == 6 and (second.length < most).all()
    both = batches.Windows(*map(np.concatenate, zip(first, second, strict=True)))
    given = []
    for windows in (first, second, both):
        monkeypatch.setattr(batches, 'windows', lambda *_, windows=windows: windows)
        given.append(group.predict(variables, [at], most)[0])
    one, other, mean = (p.probabilities['audio'] for p in given)
    assert np.abs(one - other).max() > 1e-3
    share = (first.length / (first.length + second.length))[:, None]
    np.testing.assert_array_equal(given[2].utterance, at)
    np.testing.assert_allclose(mean, share * one + (1 - share) * other, atol=1e-6)
