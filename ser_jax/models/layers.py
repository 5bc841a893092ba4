"""Layers with one invariant: frames past an utterance's length never affect an output.

Masks are computed from lengths, statistics count real frames only, and padding is zero before a
convolution, as is the convolution's own padding past the end of an unpadded utterance.
"""

import functools
import itertools

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
    fields = []
    for i, j in itertools.product(range(size), range(size)):
        rows = slice(i, i + frames * stride[0], stride[0])
        columns = slice(j, j + bands * stride[1], stride[1])
        fields.append(padded[:, rows, columns])
    return jnp.concatenate(fields, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_on_cpu(x, kernel, stride):
    """Convolve as XLA does, with gradients that are faster on a CPU than XLA's."""
    return _convolve(x, kernel, stride)


def _convolve_gradient(stride, residuals, gradient):
    x, kernel = residuals

    def by_kernel(x, gradient):
        return jax.vjp(lambda k: _convolve(x, k, stride), kernel)[1](gradient)[0]

    # Sum the kernel's gradient over a few utterances at a time, which halves its time for large
    # arrays; take every n-th utterance, so that devices that share a batch exchange none.
    n = max(1, len(x) // _FEW)
    d_kernel = sum(by_kernel(x[i::n], gradient[i::n]) for i in range(n))
    if stride == (1, 1):
        return jax.vjp(lambda v: _convolve(v, kernel, stride), x)[1](gradient)[0], d_kernel
    # XLA dilates the gradient with zeros by the stride and multiplies by these too; a matrix
    # product and a sum over patches takes two thirds of that time.
    d_patches = gradient @ kernel.reshape(-1, kernel.shape[-1]).T
    transposed = jax.linear_transpose(lambda v: _patches(v, kernel.shape[0], stride), x)
    return transposed(d_patches)[0], d_kernel


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
