"""Locks between real processes: one holder at a time, named to others, gone with its process."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from ser_jax import lock
from ser_jax.contract import InputError

HOLD = """
import sys, ser_jax.lock as l
with l.held(sys.argv[1], 'build'):
    print('held', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A second process that holds the lock of `tmp_path/x` until its standard input ends."""
    command = [sys.executable, '-c', HOLD, str(tmp_path / 'x')]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'held\n'
    with process:
        yield process
        process.kill()


def test_a_second_process_is_refused_and_reads_who_holds_it(tmp_path, holder):
    (tmp_path / 'link').symlink_to(tmp_path / 'x')
    message = rf'x is in use by .*build, process {holder.pid} on \S+ since 2'
    for path in (tmp_path / 'x', str(tmp_path / 'link')):
        with (
            pytest.raises(InputError, match=message) as e,
            lock.held(path, 'training'),
        ):
            pytest.fail('both are inside')
        assert '\n' not in str(e.value)
    with lock.held(tmp_path / 'y', 'build'):
        assert (tmp_path / '.y.lock').exists()
    holder.stdin.close()
    assert holder.wait() == 0
    assert not list(tmp_path.glob('.*'))
    with lock.held(tmp_path / 'x', 'build'):
        pass


def test_a_killed_process_locks_nothing(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / '.x.lock').exists()
    with lock.held(tmp_path / 'x', 'build'):
        assert f'process {os.getpid()} ' in (tmp_path / '.x.lock').read_text()
    assert not (tmp_path / '.x.lock').exists()


def test_a_process_reenters_on_request_and_a_failure_releases(tmp_path):
    path = tmp_path / 'new' / 'x'
    with pytest.raises(KeyboardInterrupt), lock.held(path, 'build'):
        with lock.held(path, 'shards', reenter=True):
            pass
        with pytest.raises(InputError, match=f'process {os.getpid()} '), lock.held(path, 'shards'):
            pytest.fail('both are inside')
        command = [sys.executable, '-c', HOLD, str(path)]
        refused = subprocess.run(command, input='', capture_output=True, text=True, check=False)
        assert f'(build, process {os.getpid()} ' in refused.stderr  # still held by the outer block
        raise KeyboardInterrupt
    assert not list(path.parent.iterdir())


FORK = """
import os, sys, ser_jax.lock as l
with l.held(sys.argv[1], 'build'):
    if os.fork():
        os._exit(0)  # as if killed: the lock file stays, and the child lives on
    print('forked', flush=True)
    sys.stdin.read()
"""


def test_a_forked_child_keeps_no_lock(tmp_path):
    command = [sys.executable, '-c', FORK, str(tmp_path / 'x')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.wait() == 0 and parent.stdout.readline() == b'forked\n'
        assert (tmp_path / '.x.lock').exists()
        with lock.held(tmp_path / 'x', 'build'):
            parent.stdin.close()  # only now may the child end
        assert parent.stdout.read() == b''  # it has ended


@pytest.mark.parametrize('code', [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_without_locks_the_work_goes_on(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    done = []
    monkeypatch.setattr(lock.fcntl, 'flock', refuse)
    with lock.held(tmp_path / 'x', 'build'):
        done.append('no flock')
    with lock.held('/proc/nowhere/x', 'build'):
        done.append('no folder')
    monkeypatch.setattr(lock, 'fcntl', None)
    with lock.held(tmp_path / 'x', 'build'):
        done.append('no fcntl')
    assert done == ['no flock', 'no folder', 'no fcntl']


def test_neither_jax_nor_tfds_is_imported():
    heavy = '{"jax", "tensorflow_datasets"}'
    code = f'import sys, ser_jax.lock; sys.exit(bool({heavy} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
