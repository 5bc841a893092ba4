"""Layers that keep one promise: frames past an utterance's length never reach any output.

Masks are computed from lengths, statistics count real frames only, and convolutions see zeros where padding is, which
is also what they see past the end of an unpadded utterance.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.audio.mel import frame_mask


class Conv(nnx.Module):
    """Strided 2-D convolution over (frames, bands), BatchNorm over real frames, activation; no bias (BatchNorm has one).

    Padding is kernel // 2 on both sides, so that where an output frame looks does not depend on the input's length:
    [B F M I] -> [B ceil(F/stride[0]) ceil(M/stride[1]) O].
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: tuple[int, int], *, dtype, rngs: nnx.Rngs):
        draw = nnx.initializers.he_normal()
        self.kernel = nnx.Param(draw(rngs.params(), (kernel, kernel, inputs, outputs)))
        self.norm = MaskedBatchNorm(outputs, rngs=rngs)
        self.stride, self.dtype = tuple(stride), dtype

    def __call__(self, x, length):
        kernel = self.kernel[...].astype(self.dtype)
        x = _convolve(x.astype(self.dtype), kernel, self.stride)
        length = -(-length // self.stride[0])
        mask = frame_mask(length, x.shape[1])[:, :, None, None]
        return jnp.where(mask, jax.nn.relu(self.norm(x, mask)), 0), length


def _convolve(x, kernel, stride):
    """[B F M I] * [k k I O] with zeros k // 2 around.

    One input channel goes as a matrix product over patches: on a CPU that takes a third of XLA's convolution.
    """
    pad = (kernel.shape[0] // 2,) * 2
    if x.shape[-1] > 1:
        return jax.lax.conv_general_dilated(x, kernel, stride, (pad, pad), dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    frames, bands = -(-x.shape[1] // stride[0]), -(-x.shape[2] // stride[1])
    padded = jnp.pad(x[..., 0], ((0, 0), (pad[0], pad[0] + stride[0]), (pad[0], pad[0] + stride[1])))
    patches = [
        padded[:, i : i + frames * stride[0] : stride[0], j : j + bands * stride[1] : stride[1]]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]
    return jnp.stack(patches, -1) @ kernel.reshape(-1, kernel.shape[-1])


def max_pool(x, window: int, stride: int):
    """Largest of `window` steps every `stride`, padded as Keras does for 'same': [B F C] -> [B ceil(F/stride) C].

    Written as a chain of maxima over shifted slices: on a CPU the gradient of XLA's own window reduction takes four to
    nine times as long, that of a maximum over an axis of stacked slices twenty times.
    """
    steps = -(-x.shape[1] // stride)
    missing = max((steps - 1) * stride + window - x.shape[1], 0)
    low = jnp.finfo(x.dtype).min
    padded = jnp.pad(x, ((0, 0), (missing // 2, missing - missing // 2 + stride), (0, 0)), constant_values=low)
    return functools.reduce(jnp.maximum, [padded[:, i : i + steps * stride : stride][:, :steps] for i in range(window)])


def halve(x):
    """The largest of every 2 x 2 cells: [B F M C] -> [B F // 2, M // 2, C]; an odd last row or column is left out."""
    frames, bands = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    rows = jnp.maximum(x[:, 0:frames:2], x[:, 1:frames:2])
    return jnp.maximum(rows[:, :, 0:bands:2], rows[:, :, 1:bands:2])


class MaskedBatchNorm(nnx.Module):
    """BatchNorm whose statistics count real frames only (Ioffe & Szegedy 2015); running averages in evaluation.

    Under `model.train()` it uses and updates from the batch; under `model.eval()` it uses the running averages.
    """

    def __init__(self, features: int, *, momentum: float = 0.9, epsilon: float = 1e-5, rngs: nnx.Rngs):
        del rngs  # nothing is drawn
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))
        self.mean = nnx.BatchStat(jnp.zeros(features))
        self.var = nnx.BatchStat(jnp.ones(features))
        self.momentum, self.epsilon = momentum, epsilon
        self.use_running_average = False

    def __call__(self, x, mask):
        """x [..., features], mask broadcastable to x with a last axis of 1."""
        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            axes = tuple(range(x.ndim - 1))
            weight = jnp.broadcast_to(mask, (*x.shape[:-1], 1)).astype(jnp.float32)
            count = jnp.maximum(weight.sum(), 1)
            kept = x.astype(jnp.float32) * weight
            mean = kept.sum(axes) / count
            # E[x^2] - E[x]^2 in one pass over x: inputs are near unit scale, so float32 has digits to spare.
            var = jnp.maximum((kept * x).sum(axes) / count - mean**2, 0)
            self.mean[...] = self.momentum * self.mean[...] + (1 - self.momentum) * mean
            self.var[...] = self.momentum * self.var[...] + (1 - self.momentum) * var
        factor = self.scale[...] * jax.lax.rsqrt(var + self.epsilon)
        return x * factor.astype(x.dtype) + (self.bias[...] - mean * factor).astype(x.dtype)


class BiLSTM(nnx.Module):
    """Bidirectional LSTM (Hochreiter & Schmidhuber 1997) over real frames: [B F I] -> [B F 2H].

    Both directions run stacked in one scan with the input projection outside it. Padding leaves the state as it was,
    so the backward direction starts at each utterance's own end. The forget gate's bias starts at 1; weights are
    uniform in 1/sqrt(H), the recurrent ones too: orthogonal ones need a QR that hangs under `vmap` on two cores.
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
        both = jnp.stack([x, x[:, ::-1]])  # [2 B F I]
        gates = jnp.einsum('dbfi,dig->fdbg', both, self.input[...].astype(self.dtype))
        gates = gates + self.bias[...][:, None].astype(self.dtype)
        real = jnp.stack([mask, mask[:, ::-1]]).transpose(2, 0, 1)[..., None]  # [F 2 B 1]
        recurrent = self.recurrent[...].astype(self.dtype)

        def step(state, inputs):
            cell, out = state
            gate, keep = inputs
            gate = gate + jnp.einsum('dbh,dhg->dbg', out.astype(self.dtype), recurrent)
            i, f, g, o = jnp.split(gate.astype(jnp.float32), 4, axis=-1)
            new_cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
            new_out = jax.nn.sigmoid(o) * jnp.tanh(new_cell)
            state = (jnp.where(keep, new_cell, cell), jnp.where(keep, new_out, out))
            return state, state[1]

        zeros = jnp.zeros((2, x.shape[0], self.hidden), jnp.float32)
        _, out = jax.lax.scan(step, (zeros, zeros), (gates, real))
        forward, backward = out[:, 0], out[::-1, 1]  # [F B H]
        return jnp.concatenate([forward, backward], -1).transpose(1, 0, 2)


class AttentiveStatistics(nnx.Module):
    """Attention-weighted mean and standard deviation over real frames (Okabe et al. 2018): [B F I] -> [B 2I]."""

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
