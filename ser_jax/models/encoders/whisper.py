"""Encoder of Whisper (Radford et al. 2022): log-mel -> hidden states of every layer.

Two convolutions halve the frames to 50 a second; transformer blocks follow, normalized before each
part. Attention is masked to the frames of the recording, so that neither padding nor the other
recordings of a batch change an output. The published encoder attends to 30 s of recording and
silence instead.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.audio.mel import frame_mask
from ser_jax.contract import InputError
from ser_jax.models.pretrained import Frozen, Rule

HEAD = 64  # width of an attention head
FRAMES = 1500  # position encodings: 30 s


class Size(NamedTuple):
    """Dimensions of a published encoder."""

    layers: int
    width: int
    bands: int = 80


SIZES = {
    'whisper_tiny': Size(4, 384),
    'whisper_base': Size(6, 512),
    'whisper_small': Size(12, 768),
    'whisper_medium': Size(24, 1024),
    'whisper_large_v3': Size(32, 1280, 128),
}


class Dense(nnx.Module):
    """Affine map with variables of a given type: [... I] -> [... O]."""

    def __init__(self, inputs: int, outputs: int, kind, *, dtype, rngs: nnx.Rngs):
        draw = nnx.initializers.lecun_normal()
        self.kernel = kind(draw(rngs.params(), (inputs, outputs)))
        self.bias = kind(jnp.zeros(outputs))
        self.dtype = dtype

    def __call__(self, x):
        kernel, bias = self.kernel[...].astype(self.dtype), self.bias[...]
        return (x.astype(self.dtype) @ kernel).astype(jnp.float32) + bias


class LayerNorm(nnx.Module):
    """Layer normalization in float32: [... D] -> [... D]."""

    def __init__(self, width: int, kind, epsilon: float = 1e-5):
        self.scale = kind(jnp.ones(width))
        self.bias = kind(jnp.zeros(width))
        self.epsilon = epsilon

    def __call__(self, x):
        mean = x.mean(-1, keepdims=True)
        var = jnp.square(x - mean).mean(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + self.epsilon) * self.scale[...] + self.bias[...]


class Block(nnx.Module):
    """Transformer block: masked self-attention and two dense layers, each normalized before."""

    def __init__(self, width: int, kind, *, dtype, rngs: nnx.Rngs):
        self.heads, self.dtype = width // HEAD, dtype
        self.norm_attention = LayerNorm(width, kind)
        self.qkv = Dense(width, 3 * width, kind, dtype=dtype, rngs=rngs)
        self.out = Dense(width, width, kind, dtype=dtype, rngs=rngs)
        self.norm_dense = LayerNorm(width, kind)
        self.up = Dense(width, 4 * width, kind, dtype=dtype, rngs=rngs)
        self.down = Dense(4 * width, width, kind, dtype=dtype, rngs=rngs)

    def __call__(self, x, mask):
        """Return [B F D] of x [B F D]; keys outside of `mask` [B F] are not attended to."""
        x = x + self.out(self._attend(self.qkv(self.norm_attention(x)), mask))
        return x + self.down(jax.nn.gelu(self.up(self.norm_dense(x)), approximate=False))

    def _attend(self, qkv, mask):
        batch, frames = qkv.shape[:2]
        q, k, v = jnp.split(qkv.reshape(batch, frames, 3 * self.heads, HEAD), 3, axis=2)
        q, k, v = (x.astype(self.dtype) for x in (q * HEAD**-0.5, k, v))
        score = jnp.einsum('bqhd,bkhd->bhqk', q, k, preferred_element_type=jnp.float32)
        score = jnp.where(mask[:, None, None], score, -1e9)
        weight = jax.nn.softmax(score, axis=-1).astype(self.dtype)
        given = jnp.einsum('bhqk,bkhd->bqhd', weight, v, preferred_element_type=jnp.float32)
        return given.reshape(batch, frames, -1)


class Encoder(nnx.Module):
    """Whisper's encoder.

    Args:
      name: a key of SIZES.
      trained: number of blocks, counted from the last used one, whose variables are trained; the
        others are frozen.
      layers: number of blocks used; None = all.
    """

    front_end = 'whisper_mel'
    frame_s = 0.02

    def __init__(
        self,
        name: str = 'whisper_base',
        layers: int | None = None,
        trained: int = 0,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        if name not in SIZES:
            raise InputError(f'encoder {name!r} is not known; known are {", ".join(SIZES)}')
        size = SIZES[name]
        self.name, self.width, self.dtype = name, size.width, dtype
        used = size.layers if layers is None else layers
        if not 0 <= used <= size.layers:
            raise InputError(f'{name} has layers 0 to {size.layers}; got {used}')
        first = nnx.Param if trained > used else Frozen
        draw = nnx.initializers.he_normal()
        self.conv1 = first(draw(rngs.params(), (3, size.bands, size.width)))
        self.bias1 = first(jnp.zeros(size.width))
        self.conv2 = first(draw(rngs.params(), (3, size.width, size.width)))
        self.bias2 = first(jnp.zeros(size.width))
        self.positions = Frozen(jnp.asarray(sinusoids(FRAMES, size.width)))
        self.blocks: nnx.List = nnx.List()
        for i in range(used):
            kind = nnx.Param if i >= used - trained else Frozen
            self.blocks.append(Block(size.width, kind, dtype=dtype, rngs=rngs))
        if used == size.layers:
            self.norm = LayerNorm(size.width, nnx.Param if trained else Frozen)
        self.complete = used == size.layers

    def stem(self, mel, length):
        """Return the states before the first block [B F D] and lengths of mel [B 2F bands].

        Raises:
          InputError: more frames than 30 s.
        """
        if mel.shape[1] > 2 * FRAMES:
            raise InputError(
                f'{self.name} takes windows of at most {FRAMES * self.frame_s:g} s, got '
                f'{mel.shape[1] / 2 * self.frame_s:g} s; lower train.eval_window_s'
            )
        x = _convolve(_masked(mel, length), self.conv1[...], self.bias1[...], 1, self.dtype)
        x = _convolve(_masked(x, length), self.conv2[...], self.bias2[...], 2, self.dtype)
        return x + self.positions[...][: x.shape[1]], -(-length // 2)

    def __call__(self, mel, length, layers: Sequence[int]):
        """Return the hidden states [B F D] of `layers` in order, and their lengths [B].

        State 0 is the stem's; state i that after block i, the last one after the final
        normalization.

        Args:
          mel: log-mel [B 2F bands].
          length: [B], frames of `mel` that are not padding.
          layers: numbers of the states.
        """
        x, length = self.stem(mel, length)
        return self.resume(x, length, 0, layers), length

    def resume(self, x, length, after: int, layers: Sequence[int]) -> list:
        """Return the states `layers` from the state x [B F D] `after` so many blocks."""
        mask, states = frame_mask(length, x.shape[1]), {after: x}
        for i in range(after, len(self.blocks)):
            states[i + 1] = self.blocks[i](states[i], mask)
        if self.complete:
            states[len(self.blocks)] = self.norm(states[len(self.blocks)])
        return [states[n] for n in layers]


def _masked(x, length):
    """Set frames from `length` on to zero, as the convolution's own padding is."""
    return jnp.where(frame_mask(length, x.shape[1])[..., None], x, 0)


def _convolve(x, kernel, bias, stride: int, dtype):
    out = jax.lax.conv_general_dilated(
        x.astype(dtype),
        kernel.astype(dtype),
        (stride,),
        ((1, 1),),
        dimension_numbers=('NWC', 'WIO', 'NWC'),
    )
    return jax.nn.gelu(out.astype(jnp.float32) + bias, approximate=False)


def sinusoids(frames: int, width: int) -> np.ndarray:
    """Return sinusoidal position encodings: float32 [frames, width], sines then cosines."""
    rate = np.exp(-np.log(10000) / (width // 2 - 1) * np.arange(width // 2))
    angle = np.arange(frames)[:, None] * rate
    return np.concatenate([np.sin(angle), np.cos(angle)], 1).astype(np.float32)


def _transposed(weight):
    return weight.T


def _kernel(weight):
    """[O I k] -> [k I O]."""
    return weight.transpose(2, 1, 0)


def _joined(*weights):
    return np.concatenate([w.T for w in weights], 1)


def _joined_bias(q, v):
    """Return the biases of queries, keys and values; keys have none."""
    return np.concatenate([q, np.zeros_like(q), v])


_CT2 = 'encoder/layer_{0}/'
CTRANSLATE2 = (
    Rule(r'conv(\d)', ('encoder/conv{0}/weight',), _kernel),
    Rule(r'bias(\d)', ('encoder/conv{0}/bias',)),
    Rule(r'positions', ('encoder/position_encodings/encodings',)),
    Rule(r'norm/scale', ('encoder/layer_norm/gamma',)),
    Rule(r'norm/bias', ('encoder/layer_norm/beta',)),
    Rule(r'blocks/(\d+)/norm_attention/scale', (_CT2 + 'self_attention/layer_norm/gamma',)),
    Rule(r'blocks/(\d+)/norm_attention/bias', (_CT2 + 'self_attention/layer_norm/beta',)),
    Rule(r'blocks/(\d+)/qkv/kernel', (_CT2 + 'self_attention/linear_0/weight',), _transposed),
    Rule(r'blocks/(\d+)/qkv/bias', (_CT2 + 'self_attention/linear_0/bias',)),
    Rule(r'blocks/(\d+)/out/kernel', (_CT2 + 'self_attention/linear_1/weight',), _transposed),
    Rule(r'blocks/(\d+)/out/bias', (_CT2 + 'self_attention/linear_1/bias',)),
    Rule(r'blocks/(\d+)/norm_dense/scale', (_CT2 + 'ffn/layer_norm/gamma',)),
    Rule(r'blocks/(\d+)/norm_dense/bias', (_CT2 + 'ffn/layer_norm/beta',)),
    Rule(r'blocks/(\d+)/up/kernel', (_CT2 + 'ffn/linear_0/weight',), _transposed),
    Rule(r'blocks/(\d+)/up/bias', (_CT2 + 'ffn/linear_0/bias',)),
    Rule(r'blocks/(\d+)/down/kernel', (_CT2 + 'ffn/linear_1/weight',), _transposed),
    Rule(r'blocks/(\d+)/down/bias', (_CT2 + 'ffn/linear_1/bias',)),
)
_HF = 'encoder.layers.{0}.'
_QKV = tuple(_HF + f'self_attn.{x}_proj.weight' for x in 'qkv')
TRANSFORMERS = (
    Rule(r'conv(\d)', ('encoder.conv{0}.weight',), _kernel),
    Rule(r'bias(\d)', ('encoder.conv{0}.bias',)),
    Rule(r'positions', ('encoder.embed_positions.weight',)),
    Rule(r'norm/scale', ('encoder.layer_norm.weight',)),
    Rule(r'norm/bias', ('encoder.layer_norm.bias',)),
    Rule(r'blocks/(\d+)/norm_attention/scale', (_HF + 'self_attn_layer_norm.weight',)),
    Rule(r'blocks/(\d+)/norm_attention/bias', (_HF + 'self_attn_layer_norm.bias',)),
    Rule(r'blocks/(\d+)/qkv/kernel', _QKV, _joined),
    Rule(
        r'blocks/(\d+)/qkv/bias',
        (_HF + 'self_attn.q_proj.bias', _HF + 'self_attn.v_proj.bias'),
        _joined_bias,
    ),
    Rule(r'blocks/(\d+)/out/kernel', (_HF + 'self_attn.out_proj.weight',), _transposed),
    Rule(r'blocks/(\d+)/out/bias', (_HF + 'self_attn.out_proj.bias',)),
    Rule(r'blocks/(\d+)/norm_dense/scale', (_HF + 'final_layer_norm.weight',)),
    Rule(r'blocks/(\d+)/norm_dense/bias', (_HF + 'final_layer_norm.bias',)),
    Rule(r'blocks/(\d+)/up/kernel', (_HF + 'fc1.weight',), _transposed),
    Rule(r'blocks/(\d+)/up/bias', (_HF + 'fc1.bias',)),
    Rule(r'blocks/(\d+)/down/kernel', (_HF + 'fc2.weight',), _transposed),
    Rule(r'blocks/(\d+)/down/bias', (_HF + 'fc2.bias',)),
)


def unused(used: int, complete: bool) -> re.Pattern:
    """Return the names of tensors that an encoder of `used` blocks does not read."""
    later = rf'encoder[./]layers?[_.](?!(?:{"|".join(map(str, range(used))) or "-"})[./]).*'
    norm = '' if complete else r'|encoder[./]layer_norm.*'
    return re.compile(rf'(model\.)?decoder.*|proj_out.*|encoder/num_heads|{later}{norm}')
