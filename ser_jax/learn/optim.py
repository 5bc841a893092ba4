"""Optimizers by name, and how fast they learn: warm-up and cosine, constant, or slower where the loss stands still."""

import jax
import optax

from ser_jax.contract import InputError


def build(config, steps: int, epoch: int = 1) -> optax.GradientTransformationExtraArgs:
    """The optimizer of the config's `optim` section for a training of `steps` steps, `epoch` of them an epoch.

    Its `update` takes the loss of the step as `value`.

    Raises:
      InputError: an unknown `name` or `schedule`.
    """
    rate = schedule(config, steps)
    if config.name == 'adamw':
        descend = optax.adamw(rate, weight_decay=config.weight_decay, mask=decayed)
    elif config.name == 'adam':
        descend = optax.adam(rate, eps=1e-7)
    elif config.name == 'rmsprop':
        descend = optax.rmsprop(rate, decay=0.9, eps=1e-7)
    elif config.name == 'sgd':
        descend = optax.sgd(rate)
    else:
        raise InputError(f'optim.name={config.name!r} is not known; known are adamw, adam, rmsprop, sgd')
    parts = [optax.clip_by_global_norm(config.clip)] if config.clip else []
    if config.schedule == 'plateau':
        factor, patience, lowest = config.plateau
        slower = optax.contrib.reduce_on_plateau(
            factor, patience, min_scale=lowest / config.learning_rate, accumulation_size=epoch
        )
        return optax.chain(*parts, descend, slower)
    return optax.with_extra_args_support(optax.chain(*parts, descend))


def schedule(config, steps: int) -> optax.Schedule:
    """The learning rate at each step, before a plateau lowers it.

    Raises:
      InputError: an unknown `schedule`.
    """
    if config.schedule in ('constant', 'plateau'):
        return optax.constant_schedule(config.learning_rate)
    if config.schedule != 'cosine':
        raise InputError(f'optim.schedule={config.schedule!r} is not known; known are cosine, constant, plateau')
    warm = round(config.warmup * steps)
    if not warm:
        return optax.cosine_decay_schedule(config.learning_rate, max(steps, 1))
    return optax.warmup_cosine_decay_schedule(0, config.learning_rate, warm, max(steps, warm + 1))


def decayed(params: dict) -> dict:
    """True for weights of matrices, kernels and embeddings; False for biases and normalization scales."""
    names = ('kernel', 'embedding', 'input', 'recurrent')
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key.rsplit('/', 1)[-1] in names, params)
