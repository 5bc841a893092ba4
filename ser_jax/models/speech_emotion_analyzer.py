"""The 1-D CNN of Speech-Emotion-Analyzer (M. Puthran, github.com/MITESHPUTHRANNEU).

It classifies sex x emotion from a 216-step curve. Its notebook shows one network and its repository
ships another; both are here, with the parameters they print for ten classes: 364,170
(`variant='notebook'`) and 445,578 (`variant='saved'`).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.contract import InputError, Inputs, Output
from ser_jax.models.layers import max_pool

# (filters, dropout rate) of each convolution before and after the pooling.
_LAYERS = {
    'notebook': (((256, 0.0), (128, 0.1)), ((128, 0.0), (128, 0.0))),
    'saved': (((128, 0.0), (128, 0.1)), ((128, 0.0), (128, 0.0), (128, 0.2), (128, 0.0))),
}


class Model(nnx.Module):
    """Convolutions (kernel 5) over the frames of `mfcc_curve` [B 216 1], pooling by 8, dense.

    Args:
      classes: C.
      bands: channels of the input.
      words: unused; this model has no text input.
      steps: frames of the input, all of them used: the front end's length is fixed.
      variant: 'notebook' or 'saved'.
    """

    def __init__(
        self,
        classes: int,
        bands: int = 1,
        words: int = 0,
        steps: int = 216,
        variant: str = 'notebook',
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        if variant not in _LAYERS:
            raise InputError(f'model.variant must be one of {", ".join(_LAYERS)}, got {variant!r}')
        inputs, parts = bands, []
        for layers in _LAYERS[variant]:
            part: nnx.List[nnx.Module] = nnx.List()
            for filters, rate in layers:
                part.append(nnx.Conv(inputs, filters, (5,), padding='SAME', dtype=dtype, rngs=rngs))
                part.append(nnx.Dropout(rate))
                inputs = filters
            parts.append(part)
        self.before, self.after = parts
        self.classify = nnx.Linear(-(-steps // 8) * inputs, classes, rngs=rngs)

    def __call__(self, inputs: Inputs, rngs: nnx.Rngs | None = None) -> Output:
        x = _through(self.before, inputs.features, rngs)
        x = _through(self.after, max_pool(x, 8, 8), rngs)
        embedding = x.reshape(x.shape[0], -1).astype(jnp.float32)
        logits = self.classify(embedding)
        return Output(logits, embedding, {'audio': logits})


def _through(layers, x, rngs):
    for convolve, dropout in zip(layers[::2], layers[1::2], strict=True):
        x = dropout(jax.nn.relu(convolve(x)), rngs=rngs)
    return x
