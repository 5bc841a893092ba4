"""The 1-D CNN of S. Burnwal's Kaggle notebook "Speech Emotion Recognition".

It convolves over the 162 statistics as if they were a time axis. 557,288 parameters for eight
classes, 557,255 for seven, as published.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.contract import Inputs, Output
from ser_jax.models.layers import max_pool

FILTERS = (256, 256, 128, 64)


class Model(nnx.Module):
    """Four convolutions over `stats162` [B 1 162]; dense 32; dense C.

    Convolutions have kernel 5, each followed by max pooling with window 5 and stride 2.

    Args:
      classes: C.
      bands: number of statistics per utterance.
      words: unused; this model has no text input.
    """

    def __init__(
        self, classes: int, bands: int = 162, words: int = 0, *, dtype=jnp.float32, rngs: nnx.Rngs
    ):
        self.convolutions: nnx.List[nnx.Conv] = nnx.List()
        inputs, steps = 1, bands
        for filters in FILTERS:
            self.convolutions.append(
                nnx.Conv(inputs, filters, (5,), padding='SAME', dtype=dtype, rngs=rngs)
            )
            inputs, steps = filters, -(-steps // 2)
        self.early, self.late = nnx.Dropout(0.2), nnx.Dropout(0.3)
        self.dense = nnx.Linear(steps * inputs, 32, rngs=rngs)
        self.classify = nnx.Linear(32, classes, rngs=rngs)

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        # One frame of 162 statistics becomes 162 steps.
        x = inputs.features.reshape(inputs.features.shape[0], -1, 1)
        for i, convolve in enumerate(self.convolutions):
            x = max_pool(jax.nn.relu(convolve(x)), 5, 2)
            if i == 2:
                x = self.early(x, rngs=rngs)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        embedding = self.late(jax.nn.relu(self.dense(x)), rngs=rngs)
        logits = self.classify(embedding)
        return Output(logits, embedding, {'audio': logits})
