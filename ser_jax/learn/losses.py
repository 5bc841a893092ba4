"""Losses per utterance; weighting and averaging happen in one place, the learner."""

import jax
import jax.numpy as jnp

UNSUPPORTED = -1e9  # the logit of an emotion the utterance's corpus cannot show


def mask_unsupported(logits, supported):
    """Logits [B C] with the classes that are not `supported` [B C] put out of reach."""
    return jnp.where(supported, logits, UNSUPPORTED)


def cross_entropy(logits, emotion, supported, smoothing: float):
    """Cross entropy [B] against soft labels [B C], smoothed over the supported classes only (Szegedy et al. 2016)."""
    share = supported / jnp.maximum(supported.sum(-1, keepdims=True), 1)
    target = (1 - smoothing) * emotion + smoothing * share
    log_p = jax.nn.log_softmax(mask_unsupported(logits.astype(jnp.float32), supported))
    return -jnp.sum(jnp.where(supported, target * log_p, 0), -1)
