"""Attributions: exact where they can be, complete, zero on padding, and at the planted tone."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from ser_jax import assemble
from ser_jax.audio.front_ends import LOG_MEL
from ser_jax.audio.mel import frame_mask
from ser_jax.config import base
from ser_jax.contract import Output
from ser_jax.learn import attribution, patches
from ser_jax.learn.arrays import Batch, CorpusData, MemberData
from ser_jax.learn.attribution import Attribution, Example, Network, random_network
from ser_jax.learn.inputs import Preprocessing
from ser_jax.learn.learner import Learner
from ser_jax.learn.patches import Patch
from ser_jax.scoring.agreement import Agreement, rank_correlation, verdict
from tests.conftest import small_config, tone

BANDS, FRAMES, BURST = LOG_MEL.bands, 80, 16
LOW, WIDE = (13, 38), 13  # lowest band of the burst of each class; its bands


class Linear(nnx.Module):
    """The log-probability of class 0 is linear in the frames: -6 + mean over time of x @ w."""

    def __init__(self, rngs: nnx.Rngs):
        self.kernel = nnx.Param(0.01 * jax.random.normal(rngs.params(), (BANDS,)))

    def __call__(self, inputs, rngs=None):
        real = frame_mask(inputs.length, inputs.features.shape[1])
        projected = jnp.where(real, inputs.features @ self.kernel[...], 0)
        log_p = -6 + projected.sum(1) / inputs.length
        logits = jnp.stack([log_p, jnp.log(-jnp.expm1(log_p))], 1)
        return Output(logits, log_p[:, None], {'audio': logits})


def example(seconds: float = 0.8, windows: int = 1, seed: int = 0) -> Example:
    """Random frames of one utterance, with 16 frames of padding in every window."""
    random, frames = np.random.default_rng(seed), round(seconds * 100)
    values = random.normal(-40, 10, (windows, frames + 16, BANDS)).astype(np.float32)
    values[:, 20:40, 10:22] += 30
    first = (np.arange(windows) * (frames // 2)).astype(np.int32)
    share = np.full(windows, 1 / windows, np.float32)
    length = np.full(windows, frames, np.int32)
    return Example(values, length, first, share, np.array([2, 3, 0]), np.ones(2, bool))


def network(learner: Learner, mean: float = -40.0, std: float = 10.0) -> Network:
    variables, _ = learner.drawn(jax.random.key(1))
    return Network(variables, np.full(BANDS, mean), np.full(BANDS, std), {})


def linear() -> Learner:
    front = Preprocessing(base().augment, LOG_MEL, LOG_MEL, False, FRAMES)
    return Learner(lambda rngs: Linear(rngs), optax.sgd(0.1), front)


@pytest.mark.parametrize('windows', [1, 3])
def test_both_methods_are_exact_on_a_linear_model(windows):
    learner, one = linear(), example()
    explain, net = Attribution(learner), network(linear())
    expected = (one.values[0, :80] - one.mean) / 10 * np.asarray(net.variables.params['kernel'])
    got = explain.integrated_gradients(net, one, 0, steps=4)
    np.testing.assert_allclose(got, expected / 80, rtol=2e-3, atol=1e-6)
    columns, rows = patches.edges(80, 7), patches.edges(BANDS, 5)
    drops = explain.occlusion(net, one, 0, patches.grid(columns, rows)).reshape(7, 5)
    np.testing.assert_allclose(drops, patches.summed(got, columns, rows), atol=2e-5)
    many = example(windows=windows)  # the same property of windows that overlap, by its sum
    total = explain.integrated_gradients(net, many, 0, steps=16)
    assert total.shape == (80 + 40 * (windows - 1), BANDS)
    assert total.sum() == pytest.approx(explain.change(net, many, 0), abs=1e-4)


MODELS = {
    'conv_bilstm': {},
    'shifted': {'augment.scored_shifts': 1},
    'window': {'features.normalize': 'window'},
    'fusion': {'model.name': 'fusion'},
}


def learner_of(kind: str) -> Learner:
    config = small_config('nowhere')
    for knob, value in MODELS[kind].items():
        section, name = knob.split('.')
        with config.unlocked():
            config[section][name] = value
    return assemble.build_learner(config, 2, 5, 1)


@pytest.mark.parametrize('kind', MODELS)
def test_the_attributions_sum_to_the_difference_from_the_baseline(kind):
    learner = learner_of(kind)
    explain, one = Attribution(learner, 'fused' if kind == 'fusion' else 'audio'), example()
    net = network(learner)
    got = explain.integrated_gradients(net, one, 1)
    change = explain.change(net, one, 1)
    size = float(np.abs(got).sum())
    assert got.sum() == pytest.approx(change, abs=0.001 * size) and abs(change) > 0.005 * size


def test_padding_gets_nothing_and_changes_nothing():
    learner = learner_of('shifted')
    explain, one, net = Attribution(learner), example(), network(learner)
    windows = explain.gradients_by_window(net, one, 1, 8)
    assert windows.shape == one.values.shape and np.abs(windows[:, :80]).max() > 0
    assert (windows[:, 80:] == 0).all()  # although the padding is not zero
    short = one._replace(values=one.values[:, :80])
    got = explain.integrated_gradients(net, short, 1, 8)
    np.testing.assert_allclose(got, windows[0, :80], atol=1e-5)
    (drop,) = explain.occlusion(net, one, 1, [Patch(80, 96)])
    assert abs(drop) < 1e-6


def test_attributions_do_not_depend_on_the_size_of_batches(monkeypatch):
    learner = learner_of('fusion')
    one, net, results = example(), network(learner), []
    parts = patches.moments(patches.edges(80, 10))
    for rows in (1, 3, 16):
        monkeypatch.setattr(attribution, '_ROWS', rows)
        explain = Attribution(learner, 'fused')
        results.append(
            (
                explain.integrated_gradients(net, one, 0, 16),
                explain.occlusion(net, one, 0, parts),
                explain.words(net, one, 0),
            )
        )
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_word_is_worth_the_difference_to_the_text_without_it():
    learner = learner_of('fusion')
    explain, one, net = Attribution(learner, 'fused'), example(), network(learner)
    drops = explain.words(net, one, 0)
    without = [one._replace(tokens=np.array(t)) for t in ([3, 0, 0], [2, 0, 0])]
    scores = [explain.log_probability(net, e, 0) for e in (one, *without)]
    np.testing.assert_allclose(drops, scores[0] - np.array(scores[1:]), atol=1e-6)
    assert not len(explain.words(net, one._replace(tokens=np.zeros(3, int)), 0))


def test_samples_are_explained_in_the_frames_that_the_model_reads():
    config = small_config('nowhere')
    config.features.source = 'waveform'
    learner = assemble.build_learner(config, 2, 2, 1)
    samples = (tone(0, 1, 0) * 32768).astype(np.int16)
    one = Attribution(learner).example(samples, 160_000, False, np.zeros(1, int), np.ones(2, bool))
    expected = LOG_MEL.stored(samples / np.float32(32768))
    np.testing.assert_allclose(one.values[0, : one.frames], expected, atol=0.1)  # float16 of dB
    many = Attribution(learner).example(samples, 4000, False, np.zeros(1, int), np.ones(2, bool))
    assert len(many.first) > 2 and many.share.sum() == pytest.approx(1)
    assert abs(many.frames - one.frames) <= 1


def planted(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise with a burst at a random time, whose band is the class: frames, labels, times."""
    random = np.random.default_rng(seed)
    frames = random.normal(-60, 3, (count, FRAMES, BANDS)).astype(np.float32)
    label, first = random.integers(0, 2, count), random.integers(0, FRAMES - BURST, count)
    for i in range(count):
        low = LOW[label[i]]
        frames[i, first[i] : first[i] + BURST, low : low + WIDE] += 30
    return frames, label, first


@functools.cache
def burst_learner() -> tuple[Learner, Callable]:
    """A small network for the bursts, and its compiled step."""
    config = small_config('nowhere')
    config.model.strides, config.model.dropout = ((2, 2), (2, 2)), 0.0
    config.train.window_s, config.loss.label_smoothing = (FRAMES - 1) / 100, 0.0
    config.optim.warmup = 0.0
    learner = assemble.build_learner(config, 2, 2, 80)
    return learner, jax.jit(learner.update)


@functools.cache
def trained(seed: int) -> tuple[Learner, Network]:
    """The network trained from a seed until it finds the burst."""
    learner, update = burst_learner()
    frames, label, _ = planted(128, 7)
    count, zeros = len(label), np.zeros(len(label), np.int32)
    flat = frames.reshape(-1, BANDS)
    lengths = (np.arange(count) * FRAMES, np.full(count, FRAMES))
    corpus = CorpusData(flat, *lengths, label, zeros, np.ones((1, 2), bool))
    mean, std = flat.mean(0), flat.std(0)
    tokens = np.zeros((count, 1), int)
    member = MemberData(jax.random.key(seed), mean, std, np.ones(2, np.float32), tokens)
    state, random = learner.init(jax.random.key(seed)), np.random.default_rng(seed)
    for _ in range(80):
        chosen = random.integers(0, count, 32).astype(np.int32)
        batch = Batch(chosen, np.zeros(32, np.int32), np.ones(32, np.float32))
        state = update(state, member, corpus, batch)
    variables = jax.tree.map(np.asarray, learner.candidate(state))
    return learner, Network(variables, mean, std, {})


def planted_example(frames: np.ndarray) -> Example:
    one = np.array([0], np.int32)
    size = np.array([FRAMES], np.int32)
    return Example(frames[None], size, one, np.ones(1, np.float32), one, np.ones(2, bool))


COLUMNS, ROWS = patches.edges(FRAMES, 10), patches.edges(BANDS, 8)


def maps(explain: Attribution, net: Network, one: Example, emotion: int):
    gradients = explain.integrated_gradients(net, one, emotion, 32)
    drops = explain.occlusion(net, one, emotion, patches.grid(COLUMNS, ROWS))
    return patches.summed(gradients, COLUMNS, ROWS), drops.reshape(10, 8)


def test_the_planted_burst_is_found_in_time_and_in_frequency():
    learner, net = trained(0)
    explain = Attribution(learner)
    frames, label, first = planted(4, 99)
    bands = patches.grid(np.array([0, FRAMES]), patches.edges(BANDS, 5))
    for x, emotion, at in zip(frames, label, first, strict=True):
        one, low = planted_example(x), LOW[emotion]
        assert np.exp(explain.log_probability(net, one, emotion)) > 0.8
        moments = patches.moments(COLUMNS)
        moment = moments[int(explain.occlusion(net, one, emotion, moments).argmax())]
        assert moment.first < at + BURST and moment.end > at
        band = bands[int(explain.occlusion(net, one, emotion, bands).argmax())]
        assert (band.low, band.high) == (low, low + WIDE)
        sums = patches.summed(explain.integrated_gradients(net, one, emotion, 32), COLUMNS, ROWS)
        column, row = np.unravel_index(sums.argmax(), sums.shape)
        assert COLUMNS[column] < at + BURST and COLUMNS[column + 1] > at
        assert ROWS[row] < low + WIDE and ROWS[row + 1] > low


def test_random_weights_explain_nothing_in_common_and_another_seed_does():
    (learner, net), (_, other) = trained(0), trained(1)
    explain = Attribution(learner)
    frames, label, _ = planted(4, 99)
    with_random, with_seed, methods = [], [], []
    for i, (x, emotion) in enumerate(zip(frames, label, strict=True)):
        one = planted_example(x)
        ours, drops = maps(explain, net, one, emotion)
        seed, _ = maps(explain, other, one, emotion)
        random, _ = maps(explain, random_network(learner, net, i), one, emotion)
        with_random.append(rank_correlation(ours, random))
        with_seed.append(rank_correlation(ours, seed))
        methods.append(rank_correlation(ours, drops))
    assert abs(np.mean(with_random)) < 0.2
    assert np.mean(with_seed) > np.mean(np.abs(with_random)) + 0.2
    found = Agreement(
        random=np.mean(with_random), methods=np.mean(methods), members=np.mean(with_seed)
    )
    assert verdict(found)[0]


def test_random_weights_keep_shapes_and_no_trained_value_in_its_place():
    learner, net = trained(0)
    random = random_network(learner, net, 3)
    for a, b in zip(jax.tree.leaves(net), jax.tree.leaves(random), strict=True):
        assert np.shape(a) == np.shape(b)
    for name, value in net.variables.params.items():
        if np.size(value) > 8:
            assert (np.asarray(value) == random.variables.params[name]).mean() < 0.5, name


@pytest.mark.parametrize(
    'found, passed, words',
    [
        (Agreement(0.05, 0.1, 0.5, 0.5, 0.4), True, 'depend on the training'),
        (Agreement(0.3, 0.1, 0.5, 0.5, 0.4), False, 'cannot be told from those of random weights'),
        (Agreement(0.05, 0.1, 0.5, 0.6), True, 'the two methods'),
        (Agreement(0.05, 0.1, 0.5, -0.1), False, 'Do not interpret'),
        (Agreement(random_occlusion=0.7), False, 'cannot be told'),
        (Agreement(), False, 'constant'),
    ],
)
def test_the_sanity_check_says_in_words_if_it_fails(found, passed, words):
    got, sentence = verdict(found)
    assert got is passed and words in sentence
