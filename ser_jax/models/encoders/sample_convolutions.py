"""Convolutions over samples: 320 samples become one frame, 50 frames a second at 16 kHz.

None is padded: a frame depends on 400 samples, and the frames of a recording on its own samples
only.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.models.encoders.transformer import LayerNorm, masked

TAPS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
RECEPTIVE = 400  # samples that one frame depends on


class TimeNorm(nnx.Module):
    """Normalization of each channel over a recording's own frames: [B F C] -> [B F C].

    That of one group per channel in the published networks.
    """

    def __init__(self, width: int, kind, epsilon: float = 1e-5):
        self.scale = kind(jnp.ones(width))
        self.bias = kind(jnp.zeros(width))
        self.epsilon = epsilon

    def __call__(self, x, length):
        return standardized(x, length, self.epsilon) * self.scale[...] + self.bias[...]


class Convolution(nnx.Module):
    """Convolution, normalization and GELU: [B F I] -> [B (F - taps) // stride + 1, O].

    Args:
      shape: taps, I, O.
      stride: step in frames.
      norm: 'time': `TimeNorm`; 'channels': `LayerNorm`; '': none.
      biased: add a bias before the normalization.
      kind: type of the variables.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        stride: int,
        norm: str,
        biased: bool,
        kind,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.taps, self.stride, self.dtype = shape[0], stride, dtype
        self.kernel = kind(nnx.initializers.he_normal()(rngs.params(), shape))
        self.bias = kind(jnp.zeros(shape[-1])) if biased else None
        norms: dict[str, Any] = {'time': TimeNorm, 'channels': LayerNorm}
        self.norm = norms[norm](shape[-1], kind) if norm else None

    def __call__(self, x, length):
        """Return the activations and their lengths [B]."""
        x = convolve(x, self.kernel[...], self.stride, self.dtype)
        length = jnp.maximum((length - self.taps) // self.stride + 1, 0)
        if self.bias is not None:
            x = x + self.bias[...]
        if self.norm is not None:
            x = self.norm(x, length) if isinstance(self.norm, TimeNorm) else self.norm(x)
        return jax.nn.gelu(x, approximate=False), length


def standardized(x, length, epsilon: float):
    """Bring x [B T ...] to zero mean and unit variance over its first `length` [B] values."""
    count = jnp.maximum(length, 1).reshape(-1, *[1] * (x.ndim - 1))
    mean = masked(x, length).sum(1, keepdims=True) / count
    var = masked(jnp.square(x - mean), length).sum(1, keepdims=True) / count
    return (x - mean) * jax.lax.rsqrt(var + epsilon)


def convolve(x, weight, stride: int, dtype, groups: int = 1):
    """Return the convolution [B F' O] of x [B F I] and weight [k I/groups O], without padding."""
    out = jax.lax.conv_general_dilated(
        x.astype(dtype),
        weight.astype(dtype),
        (stride,),
        ((0, 0),),
        dimension_numbers=('NWC', 'WIO', 'NWC'),
        feature_group_count=groups,
    )
    return out.astype(jnp.float32)
