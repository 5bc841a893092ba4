"""The transfer networks: published trained layers, frozen others, cached activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.contract import InputError, Inputs
from ser_jax.models import weights as weight_files
from ser_jax.models.backbones import BACKBONES, Frozen
from ser_jax.models.transfer import Model

DEEPEMO = {'trunk': 'inception_v3', 'view': 'adapter', 'dense': (), 'trainable': ()}


def count(module, kind) -> int:
    return sum(int(np.prod(v.shape)) for v in jax.tree.leaves(nnx.state(module, kind)))


def shape_of(classes: int, **arguments) -> Model:
    return nnx.eval_shape(lambda: Model(classes, rngs=nnx.Rngs(0), **arguments))


def made(classes: int, **arguments) -> Model:
    """A model by one compiled program, filled."""
    return filled(nnx.jit(lambda rngs: Model(classes, rngs=rngs, **arguments))(nnx.Rngs(0)))


def batch(features) -> Inputs:
    n = len(features)
    lengths, text = jnp.full(n, features.shape[1]), jnp.zeros((n, 1), jnp.int32)
    return Inputs(jnp.asarray(features), lengths, text, jnp.ones((n, 2), bool))


def decibels(n: int = 2, frames: int = 173, bands: int = 128) -> np.ndarray:
    return np.random.default_rng(0).uniform(-80, 20, (n, frames, bands)).astype(np.float32)


def filled(model: Model, seed: int = 0) -> Model:
    """Return the model with moving statistics and shifts that are not 0 and 1."""
    random = np.random.default_rng(seed)
    for _, _, weight, variable in model.trunk.weights():
        if not weight.endswith('kernel'):
            low = {'gamma': 0.3, 'moving_variance': 1.0}.get(weight, -0.2)
            variable[...] = jnp.asarray(random.uniform(low, low + 0.5, variable.shape), jnp.float32)
    return model


@pytest.mark.parametrize('weights', ['imagenet', 'timm', 'random'])
def test_vsr_trains_as_many_parameters_as_it_prints(weights):
    model = shape_of(2, weights=weights)
    assert count(model, nnx.Param) == 774_914 == 282_624 + 492_290
    assert count(model.trunk, nnx.Param) == 282_624
    assert count(model, (nnx.Param, nnx.BatchStat)) == 18_321_984 + 492_290
    assert model.trunk.names[model.frozen_units] == 'conv5_block32'


def test_deepemo_trains_as_many_parameters_as_it_prints():
    model = shape_of(7, bands=257, **DEEPEMO)
    assert count(model, nnx.Param) == 14_373 == 30 + 14_343
    assert count(model, (nnx.Param, nnx.BatchStat)) == 21_802_784 + 14_373
    assert model.frozen_units == 0
    answer = nnx.eval_shape(lambda m: m(batch(jnp.zeros((2, 1553, 257)))), model)
    assert answer.logits.shape == (2, 7) and answer.embedding.shape == (2, 2048)


def test_a_narrow_trunk_is_trained_from_scratch_as_a_whole():
    model = shape_of(2, weights='none', width=0.25)
    assert model.frozen_units == 0 and not jax.tree.leaves(nnx.state(model, Frozen))
    assert 0 < count(model, nnx.Param) < 0.15 * 18_321_984


@pytest.mark.parametrize(
    'trunk, trainable, units', [('resnet50', ('conv5_block3',), 16), ('inception_v3', (), 12)]
)
def test_cached_activations_give_the_same_answer(trunk, trainable, units):
    """From half precision within 1e-3; through the compiled call."""
    model = made(2, trunk=trunk, width=0.125, weights='random', trainable=trainable)
    model.eval()
    assert model.frozen_units == units
    features = jnp.asarray(decibels())
    kept = nnx.jit(lambda m, x: m.derive(batch(x))[0])(model, features).astype(jnp.float16)
    assert kept.shape[:2] == (2, 1) and np.isfinite(kept).all()
    answer, decided = nnx.jit(lambda m, b: m(b)), nnx.jit(lambda m, b: m.decide(b))
    whole, short = answer(model, batch(features)), decided(model, batch(kept))
    np.testing.assert_allclose(short.logits, whole.logits, atol=1e-3)
    np.testing.assert_allclose(
        short.embedding, whole.embedding, atol=2e-3 * np.abs(whole.embedding).max()
    )
    assert whole.logits.std() > 0 and set(whole.modalities) == {'audio'}
    with pytest.raises(
        InputError, match=f'activations are no square of .*{trunk}; compute them again'
    ):
        model.decide(batch(kept[..., :-1]))


def test_a_step_moves_what_is_trained_and_nothing_else():
    model = made(
        2, trunk='xception', width=0.125, weights='random', trainable=('block14_sepconv2',)
    )
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    data = batch(decibels())

    @jax.jit
    def gradient(params):
        def loss(params):
            output = nnx.merge(graph, params, rest, copy=True)(data, nnx.Rngs(dropout=0))
            return -jax.nn.log_softmax(output.logits)[jnp.arange(2), jnp.arange(2)].sum()

        return jax.grad(loss)(params)

    found = jax.tree_util.tree_flatten_with_path(gradient(params))[0]
    assert all(np.abs(g).max() > 0 for _, g in found)
    paths = {jax.tree_util.keystr(path) for path, _ in found}
    assert all('block14_sepconv2' in p for p in paths if 'trunk' in p) and len(paths) == 8


def test_the_adapter_is_reached_through_a_frozen_trunk():
    model = made(7, width=0.125, weights='random', **DEEPEMO)
    model.eval()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    data = batch(decibels(2, 120, 90) / 100)

    def loss(params):
        return (nnx.merge(graph, params, rest, copy=True)(data).logits ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(params)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradient))
    with pytest.raises(InputError, match=r"model\.view='adapter' trains a layer before the trunk"):
        model.derive(data)


def test_pretrained_fills_the_trunk_and_only_where_it_shall(tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path))
    model = shape_of(2)
    with pytest.raises(
        InputError,
        match=r'lacks the pretrained .*_notop\.h5; python -m ser_jax\.weights densenet201$',
    ):
        model.pretrained()
    (tmp_path / weight_files.PUBLISHED['densenet201'].name).write_bytes(b'')
    loaded = []
    monkeypatch.setattr(weight_files, 'load', lambda trunk, path: loaded.append((trunk, path.name)))
    model.pretrained()
    assert loaded == [(model.trunk, weight_files.PUBLISHED['densenet201'].name)]
    shape_of(2, weights='random').pretrained()
    shape_of(2, weights='none', width=0.5).pretrained()
    assert len(loaded) == 1


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            {'weights': 'none'},
            'would train 20 million parameters from scratch; set model.width below 1',
        ),
        ({'width': 0.5}, "model.weights='imagenet' exist for model.width=1.0 only, got 0.5"),
        (
            {'width': 2.0, 'weights': 'none'},
            'model.width must be more than 0 and at most 1, got 2.0',
        ),
        (
            {'weights': 'best'},
            "model.weights must be one of imagenet, timm, random, none, got 'best'",
        ),
        ({'view': 'film'}, "model.view must be one of picture, adapter, got 'film'"),
        ({'trunk': 'vgg16'}, "'vgg16' is not a trunk"),
        ({'trunk': 'resnet50'}, 'begins no layer of the trunk; its last units are conv5_block1'),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        shape_of(2, **arguments)
    assert set(BACKBONES) == set(weight_files.PUBLISHED)


@pytest.mark.slow
def test_vsr_at_full_size_from_cached_activations():
    model = made(2, weights='random')
    model.eval()
    features = jnp.asarray(decibels())
    kept = nnx.jit(lambda m, x: m.derive(batch(x))[0])(model, features).astype(jnp.float16)
    assert kept.shape == (2, 1, 7 * 7 * 1888)
    answer, decided = nnx.jit(lambda m, b: m(b)), nnx.jit(lambda m, b: m.decide(b))
    whole, short = answer(model, batch(features)), decided(model, batch(kept))
    np.testing.assert_allclose(short.logits, whole.logits, atol=1e-3)
