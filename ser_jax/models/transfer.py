"""Transfer from photographs: VSR's DenseNet201 on colored spectrograms, and DeepEmo's InceptionV3 behind an adapter.

VSR colors each 4 s window (fixed scale here) and trains the last dense layer, the last normalization and a head: 774,914
of 18.8 million parameters for two classes. DeepEmo puts a convolution from one channel to three before a trunk of which
nothing is trained, 14,373 parameters for seven classes, and feeds it magnitudes as they are: the preprocessing that
InceptionV3 expects is missing as published.

The trunk is filled by `pretrained`, not in the constructor: a finished run is read without the file. Where a trunk is
frozen up to some unit, `activations` gives what stands there, so that it need be computed only once per utterance.
"""

import hashlib
import math

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.audio.picture import VSR_SPECTROGRAM, picture
from ser_jax.contract import Batch, InputError, Output
from ser_jax.models import backbones, weights

VIEWS = ('picture', 'adapter')
WEIGHTS = ('imagenet', 'timm', 'random', 'none')


class Model(nnx.Module):
    """A trunk trained on ImageNet, averaged over the picture; dense layers; C.

    Args:
      classes: C. bands: M. words: this model only listens.
      trunk: a name of `ser_jax.models.backbones`.
      width: of the trunk, 1.0 as published; a narrower one has no pretrained weights.
      weights: 'imagenet' = Keras' files; 'timm' = a .safetensors file, in a trunk that computes as torch's; 'none' = the
        whole of a trunk with width < 1 is trained from scratch; 'random' = drawn at any width and frozen all the same, to
        exercise the path without a file, never for a result.
      view: 'picture' colors decibels [B F M] of `vsr_spectrogram`; 'adapter' lets a convolution make three channels of
        [B F M] as it is.
      dense: sizes of the layers before the last. dropout: after each of them.
      trainable: beginnings of the names, as Keras has them, of the layers or units that are trained.

    Attributes:
      frozen_units: how many units of the trunk stand before the first parameter that is trained; 0 behind an adapter.

    Raises:
      InputError: arguments that are not known or do not go together.
    """

    def __init__(
        self,
        classes: int,
        bands: int = 128,
        words: int = 0,
        trunk: str = 'densenet201',
        width: float = 1.0,
        weights: str = 'imagenet',
        view: str = 'picture',
        dense: tuple[int, ...] = (256,),
        dropout: float = 0.2,
        trainable: tuple[str, ...] = ('conv5_block32_1', 'conv5_block32_2', 'bn'),
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        _check(view, weights, width)
        self.name, self.view, self.weights = trunk, view, weights
        style = 'torch' if weights == 'timm' else 'keras'
        # What a file will fill need not be drawn; what stands in for one is the same in every member.
        drawn = {'none': rngs, 'random': nnx.Rngs(0)}.get(weights)
        self.trunk = backbones.by_name(trunk)(width, style, dtype=dtype, rngs=drawn)
        frozen = 0 if weights == 'none' else backbones.freeze(self.trunk, tuple(trainable))
        self.frozen_units = 0 if view == 'adapter' else frozen
        if view == 'adapter':
            self.adapter = nnx.Conv(1, 3, (3, 3), padding='SAME', dtype=dtype, rngs=rngs)
        self.dense = nnx.List()
        inputs = self.trunk.outputs
        for outputs in dense:
            self.dense.append(nnx.Linear(inputs, outputs, rngs=rngs))
            inputs = outputs
        self.dropout = nnx.Dropout(dropout)
        self.classify = nnx.Linear(inputs, classes, rngs=rngs)

    def pretrained(self) -> None:
        """Fills the trunk from its file, where `weights` names one; for a new member, outside of any tracing.

        Raises:
          InputError: the file is not there (the message says how to get it) or does not fit.
        """
        if self.weights in ('imagenet', 'timm'):
            weights.load(self.trunk, weights.need(self.name, self.trunk.style))

    def begins_with(self) -> str:
        """Return an identifier of the trunk's initial weights: a hash of their file, or the way they are drawn.

        Raises:
          InputError: the file is not there (the message says how to get it).
        """
        if self.weights not in ('imagenet', 'timm'):
            return self.weights
        with weights.need(self.name, self.trunk.style).open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()

    def activations(self, features):
        """Return the frozen units' outputs for [B F M], flattened to [B A]; `__call__` takes them as [B 1 A].

        Raises:
          InputError: an adapter that is trained stands before them.
        """
        if self.view == 'adapter':
            raise InputError("view='adapter' trains what stands before the trunk; nothing can be computed once for all")
        x = self.trunk(self._pixels(features), 0, self.frozen_units)
        return x.reshape(len(x), -1)

    def __call__(self, batch: Batch, rngs: nnx.Rngs | None = None) -> Output:
        x = batch.features
        if self.view == 'adapter':
            x = self.trunk(self.adapter(x[..., None]))
        elif x.shape[1] == 1:
            x = self.trunk(self._square(x.astype(jnp.float32)), self.frozen_units)
        else:
            x = self.trunk(self._pixels(x))
        x = x.astype(jnp.float32).mean((1, 2))
        for layer in self.dense:
            x = self.dropout(jax.nn.relu(layer(x)), rngs=rngs)
        logits = self.classify(x)
        return Output(logits, x, {}, {'audio': logits})

    def _pixels(self, features):
        """Decibels [B F M] -> [B S S 3] as the trunk expects them."""
        of = VSR_SPECTROGRAM
        decibels = jnp.swapaxes(features, 1, 2)
        return self.trunk.preprocess(picture(decibels, of.low_db, of.high_db, self.trunk.size))

    def _square(self, flat):
        """Activations [B 1 A] as they stood before they were flattened: [B s s C]."""
        channels = self.trunk.channels[self.frozen_units - 1] if self.frozen_units else 3
        side = math.isqrt(flat.shape[-1] // channels)
        if side * side * channels != flat.shape[-1]:
            raise InputError(
                f'{flat.shape[-1]} activations are no square of {channels} channels, which unit {self.frozen_units} of '
                f'{self.name} gives; compute them again'
            )
        return flat.reshape(len(flat), side, side, channels)


def _check(view: str, weights: str, width: float) -> None:
    if view not in VIEWS:
        raise InputError(f'view={view!r} is not known; known are {", ".join(VIEWS)}')
    if weights not in WEIGHTS:
        raise InputError(f'weights={weights!r} is not known; known are {", ".join(WEIGHTS)}')
    if weights in ('imagenet', 'timm') and width != 1:
        raise InputError(f"weights={weights!r} with width={width} does not exist; set width=1.0 or weights='none'")
    if not 0 < width <= 1:
        raise InputError(f'width={width} cannot be; expected more than 0 and at most 1')
    if weights == 'none' and width == 1:
        raise InputError(
            "weights='none' with width=1.0 would train 20 million parameters from scratch; set width below 1, e.g. 0.25, "
            "or weights='imagenet'"
        )
