"""Optimizers by name, and schedules: cosine with warm-up, constant, or reduced on a plateau."""

import re
from collections.abc import Sequence

import jax
import numpy as np
import optax

from ser_jax.contract import InputError


def build(config, steps: int, epoch: int = 1) -> optax.GradientTransformationExtraArgs:
    """Return the optimizer of the config's section `optim` for `steps` steps, `epoch` per epoch.

    Its `update` takes the loss of the step as `value`.

    Raises:
      InputError: an unknown `name` or `schedule`, or a pattern of `trainable` or `rates` that is
        none; the optimizer's `init` raises it if a pattern matches no parameter.
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
    if config.rates:
        descend = optax.chain(descend, _scaled(config.rates))
    if config.schedule == 'plateau':
        factor, patience, lowest = config.plateau
        slower = optax.contrib.reduce_on_plateau(
            factor, patience, min_scale=lowest / config.learning_rate, accumulation_size=epoch
        )
        whole = optax.chain(*parts, descend, slower)
    else:
        whole = optax.with_extra_args_support(optax.chain(*parts, descend))
    return _selected(whole, config.trainable) if config.trainable else whole


def _selected(
    optimizer: optax.GradientTransformationExtraArgs, pattern: str
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer of the parameters whose path matches; the others keep their values."""
    search = _compiled('optim.trainable', pattern).search

    def labels(params: dict) -> dict:
        chosen = {path: 'trained' if search(path) else 'kept' for path in params}
        if 'trained' not in chosen.values():
            raise InputError(
                f'optim.trainable={pattern!r} matches no parameter; some are '
                f'{", ".join(sorted(params)[:5])}'
            )
        return chosen

    return optax.partition({'trained': optimizer, 'kept': optax.set_to_zero()}, labels)


def _scaled(rates: Sequence[str]) -> optax.GradientTransformation:
    """Return a transformation that multiplies updates by the factor of the first matching pattern.

    Args:
      rates: entries 'pattern=factor'; parameters that none matches keep the factor 1.
    """
    table = []
    for entry in rates:
        pattern, _, factor = entry.rpartition('=')
        try:
            value = float(factor)
        except ValueError:
            value = -1.0
        if not pattern or not 0 <= value < float('inf'):
            raise InputError(
                "optim.rates must have entries 'pattern=factor' with a factor of at least 0, e.g. "
                f'encoder/=0.1, got {entry!r}'
            )
        table.append((_compiled('optim.rates', pattern), value))

    def init(params):
        for pattern, _ in table:
            if not any(map(pattern.search, params)):
                raise InputError(
                    f'optim.rates: {pattern.pattern!r} matches no parameter; some are '
                    f'{", ".join(sorted(params)[:5])}'
                )
        return optax.EmptyState()

    def update(updates, state, params=None):
        scaled = {}
        for path, change in updates.items():
            factor = next((value for pattern, value in table if pattern.search(path)), 1.0)
            scaled[path] = jax.tree.map(lambda x, factor=factor: factor * x, change)
        return scaled, state

    return optax.GradientTransformation(init, update)


def _compiled(knob: str, pattern: str) -> re.Pattern:
    try:
        return re.compile(pattern)
    except re.error as e:
        raise InputError(f'{knob}: {pattern!r} is no regular expression ({e})') from e


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
