"""Pretrained speech encoder with a head: layers of hidden states, pooling, classifier.

While the encoder is frozen its hidden states are cached (`encoders.hidden_states`), and `decide` is
the head. Heads in closed form (`discriminant`) need no gradient.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.audio.mel import frame_mask
from ser_jax.contract import InputError, Inputs, Output
from ser_jax.models import closed_form
from ser_jax.models.encoders.hidden_states import HiddenStates, Whitening
from ser_jax.models.layers import AttentiveStatistics
from ser_jax.models.lstm import BiLSTM

FITTED = ('discriminant', 'linear')  # heads on averages over time
HEADS = (*FITTED, 'mean', 'attentive', 'bilstm')


class Model(HiddenStates):
    """Encoder, chosen hidden states, and a head.

    Args:
      classes: C.
      bands: unused; the encoder names its front end.
      words: unused; the model has no text input.
      encoder, layers, adapted, rank: as in `HiddenStates`; heads on averages are not adapted.
      head: 'discriminant': shrinkage linear discriminant analysis per layer of states averaged over
        time, log-probabilities averaged over layers, in closed form; 'linear': whitened averages,
        a hidden layer and a softmax; 'mean', 'attentive', 'bilstm': a weighted sum of the layers'
        frames, a projection, and their mean, attentive statistics, or a BiLSTM before those.
      shrinkage: of the covariance in 'discriminant' and of the whitening in 'linear'; -1 = by
        Ledoit and Wolf's formula.
      hidden: width of the projection or of the hidden layer.
      dropout: rate before and after it.
    """

    def __init__(
        self,
        classes: int,
        bands: int = 80,
        words: int = 0,
        encoder: str = 'whisper_base',
        layers: Sequence[int] = (2, 3, 4, 5, 6),
        head: str = 'discriminant',
        shrinkage: float = closed_form.AUTO,
        hidden: int = 128,
        dropout: float = 0.4,
        adapted: int = 0,
        rank: int = 0,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        if head not in HEADS:
            raise InputError(f'model.head={head!r} is not known; known are {", ".join(HEADS)}')
        pooled = head in FITTED
        super().__init__(encoder, layers, adapted, rank, pooled, dtype=dtype, rngs=rngs)
        self.head, self.classes, self.shrinkage = head, classes, shrinkage
        count = len(self.layers)
        if head == 'discriminant':
            # Fitted, not trained by gradients; kept with the run like batch statistics.
            self.kernel = nnx.BatchStat(jnp.zeros((count, self.width, classes)))
            self.bias = nnx.BatchStat(jnp.zeros((count, classes)))
            return
        self.dropout = nnx.Dropout(dropout)
        if head == 'linear':
            self.whitening = Whitening(count, self.width)
            self.project = nnx.Linear(count * self.width, hidden, rngs=rngs)
            self.classify = nnx.Linear(hidden, classes, rngs=rngs)
            return
        self.mix = nnx.Param(jnp.zeros(count))
        self.norm = nnx.LayerNorm(self.width, rngs=rngs)
        self.project = nnx.Linear(self.width, hidden, rngs=rngs)
        frames = hidden
        if head == 'bilstm':
            self.lstm = BiLSTM(hidden, hidden // 2, dtype=dtype, rngs=rngs)
            frames = 2 * (hidden // 2)
        if head != 'mean':
            self.pool = AttentiveStatistics(frames, rngs=rngs)
            frames = 2 * frames
        self.classify = nnx.Linear(frames, classes, rngs=rngs)

    @property
    def fitted(self) -> bool:
        """True if `fit` has to be called on the training side."""
        return self.head in FITTED

    @property
    def closed_form(self) -> bool:
        """True if nothing is left to train after `fit`."""
        return self.head == 'discriminant'

    def fit(self, features: np.ndarray, label: np.ndarray) -> None:
        """Compute the discriminant or the whitening from averages [n L*D] and labels [n]."""
        parts = self.averages(features)
        if self.head == 'linear':
            self.whitening.fit(parts, label, self.classes, self.shrinkage)
            return
        fits = [closed_form.discriminant(p, label, self.classes, self.shrinkage) for p in parts]
        self.kernel[...], self.bias[...] = (jnp.stack(x) for x in zip(*fits, strict=True))

    def decide(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        """Return the output for derived features [B F L*D]."""
        states = self.states(inputs)
        if self.head == 'discriminant':
            return self._discriminant(states[:, 0])
        if self.head == 'linear':
            x = self.dropout(self.whitening(states[:, 0]), rngs=rngs)
            embedding = jax.nn.relu(self.project(x))
        else:
            embedding = self._frames(states, inputs.length, rngs)
        logits = self.classify(self.dropout(embedding, rngs=rngs))
        return Output(logits, embedding, {'audio': logits})

    def _discriminant(self, states) -> Output:
        scores = jnp.einsum('bld,ldc->blc', states, self.kernel[...]) + self.bias[...]
        logits = jax.nn.log_softmax(scores).mean(1)
        return Output(logits, states.reshape(states.shape[0], -1), {'audio': logits})

    def _frames(self, states, length, rngs):
        """Return the embedding of the frames [B F L D]."""
        x = jnp.einsum('bfld,l->bfd', states, jax.nn.softmax(self.mix[...]))
        x = jax.nn.relu(self.project(self.dropout(self.norm(x), rngs=rngs)))
        if self.head == 'mean':
            mask = frame_mask(length, x.shape[1])[..., None]
            return jnp.where(mask, x, 0).sum(1) / jnp.maximum(length, 1)[:, None]
        x = self.dropout(x, rngs=rngs)
        if self.head == 'bilstm':
            x = self.lstm(x, length)
        return self.pool(x, length)
