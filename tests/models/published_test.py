"""The published networks have their published parameters and shapes, and a gradient."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.contract import InputError, Inputs
from ser_jax.models import layers, stsam


def model(name: str, classes: int, **arguments) -> nnx.Module:
    kind = importlib.import_module(f'ser_jax.models.{name}').Model
    return nnx.jit(lambda rngs: kind(classes, rngs=rngs, **arguments))(nnx.Rngs(0))


@nnx.jit  # one program; operations one by one take far longer to compile
def answer(network, data):
    return network(data)


def size(name: str, classes: int, **arguments) -> int:
    shape = nnx.eval_shape(lambda: model(name, classes, **arguments))
    return sum(int(np.prod(p.shape)) for p in jax.tree.leaves(nnx.state(shape, nnx.Param)))


@pytest.mark.parametrize(
    'name, classes, arguments, published',
    [
        ('stsam', 2, {}, 462_571),
        ('stsam', 3, {}, 462_595),
        ('stsam', 3, {'reader': 'rnn', 'most_words': 3290}, 2_790_747),
        ('speech_emotion_analyzer', 10, {}, 364_170),
        ('speech_emotion_analyzer', 10, {'variant': 'saved'}, 445_578),
        ('burnwal', 8, {}, 557_288),
        ('burnwal', 7, {}, 557_255),
        ('shallow_cnn', 7, {}, 199_732_663),
    ],
)
def test_parameters_are_as_many_as_published(name, classes, arguments, published):
    assert size(name, classes, **arguments) == published


SHAPES = [
    ('stsam', 2, (216, 1), {'most_words': 50}),
    ('stsam', 3, (216, 1), {'most_words': 50, 'reader': 'rnn'}),
    ('speech_emotion_analyzer', 10, (216, 1), {'variant': 'saved'}),
    ('burnwal', 8, (1, 162), {}),
    ('cnn4_bilstm', 10, (60, 40), {'channels': (4, 8, 8, 8), 'hidden': 8}),
    ('shallow_cnn', 7, (40, 33), {'steps': 40, 'bands': 33}),
    ('shallow_cnn', 7, (40, 33), {'steps': 40, 'bands': 33, 'pooled': True}),
]


def batch(shape, classes: int, n: int = 6, length: int | None = None) -> Inputs:
    random = np.random.default_rng(0)
    features = jnp.asarray(random.standard_normal((n, *shape)), jnp.float32)
    text = jnp.asarray(random.integers(0, 52, (n, 12)), jnp.int32)
    lengths = jnp.full(n, length or shape[0])
    return Inputs(features, lengths, text, jnp.ones((n, classes), bool))


@pytest.mark.parametrize('name, classes, shape, arguments', SHAPES, ids=str)
def test_every_parameter_but_an_idle_one_learns(name, classes, shape, arguments):
    """Shapes of the output; a gradient for every weight (none for STSaM's recurrent ones)."""
    network, data = model(name, classes, **arguments), batch(shape, classes)
    network.eval()
    out = answer(network, data)
    assert out.logits.shape == (6, classes) and set(out.modalities) in (
        {'audio'},
        {'audio', 'text', 'fused'},
    )
    graph, params, rest = nnx.split(network, nnx.Param, ...)

    emotion = jax.nn.one_hot(jnp.arange(6) % classes, classes)

    def loss(params):
        output = nnx.merge(graph, params, rest, copy=True)(data)
        return -sum((emotion * jax.nn.log_softmax(m)).sum() for m in output.modalities.values())

    still = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_flatten_with_path(jax.jit(jax.grad(loss))(params))[0]
        if not np.abs(g).max()
    ]
    assert not [path for path in still if 'again' not in path], still


def test_padding_never_changes_the_answer_of_the_bilstm():
    network = model('cnn4_bilstm', 10, channels=(4, 8, 8, 8), hidden=8)
    network.eval()
    data = batch((60, 40), 10, length=37)
    garbage = data._replace(features=data.features.at[:, 37:].set(9.0))
    longer = data._replace(
        features=jnp.pad(data.features, ((0, 0), (0, 30), (0, 0)), constant_values=3.0)
    )
    for other in (garbage, longer):
        np.testing.assert_allclose(
            answer(network, other).logits, answer(network, data).logits, atol=1e-5
        )


@pytest.mark.parametrize(
    'steps, window, stride', [(162, 5, 2), (81, 5, 2), (216, 8, 8), (7, 3, 2), (5, 5, 5)]
)
def test_max_pool_is_xla_s(steps, window, stride):
    x = jnp.asarray(np.random.default_rng(steps).standard_normal((2, steps, 3)), jnp.float32)
    np.testing.assert_array_equal(
        layers.max_pool(x, window, stride), nnx.max_pool(x, (window,), (stride,), padding='SAME')
    )


def test_multi_hot_says_which_words_occur():
    hot = stsam.multi_hot(jnp.array([[2, 4, 4, 1, 0], [3, 99, 0, 0, 0]]), 5)
    np.testing.assert_array_equal(hot, [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0]])


@pytest.mark.parametrize('reader', ['mlp', 'rnn'])
@pytest.mark.parametrize('seed', range(4))
def test_what_stsam_hears_alone_is_what_it_answers_beside_a_text_that_says_nothing(seed, reader):
    """Whichever way round training has turned its branches."""
    network = model('stsam', 2, reader=reader, most_words=50)
    rng = np.random.default_rng(seed)
    network.meet.kernel[...] = jnp.asarray(
        rng.standard_normal(network.meet.kernel.shape), jnp.float32
    )
    last = network.text.classify
    last.kernel[...], last.bias[...] = (
        jnp.zeros_like(last.kernel[...]),
        jnp.zeros_like(last.bias[...]),
    )
    network.eval()
    given = answer(network, batch((216, 1), 2))
    np.testing.assert_allclose(given.modalities['audio'], given.logits, atol=1e-6)


def test_unknown_variants_are_named():
    with pytest.raises(
        InputError, match=r"model\.variant must be one of notebook, saved, got 'best'"
    ):
        model('speech_emotion_analyzer', 10, variant='best')
    with pytest.raises(InputError, match=r"model\.reader must be one of mlp, rnn, got 'lstm'"):
        model('stsam', 2, reader='lstm')
