"""One update of a member: empty slots change nothing, whatever the network and the augmentation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax import assemble
from ser_jax.learn.arrays import Batch
from tests.conftest import small_config

CONV = {
    'channels': (4, 8),
    'kernels': (3, 3),
    'strides': ((4, 4), (2, 2)),
    'hidden': 8,
    'dropout': 0.0,
}
NETWORKS = {
    'conv_bilstm': CONV,
    'fusion': {**CONV, 'embedding': 8, 'fused': 8, 'modality_dropout': 0.0},
    'cnn4_bilstm': {'dropout': 0.0},
}


@pytest.fixture(params=[*NETWORKS, 'conv_bilstm per window', 'conv_bilstm from samples'])
def run(request, data_dir):
    """A run without dropout, trained by plain gradient descent."""
    name, _, how = request.param.partition(' ')
    c = small_config(data_dir)
    c.model = ConfigDict({'name': name, **NETWORKS[name]})
    c.optim.name, c.optim.learning_rate, c.optim.warmup, c.optim.weight_decay = 'sgd', 0.1, 0.0, 0.0
    c.features.normalize = 'window' if how == 'per window' else 'train'
    c.features.source = 'waveform' if how == 'from samples' else 'log_mel'
    return assemble.open_run(c)


def updated(run, weight, mixup=0.0) -> dict[str, np.ndarray]:
    """The variables after one step on the first utterances, a slot for each entry of `weight`."""
    config, learner = run.config, run.learner
    knobs = ConfigDict({**config.augment, 'mixup': mixup})
    learner.preprocessing = learner.preprocessing._replace(augment=knobs)
    shared = jax.tree.map(jnp.asarray, run.corpus_data(learner.preprocessing.span))
    data = jax.tree.map(lambda x: jnp.asarray(x[0]), run.member_data([0]))
    data = data._replace(key=jax.random.wrap_key_data(data.key))
    slots = len(weight)
    row = Batch(
        jnp.arange(slots) * 7 % 40, jnp.zeros(slots, jnp.int32), jnp.asarray(weight, jnp.float32)
    )
    state = jax.jit(learner.update)(jax.jit(learner.init)(jax.random.key(0)), data, shared, row)
    return {**state.variables.params, **state.variables.stats, 'loss': state.loss_sum}


def test_empty_slots_change_nothing(run):
    """The last batch of an epoch is filled up with repeated utterances of weight 0."""
    full, padded = updated(run, [1, 1, 1, 1]), updated(run, [1, 1, 1, 1, 0, 0, 0])
    for name, value in full.items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize('run', ['conv_bilstm'], indirect=True)
def test_mixup_keeps_empty_slots_empty(run):
    alone, padded = updated(run, [1], mixup=0.4), updated(run, [1, 0, 0], mixup=0.4)
    for name, value in alone.items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    'axis, knobs',
    [(1, {'time_masks': 1, 'time_mask_s': 0.2}), (2, {'band_masks': 1, 'band_mask': 8})],
)
@pytest.mark.parametrize('run', ['conv_bilstm'], indirect=True)
def test_a_mask_hides_whole_frames_or_whole_bands(run, axis, knobs):
    """Masked values are those of the mean, 0 after normalization, over the whole other axis."""
    learner = run.learner
    given = ConfigDict({**run.config.augment, **knobs})
    learner.preprocessing = learner.preprocessing._replace(augment=given)
    shared = jax.tree.map(jnp.asarray, run.corpus_data(learner.preprocessing.span))
    data = jax.tree.map(lambda x: jnp.asarray(x[0]), run.member_data([0]))
    row = Batch(jnp.arange(8), jnp.zeros(8, jnp.int32), jnp.ones(8))
    inputs, _ = learner.preprocessing.train(shared, data, row, jax.random.key(3))
    features = np.asarray(inputs.features)[:, : int(inputs.length.min())]
    hidden = (features == 0).all(3 - axis).sum(1)
    assert hidden.max() > 1 and not (features == 0).all(axis).any()


@pytest.mark.parametrize('run', ['conv_bilstm'], indirect=True)
def test_scoring_shifts_bands_by_what_is_asked_for(run):
    shared = jax.tree.map(jnp.asarray, run.corpus_data(60))
    data = jax.tree.map(lambda x: jnp.asarray(x[0]), run.member_data([0]))
    data = data._replace(mean=data.mean * 0, std=data.std * 0 + 1)
    row = Batch(jnp.arange(4), jnp.zeros(4, jnp.int32), jnp.ones(4))
    made = run.learner.preprocessing
    windows = made.windows(shared, row, 60)
    plain, up = (
        np.asarray(made.described(shared, data, row, *windows, s).features) for s in (0, 2)
    )
    np.testing.assert_allclose(up[..., 4:-4], np.roll(plain, 2, 2)[..., 4:-4], atol=1e-5)
    assert np.abs(up - plain).max() > 1
