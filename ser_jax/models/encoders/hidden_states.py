"""Front half of models on a pretrained speech encoder: chosen hidden states of a recording.

`derive` gives what frozen layers compute, the same in every epoch, which is cached; `states`
continues from there. Blocks before the first adapted one are frozen.

For the learner a model has: `derives`, some states precede every trained variable; `reads_frozen`,
`decide` needs frozen variables beside them; `begins_trained`, trained variables begin with values
from the file of weights.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.audio.mel import frame_mask
from ser_jax.contract import InputError, Inputs, Layout
from ser_jax.models import closed_form, encoders
from ser_jax.models.encoders import published, weight_files


class HiddenStates(nnx.Module):
    """Encoder, chosen hidden states, and adaptation of the last blocks.

    Args:
      encoder: a name in `models.encoders`.
      layers: numbers of the hidden states used; 0 is the state before the first block, () = all.
      adapted: number of blocks that are trained, counted from the last used one; more than there
        are = the stem too.
      rank: of the low-rank updates of adapted blocks (LoRA); 0 = all their variables are trained.
      pooled: states are averaged over time.
    """

    def __init__(
        self,
        encoder: str,
        layers: Sequence[int],
        adapted: int,
        rank: int,
        pooled: bool,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        if len(set(layers)) < len(layers) or min(layers, default=0) < 0:
            raise InputError(f'model.layers={tuple(layers)} must name different layers from 0 on')
        if adapted and pooled:
            raise InputError(
                f'model.adapted={adapted} needs a head that is trained on frames; set model.head '
                'to mean, attentive or bilstm'
            )
        if rank and not adapted:
            raise InputError(f'model.rank={rank} adapts no block; set model.adapted')
        # Of averages all layers are derived, so that a choice of layers costs nothing.
        used = None if pooled or not layers else max(layers)
        self.encoder = encoders.by_name(encoder)(
            encoder, used, adapted, rank, dtype=dtype, rngs=rngs
        )
        depth = len(self.encoder.blocks)
        if max(layers, default=0) > depth:
            raise InputError(f'model.layers={tuple(layers)}: {encoder} has the layers 0 to {depth}')
        self.layers = tuple(layers) or tuple(range(depth + 1))
        self.width, self.pooled = self.encoder.width, pooled
        self.derives = adapted <= depth or bool(rank)
        self.reads_frozen = adapted > 0  # to compute states after the cached ones
        self.begins_trained = adapted > 0 and not rank
        self.resumed: tuple[int, ...] = ()
        if pooled:
            self._derived = tuple(range(depth + 1))
        elif adapted and self.derives:
            self._first = max(0, depth - adapted)  # the last state before an adapted block
            self.resumed = tuple(n for n in self.layers if n > self._first)
            self._derived = (*(n for n in self.layers if n < self._first), self._first)
        else:
            self._derived = self.layers

    @property
    def front_end(self) -> str:
        """Name of the front end whose features the encoder reads."""
        return self.encoder.front_end

    @property
    def derivation(self) -> dict:
        """Arguments that the derived features depend on, beside the weights."""
        return {'encoder': self.encoder.name, 'layers': self._derived, 'pooled': self.pooled}

    @property
    def derived_layout(self) -> Layout:
        """Layout of the derived features: an average per window, or frames."""
        frames = Layout(0, None, self.encoder.frame_s, False)
        return Layout(0, 1, 0.0, False) if self.pooled else frames

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

    def derive(self, inputs: Inputs) -> tuple:
        """Return the frozen hidden states [B F L*D], or their averages [B 1 L*D], and lengths."""
        states, length = self.encoder(inputs.features, inputs.length, self._derived)
        joined = jnp.concatenate(states, -1)
        if not self.pooled:
            return joined, length
        mask = frame_mask(length, joined.shape[1])[..., None]
        mean = jnp.where(mask, joined, 0).sum(1) / jnp.maximum(length, 1)[:, None]
        return mean[:, None], jnp.ones_like(length)

    def states(self, inputs: Inputs):
        """Return the used hidden states [B F L D] for derived features [B F L'*D]."""
        x = inputs.features.astype(jnp.float32)
        x = x.reshape(*x.shape[:2], len(self._derived), self.width)
        places = {n: x[:, :, i] for i, n in enumerate(self._derived)}
        if self.resumed:
            first = places[self._first]
            later = self.encoder.resume(first, inputs.length, self._first, self.resumed)
            places |= dict(zip(self.resumed, later, strict=True))
        return jnp.stack([places[n] for n in self.layers], 2)

    def averages(self, features: np.ndarray) -> list[np.ndarray]:
        """Return the averages [n D] of each used state, of derived averages [n L'*D]."""
        parts = np.split(features, len(self._derived), 1)
        return [parts[self._derived.index(n)] for n in self.layers]

    def decide(self, inputs: Inputs, rngs: nnx.Rngs | None = None):
        """Return the output for derived features; each model has its own."""
        raise NotImplementedError

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None):
        if self.derives:
            features, length = self.derive(inputs)
        else:
            states, length = self.encoder(inputs.features, inputs.length, self.layers)
            features = jnp.concatenate(states, -1)
        return self.decide(inputs._replace(features=features, length=length), rngs)


class Whitening(nnx.Module):
    """Map of each state that makes its within-class covariance the identity: [B L D] -> [B L*D].

    It is fitted to the training side and kept with the run like batch statistics.
    """

    def __init__(self, layers: int, width: int):
        self.mean = nnx.BatchStat(jnp.zeros((layers, width)))
        self.matrix = nnx.BatchStat(jnp.tile(jnp.eye(width), (layers, 1, 1)))

    def fit(
        self, averages: Sequence[np.ndarray], label: np.ndarray, classes: int, shrinkage: float
    ) -> None:
        """Compute the map from the averages [n D] of each state and labels [n]."""
        fits = [closed_form.whitening(a, label, classes, shrinkage) for a in averages]
        self.mean[...], self.matrix[...] = (jnp.stack(x) for x in zip(*fits, strict=True))

    def __call__(self, states):
        white = jnp.einsum('bld,lde->ble', states - self.mean[...], self.matrix[...])
        return white.reshape(white.shape[0], -1)
