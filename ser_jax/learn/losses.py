"""Losses per utterance; the learner weights and averages them."""

import jax
import jax.numpy as jnp

UNSUPPORTED = -1e9  # logit of an emotion that the utterance's corpus lacks


def mask_unsupported(logits, supported):
    """Return logits [B C], set to UNSUPPORTED for classes that are not `supported` [B C]."""
    return jnp.where(supported, logits, UNSUPPORTED)


def cross_entropy(logits, emotion, supported, smoothing: float):
    """Return the cross entropy [B] with soft labels [B C].

    Labels are smoothed over the supported classes only (Szegedy et al. 2016).
    """
    share = supported / jnp.maximum(supported.sum(-1, keepdims=True), 1)
    target = (1 - smoothing) * emotion + smoothing * share
    log_p = jax.nn.log_softmax(mask_unsupported(logits.astype(jnp.float32), supported))
    return -jnp.sum(jnp.where(supported, target * log_p, 0), -1)
