"""Conv+BiLSTM on log-mel: 4 strided convolution blocks, BiLSTM, attentive mean+std pooling, dense.

The convolutions stride early: at 1/8 of the frames and 1/16 of the bands the recurrence has 38
steps for 3 s of speech, so that one member trains in minutes on two CPU cores.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from ser_jax.audio.mel import frame_mask
from ser_jax.contract import Inputs, Output
from ser_jax.models.layers import AttentiveStatistics, Conv
from ser_jax.models.lstm import BiLSTM


class Trunk(nnx.Module):
    """Network from log-mel to one embedding per utterance: Inputs -> [B D], D = 4 * hidden."""

    def __init__(
        self,
        bands: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[tuple[int, int]],
        hidden: int,
        dropout: float,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.blocks: nnx.List[Conv] = nnx.List()
        inputs = 1
        for outputs, kernel, stride in zip(channels, kernels, strides, strict=True):
            self.blocks.append(Conv(inputs, outputs, kernel, stride, dtype=dtype, rngs=rngs))
            inputs, bands = outputs, -(-bands // stride[1])
        self.lstm = BiLSTM(bands * inputs, hidden, dtype=dtype, rngs=rngs)
        self.pool = AttentiveStatistics(2 * hidden, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.dtype = dtype
        self.width = 4 * hidden

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None):
        length = inputs.length
        x = jnp.where(frame_mask(length, inputs.features.shape[1])[..., None], inputs.features, 0)
        x = x[..., None].astype(self.dtype)
        for block in self.blocks:
            x, length = block(x, length)
        x = self.dropout(x.reshape(*x.shape[:2], -1), rngs=rngs)
        x = self.lstm(x, length)
        return self.dropout(self.pool(x, length), rngs=rngs)


class Model(nnx.Module):
    """Conv+BiLSTM emotion classifier; 235 k parameters as configured in configs/conv_bilstm.py.

    Args:
      classes: C, the number of emotions.
      bands: M, the mel bands of the input.
      words: the size of the vocabulary, unused; this model has no text input.
      channels, kernels, strides: one entry per convolution block; a stride is (frames, bands).
      hidden: H of each LSTM direction.
      dropout: rate before the LSTM and before the classifier.
    """

    def __init__(
        self,
        classes: int,
        bands: int = 64,
        words: int = 0,
        channels: Sequence[int] = (24, 48, 64, 64),
        kernels: Sequence[int] = (5, 3, 3, 3),
        strides: Sequence[tuple[int, int]] = ((2, 2), (2, 2), (2, 2), (1, 1)),
        hidden: int = 64,
        dropout: float = 0.3,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.trunk = Trunk(
            bands, channels, kernels, strides, hidden, dropout, dtype=dtype, rngs=rngs
        )
        self.classify = nnx.Linear(self.trunk.width, classes, rngs=rngs)

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        embedding = self.trunk(inputs, rngs)
        logits = self.classify(embedding)
        return Output(logits, embedding, {'audio': logits})
