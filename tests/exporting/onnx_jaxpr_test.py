"""Functions of JAX and their ONNX graphs give the same arrays, also where sizes are symbolic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.contract import InputError
from ser_jax.exporting import onnx_jaxpr
from ser_jax.exporting.transforms import with_products
from ser_jax.models import layers, lstm

pytest.importorskip('onnx')
runtime = pytest.importorskip('onnxruntime')

BATCHES, LENGTHS = (1, 3), (7, 12)
ORDER = np.array([2, 0, 3])


RANDOM = np.random.default_rng(0)
KERNELS = RANDOM.standard_normal((2, 3, 3, 1, 5)).astype(np.float32)
LATER_KERNELS = RANDOM.standard_normal((2, 3, 3, 5, 4)).astype(np.float32)
GRAPH, STATE = nnx.split(lstm.BiLSTM(4, 3, dtype=jnp.float32, rngs=nnx.Rngs(0)))
STATES = jax.tree.map(lambda v: jnp.stack([v, 2 * v]), STATE)


def recurrent(x):
    """A BiLSTM of two members, as prediction applies them: kernels are stacked."""
    length = jnp.full(x.shape[0], 5)
    return jax.vmap(lambda s: nnx.merge(GRAPH, s)(x, length))(STATES)


def convolved(x):
    """Strided convolutions of two members on [B T 4 1]."""
    return jax.vmap(lambda k: layers._convolve(x[..., None], k, (2, 2)))(jnp.asarray(KERNELS))


def convolved_twice(x):
    """The second convolution has inputs that differ between members."""
    kernels = jnp.asarray(LATER_KERNELS)
    return jax.vmap(lambda y, k: layers._convolve(y, k, (1, 1)))(convolved(x), kernels)


def backward_sums(x):
    def step(total, value):
        return total + value, total * value

    return jax.lax.scan(step, jnp.zeros(x[:, 0].shape), x.transpose(1, 0, 2), reverse=True)[1]


def numbered(x):
    return x * jnp.arange(x.shape[1])[:, None] + x.shape[0]


def nearest(x):
    """Indices that depend on the values, clipped to the axis."""
    return jnp.take_along_axis(x, jnp.clip(jnp.rint(3 * x).astype(int), 0, 3), axis=2)


def part(x):
    return jax.lax.dynamic_slice_in_dim(x, 2 + jnp.int32(0 * x.sum()), 3, axis=1)


def integers(x):
    n = jnp.rint(10 * x).astype(jnp.int32)
    return n // 3, n % 3, -(-n // 4), jax.lax.rem(n, 3), jnp.sign(n), jnp.clip(n, -2, 5)


def pooled(x):
    return nnx.max_pool(x, (3,), strides=(2,), padding='SAME'), layers.max_pool(x, 3, 2)


def logical(x):
    loud = x > 0.2
    return loud.any(1), loud.all(2), jnp.argmax(loud, 1), ~loud & (x != 0), loud.sum(1), x <= 0


def attended(x):
    score = jnp.einsum('btd,bsd->bts', x, x)
    return jnp.einsum('bts,bsd->btd', jax.nn.softmax(score), x), jax.nn.gelu(x, approximate=False)


def spectrum(x):
    bins = jnp.fft.rfft(x.transpose(0, 2, 1)[..., :6], 9)
    return bins.real**2 + bins.imag**2


def framed(x):
    blocks = jnp.pad(x[..., 0], ((0, 0), (2, 3)))[:, : (x.shape[1] // 2 + 1) * 2]
    return blocks.reshape(x.shape[0], x.shape[1] // 2 + 1, 2)


FUNCTIONS = [
    recurrent, convolved, convolved_twice, backward_sums, numbered, nearest, part, integers,
    pooled, logical, attended, spectrum, framed,
    lambda x: x[:, ::-1], lambda x: x[:, :, ORDER], lambda x: x[:, 1:-1:2], lambda x: x[..., -1],
    lambda x: jnp.cumsum(x, 1), lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 2)))[:, :3],
    lambda x: x.astype(jnp.float16).astype(jnp.float32), lambda x: jnp.stack([x, -x], 2),
    lambda x: jnp.concatenate(jnp.split(x, 2, -1)[::-1], -1), lambda x: jnp.round(2 * x),
    lambda x: jnp.log1p(abs(x)) + jax.lax.rsqrt(abs(x) + 1) + x**3 + jnp.isfinite(x),
    lambda x: jax.lax.reshape(x, (x.shape[0], 4 * x.shape[1]), (0, 2, 1)),
    lambda x: jnp.matmul(x, jnp.arange(24.0).reshape(2, 1, 4, 3)),
]  # fmt: skip


@pytest.mark.parametrize(
    'sizes', ['b, t, 4', pytest.param('3, 12, 4', marks=pytest.mark.slow)], ids=['any', 'fixed']
)
@pytest.mark.parametrize('function', FUNCTIONS, ids=range(len(FUNCTIONS)))
def test_a_graph_gives_the_arrays_of_its_function(function, sizes):
    def leaves(x):
        return tuple(jax.tree.leaves(function(x)))

    shape = jax.export.symbolic_shape(sizes, constraints=['t >= 6'] if 't' in sizes else [])
    closed = jax.make_jaxpr(with_products(leaves))(jax.ShapeDtypeStruct(shape, jnp.float32))
    names = [f'out{i}' for i in range(len(closed.out_avals))]
    model = onnx_jaxpr.converted(closed, ['x'], names, {})
    session = runtime.InferenceSession(model.SerializeToString())
    for batch, length in zip(BATCHES, LENGTHS, strict=True):
        if 't' not in sizes and batch != 3:
            continue
        x = np.random.default_rng(batch).standard_normal((batch, length, 4)).astype(np.float32)
        results = session.run(None, {'x': x})
        for given, expected in zip(results, leaves(jnp.asarray(x)), strict=True):
            assert given.dtype == expected.dtype
            np.testing.assert_allclose(given, expected, rtol=2e-5, atol=2e-5)


def test_graphs_keep_one_copy_of_a_constant_and_only_used_nodes():
    table = np.arange(1000, dtype=np.float32)

    def function(x):
        jnp.sin(x)  # not used
        return (x @ table[:, None] + x @ (table + 0)[:, None],)

    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct((2, 1000), jnp.float32))
    model = onnx_jaxpr.converted(closed, ['x'], ['y'], {'a': 'b'})
    assert 'Sin' not in {n.op_type for n in model.graph.node}
    assert model.ByteSize() < 1.5 * table.nbytes
    assert [(p.key, p.value) for p in model.metadata_props] == [('a', 'b')]


def test_an_operation_without_a_form_in_onnx_is_named():
    closed = jax.make_jaxpr(lambda x: (jnp.sort(x),))(jax.ShapeDtypeStruct((3,), jnp.float32))
    with pytest.raises(InputError, match='uses sort, which has no form in ONNX here; export it'):
        onnx_jaxpr.converted(closed, ['x'], ['y'], {})
