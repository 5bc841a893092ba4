"""Four convolution blocks and a BiLSTM, after "Speech Sentiment Analysis with CNNs & LSTMs".

Its layer widths were never published: 16, 32, 64, 128 channels of 3 x 3, BatchNorm and 2 x 2
pooling are the simplest reading of its README. Its ten names, boredom and trusting among them, are
a label set of the config (`data.emotions`): emotions that no corpus of a run supports are masked
and never presented as detectable.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from ser_jax.audio.mel import frame_mask
from ser_jax.contract import Inputs, Output
from ser_jax.models.layers import Conv, max_pool_2x2
from ser_jax.models.lstm import BiLSTM


class Model(nnx.Module):
    """Log-mel [B F M] -> four blocks -> BiLSTM -> mean over real frames -> dense C.

    Each block halves frames and bands.

    Args:
      classes: C.
      bands: M.
      words: unused; this model has no text input.
      channels: output channels of each block.
      hidden: H of each direction.
      dropout: rate before the LSTM and before the classifier.
    """

    def __init__(
        self,
        classes: int,
        bands: int = 40,
        words: int = 0,
        channels: Sequence[int] = (16, 32, 64, 128),
        hidden: int = 128,
        dropout: float = 0.3,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.blocks: nnx.List[Conv] = nnx.List()
        inputs = 1
        for outputs in channels:
            self.blocks.append(Conv(inputs, outputs, 3, (1, 1), dtype=dtype, rngs=rngs))
            inputs, bands = outputs, bands // 2
        self.lstm = BiLSTM(bands * inputs, hidden, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.classify = nnx.Linear(2 * hidden, classes, rngs=rngs)

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        length = inputs.length
        x = jnp.where(frame_mask(length, inputs.features.shape[1])[..., None], inputs.features, 0)
        x = x[..., None]
        for block in self.blocks:
            x, _ = block(x, length)
            # An odd number of frames is padded with a zero frame, which never exceeds ReLU outputs.
            x = max_pool_2x2(jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))))
            length = -(-length // 2)
        x = self.lstm(self.dropout(x.reshape(*x.shape[:2], -1), rngs=rngs), length)
        mask = frame_mask(length, x.shape[1])[..., None]
        embedding = jnp.where(mask, x, 0).sum(1) / jnp.maximum(mask.sum(1), 1)
        logits = self.classify(self.dropout(embedding, rngs=rngs))
        return Output(logits, embedding, {'audio': logits})
