"""The trunks are Keras' and torchvision's: their parameters, their shapes, and (slow) their numbers."""

import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.contract import Batch, InputError
from ser_jax.models import backbones, transfer, weights
from ser_jax.models.backbones import trunk

FEATURES = {'densenet201': (7, 1920), 'inception_v3': (5, 2048), 'resnet50': (7, 2048), 'xception': (7, 2048)}


@functools.cache
def abstract(name: str, **arguments):
    return nnx.eval_shape(lambda: backbones.build(name, rngs=nnx.Rngs(0), **arguments))


def count(state) -> int:
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(state))


@pytest.mark.parametrize(
    'name, layout, published',
    [
        ('densenet201', 'keras', 18_321_984),
        ('inception_v3', 'keras', 21_802_784),
        ('resnet50', 'keras', 23_587_712),
        ('xception', 'keras', 20_861_480),
        # torch counts parameters alone: what its networks print, less their classifier (1,000 x features + 1,000)
        ('densenet201', 'torch', 20_013_928 - 1_921_000),
        ('resnet50', 'torch', 25_557_032 - 2_049_000),
        ('xception', 'torch', 22_855_952 - 2_049_000),
    ],
)
def test_parameters_are_as_many_as_published(name, layout, published):
    state = nnx.state(abstract(name, layout=layout))
    assert count(state if layout == 'keras' else nnx.filter_state(state, nnx.Param)) == published


@pytest.mark.parametrize('name', backbones.NAMES)
@pytest.mark.parametrize('layout', ['keras', 'torch'])
def test_pictures_become_a_feature_map(name, layout):
    graph, state = nnx.split(abstract(name, layout=layout))
    pictures = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    map = jax.eval_shape(lambda s, x: nnx.merge(graph, s)(x), state, pictures)
    side, features = FEATURES[name]
    assert map.shape == (2, side, side, features) and abstract(name).features == features


def drawn(model):
    """A model from its shapes, with numpy's numbers: initializers compile for every shape."""
    random = np.random.default_rng(0)
    graph, state = nnx.split(model)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        if 'kernel' in name:
            return jnp.asarray(random.standard_normal(leaf.shape) * (2 / np.prod(leaf.shape[:-1])) ** 0.5, leaf.dtype)
        return jnp.full(leaf.shape, 1.0 if "'var'" in name or "'scale'" in name else 0.0, leaf.dtype)

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(draw, state))


@pytest.fixture(scope='module', params=backbones.NAMES)
def narrow(request):
    """A trunk of a sixteenth of the channels, all of it trained, norms following the batch."""
    return drawn(abstract(request.param, width=1 / 16, trained_from='all', batch_statistics=True))


PICTURES = jnp.asarray(np.random.default_rng(0).standard_normal((2, 76, 80, 3)), jnp.float32)


def test_a_narrow_trunk_runs_whole_and_in_parts(narrow):
    narrow.eval()
    graph, state = nnx.split(narrow)
    middle = len(narrow.names) // 2

    @jax.jit
    def run(state, x):
        model = nnx.merge(graph, state)
        half = model(x, stop=middle)
        return half, model(half, middle)

    half, whole = run(state, PICTURES)
    assert whole.shape[-1] == narrow.features < 200 and np.isfinite(whole).all() and np.abs(whole).max() > 0
    assert half.shape[1] > whole.shape[1]


def test_a_narrow_trunk_learns(narrow):
    """Its first steps do: gradients everywhere, and statistics that follow the batch under `train()`."""
    narrow.train()
    graph, params, stats = nnx.split(narrow, nnx.Param, nnx.BatchStat)

    @jax.jit
    def learn(params):
        def loss(params):
            model = nnx.merge(graph, params, stats, copy=True)
            return (model(PICTURES, stop=4) ** 2).mean(), nnx.state(model, nnx.BatchStat)

        return jax.grad(loss, has_aux=True)(params)

    gradient, moved = learn(params)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(gradient)[0]]
    reached = [p for p, g in zip(paths, jax.tree.leaves(gradient), strict=True) if np.abs(g).max() > 0]
    expected = [p for p in paths if int(p.split("['steps'][")[1].split(']')[0]) < 4]
    assert reached == expected and len(expected) > 10
    changed = [np.abs(a - b).max() > 0 for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(stats), strict=True)]
    assert sum(changed) >= len([p for p in expected if 'norm' in p and 'bias' in p])


def test_norms_keep_their_statistics_unless_told_otherwise():
    model = drawn(abstract('resnet50', width=1 / 16, trained_from='all'))
    model.train()
    before = jax.tree.map(np.array, nnx.state(model, nnx.BatchStat))
    model(PICTURES, stop=2)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model, nnx.BatchStat))


def test_depthwise_is_xla_s_grouped_convolution():
    plan = trunk.Plan(epsilon=1e-3, rngs=nnx.Rngs(0))
    layer = trunk.Depthwise(plan, plan.source('', ''), 5)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 6, 5)), jnp.float32)
    axes = ('NHWC', 'HWIO', 'NHWC')
    expected = jax.lax.conv_general_dilated(
        x, layer.kernel[...], (1, 1), 'SAME', dimension_numbers=axes, feature_group_count=5
    )
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_preprocessing():
    """Black and pure red, as each publisher prepares them."""
    images = jnp.array([[[[0.0, 0, 0], [255, 0, 0]]]])
    cases = {
        ('inception_v3', 'keras'): [[-1, -1, -1], [1, -1, -1]],
        ('xception', 'torch'): [[-1, -1, -1], [1, -1, -1]],
        ('resnet50', 'keras'): [[-103.939, -116.779, -123.68], [-103.939, -116.779, 131.32]],
        ('resnet50', 'torch'): [[-2.117904, -2.035714, -1.804444], [2.248908, -2.035714, -1.804444]],
        ('densenet201', 'keras'): [[-2.117904, -2.035714, -1.804444], [2.248908, -2.035714, -1.804444]],
    }
    for (name, layout), expected in cases.items():
        np.testing.assert_allclose(abstract(name, layout=layout).preprocess(images)[0, 0], expected, rtol=1e-5)


VSR = {'trunk': 'densenet201', 'trained_from': 'conv5_block32_1_conv', 'hidden': 256, 'dropout': 0.2}
DEEPEMO = {'trunk': 'inception_v3', 'adapter': True}


@pytest.mark.parametrize('classes, arguments, published', [(2, VSR, 774_914), (7, DEEPEMO, 14_373)])
def test_trained_parameters_are_as_many_as_published(classes, arguments, published):
    model = nnx.eval_shape(lambda: transfer.Model(classes, **arguments, rngs=nnx.Rngs(0)))
    trained = trunk.trained(model)
    state = nnx.to_flat_state(nnx.state(model, nnx.Param))
    assert {'/'.join(map(str, path)) for path, _ in state} == set(trained)
    assert sum(int(np.prod(p.shape)) for path, p in state if trained['/'.join(map(str, path))]) == published


def batch(features) -> Batch:
    n = len(features)
    i = jnp.zeros(n, jnp.int32)
    return Batch(
        features, i + features.shape[1], i[:, None], jnp.eye(2)[i], i, i, i, i, jnp.ones((n, 2), bool), i + 1.0
    )


@pytest.mark.parametrize(
    'name, trained_from, adapter',
    [
        ('densenet201', 'conv5_block32_1_conv', False),
        ('resnet50', 'conv5_block3', False),
        ('xception', '', False),
        ('inception_v3', '', True),
        ('inception_v3', 'mixed10', True),
    ],
)
def test_gradients_reach_what_is_trained_and_nothing_else(name, trained_from, adapter):
    """And `front` may be computed once: the answer is the same."""
    options = {'trunk': name, 'width': 1 / 16, 'trained_from': trained_from, 'adapter': adapter, 'hidden': 4}
    model = drawn(nnx.eval_shape(lambda: transfer.Model(2, **options, rngs=nnx.Rngs(0))))
    cached = nnx.eval_shape(lambda: transfer.Model(2, **options, cached=True, rngs=nnx.Rngs(0)))
    model.eval(), cached.eval()
    random = np.random.default_rng(0)
    data = batch(
        jnp.asarray(random.uniform(0, 255 if not adapter else 1, (2, 80, 76, *[3] * (not adapter))), jnp.float32)
    )
    graph, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    again = nnx.graphdef(cached)

    @jax.jit
    def run(params):
        front = nnx.merge(graph, params, stats).front(data.features)
        kept = nnx.merge(again, params, stats)(data._replace(features=front)).logits
        grad = jax.grad(lambda p: (nnx.merge(graph, p, stats)(data).logits ** 2).sum())
        return nnx.merge(graph, params, stats)(data).logits, kept, front, grad(params)

    logits, kept, front, gradient = run(params)
    np.testing.assert_allclose(kept, logits, rtol=1e-4, atol=1e-5 * np.abs(logits).max())
    assert front.shape == data.features.shape if adapter else front.ndim == (4 if trained_from else 2)
    moved = {'/'.join(map(str, p)): bool(np.abs(g[...]).max()) for p, g in nnx.to_flat_state(gradient)}
    trained = trunk.trained(model)
    assert not [p for p in moved if moved[p] and not trained[p]]
    kernels = [p for p in trained if trained[p] and p.endswith('kernel')]
    assert kernels and all(moved[p] for p in kernels), [p for p in kernels if not moved[p]]


def test_a_narrower_trunk_has_a_name_of_its_own():
    assert backbones.title('xception') == 'xception' and backbones.title('xception', 0.25) == 'xception_width_0.25'


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'name': 'vgg16'}, "'vgg16' is not known; known are densenet201, inception_v3, resnet50, xception"),
        ({'layout': 'caffe'}, "layout='caffe' is not known; known are keras, torch"),
        ({'width': 0}, r'width=0 cannot be; expected .* above 0 and up to 1'),
        (
            {'trained_from': 'conv9'},
            "trained_from='conv9' names no layer or step of this trunk; .*conv5_block2, conv5_block3",
        ),
    ],
)
def test_what_cannot_be_built_is_said(arguments, message):
    with pytest.raises(InputError, match=message):
        abstract(**{'name': 'resnet50', **arguments})


def test_what_cannot_be_looked_at_is_said():
    model = drawn(nnx.eval_shape(lambda: transfer.Model(2, trunk='inception_v3', width=1 / 16, rngs=nnx.Rngs(0))))
    with pytest.raises(InputError, match=r'shape \(1, 74, 90, 3\) came; expected \[B H W 3\] of at least 75 x 75'):
        model(batch(jnp.zeros((1, 74, 90, 3))))
    with pytest.raises(InputError, match=r'shape \(1, 90, 90\) came; .*set model.adapter=True'):
        model(batch(jnp.zeros((1, 90, 90))))


@pytest.mark.slow
@pytest.mark.parametrize('oracle, layout', [('keras', 'keras'), ('torch', 'torch')])
@pytest.mark.parametrize('name', backbones.NAMES)
def test_numbers_are_the_publishers(oracle, layout, name, tmp_path):
    """Random weights and statistics, written as published files are, give the same feature maps: 1e-5 of the largest.

    Needs `pip install -e '.[parity]'`: Keras 3 on its JAX backend; torch, torchvision and timm.
    """
    script = pathlib.Path(__file__).with_name(f'{oracle}_oracle.py')
    done = subprocess.run(
        [sys.executable, script, name, tmp_path],
        capture_output=True,
        text=True,
        env={**os.environ, 'KERAS_BACKEND': 'jax'},
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / 'seen.npz') as file:
        seen = dict(file)
    model = backbones.build(name, layout=layout, rngs=nnx.Rngs(0))
    weights.fill(model, weights.read(model, next(tmp_path.glob('weights.*'))))
    graph, state = nnx.split(model)
    run = jax.jit(lambda state, x: nnx.merge(graph, state)(x))
    for size in (224, 139):
        expected = seen[f'features_{size}']
        assert np.abs(run(state, seen[f'prepared_{size}']) - expected).max() <= 1e-5 * np.abs(expected).max()
        if oracle == 'keras':
            prepared = model.preprocess(seen[f'images_{size}'])
            np.testing.assert_allclose(prepared, seen[f'prepared_{size}'], atol=1e-5 * np.abs(prepared).max())
    if oracle == 'keras':
        assert seen['count'] == count(state)
        if name == 'densenet201':  # what VSR trains of it
            assert seen['from_700'] == 282_624
