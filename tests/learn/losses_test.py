"""The loss counts supported classes only; smoothing and weights keep their promises."""

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.learn import losses


def test_no_knowledge_costs_log_of_the_supported_classes():
    emotion = jax.nn.one_hot(jnp.array([0, 1]), 5)
    supported = jnp.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)
    for smoothing in (0.0, 0.3):
        np.testing.assert_allclose(
            losses.cross_entropy(jnp.zeros((2, 5)), emotion, supported, smoothing),
            np.log([5, 2]),
            rtol=1e-5,
        )


def test_unsupported_classes_get_no_gradient():
    emotion, supported = jax.nn.one_hot(jnp.array([0]), 4), jnp.array([[1, 1, 0, 1]], bool)
    gradient = jax.grad(lambda x: losses.cross_entropy(x, emotion, supported, 0.1).sum())(
        jnp.array([[0.3, -1.0, 9.0, 0.0]])
    )
    assert gradient[0, 2] == 0 and (gradient[0, [0, 1, 3]] != 0).all()


def test_smoothing_makes_certainty_cost():
    emotion, everything = jax.nn.one_hot(jnp.array([0]), 3), jnp.ones((1, 3), bool)
    sure = jnp.array([[20.0, 0.0, 0.0]])
    assert losses.cross_entropy(sure, emotion, everything, 0.0)[0] < 1e-6
    assert losses.cross_entropy(sure, emotion, everything, 0.1)[0] > 1
