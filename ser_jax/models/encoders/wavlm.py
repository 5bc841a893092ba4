"""Encoder of WavLM (Chen et al. 2021): that of HuBERT with a gated bias for distances.

The scores of every block get a bias for the distance between two frames, from one table of the
first block. In each block a gate, computed from the state of the asking frame, scales it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.models.encoders import wav2vec2
from ser_jax.models.encoders.transformer import (
    HEAD,
    Block,
    Dense,
    Kind,
    kinds,
    transposed,
)
from ser_jax.models.encoders.wav2vec2 import Size
from ser_jax.models.pretrained import Names, Rule

BUCKETS = 320  # of distances, half of them for frames after the asking one
FARTHEST = 800  # distance in frames from which on all are alike

SIZES = {
    'wavlm_base': Size(12, 768, standardized=False),
    'wavlm_base_plus': Size(12, 768, standardized=False),
    'wavlm_large': Size(24, 1024, norm_first=True),
}


class GatedBlock(Block):
    """Transformer block whose bias of the scores is scaled for each frame and head."""

    def __init__(self, width: int, kind: Kind, norm_first: bool = True, *, dtype, rngs: nnx.Rngs):
        super().__init__(width, kind, norm_first, dtype=dtype, rngs=rngs)
        self.gate = Dense(HEAD, 8, kind, dtype=dtype, rngs=rngs)
        self.gate_scale = kind(jnp.ones(self.heads))

    def attend(self, x, mask, bias=None):
        """Return the masked self-attention [B F D] of x [B F D] with a bias [H F F]."""
        parts = self.gate(x.reshape(*x.shape[:2], self.heads, HEAD))
        parts = parts.reshape(*parts.shape[:3], 2, 4).sum(-1)
        update, reset = jnp.moveaxis(jax.nn.sigmoid(parts), -1, 0)
        gate = update * (reset * self.gate_scale[...] - 1) + 2
        return super().attend(x, mask, gate.transpose(0, 2, 1)[..., None] * bias)


class Encoder(wav2vec2.Encoder):
    """WavLM's encoder; arguments and states as those of `wav2vec2.Encoder`."""

    sizes = SIZES
    block = GatedBlock

    def __init__(
        self,
        name: str = 'wavlm_base',
        layers: int | None = None,
        trained: int = 0,
        rank: int = 0,
        *,
        size: Size | None = None,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(name, layers, trained, rank, size=size, dtype=dtype, rngs=rngs)
        if self.blocks:
            kind = kinds(len(self.blocks), trained, rank)[1]
            table = nnx.initializers.normal(0.1)(rngs.params(), (BUCKETS, self.blocks[0].heads))
            self.distances = kind(table)

    def names(self, suffix: str) -> Names:
        """Return the names of tensors in files of transformers ('.safetensors')."""
        names = super().names(suffix)
        return names._replace(rules=(*GATES, *names.rules))

    def bias(self, frames: int):
        """Return the bias of the scores of all pairs of frames, not yet gated: [H F F]."""
        if not self.blocks:
            return None
        place = np.arange(frames)
        table = self.distances[...][buckets(place[None] - place[:, None])]
        return table.transpose(2, 0, 1)


def buckets(distance: np.ndarray) -> np.ndarray:
    """Return the buckets of distances in frames, attended minus asking: exact, then logarithmic."""
    half = BUCKETS // 2
    exact = half // 2
    far = np.maximum(np.abs(distance), exact).astype(np.float32)
    share = np.log(far / exact) / np.float32(np.log(FARTHEST / exact))
    far = np.minimum(exact + (share * exact).astype(np.int64), half - 1)
    near = np.abs(distance)
    return np.where(near < exact, near, far) + np.where(distance > 0, half, 0)


def _flat(constant):
    return constant.reshape(-1)


_ATTENTION = 'encoder.layers.{0}.attention.'
GATES = (
    Rule(r'distances', ('encoder.layers.0.attention.rel_attn_embed.weight',)),
    Rule(r'blocks/(\d+)/gate/kernel', (_ATTENTION + 'gru_rel_pos_linear.weight',), transposed),
    Rule(r'blocks/(\d+)/gate/bias', (_ATTENTION + 'gru_rel_pos_linear.bias',)),
    Rule(r'blocks/(\d+)/gate_scale', (_ATTENTION + 'gru_rel_pos_const',), _flat),
)
