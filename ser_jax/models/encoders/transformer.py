"""Parts of transformer encoders: dense layer, layer normalization, masked attention, block.

A part's variables are frozen, trained, or frozen with a trained low-rank update (`Kind`).

Attention is masked to the frames of the recording, so that neither padding nor the other recordings
of a batch change an output.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.audio.mel import frame_mask
from ser_jax.contract import InputError
from ser_jax.models.pretrained import Frozen, LowRank

HEAD = 64  # width of an attention head


class Kind(NamedTuple):
    """Kind of a part's variables.

    Attributes:
      variable: their type.
      rank: of the trained update of each dense layer (LoRA, Hu et al. 2021); 0 = none.
    """

    variable: type[nnx.Variable]
    rank: int = 0

    def __call__(self, value) -> nnx.Variable:
        """Return a variable."""
        return self.variable(value)


def kinds(used: int, trained: int, rank: int = 0) -> list[Kind]:
    """Return the kinds of the stem and of each of `used` blocks, of which the last are adapted.

    Args:
      used: number of blocks.
      trained: number of adapted blocks; more than there are = the stem too.
      rank: of their low-rank updates; 0 = all their variables are trained.
    """
    adapted = Kind(Frozen, rank) if rank else Kind(nnx.Param)
    return [adapted if i > used - trained else Kind(Frozen) for i in range(used + 1)]


class Dense(nnx.Module):
    """Affine map: [... I] -> [... O]; a low-rank update is zero at first."""

    def __init__(self, inputs: int, outputs: int, kind: Kind, *, dtype, rngs: nnx.Rngs):
        draw = nnx.initializers.lecun_normal()
        self.kernel = kind(draw(rngs.params(), (inputs, outputs)))
        self.bias = kind(jnp.zeros(outputs))
        if kind.rank:
            self.lora_in = LowRank(draw(rngs.params(), (inputs, kind.rank)))
            self.lora_out = LowRank(jnp.zeros((kind.rank, outputs)))
        self.rank, self.dtype = kind.rank, dtype

    def __call__(self, x):
        x = x.astype(self.dtype)
        out = (x @ self.kernel[...].astype(self.dtype)).astype(jnp.float32) + self.bias[...]
        if self.rank:
            low = x @ self.lora_in[...].astype(self.dtype)
            out += (low @ self.lora_out[...].astype(self.dtype)).astype(jnp.float32)
        return out


class LayerNorm(nnx.Module):
    """Layer normalization in float32: [... D] -> [... D]."""

    def __init__(self, width: int, kind: Kind, epsilon: float = 1e-5):
        self.scale = kind(jnp.ones(width))
        self.bias = kind(jnp.zeros(width))
        self.epsilon = epsilon

    def __call__(self, x):
        mean = x.mean(-1, keepdims=True)
        var = jnp.square(x - mean).mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + self.epsilon) * self.scale[...] + self.bias[...]


class Block(nnx.Module):
    """Transformer block: masked self-attention and two dense layers.

    Args:
      width: of the states.
      kind: of the variables.
      norm_first: normalize before each part, inside its residual branch; False = after each sum.
    """

    def __init__(self, width: int, kind: Kind, norm_first: bool = True, *, dtype, rngs: nnx.Rngs):
        self.heads, self.norm_first, self.dtype = width // HEAD, norm_first, dtype
        self.norm_attention = LayerNorm(width, kind)
        self.qkv = Dense(width, 3 * width, kind, dtype=dtype, rngs=rngs)
        self.out = Dense(width, width, kind, dtype=dtype, rngs=rngs)
        self.norm_dense = LayerNorm(width, kind)
        self.up = Dense(width, 4 * width, kind, dtype=dtype, rngs=rngs)
        self.down = Dense(4 * width, width, kind, dtype=dtype, rngs=rngs)

    def __call__(self, x, mask, bias=None):
        """Return [B F D] of x [B F D].

        Args:
          x: states.
          mask: [B F]; frames outside of it are not attended to.
          bias: of the scores, [H F F]; None = no bias.
        """
        if self.norm_first:
            x = x + self.attend(self.norm_attention(x), mask, bias)
            return x + self.transform(self.norm_dense(x))
        x = self.norm_attention(x + self.attend(x, mask, bias))
        return self.norm_dense(x + self.transform(x))

    def attend(self, x, mask, bias=None):
        """Return the masked self-attention [B F D] of x [B F D]."""
        qkv = self.qkv(x)
        batch, frames = qkv.shape[:2]
        q, k, v = jnp.split(qkv.reshape(batch, frames, 3 * self.heads, HEAD), 3, axis=2)
        q, k, v = (x.astype(self.dtype) for x in (q * HEAD**-0.5, k, v))
        score = jnp.einsum('bqhd,bkhd->bhqk', q, k, preferred_element_type=jnp.float32)
        score = score if bias is None else score + bias
        score = jnp.where(mask[:, None, None], score, -1e9)
        weight = jax.nn.softmax(score, axis=-1).astype(self.dtype)
        given = jnp.einsum('bhqk,bkhd->bqhd', weight, v, preferred_element_type=jnp.float32)
        return self.out(given.reshape(batch, frames, -1))

    def transform(self, x):
        """Return the two dense layers' output [B F D] of x [B F D]."""
        return self.down(jax.nn.gelu(self.up(x), approximate=False))


def masked(x, length):
    """Set the frames of x [B F ...] from `length` [B] on to zero."""
    mask = frame_mask(length, x.shape[1])
    return jnp.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), x, 0)


def dimensions(name: str, sizes: dict):
    """Return the entry of an encoder in a table of sizes.

    Raises:
      InputError: the table has no such name.
    """
    if name not in sizes:
        raise InputError(f'encoder {name!r} is not known; known are {", ".join(sizes)}')
    return sizes[name]


def used_blocks(name: str, layers: int | None, available: int) -> int:
    """Return the number of blocks used: `layers`, or all for None.

    Raises:
      InputError: there are not so many.
    """
    used = available if layers is None else layers
    if not 0 <= used <= available:
        raise InputError(f'{name} has layers 0 to {available}; got {used}')
    return used


def transposed(weight: np.ndarray) -> np.ndarray:
    """Return the kernel [I O] of a dense weight [O I]."""
    return weight.T


def kernel(weight: np.ndarray) -> np.ndarray:
    """Return the kernel [k I O] of a convolution's weight [O I k]."""
    return weight.transpose(2, 1, 0)


def joined(*weights: np.ndarray) -> np.ndarray:
    """Return the kernel [I 3O] or bias [3O] of those [O I] or [O] of queries, keys and values."""
    return np.concatenate([w.T for w in weights], -1)


def unread_blocks(used: int) -> str:
    """Return a pattern of the names of tensors of blocks after the first `used` ones."""
    return rf'encoder[./]layers?[_.](?!(?:{"|".join(map(str, range(used))) or "-"})[./]).*'
