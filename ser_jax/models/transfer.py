"""Transfer from ImageNet: VSR's DenseNet201 on colored spectrograms, DeepEmo's InceptionV3.

VSR colors each 4 s window (fixed scale here) and trains the last dense layer, the last
normalization and a head: 774,914 of 18.8 million parameters for two classes. DeepEmo puts an
adapter, a convolution from one channel to three, before a frozen trunk: 14,373 trained parameters
for seven classes. Its input is raw magnitudes: as published it lacks the preprocessing that
InceptionV3 expects.

`pretrained` loads the trunk's weights, not the constructor, so that a finished run does not need
the weights file. If the first units of the trunk are frozen, `derive` returns their outputs, which
can be cached per utterance, and `decide` reads them.
"""

import hashlib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.audio.picture import VSR_SPECTROGRAM, picture
from ser_jax.contract import InputError, Inputs, Layout, Output
from ser_jax.models import backbones, weights

VIEWS = ('picture', 'adapter')
WEIGHTS = ('imagenet', 'timm', 'random', 'none')


class Model(nnx.Module):
    """ImageNet trunk, average over the image, dense layers, C.

    Args:
      classes: C.
      bands: M.
      words: unused; this model has no text input.
      trunk: a name in `ser_jax.models.backbones`.
      width: width multiplier of the trunk, 1.0 as published; others have no pretrained weights.
      weights: 'imagenet' = Keras' files; 'timm' = a .safetensors file, in a trunk that computes as
        torch's; 'none' = the whole trunk, of width < 1, is trained from scratch; 'random' = random
        weights of any width, frozen too, to test the path without a file, never for a result.
      view: 'picture' colors decibels [B F M] of `vsr_spectrogram`; 'adapter' maps [B F M] to three
        channels by a convolution.
      dense: sizes of the layers before the last.
      dropout: rate after each of them.
      trainable: prefixes of Keras' names of the layers or units to train.

    Attributes:
      frozen_units: number of units before the first trained parameter; 0 behind an adapter.

    Raises:
      InputError: unknown or incompatible arguments.
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
        # Weights to be loaded from a file are not drawn; random ones are the same in every member.
        drawn = {'none': rngs, 'random': nnx.Rngs(0)}.get(weights)
        build: Callable[..., backbones.Backbone] = backbones.by_name(trunk)
        self.trunk = build(width, style, dtype=dtype, rngs=drawn)
        frozen = 0 if weights == 'none' else backbones.freeze(self.trunk, tuple(trainable))
        self.frozen_units = 0 if view == 'adapter' else frozen
        if view == 'adapter':
            self.adapter = nnx.Conv(1, 3, (3, 3), padding='SAME', dtype=dtype, rngs=rngs)
        self.dense: nnx.List[nnx.Linear] = nnx.List()
        inputs = self.trunk.outputs
        for outputs in dense:
            self.dense.append(nnx.Linear(inputs, outputs, rngs=rngs))
            inputs = outputs
        self.dropout = nnx.Dropout(dropout)
        self.classify = nnx.Linear(inputs, classes, rngs=rngs)

    def pretrained(self) -> None:
        """Load the trunk's file, if `weights` names one; call it for a new member, untraced.

        Raises:
          InputError: the file is missing (the message has the command to get it) or does not fit.
        """
        if self.weights in ('imagenet', 'timm'):
            weights.load(self.trunk, weights.need(self.name, self.trunk.style))

    def begins_with(self) -> str:
        """Return a fingerprint of the trunk's initial weights: their file's SHA-256, or `weights`.

        Raises:
          InputError: the file is missing (the message has the command to get it).
        """
        if self.weights not in ('imagenet', 'timm'):
            return self.weights
        with weights.need(self.name, self.trunk.style).open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()

    @property
    def derives(self) -> bool:
        """True if frozen units precede the first trained parameter."""
        return self.frozen_units > 0

    @property
    def derived_layout(self) -> Layout:
        """Layout of the derived features: a row per window."""
        return Layout(0, 1, 0.0, False)

    def derive(self, inputs: Inputs) -> tuple:
        """Return the outputs of the frozen units [B 1 A], flattened, and lengths [B] of 1.

        Raises:
          InputError: a trained adapter precedes the frozen units.
        """
        if self.view == 'adapter':
            raise InputError(
                "model.view='adapter' trains a layer before the trunk, so the outputs of the "
                'frozen units change and cannot be cached'
            )
        x = self.trunk(self._pixels(inputs.features), 0, self.frozen_units)
        return x.reshape(len(x), 1, -1), jnp.ones_like(inputs.length)

    def decide(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        """Return the output for derived features [B 1 A], in float16 at least."""
        flat = self._square(inputs.features.astype(jnp.float32))
        return self._classify(self.trunk(flat, self.frozen_units), rngs)

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        x = inputs.features
        x = self.adapter(x[..., None]) if self.view == 'adapter' else self._pixels(x)
        return self._classify(self.trunk(x), rngs)

    def _classify(self, x, rngs) -> Output:
        x = x.astype(jnp.float32).mean((1, 2))
        for layer in self.dense:
            x = self.dropout(jax.nn.relu(layer(x)), rngs=rngs)
        logits = self.classify(x)
        return Output(logits, x, {'audio': logits})

    def _pixels(self, features):
        """Convert decibels [B F M] to the trunk's input [B S S 3]."""
        low_db, high_db = VSR_SPECTROGRAM.low_db, VSR_SPECTROGRAM.high_db
        decibels = jnp.swapaxes(features, 1, 2)
        return self.trunk.preprocess(picture(decibels, low_db, high_db, self.trunk.size))

    def _square(self, flat):
        """Reshape flattened activations [B 1 A] to [B s s C]."""
        channels = self.trunk.channels[self.frozen_units - 1] if self.frozen_units else 3
        side = math.isqrt(flat.shape[-1] // channels)
        if side * side * channels != flat.shape[-1]:
            raise InputError(
                f'{flat.shape[-1]} activations are no square of {channels} channels, the output of '
                f'unit {self.frozen_units} of {self.name}; compute them again'
            )
        return flat.reshape(len(flat), side, side, channels)


def _check(view: str, weights: str, width: float) -> None:
    if view not in VIEWS:
        raise InputError(f'model.view must be one of {", ".join(VIEWS)}, got {view!r}')
    if weights not in WEIGHTS:
        raise InputError(f'model.weights must be one of {", ".join(WEIGHTS)}, got {weights!r}')
    if weights in ('imagenet', 'timm') and width != 1:
        raise InputError(
            f'model.weights={weights!r} exist for model.width=1.0 only, got {width}; set it to 1.0 '
            "or model.weights='none'"
        )
    if not 0 < width <= 1:
        raise InputError(f'model.width must be more than 0 and at most 1, got {width}')
    if weights == 'none' and width == 1:
        raise InputError(
            "model.weights='none' with model.width=1.0 would train 20 million parameters from "
            "scratch; set model.width below 1, e.g. 0.25, or model.weights='imagenet'"
        )
