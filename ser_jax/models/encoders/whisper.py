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
from ser_jax.models.encoders.transformer import (
    Block,
    LayerNorm,
    dimensions,
    joined,
    kernel,
    kinds,
    masked,
    transposed,
    unread_blocks,
    used_blocks,
)
from ser_jax.models.pretrained import Frozen, Names, Rule

FRAMES = 1500  # position encodings: 30 s


class Size(NamedTuple):
    """Dimensions of a published encoder."""

    layers: int
    width: int
    bands: int = 80

    @property
    def front_end(self) -> str:
        """Name of the front end."""
        return 'whisper_mel' if self.bands == 80 else f'whisper_mel_{self.bands}'


SIZES = {
    'whisper_tiny': Size(4, 384),
    'whisper_base': Size(6, 512),
    'whisper_small': Size(12, 768),
    'whisper_medium': Size(24, 1024),
    'whisper_large_v3': Size(32, 1280, 128),
}


class Encoder(nnx.Module):
    """Whisper's encoder.

    Args:
      name: a key of SIZES.
      trained: number of blocks, counted from the last used one, that are adapted; the others are
        frozen.
      rank: of the low-rank updates of adapted blocks; 0 = all their variables are trained.
      layers: number of blocks used; None = all.
    """

    front_end = 'whisper_mel'  # of large_v3: whisper_mel_128
    frame_s = 0.02
    suffixes = ('.bin', '.safetensors')  # of files of weights
    sizes = SIZES

    def __init__(
        self,
        name: str = 'whisper_base',
        layers: int | None = None,
        trained: int = 0,
        rank: int = 0,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        size = dimensions(name, SIZES)
        self.name, self.width, self.dtype = name, size.width, dtype
        self.front_end = size.front_end
        used = used_blocks(name, layers, size.layers)
        first, *each = kinds(used, trained, rank)
        draw = nnx.initializers.he_normal()
        self.conv1 = first(draw(rngs.params(), (3, size.bands, size.width)))
        self.bias1 = first(jnp.zeros(size.width))
        self.conv2 = first(draw(rngs.params(), (3, size.width, size.width)))
        self.bias2 = first(jnp.zeros(size.width))
        self.positions = Frozen(jnp.asarray(sinusoids(FRAMES, size.width)))
        self.blocks: nnx.List = nnx.List()
        for kind in each:
            self.blocks.append(Block(size.width, kind, dtype=dtype, rngs=rngs))
        if used == size.layers:
            self.norm = LayerNorm(size.width, each[-1])
        self.complete = used == size.layers

    def names(self, suffix: str) -> Names:
        """Return the names of tensors in files of CTranslate2 ('.bin') or '.safetensors'."""
        ignored = unused(len(self.blocks), self.complete)
        if suffix == '.bin':
            return Names(CTRANSLATE2, ignored)
        return Names(TRANSFORMERS, ignored, ((r'^model\.', ''),))

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
        x = _convolve(masked(mel, length), self.conv1[...], self.bias1[...], 1, self.dtype)
        x = _convolve(masked(x, length), self.conv2[...], self.bias2[...], 2, self.dtype)
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


def _joined_bias(q, v):
    """Return the biases of queries, keys and values; keys have none."""
    return np.concatenate([q, np.zeros_like(q), v])


_CT2 = 'encoder/layer_{0}/'
CTRANSLATE2 = (
    Rule(r'conv(\d)', ('encoder/conv{0}/weight',), kernel),
    Rule(r'bias(\d)', ('encoder/conv{0}/bias',)),
    Rule(r'positions', ('encoder/position_encodings/encodings',)),
    Rule(r'norm/scale', ('encoder/layer_norm/gamma',)),
    Rule(r'norm/bias', ('encoder/layer_norm/beta',)),
    Rule(r'blocks/(\d+)/norm_attention/scale', (_CT2 + 'self_attention/layer_norm/gamma',)),
    Rule(r'blocks/(\d+)/norm_attention/bias', (_CT2 + 'self_attention/layer_norm/beta',)),
    Rule(r'blocks/(\d+)/qkv/kernel', (_CT2 + 'self_attention/linear_0/weight',), transposed),
    Rule(r'blocks/(\d+)/qkv/bias', (_CT2 + 'self_attention/linear_0/bias',)),
    Rule(r'blocks/(\d+)/out/kernel', (_CT2 + 'self_attention/linear_1/weight',), transposed),
    Rule(r'blocks/(\d+)/out/bias', (_CT2 + 'self_attention/linear_1/bias',)),
    Rule(r'blocks/(\d+)/norm_dense/scale', (_CT2 + 'ffn/layer_norm/gamma',)),
    Rule(r'blocks/(\d+)/norm_dense/bias', (_CT2 + 'ffn/layer_norm/beta',)),
    Rule(r'blocks/(\d+)/up/kernel', (_CT2 + 'ffn/linear_0/weight',), transposed),
    Rule(r'blocks/(\d+)/up/bias', (_CT2 + 'ffn/linear_0/bias',)),
    Rule(r'blocks/(\d+)/down/kernel', (_CT2 + 'ffn/linear_1/weight',), transposed),
    Rule(r'blocks/(\d+)/down/bias', (_CT2 + 'ffn/linear_1/bias',)),
)
_HF = 'encoder.layers.{0}.'
_QKV = tuple(_HF + f'self_attn.{x}_proj.weight' for x in 'qkv')
TRANSFORMERS = (
    Rule(r'conv(\d)', ('encoder.conv{0}.weight',), kernel),
    Rule(r'bias(\d)', ('encoder.conv{0}.bias',)),
    Rule(r'positions', ('encoder.embed_positions.weight',)),
    Rule(r'norm/scale', ('encoder.layer_norm.weight',)),
    Rule(r'norm/bias', ('encoder.layer_norm.bias',)),
    Rule(r'blocks/(\d+)/norm_attention/scale', (_HF + 'self_attn_layer_norm.weight',)),
    Rule(r'blocks/(\d+)/norm_attention/bias', (_HF + 'self_attn_layer_norm.bias',)),
    Rule(r'blocks/(\d+)/qkv/kernel', _QKV, joined),
    Rule(
        r'blocks/(\d+)/qkv/bias',
        (_HF + 'self_attn.q_proj.bias', _HF + 'self_attn.v_proj.bias'),
        _joined_bias,
    ),
    Rule(r'blocks/(\d+)/out/kernel', (_HF + 'self_attn.out_proj.weight',), transposed),
    Rule(r'blocks/(\d+)/out/bias', (_HF + 'self_attn.out_proj.bias',)),
    Rule(r'blocks/(\d+)/norm_dense/scale', (_HF + 'final_layer_norm.weight',)),
    Rule(r'blocks/(\d+)/norm_dense/bias', (_HF + 'final_layer_norm.bias',)),
    Rule(r'blocks/(\d+)/up/kernel', (_HF + 'fc1.weight',), transposed),
    Rule(r'blocks/(\d+)/up/bias', (_HF + 'fc1.bias',)),
    Rule(r'blocks/(\d+)/down/kernel', (_HF + 'fc2.weight',), transposed),
    Rule(r'blocks/(\d+)/down/bias', (_HF + 'fc2.bias',)),
)


def unused(used: int, complete: bool) -> re.Pattern:
    """Return the names of tensors that an encoder of `used` blocks does not read."""
    norm = '' if complete else r'|encoder[./]layer_norm.*'
    return re.compile(
        rf'(model\.)?decoder.*|proj_out.*|encoder/num_heads|{unread_blocks(used)}{norm}'
    )
