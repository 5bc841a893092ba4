"""Lengths after a stride are rounded up: the last frames of an utterance count."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.models import layers


@pytest.mark.parametrize('stride', [1, 2, 3, 4])
def test_the_last_frame_of_every_length_reaches_a_convolution_s_output(stride):
    conv = layers.Conv(1, 3, 5, (stride, 2), dtype=jnp.float32, rngs=nnx.Rngs(0))
    conv.eval()
    lengths = np.arange(1, 14)
    real = np.arange(13) < lengths[:, None]
    x = np.abs(np.random.default_rng(0).standard_normal((13, 13, 8, 1))) * real[..., None, None]
    out, length = conv(jnp.asarray(x, jnp.float32), jnp.asarray(lengths))
    np.testing.assert_array_equal(length, np.ceil(lengths / stride))
    for i, n in enumerate(lengths):
        alone, only = conv(jnp.asarray(x[i : i + 1, :n], jnp.float32), jnp.asarray([n]))
        assert alone.shape[1] == only[0] == length[i]
        np.testing.assert_allclose(out[i, : length[i]], alone[0], atol=1e-5)
        assert not np.asarray(out[i, length[i] :]).any() and np.asarray(alone[0, -1]).any()
