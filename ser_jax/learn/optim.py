"""Optimizers by name, with the schedule every one of them gets: linear warm-up, cosine to zero."""

import jax
import optax

from ser_jax.contract import InputError


def build(config, steps: int) -> optax.GradientTransformation:
    """The optimizer of the config's `optim` section for a training of `steps` steps.

    Raises:
      InputError: an unknown `name`.
    """
    rate = schedule(config, steps)
    if config.name == 'adamw':
        descend = optax.adamw(rate, weight_decay=config.weight_decay, mask=decayed)
    elif config.name == 'sgd':
        descend = optax.sgd(rate)
    else:
        raise InputError(f'optim.name={config.name!r} is not known; known are adamw, sgd')
    return optax.chain(optax.clip_by_global_norm(config.clip), descend) if config.clip else descend


def schedule(config, steps: int) -> optax.Schedule:
    """The learning rate at each step."""
    warm = round(config.warmup * steps)
    if not warm:
        return optax.cosine_decay_schedule(config.learning_rate, max(steps, 1))
    return optax.warmup_cosine_decay_schedule(0, config.learning_rate, warm, max(steps, warm + 1))


def decayed(params: dict) -> dict:
    """True for weights of matrices, kernels and embeddings; False for biases and normalization scales."""
    names = ('kernel', 'embedding', 'input', 'recurrent')
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key.rsplit('/', 1)[-1] in names, params)
