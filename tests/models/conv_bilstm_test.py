"""Every model keeps the contract: shapes, padding invariance, what it reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.contract import Inputs
from ser_jax.models import conv_bilstm, fusion, layers, lstm

SMALL = {
    'channels': (4, 6, 8, 8),
    'kernels': (5, 3, 3, 3),
    'strides': ((4, 2), (2, 2), (1, 2), (1, 2)),
    'hidden': 8,
}


def batch(frames=120, lengths=(120, 77, 33), bands=64, seed=0):
    random = np.random.default_rng(seed)
    n = len(lengths)
    x = random.standard_normal((n, frames, bands)).astype(np.float32)
    text = random.integers(2, 20, (n, 10)).astype(np.int32)
    text[:, 6:] = 0
    length = jnp.asarray(lengths, jnp.int32)
    return Inputs(jnp.asarray(x), length, jnp.asarray(text), jnp.ones((n, 5), bool))


def build(module, **kwargs):
    model = module.Model(classes=5, bands=64, words=20, **{**SMALL, **kwargs}, rngs=nnx.Rngs(0))
    model.eval()
    return model


@pytest.mark.parametrize('module', [conv_bilstm, fusion])
def test_output_keeps_the_contract(module):
    out = build(module)(batch())
    assert out.logits.shape == (3, 5) and out.embedding.shape[0] == 3
    assert 'audio' in out.modalities
    assert all(v.shape == (3, 5) for v in out.modalities.values())


@pytest.mark.parametrize('module', [conv_bilstm, fusion])
@pytest.mark.parametrize(
    'strides', [((4, 2), (2, 2), (1, 2), (1, 2)), ((2, 2), (2, 2), (2, 2), (1, 1))]
)
def test_padding_never_changes_logits(module, strides):
    model = build(module, strides=strides)
    b = batch()
    together = model(b).logits
    for i, n in enumerate(b.length):
        alone = jax.tree.map(lambda x, i=i: x[i : i + 1], b)._replace(
            features=b.features[i : i + 1, : int(n)]
        )
        np.testing.assert_allclose(model(alone).logits[0], together[i], atol=2e-5)
    junk = b._replace(
        features=jnp.where(
            jnp.arange(120)[None, :, None] < b.length[:, None, None], b.features, 1e3
        )
    )
    np.testing.assert_allclose(model(junk).logits, together, atol=2e-5)


@pytest.mark.parametrize('module', [conv_bilstm, fusion])
def test_padding_never_changes_training_statistics(module):
    """BatchNorm counts real frames only: a batch padded further trains the same."""
    stats = []
    for extra in (0, 40):
        model = build(module)
        model.train()
        b = batch()
        model(
            b._replace(features=jnp.pad(b.features, ((0, 0), (0, extra), (0, 0)))),
            nnx.Rngs(dropout=1, params=1),
        )
        stats.append(jax.tree.leaves(nnx.state(model, nnx.BatchStat)))
    for a, c in zip(*stats, strict=True):
        np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-5)


def test_batch_statistics_are_those_of_the_real_frames():
    random = np.random.default_rng(0)
    x, length = random.standard_normal((3, 7, 4, 5)).astype(np.float32) * 2 + 1, np.array([7, 2, 4])
    norm = layers.MaskedBatchNorm(5, momentum=0.0, rngs=nnx.Rngs(0))
    mask = np.arange(7) < length[:, None]
    out = norm(jnp.asarray(x), jnp.asarray(mask)[:, :, None, None])
    real = x[mask].reshape(-1, 5)
    np.testing.assert_allclose(norm.mean[...], real.mean(0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(norm.var[...], real.var(0), rtol=1e-4)
    np.testing.assert_allclose(
        out[mask].reshape(-1, 5), (real - real.mean(0)) / real.std(0), atol=1e-3
    )


def test_words_past_the_text_change_nothing_and_words_in_it_do():
    model = build(fusion)
    b = batch()
    longer = b._replace(text=jnp.pad(b.text, ((0, 0), (0, 7))))
    np.testing.assert_allclose(model(longer).logits, model(b).logits, atol=1e-5)
    other = b._replace(text=b.text.at[:, 0].set(19))
    assert not np.allclose(model(other).modalities['text'], model(b).modalities['text'])
    np.testing.assert_array_equal(model(other).modalities['audio'], model(b).modalities['audio'])


def test_empty_text_is_answered():
    b = batch()
    out = build(fusion)(b._replace(text=b.text * 0))
    assert np.isfinite(out.logits).all()


def test_lstm_equals_flax_cells():
    """Our stacked masked scan against flax's LSTM cell run by hand in both directions."""
    from ser_jax.models.lstm import BiLSTM

    hidden, inputs, frames = 6, 5, 9
    ours = BiLSTM(inputs, hidden, dtype=jnp.float32, rngs=nnx.Rngs(3))
    x = jax.random.normal(jax.random.key(0), (1, frames, inputs))
    outs = []
    for d in range(2):
        cell = nnx.LSTMCell(inputs, hidden, rngs=nnx.Rngs(0))
        for g, gate in enumerate(('i', 'f', 'g', 'o')):
            at = slice(g * hidden, (g + 1) * hidden)
            getattr(cell, {'if': 'if_'}.get(f'i{gate}', f'i{gate}')).kernel[...] = ours.input[...][
                d, :, at
            ]
            getattr(cell, f'h{gate}').kernel[...] = ours.recurrent[...][d, :, at]
            getattr(cell, f'h{gate}').bias[...] = ours.bias[...][d, at]
        state, rows = (jnp.zeros((1, hidden)),) * 2, []
        for f in range(frames) if d == 0 else reversed(range(frames)):
            state, out = cell(state, x[:, f])
            rows.append(out)
        outs.append(jnp.stack(rows if d == 0 else rows[::-1], 1))
    np.testing.assert_allclose(ours(x, jnp.array([frames])), jnp.concatenate(outs, -1), atol=1e-6)


def test_patches_equal_convolution():
    """A product over patches, whose transpose is used as gradient, is XLA's convolution."""
    from ser_jax.models.layers import _convolve, _patches

    x, k = (
        jax.random.normal(jax.random.key(0), (2, 37, 16, 3)),
        jax.random.normal(jax.random.key(1), (5, 5, 3, 7)),
    )
    for stride in ((1, 1), (2, 2), (4, 2), (3, 1)):
        np.testing.assert_allclose(
            _patches(x, 5, stride) @ k.reshape(-1, 7), _convolve(x, k, stride), atol=1e-4
        )


def test_size_of_the_configured_network():
    from configs.conv_bilstm import get_config

    c = get_config()
    arguments = {k: v for k, v in c.model.items() if k != 'name'}
    model = nnx.eval_shape(lambda: conv_bilstm.Model(classes=8, **arguments, rngs=nnx.Rngs(0)))
    count = sum(np.prod(x.shape) for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
    assert f'{count / 1000:.0f} k parameters' in ' '.join(
        __import__('configs.conv_bilstm').conv_bilstm.__doc__.split()
    )


def test_the_written_gradient_of_the_recurrence_is_the_automatic_one():
    def automatic(gates, recurrent, real):
        def step(state, inputs):
            cell, out = state
            gate, keep = inputs
            i, f, g, o = jnp.split(gate + jnp.einsum('dbh,dhg->dbg', out, recurrent), 4, -1)
            new = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            state = (
                jnp.where(keep, new, cell),
                jnp.where(keep, jax.nn.sigmoid(o) * jnp.tanh(new), out),
            )
            return state, state[1]

        zeros = jnp.zeros((*gates.shape[1:3], recurrent.shape[1]))
        return jax.lax.scan(step, (zeros, zeros), (gates, real))[1]

    random = np.random.default_rng(0)
    gates, recurrent = (
        jnp.asarray(random.standard_normal(s), jnp.float32) for s in ((9, 2, 4, 20), (2, 5, 20))
    )
    real = jnp.asarray(random.random((9, 2, 4, 1)) < 0.7)

    def scored(f):
        return jax.value_and_grad(lambda g, r: jnp.sin(f(g, r, real)).sum(), (0, 1))(
            gates, recurrent
        )

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        scored(automatic),
        scored(lstm.recur),
    )


@pytest.mark.parametrize('stride', [(1, 1), (2, 2), (1, 2), (4, 2), (3, 1)])
@pytest.mark.parametrize('shape', [(2, 13, 10, 3), (1, 12, 9, 2), (layers._FEW * 2 + 5, 5, 6, 1)])
@pytest.mark.parametrize('size', [3, 5])
def test_the_written_gradient_of_a_convolution_is_xla_s(stride, shape, size):
    random = np.random.default_rng(0)
    x, kernel = (
        jnp.asarray(random.standard_normal(s), jnp.float32)
        for s in (shape, (size, size, shape[-1], 4))
    )

    def scored(f):
        return jax.value_and_grad(lambda x, k: jnp.sin(f(x, k, stride)).sum(), (0, 1))(x, kernel)

    of_xla, written = scored(layers._convolve), scored(layers._convolve_on_cpu)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), of_xla, written
    )
