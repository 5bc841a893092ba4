"""Layers with one invariant: frames past an utterance's length never affect an output.

Masks are computed from lengths, statistics count real frames only, and padding is zero before a
convolution, as is the convolution's own padding past the end of an unpadded utterance.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.audio.mel import frame_mask

_FEW = 16  # utterances per partial sum of a convolution's kernel gradient


class Conv(nnx.Module):
    """Strided 2-D convolution over (frames, bands), BatchNorm over real frames, ReLU.

    [B F M I] -> [B ceil(F/stride[0]) ceil(M/stride[1]) O]. Padding is kernel // 2 on both sides, so
    that the receptive field of an output frame does not depend on the input's length. There is no
    bias, because BatchNorm has one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: tuple[int, int],
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        draw = nnx.initializers.he_normal()
        self.kernel = nnx.Param(draw(rngs.params(), (kernel, kernel, inputs, outputs)))
        self.norm = MaskedBatchNorm(outputs, rngs=rngs)
        self.stride, self.dtype = tuple(stride), dtype

    def __call__(self, x, length):
        kernel = self.kernel[...].astype(self.dtype)
        convolve = _convolve_on_cpu if jax.default_backend() == 'cpu' else _convolve
        x = convolve(x.astype(self.dtype), kernel, self.stride)
        length = -(-length // self.stride[0])
        mask = frame_mask(length, x.shape[1])[:, :, None, None]
        return jnp.where(mask, jax.nn.relu(self.norm(x, mask)), 0), length


def _convolve(x, kernel, stride):
    """Convolve [B F M I] with [k k I O], with zero padding of k // 2."""
    pad = (kernel.shape[0] // 2,) * 2
    return jax.lax.conv_general_dilated(
        x, kernel, stride, (pad, pad), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def _patches(x, size, stride):
    """Return the receptive field of every output: [B F M I] -> [B F' M' size*size*I]."""
    pad = size // 2
    frames, bands = -(-x.shape[1] // stride[0]), -(-x.shape[2] // stride[1])
    padded = jnp.pad(x, ((0, 0), (pad, pad + stride[0]), (pad, pad + stride[1]), (0, 0)))
    seen = [
        padded[:, i : i + frames * stride[0] : stride[0], j : j + bands * stride[1] : stride[1]]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(seen, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_on_cpu(x, kernel, stride):
    """Convolve as XLA does, with gradients that are faster on a CPU than XLA's."""
    return _convolve(x, kernel, stride)


def _convolve_gradient(stride, known, gradient):
    x, kernel = known
    # Sum the kernel's gradient over a few utterances at a time, which halves its time for large
    # arrays; take every n-th utterance, so that devices that share a batch exchange none.
    by_kernel = lambda x, g: jax.vjp(lambda k: _convolve(x, k, stride), kernel)[1](g)[0]
    n = max(1, len(x) // _FEW)
    d_kernel = sum(by_kernel(x[i::n], gradient[i::n]) for i in range(n))
    if stride == (1, 1):
        return jax.vjp(lambda v: _convolve(v, kernel, stride), x)[1](gradient)[0], d_kernel
    # XLA dilates the gradient with zeros by the stride and multiplies by these too; a matrix
    # product and a sum over patches takes two thirds of that time.
    d_patches = gradient @ kernel.reshape(-1, kernel.shape[-1]).T
    return jax.linear_transpose(lambda v: _patches(v, kernel.shape[0], stride), x)(d_patches)[
        0
    ], d_kernel


_convolve_on_cpu.defvjp(
    lambda x, kernel, stride: (_convolve(x, kernel, stride), (x, kernel)), _convolve_gradient
)


def max_pool(x, window: int, stride: int):
    """Max-pool over frames, padded as Keras does for 'same': [B F C] -> [B ceil(F/stride) C].

    Written as a chain of maxima over shifted slices: on a CPU the gradient of XLA's window
    reduction takes four to nine times as long, that of a maximum over an axis of stacked slices
    twenty times.
    """
    steps = -(-x.shape[1] // stride)
    missing = max((steps - 1) * stride + window - x.shape[1], 0)
    low = jnp.finfo(x.dtype).min
    padded = jnp.pad(
        x, ((0, 0), (missing // 2, missing - missing // 2 + stride), (0, 0)), constant_values=low
    )
    return functools.reduce(
        jnp.maximum, [padded[:, i : i + steps * stride : stride][:, :steps] for i in range(window)]
    )


def max_pool_2x2(x):
    """Max-pool by 2 x 2: [B F M C] -> [B F // 2, M // 2, C]; an odd row or column is dropped."""
    frames, bands = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    rows = jnp.maximum(x[:, 0:frames:2], x[:, 1:frames:2])
    return jnp.maximum(rows[:, :, 0:bands:2], rows[:, :, 1:bands:2])


class MaskedBatchNorm(nnx.Module):
    """BatchNorm whose statistics count real frames only (Ioffe & Szegedy 2015).

    Under `model.train()` it normalizes by the statistics of the batch and updates the running
    averages; under `model.eval()` it normalizes by the running averages.
    """

    def __init__(
        self, features: int, *, momentum: float = 0.9, epsilon: float = 1e-5, rngs: nnx.Rngs
    ):
        del rngs  # unused: no random initialization
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))
        self.momentum, self.epsilon = momentum, epsilon
        self.use_running_average = False

    def __call__(self, x, mask):
        """Normalize x [..., features]; mask is broadcastable to x, its last axis is 1."""
        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            weight = mask.astype(jnp.float32)
            alike = x.size // x.shape[-1] // weight.size  # elements that share one weight
            count = jnp.maximum(weight.sum() * alike, 1)
            # Bands, which share one mask value, are summed first: no masked copy of x is written.
            mean = _masked_sum(x, weight) / count
            # E[x^2] - E[x]^2 takes one pass over x; inputs are near unit scale: float32 suffices.
            var = jnp.maximum(
                _masked_sum(jnp.square(x.astype(jnp.float32)), weight) / count - mean**2, 0
            )
            self.mean[...] = self.momentum * self.mean[...] + (1 - self.momentum) * mean
            self.var[...] = self.momentum * self.var[...] + (1 - self.momentum) * var
        factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        return x * factor.astype(x.dtype) + (self.bias[...] - mean * factor).astype(x.dtype)


def _masked_sum(x, weight):
    """Sum x * weight over all axes but the last, in float32.

    Axes of size 1 in `weight` are summed before the multiplication.
    """
    alike = tuple(a for a in range(x.ndim - 1) if weight.shape[a] == 1)
    return (x.astype(jnp.float32).sum(alike, keepdims=True) * weight).sum(tuple(range(x.ndim - 1)))


class BiLSTM(nnx.Module):
    """Bidirectional LSTM (Hochreiter & Schmidhuber 1997) over real frames: [B F I] -> [B F 2H].

    Both directions run stacked in one scan (`recur`); the input projection is outside of it.
    Padding leaves the state unchanged, so the backward direction starts at the end of each
    utterance. The forget gate's bias is initialized to 1; all weights are uniform in +-1/sqrt(H),
    also the recurrent ones: orthogonal ones need a QR that hangs under `vmap` on two cores.
    """

    def __init__(self, inputs: int, hidden: int, *, dtype, rngs: nnx.Rngs):
        uniform = nnx.initializers.uniform(2 * hidden**-0.5)
        draw = lambda shape: uniform(rngs.params(), shape) - hidden**-0.5
        self.input = nnx.Param(draw((2, inputs, 4 * hidden)))
        self.recurrent = nnx.Param(draw((2, hidden, 4 * hidden)))
        bias = jnp.zeros((2, 4 * hidden)).at[:, hidden : 2 * hidden].set(1)
        self.bias = nnx.Param(bias)
        self.hidden, self.dtype = hidden, dtype

    def __call__(self, x, length):
        x = x.astype(self.dtype)
        mask = frame_mask(length, x.shape[1])
        # One product for both directions; the second half is that of the backward direction, so its
        # frames are reversed.
        weights = jnp.concatenate(tuple(self.input[...]), -1).astype(self.dtype)
        heard = x.transpose(1, 0, 2) @ weights + self.bias[...].reshape(-1).astype(self.dtype)
        forward, backward = jnp.split(heard, 2, -1)  # [F B 4H]
        gates = jnp.stack([forward, backward[::-1]], 1)  # [F 2 B 4H]
        real = jnp.stack([mask, mask[:, ::-1]]).transpose(2, 0, 1)[..., None]  # [F 2 B 1]
        out = recur(gates, self.recurrent[...].astype(self.dtype), real)
        forward, backward = out[:, 0], out[::-1, 1]  # [F B H]
        return jnp.concatenate([forward, backward], -1).transpose(1, 0, 2)


@jax.custom_vjp
def recur(gates, recurrent, real):
    """Scan LSTM cells over frames, both directions stacked; frames not `real` keep the state.

    The gradient is explicit, so that the recurrent weights' gradient is one product over all
    frames; automatic differentiation would accumulate it frame by frame.

    Args:
      gates: input projections, [F 2 B 4H] in the order input, forget, candidate, output.
      recurrent: [2 H 4H].
      real: bool [F 2 B 1].

    Returns:
      float32 [F 2 B H].
    """
    return _recur(gates, recurrent, real)[0]


def _recur(gates, recurrent, real):
    def step(state, inputs):
        cell, out = state
        gate, keep = inputs
        gate = gate + jnp.einsum('dbh,dhg->dbg', out.astype(recurrent.dtype), recurrent)
        i, f, g, o = opened = _activations(gate)
        new_cell = f * cell + i * g
        new_out = o * jnp.tanh(new_cell)
        state = (jnp.where(keep, new_cell, cell), jnp.where(keep, new_out, out))
        return state, (state[1], state[0], opened)

    zeros = jnp.zeros((*gates.shape[1:3], recurrent.shape[1]), jnp.float32)
    _, (outs, cells, opened) = jax.lax.scan(step, (zeros, zeros), (gates, real))
    return outs, (opened, cells, outs, recurrent, real)


def _recur_gradient(known, gradient):
    opened, cells, outs, recurrent, real = known
    before = lambda states: jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])
    turned = jax.lax.optimization_barrier(recurrent.transpose(0, 2, 1))  # once, not in each frame

    def step(state, inputs):
        d_cell, d_out = state
        (i, f, g, o), cell, keep, given = inputs
        new = jnp.tanh(f * cell + i * g)
        d_out = d_out + given
        d_new_out, d_new_cell = jnp.where(keep, d_out, 0), jnp.where(keep, d_cell, 0)
        d_new_cell += d_new_out * o * (1 - new**2)
        d_gate = (d_new_cell * g * i * (1 - i), d_new_cell * cell * f * (1 - f), d_new_cell * i * (1 - g**2),
                  d_new_out * new * o * (1 - o))  # fmt: skip
        d_gate = jnp.concatenate(d_gate, -1).astype(recurrent.dtype)
        back = jnp.einsum('dbg,dgh->dbh', d_gate, turned).astype(jnp.float32)
        return (
            d_new_cell * f + jnp.where(keep, 0, d_cell),
            back + jnp.where(keep, 0, d_out),
        ), d_gate

    zeros = jnp.zeros_like(cells[0])
    _, d_gates = jax.lax.scan(
        step, (zeros, zeros), (opened, before(cells), real, gradient), reverse=True
    )
    return (
        d_gates,
        jnp.einsum('fdbh,fdbg->dhg', before(outs).astype(recurrent.dtype), d_gates),
        None,
    )


recur.defvjp(_recur, _recur_gradient)


def _activations(gate):
    i, f, g, o = jnp.split(gate.astype(jnp.float32), 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


class AttentiveStatistics(nnx.Module):
    """Attention-weighted mean and standard deviation over real frames: [B F I] -> [B 2I].

    Source: Okabe et al. 2018.
    """

    def __init__(self, inputs: int, hidden: int = 64, *, rngs: nnx.Rngs):
        self.project = nnx.Linear(inputs, hidden, rngs=rngs)
        self.score = nnx.Linear(hidden, 1, use_bias=False, rngs=rngs)

    def __call__(self, x, length):
        mask = frame_mask(length, x.shape[1])[..., None]
        score = jnp.where(mask, self.score(jnp.tanh(self.project(x))), -1e9)
        weight = jnp.where(mask, jax.nn.softmax(score, axis=1), 0)
        mean = (weight * x).sum(1)
        var = (weight * (x - mean[:, None]) ** 2).sum(1)
        return jnp.concatenate([mean, jnp.sqrt(var + 1e-5)], -1)
