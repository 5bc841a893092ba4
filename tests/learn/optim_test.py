"""Optimizers and rates: by name, reduced on a plateau, the same for one member or several."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ser_jax.config import base
from ser_jax.contract import InputError
from ser_jax.learn import optim


def knobs(**given):
    c = base().optim
    c.clip, c.weight_decay, c.learning_rate = 0.0, 0.0, 0.1
    for key, value in given.items():
        setattr(c, key, value)
    return c


def descend(tx, losses):
    """The parameter after a constant gradient of 1 at each of `losses`."""
    params = {'kernel': jnp.float32(0)}
    state = tx.init(params)
    for loss in losses:
        change, state = tx.update(
            {'kernel': jnp.float32(1)}, state, params, value=jnp.float32(loss)
        )
        params = optax.apply_updates(params, change)
    return float(params['kernel'])


def test_a_constant_rate_is_constant_and_a_cosine_ends_at_zero():
    constant, cosine = (optim.schedule(knobs(schedule=s), 50) for s in ('constant', 'cosine'))
    assert float(constant(0)) == float(constant(49)) == pytest.approx(0.1)
    assert (
        float(cosine(0)) == 0
        and float(cosine(5)) == pytest.approx(0.1)
        and float(cosine(50)) < 1e-6
    )


def test_a_plateau_slows_after_its_patience_and_not_before():
    def tx():
        return optim.build(
            knobs(name='sgd', schedule='plateau', plateau=(0.5, 2, 0.04)), 100, epoch=3
        )

    falling = descend(tx(), np.repeat([5, 4, 3, 2, 1, 0.5], 3))
    assert falling == pytest.approx(-0.1 * 18)
    still = [descend(tx(), np.ones(3 * n)) for n in range(8)]
    steps = -np.diff(still) / 3  # the rate of each epoch, on average
    assert steps[0] == pytest.approx(0.1) and steps[-1] == pytest.approx(
        0.04, abs=1e-6
    )  # halved, never below the least
    assert np.all(np.diff(steps) <= 1e-6)


@pytest.mark.parametrize('name', ['adamw', 'adam', 'rmsprop', 'sgd'])
@pytest.mark.parametrize('schedule', ['cosine', 'constant', 'plateau'])
def test_members_together_are_members_apart(name, schedule):
    tx = optim.build(knobs(name=name, schedule=schedule), 20, epoch=2)
    losses = jnp.array([[1.0, 1, 1, 1, 1, 1, 1, 1], [8.0, 7, 6, 5, 4, 3, 2, 1]])

    def run(losses):
        params = {'kernel': jnp.ones(3)}
        state = tx.init(params)
        for loss in losses:
            change, state = tx.update(
                {'kernel': params['kernel'] * loss}, state, params, value=loss
            )
            params = optax.apply_updates(params, change)
        return params['kernel']

    together = jax.jit(jax.vmap(run))(losses)
    for k in range(2):
        np.testing.assert_allclose(together[k], run(losses[k]), rtol=1e-5)


def test_what_is_not_known_is_named():
    with pytest.raises(
        InputError, match=r"optim.name must be one of adamw, adam, rmsprop, sgd, got 'adamax'"
    ):
        optim.build(knobs(name='adamax'), 10)
    with pytest.raises(
        InputError,
        match=r"optim.schedule must be one of cosine, constant, plateau, got 'linear'",
    ):
        optim.build(knobs(schedule='linear'), 10)


@pytest.mark.parametrize('schedule', ['cosine', 'constant', 'plateau'])
def test_the_used_rate_is_the_size_of_the_last_update(schedule):
    """The size of an update by plain descent along a gradient of 1, in every epoch."""
    config = knobs(name='sgd', schedule=schedule, plateau=(0.5, 1, 1e-7))
    tx, params = optim.build(config, 12, epoch=3), {'kernel': jnp.float32(0)}
    state = tx.init(params)
    for step in range(1, 13):
        change, state = tx.update({'kernel': jnp.float32(1)}, state, params, value=jnp.float32(1))
        assert float(optim.used_rate(config, 12, step, state)) == pytest.approx(
            -float(change['kernel']), rel=1e-5
        )
        assert step == 1 or schedule == 'cosine' or float(change['kernel']) < 0
    assert schedule != 'plateau' or float(change['kernel']) > -0.1  # the plateau was seen


def test_every_matrix_decays_and_no_bias_does():
    """Of a network of each kind; a bias of both directions of a BiLSTM has two axes."""
    params = {
        'conv/kernel': 4, 'depthwise_kernel': 4, 'block/pointwise_kernel': 4,
        'embed/embedding': 2, 'lstm/input': 3,
        'lstm/recurrent': 3, 'lstm/bias': 2, 'norm/scale': 1, 'norm/bias': 1, 'dense/bias': 1,
    }  # fmt: skip
    decays = optim.decayed({name: jnp.zeros((2,) * axes) for name, axes in params.items()})
    assert {n for n, d in decays.items() if not d} == {
        'lstm/bias',
        'norm/scale',
        'norm/bias',
        'dense/bias',
    }


PARAMS = {
    'encoder/blocks/0/kernel': jnp.ones(2),
    'head/kernel': jnp.ones(2),
    'head/bias': jnp.ones(1),
}


@pytest.mark.parametrize('name', ['adamw', 'adam', 'rmsprop', 'sgd'])
@pytest.mark.parametrize('schedule', ['constant', 'plateau'])
def test_only_matching_parameters_are_trained(name, schedule):
    """The others keep their values, and their gradients count in no norm."""

    def after(pattern, scale):
        given = {'name': name, 'schedule': schedule, 'trainable': pattern, 'clip': 0.1}
        tx, params = optim.build(knobs(**given), 10), PARAMS
        state = tx.init(params)
        for _ in range(3):
            gradient = {k: scale * x if 'encoder' in k else x for k, x in PARAMS.items()}
            change, state = tx.update(gradient, state, params, value=jnp.float32(1))
            params = optax.apply_updates(params, change)
        return params

    some, all_of = after('^head/', 1.0), after('', 1.0)
    assert (some['encoder/blocks/0/kernel'] == 1).all()
    assert (some['head/kernel'] != 1).all() and (all_of['encoder/blocks/0/kernel'] != 1).all()
    np.testing.assert_array_equal(after('^head/', 1e6)['head/kernel'], some['head/kernel'])


def test_rates_of_groups_scale_every_update():
    def after(rates):
        tx = optim.build(knobs(weight_decay=0.1, rates=rates, schedule='constant'), 10)
        change, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=jnp.float32(1))
        return change

    plain, slow = after(()), after(('encoder/=0.1', 'bias$=0'))
    np.testing.assert_allclose(
        slow['encoder/blocks/0/kernel'], 0.1 * plain['encoder/blocks/0/kernel'], rtol=1e-6
    )
    np.testing.assert_array_equal(slow['head/kernel'], plain['head/kernel'])
    assert plain['head/bias'] != 0 and slow['head/bias'] == 0
    first = after(('kernel=0.5', 'encoder/=0.1'))  # the first match counts
    np.testing.assert_allclose(
        first['encoder/blocks/0/kernel'], 0.5 * plain['encoder/blocks/0/kernel'], rtol=1e-6
    )


@pytest.mark.parametrize(
    'given, message',
    [
        ({'trainable': 'hed/'}, r"optim.trainable='hed/' matches no parameter; some are encoder/"),
        ({'trainable': '('}, r"optim.trainable: '\(' is no regular expression"),
        ({'rates': ('encoder/',)}, "entries 'pattern=factor' .*, got 'encoder/'"),
        ({'rates': ('encoder/=-1',)}, "entries 'pattern=factor' .*, got 'encoder/=-1'"),
        ({'rates': ('hed/=1',)}, r"optim.rates: 'hed/' matches no parameter"),
    ],
)
def test_patterns_that_match_nothing_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        tx = optim.build(knobs(**given), 10)
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=jnp.float32(1))


def test_biases_do_not_decay():
    tx = optim.build(knobs(name='adamw', weight_decay=0.5, schedule='constant'), 10)
    params = {'head/kernel': jnp.ones((2, 2)), 'head/bias': jnp.ones(2)}
    nothing = jax.tree.map(jnp.zeros_like, params)
    change, _ = tx.update(nothing, tx.init(params), params, value=jnp.float32(1))
    assert (change['head/bias'] == 0).all() and (change['head/kernel'] < 0).all()
