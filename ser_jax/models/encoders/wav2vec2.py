"""Encoders of wav2vec 2.0 and HuBERT: samples -> hidden states of every layer.

Seven convolutions make 50 frames a second; a grouped convolution over 128 frames adds positions;
transformer blocks follow (Baevski et al. 2020; Hsu et al. 2021). Base networks normalize each
channel of the first convolution over time, and states after each part of a block; large ones
normalize the channels of every convolution, and states before each part.

Statistics over time are those of the recording's own samples and frames, the convolution of
positions sees zeros after its end, and attention is masked: neither padding nor the other
recordings of a batch change an output.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.audio.mel import frame_mask
from ser_jax.models.encoders.sample_convolutions import (
    RECEPTIVE,
    STRIDES,
    TAPS,
    Convolution,
    convolve,
    standardized,
)
from ser_jax.models.encoders.transformer import (
    Block,
    Dense,
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
from ser_jax.models.pretrained import Names, Rule


class Size(NamedTuple):
    """Dimensions of a published encoder.

    Attributes:
      layers: number of blocks.
      width: of the states.
      norm_first: layout of the large networks.
      biased: the convolutions of the stem have biases.
      standardized: each recording is brought to zero mean and unit variance, as the published
        feature extractor does.
      channels: of the convolutions of the stem.
      groups: of the convolution of positions.
      reach: its taps.
    """

    layers: int
    width: int
    norm_first: bool = False
    biased: bool = False
    standardized: bool = True
    channels: int = 512
    groups: int = 16
    reach: int = 128

    @property
    def front_end(self) -> str:
        """Name of the front end."""
        return 'waveform'


BASE = Size(12, 768)
LARGE = Size(24, 1024, norm_first=True, biased=True)
SIZES = {
    'wav2vec2_base': BASE,
    'wav2vec2_large': LARGE,
    'hubert_base': BASE,
    'hubert_large': LARGE,
}


class Encoder(nnx.Module):
    """Encoder of wav2vec 2.0 or HuBERT, which differ in their weights only.

    Args:
      name: a key of `sizes`.
      trained, rank: as in `whisper.Encoder`.
      layers: number of blocks used; None = all.
      size: dimensions; None = those of `name`.
    """

    front_end = 'waveform'
    frame_s = 0.02
    suffixes = ('.safetensors',)  # of files of weights
    sizes = SIZES
    block: type[Block] = Block

    def __init__(
        self,
        name: str = 'wav2vec2_base',
        layers: int | None = None,
        trained: int = 0,
        rank: int = 0,
        *,
        size: Size | None = None,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        size = size or dimensions(name, self.sizes)
        self.name, self.width, self.dtype = name, size.width, dtype
        self.norm_first, self.standardized = size.norm_first, size.standardized
        self.groups = size.groups
        used = used_blocks(name, layers, size.layers)
        self.complete = used == size.layers
        first, *each = kinds(used, trained, rank)
        self.convolutions: nnx.List = nnx.List()
        for i, (taps, stride) in enumerate(zip(TAPS, STRIDES, strict=True)):
            inputs = size.channels if i else 1
            norm = 'channels' if size.norm_first else '' if i else 'time'
            shape = taps, inputs, size.channels
            self.convolutions.append(
                Convolution(shape, stride, norm, size.biased, first, dtype=dtype, rngs=rngs)
            )
        self.norm_features = LayerNorm(size.channels, first)
        self.project = Dense(size.channels, size.width, first, dtype=dtype, rngs=rngs)
        shape = (size.reach, size.width // size.groups, size.width)
        self.position_kernel = first(nnx.initializers.lecun_normal()(rngs.params(), shape))
        self.position_bias = first(jnp.zeros(size.width))
        if not size.norm_first:
            self.norm = LayerNorm(size.width, first)
        elif self.complete:
            self.norm = LayerNorm(size.width, [first, *each][-1])
        self.blocks: nnx.List = nnx.List()
        for kind in each:
            block = self.block(size.width, kind, size.norm_first, dtype=dtype, rngs=rngs)
            self.blocks.append(block)

    def names(self, suffix: str) -> Names:
        """Return the names of tensors in files of transformers ('.safetensors')."""
        return Names(RULES, unused(self), RENAMED)

    def stem(self, samples, length):
        """Return the states before the first block [B F D] and their lengths.

        Args:
          samples: [B T] in [-1, 1].
          length: [B], samples that are not padding; fewer than RECEPTIVE give one frame, as if
            zeros followed.
        """
        if self.standardized:
            samples = standardized(samples, length, 1e-7)
        x = masked(samples, length)
        x = jnp.pad(x, ((0, 0), (0, max(0, RECEPTIVE - x.shape[1]))))[..., None]
        length = jnp.where(length > 0, jnp.maximum(length, RECEPTIVE), 0)
        for convolution in self.convolutions:
            x, length = convolution(x, length)
        x = masked(self.project(self.norm_features(x)), length)
        x = x + self._positions(x)
        return (x if self.norm_first else self.norm(x)), length

    def _positions(self, x):
        """Return the encoded positions of x [B F D], which is zero after the end."""
        taps = len(self.position_kernel[...])
        padded = jnp.pad(x, ((0, 0), (taps // 2, (taps - 1) // 2), (0, 0)))
        out = convolve(padded, self.position_kernel[...], 1, self.dtype, self.groups)
        return jax.nn.gelu(out + self.position_bias[...], approximate=False)

    def __call__(self, samples, length, layers: Sequence[int]):
        """Return the hidden states [B F D] of `layers` in order, and their lengths [B].

        State 0 is the stem's, which enters the first block; state i that after block i, as in the
        `hidden_states` of transformers. With `norm_first` the last one of all is that after the
        final normalization (`last_hidden_state`), and the others are not normalized.

        Args:
          samples: [B T] in [-1, 1].
          length: [B], samples that are not padding.
          layers: numbers of the states.
        """
        x, length = self.stem(samples, length)
        return self.resume(x, length, 0, layers), length

    def resume(self, x, length, after: int, layers: Sequence[int]) -> list:
        """Return the states `layers` from the state x [B F D] `after` so many blocks."""
        mask, states, bias = frame_mask(length, x.shape[1]), {after: x}, self.bias(x.shape[1])
        for i in range(after, len(self.blocks)):
            states[i + 1] = self.blocks[i](states[i], mask, bias)
        if self.complete and self.norm_first:
            states[len(self.blocks)] = self.norm(states[len(self.blocks)])
        return [states[n] for n in layers]

    def bias(self, frames: int):
        """Return the bias of the blocks' scores; None: these networks have none."""
        return None


def _direction_and_norm(norm, direction):
    """Return the kernel [k I O] of a weight stored as norms [1 1 k] and directions [O I k]."""
    length = np.sqrt(np.square(direction).sum((0, 1), keepdims=True))
    return kernel(direction * (norm / length))


_CONVOLUTION = 'feature_extractor.conv_layers.{0}.'
_POSITIONS = 'encoder.pos_conv_embed.conv.'
_BLOCK = 'encoder.layers.{0}.'
RENAMED = (
    (r'^(wav2vec2|hubert|wavlm)\.', ''),  # files of networks with a head
    (r'\.parametrizations\.weight\.original0$', '.weight_g'),
    (r'\.parametrizations\.weight\.original1$', '.weight_v'),
)
RULES = (
    Rule(r'convolutions/(\d)/kernel', (_CONVOLUTION + 'conv.weight',), kernel),
    Rule(r'convolutions/(\d)/bias', (_CONVOLUTION + 'conv.bias',)),
    Rule(r'convolutions/(\d)/norm/scale', (_CONVOLUTION + 'layer_norm.weight',)),
    Rule(r'convolutions/(\d)/norm/bias', (_CONVOLUTION + 'layer_norm.bias',)),
    Rule(r'norm_features/scale', ('feature_projection.layer_norm.weight',)),
    Rule(r'norm_features/bias', ('feature_projection.layer_norm.bias',)),
    Rule(r'project/kernel', ('feature_projection.projection.weight',), transposed),
    Rule(r'project/bias', ('feature_projection.projection.bias',)),
    Rule(
        r'position_kernel', (_POSITIONS + 'weight_g', _POSITIONS + 'weight_v'), _direction_and_norm
    ),
    Rule(r'position_bias', (_POSITIONS + 'bias',)),
    Rule(r'norm/scale', ('encoder.layer_norm.weight',)),
    Rule(r'norm/bias', ('encoder.layer_norm.bias',)),
    Rule(
        r'blocks/(\d+)/qkv/kernel',
        tuple(_BLOCK + f'attention.{x}_proj.weight' for x in 'qkv'),
        joined,
    ),
    Rule(
        r'blocks/(\d+)/qkv/bias',
        tuple(_BLOCK + f'attention.{x}_proj.bias' for x in 'qkv'),
        joined,
    ),
    Rule(r'blocks/(\d+)/out/kernel', (_BLOCK + 'attention.out_proj.weight',), transposed),
    Rule(r'blocks/(\d+)/out/bias', (_BLOCK + 'attention.out_proj.bias',)),
    Rule(r'blocks/(\d+)/norm_attention/scale', (_BLOCK + 'layer_norm.weight',)),
    Rule(r'blocks/(\d+)/norm_attention/bias', (_BLOCK + 'layer_norm.bias',)),
    Rule(r'blocks/(\d+)/norm_dense/scale', (_BLOCK + 'final_layer_norm.weight',)),
    Rule(r'blocks/(\d+)/norm_dense/bias', (_BLOCK + 'final_layer_norm.bias',)),
    Rule(
        r'blocks/(\d+)/up/kernel',
        (_BLOCK + 'feed_forward.intermediate_dense.weight',),
        transposed,
    ),
    Rule(r'blocks/(\d+)/up/bias', (_BLOCK + 'feed_forward.intermediate_dense.bias',)),
    Rule(
        r'blocks/(\d+)/down/kernel',
        (_BLOCK + 'feed_forward.output_dense.weight',),
        transposed,
    ),
    Rule(r'blocks/(\d+)/down/bias', (_BLOCK + 'feed_forward.output_dense.bias',)),
)


def unused(encoder: Encoder) -> re.Pattern:
    """Return the names of tensors that an encoder does not read: of training and of heads."""
    later = unread_blocks(len(encoder.blocks))
    norm = '' if encoder.complete or not encoder.norm_first else r'|encoder\.layer_norm\..*'
    heads = r'masked_spec_embed|(quantizer|project_q|project_hid|lm_head|projector|classifier)\..*'
    return re.compile(f'{heads}|{later}{norm}')
