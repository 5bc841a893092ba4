"""The trunks are those of Keras: parameters, outputs, cuts after any unit."""

import os

os.environ.setdefault('KERAS_BACKEND', 'jax')

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.contract import InputError
from ser_jax.models import weights
from ser_jax.models.backbones import BACKBONES, Frozen, by_name, freeze
from ser_jax.models.backbones.layers import average_pool_2x2, average_pool_3x3, max_pool_3x3

COUNTS = {
    'densenet201': 18_321_984,
    'inception_v3': 21_802_784,
    'resnet50': 23_587_712,
    'xception': 20_861_480,
}
NAMES = pytest.mark.parametrize('name', list(BACKBONES))


def count(module, kind) -> int:
    return sum(int(np.prod(v.shape)) for v in jax.tree.leaves(nnx.state(module, kind)))


def fill(backbone, seed: int = 0) -> None:
    """Random weights that keep the signal's size, moving statistics included."""
    random = np.random.default_rng(seed)
    for _, _, weight, variable in sorted(backbone.weights(), key=lambda w: w[:3]):
        variable[...] = jnp.asarray(drawn(random, weight, tuple(variable.shape)))


def drawn(random, weight: str, shape) -> np.ndarray:
    """One tensor as `fill` draws it: kernels of He's variance, statistics away from 0 and 1."""
    if weight.endswith('kernel'):
        inputs = int(np.prod(shape[:2])) * (1 if weight == 'depthwise_kernel' else shape[2])
        return np.float32(random.standard_normal(shape) * (2 / inputs) ** 0.5)
    if weight in ('gamma', 'moving_variance'):
        return np.float32(random.uniform(0.5, 1.5, shape))
    return np.float32(random.standard_normal(shape) * 0.2)


@NAMES
def test_parameters_are_as_many_as_published(name):
    backbone = nnx.eval_shape(lambda: BACKBONES[name]())
    assert count(backbone, (nnx.Param, nnx.BatchStat)) == COUNTS[name]
    assert backbone.outputs == {'densenet201': 1920}.get(name, 2048)


@pytest.mark.parametrize(
    'name',
    ['inception_v3', 'resnet50', 'xception', pytest.param('densenet201', marks=pytest.mark.slow)],
)
def test_units_are_a_chain_that_can_be_cut_anywhere(name):
    backbone = nnx.jit(lambda: BACKBONES[name](0.125))()
    fill(backbone)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((1, 75, 91, 3)), jnp.float32)
    cut = len(backbone.names) * 2 // 3
    whole = nnx.jit(lambda b, x: b(x))(backbone, x)
    before = nnx.jit(lambda b, x: b(x, last=cut))(backbone, x)
    assert whole.shape[-1] == backbone.outputs and before.shape[-1] == backbone.channels[cut - 1]
    np.testing.assert_allclose(
        nnx.jit(lambda b, x: b(x, cut))(backbone, before), whole, rtol=2e-4, atol=2e-4
    )


@NAMES
def test_reduced_trunks_compute_in_bfloat16(name):
    backbone = nnx.eval_shape(lambda: BACKBONES[name](0.125, dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    assert count(backbone, nnx.Param) < 0.1 * COUNTS[name]
    answer = nnx.eval_shape(lambda b: b(jnp.ones((1, 75, 75, 3))), backbone)
    assert answer.dtype == jnp.bfloat16 and answer.shape == (
        1,
        *answer.shape[1:3],
        backbone.outputs,
    )


@NAMES
def test_freezing_leaves_what_is_named_and_the_learner_sees_nothing_else(name):
    whole = nnx.eval_shape(lambda: BACKBONES[name](0.125))
    backbone = nnx.jit(lambda: BACKBONES[name](0.125))()
    stats = count(backbone, nnx.BatchStat)
    layer = {
        'densenet201': 'conv5_block32_1',
        'inception_v3': 'conv2d_94',
        'resnet50': 'conv5_block3_3',
        'xception': 'block14_sepconv2',
    }[name]
    before = freeze(backbone, (layer,))
    last = ('conv5_block32', 'mixed10', 'conv5_block3', 'block14')
    assert backbone.names[before] in last
    assert {w[1] for w in backbone.weights() if isinstance(w[3], nnx.Param)} == {
        w[1] for w in backbone.weights() if w[1].startswith(layer) and not isinstance(w[3], Frozen)
    }
    _, params, kept = nnx.split(backbone, nnx.Param, nnx.BatchStat)
    sizes = [sum(int(np.prod(v.shape)) for v in jax.tree.leaves(s)) for s in (params, kept)]
    assert sizes[0] > 0 and sizes[1] > stats
    assert sum(sizes) == count(whole, (nnx.Param, nnx.BatchStat))


def test_freezing_everything_and_by_unit():
    backbone = BACKBONES['inception_v3'](0.125)
    assert freeze(backbone, ()) == len(backbone.names) and not count(backbone, nnx.Param)
    backbone = BACKBONES['inception_v3'](0.125)
    assert freeze(backbone, ('mixed9', 'mixed10')) == 10
    with pytest.raises(
        InputError,
        match="trainable='conv9' begins no layer of the trunk; its last units are mixed8",
    ):
        freeze(backbone, ('mixed10', 'conv9'))


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(
        InputError,
        match="'vgg' is not a trunk; known are densenet201, inception_v3, resnet50, xception",
    ):
        by_name('vgg')
    with pytest.raises(InputError, match="style='tf' is not known; known are keras, torch"):
        by_name('xception')(style='tf')


@pytest.mark.parametrize('size', [(7, 8), (8, 7), (74, 37), (5, 5)])
def test_pools_are_xla_s(size):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, *size, 3)), jnp.float32)
    same = nnx.max_pool(x, (3, 3), (2, 2), padding='SAME')
    np.testing.assert_array_equal(max_pool_3x3(x, 'SAME'), same)
    np.testing.assert_array_equal(max_pool_3x3(x), nnx.max_pool(x, (3, 3), (2, 2), padding='VALID'))
    np.testing.assert_array_equal(
        max_pool_3x3(x, (1, 1)), nnx.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    )
    for padding in (True, False):
        mean = nnx.avg_pool(x, (3, 3), padding='SAME', count_include_pad=padding)
        np.testing.assert_allclose(average_pool_3x3(x, padding), mean, atol=1e-6)
    np.testing.assert_allclose(average_pool_2x2(x), nnx.avg_pool(x, (2, 2), (2, 2)), atol=1e-6)


# ---- against Keras 3 on its JAX backend


def keras_model(name: str):
    """Keras' network with random weights and statistics."""
    keras = pytest.importorskip('keras', reason='the parity oracle, in the extra `test`')
    classes = {'densenet201': 'DenseNet201', 'inception_v3': 'InceptionV3', 'resnet50': 'ResNet50'}
    model = getattr(keras.applications, classes.get(name, 'Xception'))(
        include_top=False, weights=None, input_shape=(None, None, 3)
    )
    random = np.random.default_rng(3)
    for layer in model.layers:
        for v in layer.variables:
            v.assign(drawn(random, v.name, tuple(v.shape)))
    return keras, model


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings('ignore')  # Keras' own
@NAMES
def test_answers_are_keras_s_on_weights_that_keras_writes(name, tmp_path):
    """At the trunk's size and at another; through both layouts of the legacy .h5."""
    import h5py

    keras, model = keras_model(name)
    from keras.src.legacy.saving import legacy_h5_format

    path = tmp_path / 'written.h5'
    with h5py.File(path, 'w') as f:
        legacy_h5_format.save_weights_to_hdf5_group(f, model)
    backbone = BACKBONES[name]()
    assert weights.load(backbone, path) == sum(len(layer.variables) for layer in model.layers)
    apply = nnx.jit(lambda b, x: b(x))
    for size in ((backbone.size, backbone.size), (120, 97)):
        pixels = np.random.default_rng(5).uniform(0, 255, (2, *size, 3)).astype(np.float32)
        module = {'inception_v3': 'inception_v3', 'densenet201': 'densenet'}.get(name, name)
        x = getattr(keras.applications, module).preprocess_input(pixels.copy())
        np.testing.assert_allclose(backbone.preprocess(pixels), x, atol=2e-5)
        expected = np.asarray(jax.jit(lambda x: model(x, training=False))(x))
        found = np.asarray(apply(backbone, jnp.asarray(x)))
        error = np.abs(found - expected).max() / np.abs(expected).max()
        print(name, size, error)
        assert found.shape == expected.shape and error <= 1e-5
