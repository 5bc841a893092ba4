"""Fusion of speech and text: whitened states of a frozen speech encoder, and a text encoder.

Text encoder, fusion layer, classifiers and modality dropout are those of `fusion`.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx

from ser_jax.contract import Inputs, Output
from ser_jax.models import closed_form
from ser_jax.models.encoders.hidden_states import HiddenStates, Whitening
from ser_jax.models.fusion import Fusion


class Model(HiddenStates):
    """Feature-level fusion of averaged hidden states and text; also audio-only and text-only.

    Args:
      classes, bands: as in `speech_encoder`.
      words, embedding, fused, dropout, modality_dropout: as in `fusion`.
      encoder, layers: as in `encoders.hidden_states`.
      shrinkage: of the whitening; -1 = by Ledoit and Wolf's formula.
      audio_dropout: rate of the whitened states, which are many and fit a training side at once.
    """

    reads_text = True
    fitted = True

    def __init__(
        self,
        classes: int,
        bands: int = 80,
        words: int = 2,
        encoder: str = 'whisper_base',
        layers: Sequence[int] = (),
        shrinkage: float = closed_form.AUTO,
        embedding: int = 64,
        fused: int = 128,
        dropout: float = 0.3,
        audio_dropout: float = 0.8,
        modality_dropout: float = 0.4,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(encoder, layers, 0, 0, True, dtype=dtype, rngs=rngs)
        self.classes, self.shrinkage = classes, shrinkage
        self.whitening = Whitening(len(self.layers), self.width)
        self.audio_dropout = nnx.Dropout(audio_dropout)
        self.fusion = Fusion(
            len(self.layers) * self.width,
            classes,
            words,
            embedding,
            fused,
            dropout,
            modality_dropout,
            dtype=dtype,
            rngs=rngs,
        )

    def fit(self, features: np.ndarray, label: np.ndarray) -> None:
        """Compute the whitening from averages [n L*D] and labels [n]."""
        self.whitening.fit(self.averages(features), label, self.classes, self.shrinkage)

    def decide(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        """Return the output for derived features [B 1 L*D] and texts."""
        white = self.whitening(self.states(inputs)[:, 0])
        return self.fusion.fuse(self.audio_dropout(white, rngs=rngs), inputs.text, rngs)
