"""The shallow CNN of DeepEmo (wolfgangjblack/DeepEmo) on spectrogram images, published and pooled.

As published it flattens 1,560,384 activations into a dense layer: 199,732,663 parameters for seven
classes. `pooled=True` averages each channel over the image instead: 5 k parameters, the same
convolutions. The L2 penalty on its dense layer, whose strength is not documented, is left out.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.contract import Inputs, Output
from ser_jax.models.layers import max_pool_2x2

# Number of images per pass through the convolutions. Each image has 50 MB of activations; a step of
# 32 images at once, with the residuals of its gradient, took four times as long, allocating memory.
_AT_ONCE = 4


class Model(nnx.Module):
    """Two 3 x 3 convolutions of 16 channels, 2 x 2 pooling, dense 128, dense C: [B F M] -> C.

    Args:
      classes: C.
      bands: M.
      words: unused; this model has no text input.
      steps: F, the fixed length of the front end.
      pooled: average over the image before the dense layer.
    """

    def __init__(
        self,
        classes: int,
        bands: int = 257,
        words: int = 0,
        steps: int = 1553,
        pooled: bool = False,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.first = nnx.Conv(1, 16, (3, 3), padding='VALID', dtype=dtype, rngs=rngs)
        self.second = nnx.Conv(16, 16, (3, 3), padding='VALID', dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(0.5)
        flat = 16 if pooled else 16 * ((steps - 4) // 2) * ((bands - 4) // 2)
        self.dense = nnx.Linear(flat, 128, rngs=rngs)
        self.classify = nnx.Linear(128, classes, rngs=rngs)
        self.pooled = pooled

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        pictures = inputs.features[..., None]
        convolve = jax.checkpoint(
            lambda x: max_pool_2x2(jax.nn.relu(self.second(jax.nn.relu(self.first(x)))))
        )
        few = max(n for n in range(1, _AT_ONCE + 1) if len(pictures) % n == 0)
        # Take every n-th image, so that devices that share a batch exchange none.
        parts = len(pictures) // few
        x = jnp.stack([convolve(pictures[i::parts]) for i in range(parts)], 1)
        x = x.reshape(len(pictures), *x.shape[2:])
        x = self.dropout(x, rngs=rngs)
        x = x.mean((1, 2)) if self.pooled else x.reshape(len(x), -1)
        embedding = jax.nn.relu(self.dense(x.astype(jnp.float32)))
        logits = self.classify(embedding)
        return Output(logits, embedding, {'audio': logits})
