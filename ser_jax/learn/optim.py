"""Optimizers by name, and schedules: cosine with warm-up, constant, or reduced on a plateau."""

import jax
import numpy as np
import optax

from ser_jax.contract import InputError


def build(config, steps: int, epoch: int = 1) -> optax.GradientTransformationExtraArgs:
    """Return the optimizer of the config's section `optim` for `steps` steps, `epoch` per epoch.

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
        raise InputError(
            f'optim.name must be one of adamw, adam, rmsprop, sgd, got {config.name!r}'
        )
    parts = [optax.clip_by_global_norm(config.clip)] if config.clip else []
    if config.schedule == 'plateau':
        factor, patience, lowest = config.plateau
        slower = optax.contrib.reduce_on_plateau(
            factor, patience, min_scale=lowest / config.learning_rate, accumulation_size=epoch
        )
        return optax.chain(*parts, descend, slower)
    return optax.with_extra_args_support(optax.chain(*parts, descend))


def schedule(config, steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the step, before reduction on a plateau.

    Raises:
      InputError: an unknown `schedule`.
    """
    if config.schedule in ('constant', 'plateau'):
        return optax.constant_schedule(config.learning_rate)
    if config.schedule != 'cosine':
        raise InputError(
            f'optim.schedule must be one of cosine, constant, plateau, got {config.schedule!r}'
        )
    warm = round(config.warmup * steps)
    if not warm:
        return optax.cosine_decay_schedule(config.learning_rate, max(steps, 1))
    return optax.warmup_cosine_decay_schedule(0, config.learning_rate, warm, max(steps, warm + 1))


def used_rate(config, steps: int, step: int, optimizer):
    """Return the learning rate of step `step` (1-based), reduced on a plateau: a scalar, or [K].

    Args:
      optimizer: the state of `build`'s optimizer after that step, of one member or stacked [K ...].
    """
    rate = np.float32(schedule(config, steps)(step - 1))
    return rate * optax.tree.get(optimizer, 'scale') if config.schedule == 'plateau' else rate


def decayed(params: dict) -> dict:
    """Return True for matrices, kernels and embeddings, False for biases and normalization scales.

    The name counts too, because the bias of both directions of a BiLSTM has two axes.
    """

    def is_decayed(path, x) -> bool:
        return x.ndim >= 2 and path[-1].key.rsplit('/', 1)[-1] not in ('bias', 'scale')

    return jax.tree_util.tree_map_with_path(is_decayed, params)
