"""Fusion of speech and text: the conv+BiLSTM trunk and a text encoder, fused at feature level.

Each modality also has a classifier, so that one training gives three scores (audio, text, fused)
and the audio classifier can predict recordings without a transcript. In training, modality dropout
(Neverova et al. 2016) removes a modality from some utterances, so that the fused classifier does
not depend on either alone.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.contract import Inputs, Output
from ser_jax.models.conv_bilstm import Trunk


class TextEncoder(nnx.Module):
    """Embeddings, one convolution over three words, mean and max: tokens [B W] -> [B 2D].

    The output of a text without words (all padding) is zero.
    """

    def __init__(self, words: int, embedding: int, dropout: float, *, dtype, rngs: nnx.Rngs):
        self.embed = nnx.Embed(
            words, embedding, embedding_init=nnx.initializers.normal(0.3), dtype=dtype, rngs=rngs
        )
        self.context = nnx.Conv(
            embedding, embedding, (3,), padding=((1, 1),), dtype=dtype, rngs=rngs
        )
        self.dropout = nnx.Dropout(dropout)
        self.width = 2 * embedding

    def __call__(self, tokens, rngs: nnx.Rngs | None = None):
        mask = (tokens > 0)[..., None]
        x = jnp.where(mask, self.dropout(self.embed(tokens), rngs=rngs), 0)
        x = jnp.where(mask, x + jax.nn.relu(self.context(x)), 0)
        mean = x.sum(1) / jnp.maximum(mask.sum(1), 1)
        most = jnp.where(mask.any(1), jnp.where(mask, x, -1e9).max(1), 0)
        return jnp.concatenate([mean, most], -1).astype(jnp.float32)


class Fusion(nnx.Module):
    """Text encoder, fusion layer and classifiers beside the features of speech [B A].

    Args:
      audio: A.
      classes: C.
      words, embedding, fused, dropout, modality_dropout: as in `Model`.
    """

    reads_text = True

    def __init__(
        self,
        audio: int,
        classes: int,
        words: int,
        embedding: int,
        fused: int,
        dropout: float,
        modality_dropout: float,
        *,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.encoder = TextEncoder(words, embedding, dropout, dtype=dtype, rngs=rngs)
        self.audio = nnx.Linear(audio, fused, rngs=rngs)
        self.text = nnx.Linear(self.encoder.width, fused, rngs=rngs)
        self.classify_audio = nnx.Linear(fused, classes, rngs=rngs)
        self.classify_text = nnx.Linear(fused, classes, rngs=rngs)
        self.meet = nnx.Linear(2 * fused, fused, rngs=rngs)
        self.classify = nnx.Linear(fused, classes, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.modality_dropout = modality_dropout
        self.deterministic = False

    def fuse(self, features, tokens, rngs: nnx.Rngs | None) -> Output:
        """Return the output for features of speech [B A] and tokens [B W]."""
        audio = jax.nn.relu(self.audio(features))
        text = jax.nn.relu(self.text(self.encoder(tokens, rngs)))
        alone = {'audio': self.classify_audio(audio), 'text': self.classify_text(text)}
        has_audio, has_text = self._present(features.shape[0], rngs)
        both = jnp.concatenate([audio * has_audio, text * has_text], -1)
        embedding = jax.nn.relu(self.meet(self.dropout(both, rngs=rngs)))
        logits = self.classify(self.dropout(embedding, rngs=rngs))
        return Output(logits, embedding, {**alone, 'fused': logits})

    def _present(self, batch: int, rngs):
        """Return 1.0 where audio and where text are kept, [B 1] each; at least one always is."""
        if self.deterministic:
            return 1.0, 1.0
        draw = jax.random.uniform(rngs.dropout(), (batch, 1))
        half = self.modality_dropout / 2
        return 1.0 * (draw > half), 1.0 * (draw < 1 - half)


class Model(Fusion):
    """Feature-level fusion of speech and text, with further audio-only and text-only classifiers.

    Args:
      classes, bands, channels, kernels, strides, hidden, dropout: as in `conv_bilstm`.
      words: the size of the vocabulary, padding and unknown included.
      embedding: D, the width of a word embedding.
      fused: width of the fusion layer.
      modality_dropout: probability in training that one modality of an utterance is removed.
    """

    def __init__(
        self,
        classes: int,
        bands: int = 64,
        words: int = 2,
        channels: Sequence[int] = (24, 48, 64, 64),
        kernels: Sequence[int] = (5, 3, 3, 3),
        strides: Sequence[tuple[int, int]] = ((2, 2), (2, 2), (2, 2), (1, 1)),
        hidden: int = 64,
        embedding: int = 64,
        fused: int = 128,
        dropout: float = 0.3,
        modality_dropout: float = 0.2,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        trunk = Trunk(bands, channels, kernels, strides, hidden, dropout, dtype=dtype, rngs=rngs)
        super().__init__(
            trunk.width,
            classes,
            words,
            embedding,
            fused,
            dropout,
            modality_dropout,
            dtype=dtype,
            rngs=rngs,
        )
        self.trunk = trunk

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        return self.fuse(self.trunk(inputs, rngs), inputs.text, rngs)
