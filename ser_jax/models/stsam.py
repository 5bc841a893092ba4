"""STSaM (basecoder0/STSaM_Demo): a 1-D CNN on a 216-step curve and a text network, fused late.

462,571 parameters for two classes with the MLP, as published. The fusion layer takes probabilities
(three numbers for two classes), not features. The published system trained on reviews paired with
utterances by their label, so its text contains the label: that pairing exists here only as
`protocol='leaky_label_pairing'`.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.contract import InputError, Inputs, Output
from ser_jax.models.layers import max_pool

_FIRST_WORD = 2  # token ids below are padding and unknown words


class Audio(nnx.Module):
    """Three convolutions (kernel 5), pooling by 8, one more convolution, dense 16, dense C.

    [B 216 1] -> logits [B C], features [B 16].
    """

    def __init__(self, classes: int, bands: int, steps: int, *, dtype, rngs: nnx.Rngs):
        conv = functools.partial(
            nnx.Conv,
            out_features=128,
            kernel_size=(5,),
            padding='SAME',
            dtype=dtype,
            rngs=rngs,
        )
        self.before = nnx.List([conv(bands), conv(128), conv(128)])
        self.after = conv(128)
        self.early, self.late = nnx.Dropout(0.1), nnx.Dropout(0.3)
        self.dense = nnx.Linear(-(-steps // 8) * 128, 16, rngs=rngs)
        self.classify = nnx.Linear(16, classes, rngs=rngs)

    def __call__(self, x, rngs):
        for convolve in self.before:
            x = jax.nn.relu(convolve(x))
        x = jax.nn.relu(self.after(max_pool(self.early(x, rngs=rngs), 8, 8)))
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        features = jax.nn.relu(self.dense(x))
        return self.classify(self.late(features, rngs=rngs)), features


class Perceptron(nnx.Module):
    """Multi-hot words [B W'] -> 16 -> 16 -> one sigmoid for any number of classes, as published."""

    def __init__(self, words: int, classes: int, *, rngs: nnx.Rngs):
        del classes
        self.first, self.second = nnx.Linear(words, 16, rngs=rngs), nnx.Linear(16, 16, rngs=rngs)
        self.dropout = nnx.Dropout(0.3)
        self.classify = nnx.Linear(16, 1, rngs=rngs)
        self.outputs = 1

    def __call__(self, x, rngs):
        x = jax.nn.relu(self.second(jax.nn.relu(self.first(x))))
        return self.classify(self.dropout(x, rngs=rngs))


class Recurrent(nnx.Module):
    """Two simple RNNs of 512 over one step [B 1 W']; dense 32; softmax C.

    The layers are those in the published figure of the three-class network.
    """

    def __init__(self, words: int, classes: int, *, rngs: nnx.Rngs):
        self.first, self.second = nnx.Linear(words, 512, rngs=rngs), nnx.Linear(512, 512, rngs=rngs)
        # The sequence has one step, so these multiply only the zero state but are parameters.
        self.first_again = nnx.Linear(512, 512, use_bias=False, rngs=rngs)
        self.second_again = nnx.Linear(512, 512, use_bias=False, rngs=rngs)
        self.dropout = nnx.Dropout(0.25)
        self.dense, self.classify = (
            nnx.Linear(512, 32, rngs=rngs),
            nnx.Linear(32, classes, rngs=rngs),
        )
        self.outputs = classes

    def __call__(self, x, rngs):
        start = jnp.zeros((x.shape[0], 512))
        x = jax.nn.relu(self.first(x) + self.first_again(start))
        x = jax.nn.relu(self.second(x) + self.second_again(start))
        return self.classify(self.dense(self.dropout(x, rngs=rngs)))


class Model(nnx.Module):
    """Audio and text networks and the layer that fuses their probabilities.

    Args:
      classes: C.
      bands: channels of `mfcc_curve`.
      words: the size of the vocabulary, padding and unknown included.
      most_words: width of the multi-hot text input, 10,000 as published; rarer words are ignored.
      steps: frames of the input.
      reader: the text network, 'mlp' or 'rnn'.
    """

    reads_text = True

    def __init__(
        self,
        classes: int,
        bands: int = 1,
        words: int = 2,
        most_words: int = 10_000,
        steps: int = 216,
        reader: str = 'mlp',
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        readers: dict[str, type[Perceptron | Recurrent]] = {'mlp': Perceptron, 'rnn': Recurrent}
        if reader not in readers:
            raise InputError(f'model.reader must be one of {", ".join(readers)}, got {reader!r}')
        self.audio = Audio(classes, bands, steps, dtype=dtype, rngs=rngs)
        self.text = readers[reader](most_words, classes, rngs=rngs)
        self.meet = nnx.Linear(self.text.outputs + classes, classes, rngs=rngs)
        self.most_words = most_words

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        audio, embedding = self.audio(inputs.features, rngs)
        text = self.text(multi_hot(inputs.text, self.most_words), rngs)
        p_text = jax.nn.sigmoid(text) if self.text.outputs == 1 else jax.nn.softmax(text)
        p_audio = jax.nn.softmax(audio)
        # A branch is trained through the fusion layer alone, which may invert its classes. Its
        # prediction is therefore the output of that layer with the other branch uniform.
        logits = self._fuse(p_text, p_audio)
        alone_audio = self._fuse(_uniform(p_text), p_audio)
        alone_text = self._fuse(p_text, _uniform(p_audio))
        modalities = {'audio': alone_audio, 'text': alone_text, 'fused': logits}
        return Output(logits, embedding, modalities)

    def _fuse(self, p_text, p_audio):
        return self.meet(jnp.concatenate([p_text, p_audio], -1))


def _uniform(p):
    """Return the probabilities of no decision: 0.5 of a sigmoid, 1 / C of a softmax."""
    return jnp.full_like(p, 0.5 if p.shape[-1] == 1 else 1 / p.shape[-1])


def multi_hot(tokens, words: int):
    """Return 1.0 for each of the `words` most frequent words in token ids [B W]: [B words]."""
    rows = jnp.arange(len(tokens))[:, None]
    place = jnp.where(tokens >= _FIRST_WORD, tokens - _FIRST_WORD, words)  # out of range: dropped
    return jnp.zeros((len(tokens), words)).at[rows, place].set(1.0, mode='drop')
