"""A run as its user meets it: real processes, real kills, real directories."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax import assemble, distributed, train
from ser_jax.contract import InputError
from ser_jax.evaluate import evaluate
from ser_jax.learn.prediction import Prediction
from ser_jax.runs import checkpoint, environment, logbook, training_epoch, workdir
from ser_jax.runs.trained import open_trained
from ser_jax.scoring.scores import scores_by
from tests import forked
from tests.conftest import ToneBuilder
from tests.learn.members_test import group_of

ROOT = pathlib.Path(__file__).parents[1]


def command(data_dir, workdir, *flags) -> list[str]:
    """The command line that trains the fixture's config (tests/tone_config.py)."""
    return [
        sys.executable,
        '-m',
        'ser_jax.main',
        '--config=tests/tone_config.py',
        f'--workdir={workdir}',
        f'--config.data.dir={data_dir}',
        *flags,
    ]


def run(*args, **kwargs) -> subprocess.CompletedProcess:
    return forked.run(*args, cwd=ROOT, capture_output=True, text=True, **kwargs)


def start(command_line) -> subprocess.Popen:
    return subprocess.Popen(
        command_line, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def kept(workdir) -> dict[str, np.ndarray]:
    """All kept variables of a run by member and name."""
    out = {}
    for about in sorted(pathlib.Path(workdir).glob('best/*/about.json')):
        variables, _ = checkpoint.load_best(about.parent)
        out.update(
            {
                f'{about.parent.name}/{k}/{n}': x
                for k, flat in variables.items()
                for n, x in flat.items()
            }
        )
    return out


def assert_bitwise(a, b):
    assert a.keys() == b.keys() and a
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope='module')
def finished(data_dir, tmp_path_factory):
    """A run that nobody interrupted."""
    workdir = tmp_path_factory.mktemp('runs') / 'whole'
    done = run(command(data_dir, workdir))
    assert done.returncode == 0, done.stderr
    return workdir


def test_what_a_run_leaves_behind(finished):
    for name in (
        'config.json',
        'environment.json',
        'folds.json',
        'normalization.json',
        'vocabulary.json',
        'metrics.jsonl',
    ):
        assert (finished / name).stat().st_size
    records = logbook.read(finished / 'metrics.jsonl')
    epochs = [r for r in records if r['kind'] == 'epoch']
    assert {r['member'] for r in epochs} == {'fold0_seed0', 'fold1_seed0', 'fold2_seed0'}
    assert len(epochs) == 3 * 3 and all(
        np.isfinite(r['train_loss']) and 0 <= r['valid_uar'] <= 1 for r in epochs
    )
    assert sorted(p.name for p in (finished / 'best').iterdir()) == [
        'fold0_seed0',
        'fold1_seed0',
        'fold2_seed0',
    ]
    assert not list(finished.rglob('*.pkl'))


def test_same_command_again_changes_nothing(finished, data_dir):
    before = kept(finished), (finished / 'metrics.jsonl').read_text()
    assert run(command(data_dir, finished)).returncode == 0
    assert_bitwise(before[0], kept(finished))
    assert before[1] == (finished / 'metrics.jsonl').read_text()


@pytest.mark.parametrize('moment', [0.2, pytest.param(0.5, marks=pytest.mark.slow), 0.8])
def test_resume_after_kill_is_bitwise_the_uninterrupted_run(finished, data_dir, tmp_path, moment):
    """kill -9 once a share `moment` of all epochs is logged: during or before a background save."""
    process = start(command(data_dir, tmp_path / 'killed'))
    log = tmp_path / 'killed' / 'metrics.jsonl'
    while process.poll() is None and (
        not log.exists() or len(log.read_text().splitlines()) < moment * 9
    ):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = run(command(data_dir, tmp_path / 'killed'))
    assert done.returncode == 0, done.stderr
    assert_bitwise(kept(finished), kept(tmp_path / 'killed'))
    assert logbook.read(log) == logbook.read(finished / 'metrics.jsonl')


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(finished, data_dir, tmp_path):
    workdir = tmp_path / 'run'
    process = start(command(data_dir, workdir))
    while (
        process.poll() is None
        and len([p for p in workdir.glob('checkpoints/*') if p.name.isdigit()]) < 2
    ):
        time.sleep(0.001)
    process.kill()
    process.wait()
    newest = max(
        (p for p in workdir.glob('checkpoints/*') if p.name.isdigit()), key=lambda p: int(p.name)
    )
    for path in newest.rglob('*'):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = run(command(data_dir, workdir))
    assert done.returncode == 0, done.stderr
    assert f'checkpoint {newest.name} is damaged' in done.stdout
    assert_bitwise(kept(finished), kept(workdir))


@pytest.mark.slow
def test_restores_onto_another_number_of_devices(finished, data_dir, tmp_path):
    workdir = tmp_path / 'run'
    process = start(command(data_dir, workdir))
    while process.poll() is None and not [
        p for p in workdir.glob('checkpoints/*') if p.name.isdigit()
    ]:
        time.sleep(0.001)
    process.kill()
    process.wait()
    env = {**os.environ, 'XLA_FLAGS': '--xla_force_host_platform_device_count=4'}
    done = run(command(data_dir, workdir), env=env)
    assert done.returncode == 0, done.stderr
    assert 'going on from checkpoint' in done.stdout
    assert json.loads((workdir / 'environment.json').read_text())['devices'] == ['cpu:cpu'] * 4
    for (name, a), b in zip(kept(finished).items(), kept(workdir).values(), strict=True):
        np.testing.assert_allclose(
            a, b, atol=2e-3, err_msg=name
        )  # sums in another order, through Adam


def test_every_device_of_a_cpu_has_a_member_unless_the_run_was_begun_otherwise(
    config, tmp_path, monkeypatch
):
    config.members.at_once = 0

    def decided(devices: int, members: int = 25, backend: str = 'cpu') -> ConfigDict:
        monkeypatch.setattr(jax, 'device_count', lambda: devices)
        monkeypatch.setattr(jax, 'default_backend', lambda: backend)
        run = SimpleNamespace(config=workdir.settle(config, tmp_path), members=[None] * members)
        workdir.decide_at_once(run)
        return run.config

    # On an accelerator as many on every device: else the batch is divided, which costs exchange.
    accelerated = {(8, 25): 24, (4, 15): 12, (1, 25): 25, (8, 5): 5, (8, 200): 64, (3, 200): 63}
    for (devices, members), at_once in accelerated.items():
        assert decided(devices, members, 'gpu').members.at_once == at_once
    (tmp_path / 'config.json').write_text(decided(3).to_json())
    assert decided(2).members.at_once == 3


def test_a_checkpoint_that_cannot_be_read_for_now_is_left_where_it_is(tmp_path, monkeypatch):
    checkpoints = checkpoint.Checkpoints(tmp_path / 'checkpoints')
    checkpoints.save(1, {'a': np.ones(3)})
    checkpoints.wait()
    for trouble in (
        'RESOURCE_EXHAUSTED: Out of memory',
        'Gloo: Connection closed by peer',
        '[Errno 116] Stale file handle',
    ):

        def refuse(*_, trouble=trouble, **__):
            raise ValueError(trouble)

        monkeypatch.setattr(checkpoints._manager, 'restore', refuse)
        with pytest.raises(InputError, match=r'checkpoint 1 .* for now .*left as it is'):
            checkpoints.restore(
                lambda number: {'a': np.zeros(3)}, print, distributed.shows_lost_process
            )
    monkeypatch.undo()
    assert (
        checkpoints.restore(
            lambda number: {'a': np.zeros(3)}, print, distributed.shows_lost_process
        )[0]
        == 1
    )
    checkpoints.close()


def test_two_processes_equal_one(finished, data_dir, tmp_path):
    sgd = (
        '--config.optim.name=sgd',
        '--config.optim.learning_rate=0.05',
        '--config.optim.weight_decay=0',
        '--config.train.epochs=1',
        '--config.members.only=0,',
    )
    one = run(command(data_dir, tmp_path / 'one', *sgd))
    assert one.returncode == 0, one.stderr
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    flags = (*sgd, f'--coordinator=127.0.0.1:{port}', '--num_processes=2')
    both = [
        subprocess.Popen(
            command(data_dir, tmp_path / 'two', *flags, f'--process_id={i}'),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [p.communicate(timeout=240) for p in both]
    assert [p.returncode for p in both] == [0, 0], outputs
    assert json.loads((tmp_path / 'two' / 'environment.json').read_text())['processes'] == 2
    a, b = kept(tmp_path / 'one'), kept(tmp_path / 'two')
    assert a.keys() == b.keys() and a
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=1e-6, err_msg=name)
    losses = [logbook.read(tmp_path / n / 'metrics.jsonl')[0]['train_loss'] for n in ('one', 'two')]
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize('blocks', [1, 8])  # of 1 KiB: not even folds.json fits, or no checkpoint
def test_full_disk_is_one_line_and_keeps_what_was_saved(finished, data_dir, tmp_path, blocks):
    """The process may write no file as large as a checkpoint: writes fail as on a full disk."""
    limited = [
        'bash',
        '-c',
        f'ulimit -f {blocks}; exec "$@"',
        '_',
        *command(data_dir, tmp_path / 'run'),
    ]
    env = {**os.environ, 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '1e9'}  # read, not written
    done = run(limited, env=env)
    assert done.returncode == 2
    error = [line for line in done.stderr.splitlines() if line.startswith('error:')]
    assert len(error) == 1 and 'same command again' in error[0]
    assert 'Traceback' not in done.stderr
    assert run(command(data_dir, tmp_path / 'run')).returncode == 0  # with room again it goes on


def test_loss_that_is_not_finite_names_member_step_and_checkpoint(config, tmp_path):
    config.optim.name, config.optim.learning_rate, config.optim.clip, config.optim.warmup = (
        'sgd',
        1e30,
        0.0,
        0.0,
    )
    config.optim.weight_decay = 0.0
    with pytest.raises(
        InputError,
        match=r'loss of fold0_seed0 is not finite since step \d+ .*no checkpoint was saved yet',
    ):
        train.train(config, tmp_path / 'run')


@pytest.mark.slow
def test_shuffled_labels_score_chance_and_true_ones_do_not(config, tmp_path):
    """The pipeline scores chance if labels are shuffled before the corpus is built."""

    class ShuffledBuilder(ToneBuilder, skip_registration=True):
        name = 'synthetic'

        def recordings(self, dl_manager):
            recordings = list(super().recordings(dl_manager))
            emotions = np.random.default_rng(0).permutation([r.emotion for r in recordings])
            return [
                dataclasses.replace(r, emotion=str(e))
                for r, e in zip(recordings, emotions, strict=True)
            ]

    config.train.epochs, config.data.channels = 12, ('speech', 'song')
    train.train(config, tmp_path / 'true')
    assert scores_by(evaluate([open_trained(tmp_path / 'true')]))[0].uar.value > 0.6
    ShuffledBuilder(data_dir=tmp_path / 'shuffled').download_and_prepare()
    config.data.dir = str(tmp_path / 'shuffled')
    train.train(config, tmp_path / 'run')
    score = scores_by(evaluate([open_trained(tmp_path / 'run')]))[0]
    assert abs(score.uar.value - 0.25) < 0.12  # 96 utterances: a deviation of chance is 0.044


def test_one_batch_can_be_overfitted(config):
    config.train.epochs, config.optim.warmup, config.model.dropout = 60, 0.0, 0.0
    group = group_of(config, [0])
    group.steps = 1
    batch = group.members[0].train[::6][: config.train.batch_size]
    group = group.regroup(
        [group.members[0]._replace(train=batch)],
        assemble.open_run(config).member_data([0]),
    )
    state = group.init()
    for epoch in range(60):
        for state in group.train_epoch(state, epoch):
            pass
    assert float(state.loss_sum[0] / state.loss_weight[0]) < 0.1


def test_the_epoch_is_chosen_by_the_fused_answer(config):
    """Compiled functions return modalities in alphabetical order; the headline is found by name."""
    run = assemble.open_run(config)
    some = np.arange(4)
    truth = [run.emotions.index(e) for e in run.utterances.emotion[some]]
    right, wrong = (
        np.eye(4, dtype=np.float32)[truth],
        np.eye(4, dtype=np.float32)[[(t + 1) % 4 for t in truth]],
    )
    prediction = Prediction(some, {'audio': wrong, 'fused': right, 'text': wrong})
    assert training_epoch.score(run, prediction)[0] == 1
    assert training_epoch.score(run, Prediction(some, {'audio': right}))[0] == 1


@pytest.mark.slow
def test_members_in_groups_resume_bitwise_too(data_dir, tmp_path):
    """Groups of two and one: killed in the first group's second epoch and in the second group."""
    flags = ('--config.members.at_once=2', '--config.train.checkpoint_every=2')
    whole = run(command(data_dir, tmp_path / 'whole', *flags))
    assert whole.returncode == 0, whole.stderr
    log = tmp_path / 'killed' / 'metrics.jsonl'
    for lines in (4, 7):
        process = start(command(data_dir, tmp_path / 'killed', *flags))
        while process.poll() is None and (
            not log.exists() or len(log.read_text().splitlines()) < lines
        ):
            time.sleep(0.001)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    done = run(command(data_dir, tmp_path / 'killed', *flags))
    assert done.returncode == 0, done.stderr
    assert_bitwise(kept(tmp_path / 'whole'), kept(tmp_path / 'killed'))
    assert logbook.read(log) == logbook.read(tmp_path / 'whole' / 'metrics.jsonl')


def test_another_build_of_the_corpus_is_refused(finished, data_dir, tmp_path):
    """Folds of other data would put voices that a kept model learnt into its test."""
    workdir = shutil.copytree(finished, tmp_path / 'run')
    kept_environment = json.loads((workdir / 'environment.json').read_text())
    kept_environment['fingerprints'] = {'synthetic': 'another'}
    (workdir / 'environment.json').write_text(json.dumps(kept_environment))
    done = run(command(data_dir, workdir))
    assert done.returncode == 2 and 'begun with another build of synthetic' in done.stderr
    kept_environment['fingerprints'] = {}
    kept_environment['begins_with'] = 'another file'
    (workdir / 'environment.json').write_text(json.dumps(kept_environment))
    done = run(command(data_dir, workdir))
    assert done.returncode == 2 and 'begun with other pretrained weights' in done.stderr
    del kept_environment['begins_with']  # as before there were any
    (workdir / 'environment.json').write_text(json.dumps(kept_environment))
    folds = json.loads((workdir / 'folds.json').read_text())
    folds['members']['fold0_seed0']['test'].pop()
    (workdir / 'folds.json').write_text(json.dumps(folds))
    done = run(command(data_dir, workdir))
    assert done.returncode == 2 and 'begun with other folds' in done.stderr
    assert json.loads((workdir / 'folds.json').read_text()) == folds  # nothing was overwritten


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(environment, 'PACKAGES', ('numpy', 'no_such_package'))
    with pytest.raises(InputError, match=r'no_such_package is not installed.*pip install'):
        environment.describe()


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            {'data.corpora': ('ravdess',)},
            r"corpus 'ravdess'.*python -m ser_jax\.build datasets/ravdess",
        ),
        ({'data.corpora': ('ravdes',)}, "corpus 'ravdes'.*is not built .*did you mean ravdess"),
        ({'train.batch_size': 0}, r'train\.batch_size must be at least 1, got 0'),
        ({'train.eval_window_s': 0.01}, 'must be at least 0.1, got 0.01'),
        ({'members.seeds': (-1,)}, r'members\.seeds must be at least 0, got \(-1,\)'),
        ({'model.kernels': (3,)}, 'must have one entry per block each, got 2 channels, 1 kernels'),
        ({'model.kernels': (4, 3)}, r'model\.kernels must be odd, .*, got 4'),
        ({'model.channels': (0, 8)}, r'model\.channels must be at least 1, got \(0, 8\)'),
        (
            {'model.strides': ((2, 2), (2,))},
            r'model\.strides must have two numbers per block, got \(2,\)',
        ),
        ({'model.strides': ((0, 2), (2, 2))}, 'must be at least 1, got'),
        ({'model.hidden': 0}, r'model\.hidden must be at least 1, got 0'),
        ({'model.dropout': 1.5}, 'must be at least 0 and at most 0.99, got 1.5'),
        (
            {'features.source': 'waveform', 'augment.noise_snr_db': (10.0,)},
            r'noise_snr_db must have two numbers, got \(10\.0,\)',
        ),
        (
            {'members.protocol': 'leaky_random', 'members.folds': 1000},
            'must be 2 to 72 with 72 utterances, got 1000',
        ),
        ({'data.corpora': ()}, 'data.corpora is empty'),
        (
            {'data.emotions': ('happy', 'boredom')},
            'data.emotions names boredom, of which synthetic have no example; '
            'they have neutral, happy, sad, angry',
        ),
        ({'data.emotions': ('happy', 'hapy')}, 'names hapy, of which'),
        ({'model.name': 'conv_lstm'}, "model.name must be one of .*conv_bilstm.*, got 'conv_lstm'"),
        ({'members.folds': 9}, 'must be 2 to 6 with 6 speakers, got 9'),
        ({'members.only': (7,)}, 'members.only must be within 0 to 2, .*, got 7'),
        ({'members.seeds': ()}, 'give at least one seed'),
        ({'members.valid_speakers': 0}, 'needs validation speakers'),
        ({'optim.name': 'adamax'}, "must be one of adamw, adam, rmsprop, sgd, got 'adamax'"),
        (
            {'features.source': 'mfcc'},
            "must be one of log_mel, waveform, mfcc_curve.*, got 'mfcc'",
        ),
        ({'features.normalize': 'speaker'}, "must be one of train, window, none, got 'speaker'"),
        ({'augment.noise_snr_db': (0.0, 10.0)}, "set features.source='waveform'"),
    ],
)
def test_configs_that_cannot_be_trained_are_refused(config, tmp_path, changes, message):
    for key, value in changes.items():
        section, knob = key.split('.')
        with config.unlocked():
            config[section][knob] = value
    with pytest.raises(InputError, match=message):
        train.train(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()  # so the corrected command may use the same folder


def test_all_members_are_validated_or_none(config, tmp_path):
    speakers = sorted(set(assemble.open_run(config).utterances.speaker))
    dealt = {'test': [speakers[:1], speakers[1:2]], 'valid': [speakers[2:3], []]}
    (tmp_path / 'folds.json').write_text(json.dumps(dealt))
    config.members.protocol, config.members.folds_file = 'from_file', str(tmp_path / 'folds.json')
    config.members.only, config.train.select = (), 'last'
    with pytest.raises(
        InputError, match='fold1_seed0 has no validation speakers, but other members have'
    ):
        train.train(config, tmp_path / 'run')


def test_a_workdir_of_another_config_is_refused(finished, data_dir):
    done = run(command(data_dir, finished, '--config.optim.learning_rate=0.1'))
    assert done.returncode == 2
    assert (
        'optim.learning_rate was 0.005, now 0.1' in done.stderr and 'Traceback' not in done.stderr
    )


@pytest.mark.parametrize(
    'flags, message',
    [
        (('--config.optim.lerning_rate=1',), 'learning_rate'),
        (('--confg=x',), 'config'),
        (('--config.optim.learning_rate=fast',), 'fast'),
        (('stray',), 'stray'),
        (('--config=configs/nope.py',), 'configs/nope.py'),
        (('--config', 'configs/nope.py', '--config.optim.learning_rate=1'), 'configs/nope.py'),
        (
            ('--config=configs/seeds/stsam.py:foo',),
            "'foo' is no variant of this config; known are own",
        ),
        (('--config.data.corpora=synthetic,nothere',), "corpus 'nothere'"),
    ],
)
def test_typos_are_one_line_with_the_way_out(data_dir, tmp_path, flags, message):
    done = run(command(data_dir, tmp_path / 'run', *flags))
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    error = [line for line in done.stderr.splitlines() if line]
    assert len(error) == 1 and error[0].startswith('error: ') and message in error[0], done.stderr


def test_epochs_are_compared_by_the_averaged_score_and_resume_keeps_the_average(
    config, data_dir, tmp_path
):
    config.train.epochs, config.train.select_over, config.members.only = 6, 3, (0,)
    train.train(config, tmp_path / 'run')
    records = logbook.read(tmp_path / 'run' / 'metrics.jsonl')
    recent, best = None, (-np.inf, 0)
    for r in records:
        if r['kind'] == 'epoch':
            recent = r['valid_uar'] if recent is None else recent + (r['valid_uar'] - recent) / 3
            best = max(best, (round(recent, 5), r['epoch']))
    kept = next(r for r in records if r['kind'] == 'kept')
    assert kept['epoch'] == best[1] and kept['score'] == pytest.approx(best[0], abs=1e-4)
