"""Members together = apart; one device = eight; resident = streamed; any steps per dispatch."""

import os
import pathlib
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from ser_jax import assemble
from ser_jax.contract import InputError
from ser_jax.learn.devices import device_mesh, scored_at_once
from ser_jax.learn.members import Group
from tests.conftest import small_config

STEPS = 5


def sgd(data_dir, **changes):
    """Plain SGD, whose parameters differ only as much as its gradients do."""
    c = small_config(data_dir)
    c.optim.name, c.optim.learning_rate, c.optim.warmup, c.optim.weight_decay = (
        'sgd',
        0.05,
        0.0,
        0.0,
    )
    for key, value in changes.items():
        section, knob = key.split('__')
        c[section][knob] = value
    return c


def group_of(config, which, devices=None, per_dispatch=1) -> Group:
    run = assemble.open_run(config)
    span = max(assemble.scored_span(config, run.utterances.layout), run.learner.preprocessing.span)
    shared = run.corpus_data(span)
    return Group(
        run.learner,
        [run.members[k] for k in which],
        run.member_data(which),
        shared,
        run.utterances,
        device_mesh(len(which), config.train.batch_size, devices or jax.devices()[:1]),
        batch_size=config.train.batch_size,
        steps=run.steps,
        per_dispatch=per_dispatch,
    )


def after(group: Group, steps=STEPS):
    """(loss [K], params) on the host after `steps` steps."""
    state, done, epoch = group.init(), 0, 0
    while done < steps:
        for state in group.train_epoch(state, epoch):
            done += group.per_dispatch
            if done >= steps:
                break
        epoch += 1
    host = group.host(
        {
            'loss': state.loss_sum / state.loss_weight,
            'params': state.variables.params,
            'stats': state.variables.stats,
        }
    )
    return host['loss'], {**host['params'], **host['stats']}


def assert_same(a, b):
    np.testing.assert_allclose(a[0], b[0], rtol=1e-5)
    for name in a[1]:
        np.testing.assert_allclose(a[1][name], b[1][name], atol=1e-6, err_msg=name)


AUGMENTED = {
    'augment__speed': 0.1,
    'augment__band_shift': 2,
    'augment__time_masks': 1,
    'augment__time_mask_s': 0.1,
}


def test_members_together_equal_members_apart(data_dir):
    c = sgd(data_dir, members__seeds=(0, 1), **AUGMENTED)
    together = after(group_of(c, [0, 1, 3]))
    for place, k in enumerate([0, 1, 3]):
        apart = after(group_of(c, [k]))
        assert_same(
            (
                together[0][place : place + 1],
                {n: x[place : place + 1] for n, x in together[1].items()},
            ),
            apart,
        )


@pytest.mark.parametrize('source', ['log_mel', 'waveform'])
def test_resident_equals_streamed(data_dir, source):
    c = sgd(data_dir, features__source=source, augment__speed=0.1)
    resident = group_of(c, [0, 1])
    c.data.resident_gb = 0.0
    streamed = group_of(c, [0, 1])
    assert resident.corpus.flat is not None and streamed.corpus.flat is None
    assert_same(after(resident), after(streamed))
    test = [m.test for m in resident.members]
    variables, most = (
        resident.init().variables,
        50 if source == 'log_mel' else 8000,
    )  # some utterances need two windows
    for a, b in zip(
        resident.predict(variables, test, most),
        streamed.predict(variables, test, most),
        strict=True,
    ):
        np.testing.assert_array_equal(a.utterance, b.utterance)
        np.testing.assert_allclose(a.probabilities['audio'], b.probabilities['audio'], atol=1e-6)


def test_members_with_fewer_windows_are_read_whole(data_dir):
    """Members of unequal tests are scored in one call as each is alone, over several batches."""
    group = group_of(sgd(data_dir), [0, 1])
    variables = group.init().variables
    which = [group.members[0].test, group.members[1].test[:3]]
    together = group.predict(variables, which, 1000, batch_size=4)
    for k in range(2):
        np.testing.assert_array_equal(together[k].utterance, which[k])
        alone = group.predict(variables, [which[k]] * 2, 1000)[k]
        np.testing.assert_allclose(
            together[k].probabilities['audio'], alone.probabilities['audio'], atol=1e-6
        )


def test_several_steps_in_one_dispatch_change_nothing(data_dir):
    c = sgd(data_dir)
    steps = group_of(c, [0]).steps
    assert_same(after(group_of(c, [0]), steps), after(group_of(c, [0], per_dispatch=steps), steps))


def test_one_device_equals_eight(data_dir, tmp_path):
    """Members 1 x batch 8 and members 2 x batch 4, in a process with eight forced host devices."""
    c = sgd(data_dir, members__seeds=(0, 1), **AUGMENTED)
    script = textwrap.dedent("""
        import re, sys, jax, numpy as np
        from tests.learn.members_test import sgd, group_of, after, AUGMENTED
        assert len(jax.devices()) == 8
        for which in ([0], [0, 1]):
            c = sgd(sys.argv[1], members__seeds=(0, 1), **AUGMENTED)
            loss, params = after(group_of(c, which, jax.devices()))
            np.savez(f'{sys.argv[2]}/{len(which)}.npz', loss=loss, **params)
        c = sgd(sys.argv[1], members__seeds=(0, 1), train__batch_size=32, **AUGMENTED)
        group = group_of(c, [0, 1], jax.devices())
        compiled = []
        def logged(group):
            update = group._update
            def apply(*inputs):
                compiled.append(update.lower(*inputs).compile().as_text())
                return update(*inputs)
            group._update = apply
        logged(group)
        next(group.train_epoch(group.init(), 0))
        assert 'all-reduce' in compiled[0]
        among = set(re.findall(r'replica_groups=(\\S+?),? ', compiled[0]))
        per_member = {'{{0,1,2,3},{4,5,6,7}}', '[2,4]<=[8]'}
        assert among and among <= per_member, f'{among}: members exchange something'
        for kind in ('all-gather', 'collective-permute', 'all-to-all'):
            assert kind not in compiled[0], 'devices exchange what is their own'
        group = group_of(c, [0, 1], jax.devices()[:2])  # a member a device
        logged(group)
        next(group.train_epoch(group.init(), 0))
        for kind in ('all-reduce', 'all-gather', 'collective-permute', 'all-to-all'):
            assert kind not in compiled[1], 'members exchange something'
    """)
    root = pathlib.Path(__file__).parents[2]
    env = {
        **os.environ,
        'XLA_FLAGS': '--xla_force_host_platform_device_count=8',
        'PYTHONPATH': str(root),
    }
    subprocess.run(
        [sys.executable, '-c', script, str(data_dir), str(tmp_path)], check=True, env=env, cwd=root
    )
    for which in ([0], [0, 1]):
        sharded = dict(np.load(tmp_path / f'{len(which)}.npz'))
        assert_same(after(group_of(c, which)), (sharded.pop('loss'), sharded))


def test_mesh_takes_members_first_and_as_many_devices_as_divide_the_batch(monkeypatch):
    devices = [jax.devices()[0]] * 6
    assert dict(device_mesh(3, 8, devices).shape) == {'members': 3, 'batch': 2}
    assert dict(device_mesh(2, 8, devices).shape) == {'members': 2, 'batch': 2}
    assert dict(device_mesh(2, 32, devices[:3]).shape) == {'members': 2, 'batch': 1}
    assert dict(device_mesh(5, 7, devices).shape) == {'members': 5, 'batch': 1}
    monkeypatch.setattr(jax, 'process_count', lambda: 2)  # of which none can be left out
    with pytest.raises(
        InputError, match=r'2 members at once with train\.batch_size=8 divide over 4 of 6'
    ):
        device_mesh(2, 8, devices)


def test_members_differ_by_seed_and_resume_their_own_randomness(data_dir):
    c = sgd(data_dir, members__seeds=(0, 1))
    a, b = after(group_of(c, [0])), after(group_of(c, [3]))
    assert any(not np.allclose(a[1][n], b[1][n]) for n in a[1])
    assert_same(a, after(group_of(c, [0])))


def test_scoring_averages_shifted_bands_and_keeps_what_is_masked(data_dir):
    """Equal to three scorings of corpora with shifted bands, averaged as logarithms."""
    plain, shifting = sgd(data_dir), sgd(data_dir, augment__scored_shifts=1)
    group, wide = (group_of(c, [0]) for c in (plain, shifting))
    variables, at = group.init().variables, [group.members[0].test]
    scored = []
    for shift in (-1, 0, 1):
        bands = np.clip(np.arange(64) - shift, 0, 63)
        moved = group.corpus._replace(
            flat=jax.numpy.asarray(np.asarray(group.corpus.flat)[:, bands])
        )
        group.corpus = moved
        scored.append(group.predict(variables, at, 200)[0].probabilities['audio'])
        group = group_of(plain, [0])
    mean = np.exp(np.mean(np.log(scored), 0))
    mean /= mean.sum(1, keepdims=True)
    np.testing.assert_allclose(
        wide.predict(variables, at, 200)[0].probabilities['audio'], mean, atol=2e-5
    )
    assert np.abs(scored[0] - scored[1]).max() > 1e-4


@pytest.mark.parametrize(
    'steps, most', [(17, 4), (17, 16), (5, 2), (34, 16), (12, 4), (3, 16), (1, 1), (7, 0)]
)
def test_an_epoch_is_dispatched_in_few_parts_of_equal_size(data_dir, steps, most):
    group = group_of(sgd(data_dir), [0])
    sizes = Group(
        group.learner, group.members, assemble.open_run(sgd(data_dir)).member_data([0]),
        jax.tree.map(np.asarray, group.corpus), group.utterances, group.mesh,
        batch_size=8, steps=steps, per_dispatch=most,
    ).dispatches  # fmt: skip
    assert sum(sizes) == steps and max(sizes) <= max(1, most) and max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-steps // max(1, most))


def states(config, per_dispatch, loops=None, epochs=2):
    group = group_of(config, [0, 1], per_dispatch=per_dispatch)
    group._loops = group._loops if loops is None else loops
    state = group.init()
    for epoch in range(epochs):
        given = list(group.train_epoch(state, epoch))
        assert len(given) == len(group.dispatches)
        state = given[-1]
    return group.host(state._replace(optimizer=jax.tree.leaves(state.optimizer)))


@pytest.mark.parametrize('per_dispatch', [3, pytest.param(16, marks=pytest.mark.slow)])
def test_dispatches_that_do_not_divide_an_epoch_change_no_bit(data_dir, per_dispatch):
    """17 steps an epoch, a prime, two epochs; the last dispatch is shorter."""
    c = sgd(data_dir, train__batch_size=2, **AUGMENTED)
    c.optim.ema, c.optim.name = 0.9, 'adam'
    one = states(c, 1)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(states(c, per_dispatch)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_loop_on_an_accelerator_has_the_same_remainder(data_dir):
    """As an accelerator runs it: several steps in one compiled loop, the last of another length."""
    c = sgd(data_dir)
    one, looped = states(c, 1, epochs=1), states(c, 3, loops=True, epochs=1)
    assert int(looped.step[0]) == group_of(c, [0]).steps
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(looped), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_members_scored_together_are_bounded_on_every_accelerator(monkeypatch):
    for backend, devices, members, expected in (
        ('cpu', 1, 300, 1),
        ('gpu', 1, 300, 64),
        ('gpu', 3, 300, 63),
        ('gpu', 8, 25, 24),
        ('tpu', 8, 5, 5),
        ('gpu', 1, 1, 1),
    ):
        monkeypatch.setattr(jax, 'default_backend', lambda backend=backend: backend)
        monkeypatch.setattr(jax, 'device_count', lambda devices=devices: devices)
        assert scored_at_once(members) == expected
