"""Pretrained speech encoder with a head: layers of hidden states, pooling, classifier.

`derive` gives the hidden states, which are the same in every epoch while the encoder is frozen and
are cached; `decide` is the head. Heads in closed form (`discriminant`) need no gradient.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.audio.mel import frame_mask
from ser_jax.contract import InputError, Inputs, Layout, Output
from ser_jax.models import closed_form, encoders
from ser_jax.models.encoders import published, weight_files
from ser_jax.models.layers import AttentiveStatistics
from ser_jax.models.lstm import BiLSTM

HEADS = ('discriminant', 'linear', 'attentive', 'bilstm')


class Model(nnx.Module):
    """Encoder, chosen hidden states, and a head.

    Args:
      classes: C.
      bands: bands of the encoder's features.
      words: unused; the model has no text input.
      encoder: a name in `models.encoders`.
      layers: numbers of the hidden states used; 0 is the state before the first block.
      head: 'discriminant': shrinkage linear discriminant analysis per layer of states averaged over
        time, log-probabilities averaged over layers, in closed form; 'linear': whitened averages,
        a hidden layer and a softmax; 'attentive', 'bilstm': a weighted sum of the layers' frames,
        a projection and attentive statistics, or a BiLSTM before them.
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
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        if head not in HEADS:
            raise InputError(f'model.head={head!r} is not known; known are {", ".join(HEADS)}')
        if not layers or len(set(layers)) < len(layers) or min(layers) < 0:
            raise InputError(f'model.layers={tuple(layers)} must name different layers from 0 on')
        self.layers, self.head, self.classes = tuple(layers), head, classes
        # Of averages all layers are derived, so that a choice of layers costs nothing.
        used = None if self.pooled else max(layers)
        self.encoder = encoders.by_name(encoder)(encoder, layers=used, dtype=dtype, rngs=rngs)
        depth = len(self.encoder.blocks)
        if max(layers) > depth:
            raise InputError(f'model.layers={tuple(layers)}: {encoder} has the layers 0 to {depth}')
        self._derived = tuple(range(depth + 1)) if self.pooled else self.layers
        self.shrinkage, self.width = shrinkage, self.encoder.width
        count = len(self.layers)
        if head == 'discriminant':
            # Fitted, not trained by gradients; kept with the run like batch statistics.
            self.kernel = nnx.BatchStat(jnp.zeros((count, self.width, classes)))
            self.bias = nnx.BatchStat(jnp.zeros((count, classes)))
            return
        self.dropout = nnx.Dropout(dropout)
        if head == 'linear':
            self.mean = nnx.BatchStat(jnp.zeros((count, self.width)))
            self.whiten = nnx.BatchStat(jnp.tile(jnp.eye(self.width), (count, 1, 1)))
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
        self.pool = AttentiveStatistics(frames, rngs=rngs)
        self.classify = nnx.Linear(2 * frames, classes, rngs=rngs)

    derives = True

    @property
    def derivation(self) -> dict:
        """Arguments that the derived features depend on, beside the weights."""
        return {'encoder': self.encoder.name, 'layers': self._derived, 'pooled': self.pooled}

    @property
    def derived_layout(self) -> Layout:
        """Layout of the derived features: an average per window, or frames."""
        return Layout(0, 1, 0.0, False) if self.pooled else Layout(0, None, 0.02, False)

    @property
    def provenance(self) -> str:
        """Name and licence of the encoder's weights."""
        return f'{self.encoder.name}, {published.licence(self.encoder.name)}'

    def pretrained(self) -> None:
        """Fill the encoder from its file of weights; not to be traced.

        Raises:
          InputError: the file is missing (the message has the command to get it) or does not fit.
        """
        weight_files.load(self.encoder)

    def begins_with(self) -> str:
        """Return the SHA-256 of the encoder's file of weights.

        Raises:
          InputError: the file is missing (the message has the command to get it).
        """
        return weight_files.fingerprint(self.encoder.name)

    @property
    def pooled(self) -> bool:
        """True if the head takes averages over time."""
        return self.head in ('discriminant', 'linear')

    @property
    def fitted(self) -> bool:
        """True if `fit` has to be called on the training side."""
        return self.head in ('discriminant', 'linear')

    @property
    def closed_form(self) -> bool:
        """True if nothing is left to train after `fit`."""
        return self.head == 'discriminant'

    def derive(self, inputs: Inputs) -> tuple:
        """Return the hidden states [B F L*D], or their averages [B 1 L*D], and lengths [B]."""
        states, length = self.encoder(inputs.features, inputs.length, self._derived)
        joined = jnp.concatenate(states, -1)
        if not self.pooled:
            return joined, length
        mask = frame_mask(length, joined.shape[1])[..., None]
        mean = jnp.where(mask, joined, 0).sum(1) / jnp.maximum(length, 1)[:, None]
        return mean[:, None], jnp.ones_like(length)

    def fit(self, features: np.ndarray, label: np.ndarray) -> None:
        """Compute the discriminant or the whitening from averages [n L*D] and labels [n]."""
        parts = np.split(features, len(self._derived), 1)
        parts = [parts[self._derived.index(n)] for n in self.layers]
        if self.head == 'discriminant':
            fits = [closed_form.discriminant(p, label, self.classes, self.shrinkage) for p in parts]
            self.kernel[...], self.bias[...] = (jnp.stack(x) for x in zip(*fits, strict=True))
        else:
            fits = [closed_form.whitening(p, label, self.classes, self.shrinkage) for p in parts]
            self.mean[...], self.whiten[...] = (jnp.stack(x) for x in zip(*fits, strict=True))

    def decide(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        """Return the output for derived features [B F L*D]."""
        x = inputs.features.astype(jnp.float32)
        states = x.reshape(*x.shape[:2], len(self._derived), self.width)
        states = states[:, :, [self._derived.index(n) for n in self.layers]]
        if self.head == 'discriminant':
            return self._discriminant(states[:, 0])
        if self.head == 'linear':
            return self._linear(states[:, 0], rngs)
        return self._frames(states, inputs.length, rngs)

    def _discriminant(self, states) -> Output:
        scores = jnp.einsum('bld,ldc->blc', states, self.kernel[...]) + self.bias[...]
        logits = jax.nn.log_softmax(scores).mean(1)
        return Output(logits, states.reshape(len(states), -1), {'audio': logits})

    def _linear(self, states, rngs) -> Output:
        white = jnp.einsum('bld,lde->ble', states - self.mean[...], self.whiten[...])
        x = self.dropout(white.reshape(len(white), -1), rngs=rngs)
        embedding = jax.nn.relu(self.project(x))
        logits = self.classify(self.dropout(embedding, rngs=rngs))
        return Output(logits, embedding, {'audio': logits})

    def _frames(self, states, length, rngs) -> Output:
        x = jnp.einsum('bfld,l->bfd', states, jax.nn.softmax(self.mix[...]))
        x = self.dropout(
            jax.nn.relu(self.project(self.dropout(self.norm(x), rngs=rngs))), rngs=rngs
        )
        if self.head == 'bilstm':
            x = self.lstm(x, length)
        embedding = self.pool(x, length)
        logits = self.classify(self.dropout(embedding, rngs=rngs))
        return Output(logits, embedding, {'audio': logits})

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        features, length = self.derive(inputs)
        return self.decide(inputs._replace(features=features, length=length), rngs)
