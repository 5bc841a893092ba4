"""A run's directory, begun before: gone on with, put right, or left as it is with one line."""

import contextlib
import json
import os
import re
import shutil

import pytest

from ser_jax import lock, train
from ser_jax.contract import InputError
from ser_jax.runs import checkpoint, logbook, training_epoch
from tests.conftest import small_config
from tests.runs.checkpoint_test import content
from tests.train_test import assert_bitwise, command, kept, run


@pytest.fixture(scope='module')
def whole(data_dir, tmp_path_factory):
    """A run of three members, a group each, that nobody interrupted."""
    workdir = tmp_path_factory.mktemp('runs') / 'whole'
    train.train(small_config(data_dir), workdir)
    return workdir


@contextlib.contextmanager
def interrupted_after(count, monkeypatch):
    """Interrupt the training inside, as by ctrl-C, after so many epochs."""
    epochs = []

    def interrupted(*arguments, after=training_epoch.train_epoch):
        if len(epochs) == count:
            raise KeyboardInterrupt
        epochs.append(1)
        return after(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training_epoch, 'train_epoch', interrupted)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.fixture
def begun(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / 'run')


def test_a_removed_kept_model_is_trained_again_to_the_same_bits(
    config, whole, begun, monkeypatch, capsys
):
    """Also where that is interrupted, and with a leftover of an earlier time beside it."""
    shutil.rmtree(begun / 'best' / 'fold0_seed0')
    shutil.copytree(begun / 'checkpoints', begun / 'checkpoints_2')
    before = content(begun / 'best')
    with interrupted_after(2, monkeypatch):
        train.train(config, begun)
    assert 'group 1 of 3 has lost a kept model' in capsys.readouterr().out
    train.train(config, begun)
    assert re.search(
        r'going on from checkpoint [12]: epoch [12] of 3, group 1 of 3', capsys.readouterr().out
    )
    assert_bitwise(kept(whole), kept(begun))
    assert {
        k: v for k, v in content(begun / 'best').items() if k in before
    } == before  # the others were not touched

    def order(r):
        return (r['member'], r['kind'], r['epoch'])

    records = [sorted(logbook.read(d / 'metrics.jsonl'), key=order) for d in (whole, begun)]
    assert records[0] == records[1]
    assert not list(begun.glob('checkpoints_*'))


def test_a_kept_model_of_the_last_group_comes_from_its_checkpoint(config, whole, begun, capsys):
    shutil.rmtree(begun / 'best' / 'fold2_seed0')
    train.train(config, begun)
    assert_bitwise(kept(whole), kept(begun))
    assert 'lost' not in capsys.readouterr().out


def test_states_of_another_version_are_left_with_all_beside_them(config, begun):
    """As if a version of the code kept an average that this run has not."""
    config.optim.ema = 0.9
    (begun / 'config.json').write_text(config.to_json())
    before = content(begun)
    with pytest.raises(
        InputError, match=r'checkpoint 9 in .*it lacks \.average.*nothing was changed'
    ):
        train.train(config, begun)
    assert content(begun) == before


def test_a_second_start_is_told_who_is_there(config, whole, begun):
    before = content(begun)
    holder = rf'run is in use by another process \(training, process {os.getpid()} on'
    with lock.held(begun, 'training'), pytest.raises(InputError, match=holder):
        train.train(config, begun)
    assert content(begun) == before
    train.train(config, begun)
    assert_bitwise(kept(whole), kept(begun))


def test_what_a_killed_process_was_writing_goes_with_the_next_start(config, whole, begun):
    (begun / 'folds.writing').write_text('{')
    for left in ('best/fold0_seed0.writing', 'best/fold1_seed0.writing.orbax-checkpoint-tmp-17',
                 'checkpoints/8.orbax-checkpoint-tmp'):  # fmt: skip
        (begun / left / 'd').mkdir(parents=True)
    train.train(config, begun)
    assert not [p for p in begun.rglob('*') if 'writing' in p.name or 'tmp' in p.name]
    assert_bitwise(kept(whole), kept(begun))


@pytest.mark.parametrize(
    'name', ['config', 'environment', 'folds', 'normalization', 'vocabulary', 'corpora']
)
def test_a_cut_file_of_a_run_is_named_and_nothing_is_changed(config, begun, name):
    path = begun / f'{name}.json'
    path.write_text(path.read_text()[:-20])
    before = content(begun)
    with pytest.raises(InputError, match=rf'{name}\.json is damaged \(.*\); put a copy of it back'):
        train.train(config, begun)
    assert content(begun) == before


def test_a_damaged_kept_model_is_as_its_message_says(config, whole, begun):
    """Remove the folder, give the command again."""
    model = begun / 'best' / 'fold1_seed0'
    for path in model.rglob('*'):
        if path.is_file() and path.name != 'about.json':
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(
        InputError, match=r'fold1_seed0 cannot be read .* is damaged.*remove this folder'
    ):
        checkpoint.load_best(model)
    shutil.rmtree(model)
    train.train(config, begun)
    assert_bitwise(kept(whole), kept(begun))


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'members.seeds': (3, 4, 3)}, r'members\.seeds names 3 2 times; name each once'),
        ({'members.only': (1, 1, 1)}, r'members\.only names 1 3 times'),
        ({'members.only': (-1,)}, r'members\.only must be at least 0, got \(-1,\)'),
        ({'members.only': (0, 3)}, r'members\.only must be within 0 to 2, .*, got 3'),
    ],
)
def test_impossible_members_are_refused(config, tmp_path, changes, message):
    for key, value in changes.items():
        config[key.partition('.')[0]][key.partition('.')[2]] = value
    with pytest.raises(InputError, match=message):
        train.train(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()


def test_numbers_beyond_the_data_are_reported_and_train(config, tmp_path, capsys):
    """A batch larger than the data is one step an epoch; all members share it."""
    config.members.at_once, config.train.batch_size, config.train.epochs = 7, 100, 1
    config.members.only = (0,)
    train.train(config, tmp_path / 'run')
    output = capsys.readouterr().out
    assert 'members.at_once=7 is more than the 3 members' in output
    assert re.search(
        r'train\.batch_size=100 is more than the \d+ utterances .* at least \d+ empty slots',
        output,
    )
    records = logbook.read(tmp_path / 'run' / 'metrics.jsonl')
    assert [r['step'] for r in records if r['kind'] == 'epoch'] == [1] and len(
        kept(tmp_path / 'run')
    )


@pytest.mark.parametrize('place, reason, advice', [
    ('x' * 300, 'File name too long', 'shorter path'),
    ('file/run', 'Not a directory', 'what is there'),
])  # fmt: skip
def test_a_place_that_cannot_be_is_said_with_its_cause(data_dir, tmp_path, place, reason, advice):
    (tmp_path / 'file').write_text('')
    done = run(command(data_dir, tmp_path / place))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and reason in line and advice in line and 'make room' not in line


def test_the_module_that_trains_is_the_command_that_trains(data_dir, tmp_path):
    line = command(
        data_dir, tmp_path / 'run', '--config.train.epochs=1', '--config.members.only=0,'
    )
    line[line.index('ser_jax.main')] = 'ser_jax.train'
    done = run(line)
    assert done.returncode == 0, done.stderr
    assert f'trained: {tmp_path / "run"}' in done.stdout and len(kept(tmp_path / 'run'))
    none = run(line[:3])
    assert none.returncode == 2 and none.stderr.startswith('error: no --config given')


def test_every_kept_model_carries_a_checksum(whole):
    for about in whole.glob('best/*/about.json'):
        assert re.fullmatch('[0-9a-f]{64}', json.loads(about.read_text())['sha256'])
    assert len(list(whole.glob('best/*'))) == 3
