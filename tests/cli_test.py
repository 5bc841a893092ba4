"""A command ends in one line for a user mistake, with the cause of the operating system, else in a
traceback.
"""

import errno
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

from ser_jax.contract import REMEDIES, InputError, os_error_code, remedy, writing
from tests import forked

ROOT = pathlib.Path(__file__).parents[1]


def through_the_door(body: str, *flags: str) -> subprocess.CompletedProcess:
    """A command whose `main(argv)` is `body`."""
    code = (
        f'import errno, sys, threading\nfrom ser_jax import cli\ndef '
        f'main(argv):\n{textwrap.indent(body, "    ")}\n'
    )
    command = [sys.executable, '-c', code + 'cli.run(main)', *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    'code, advice',
    [
        (errno.ENOSPC, 'make room'),
        (errno.EDQUOT, 'make room'),
        (errno.EROFS, 'permissions'),
        (errno.EACCES, 'permissions'),
        (errno.EPERM, 'permissions'),
        (errno.ENAMETOOLONG, 'shorter path'),
        (errno.ENOENT, 'check the path'),
        (errno.EMFILE, 'ulimit -n'),
        (errno.ENOTDIR, 'what is there'),
    ],
)
def test_each_cause_has_its_own_advice(code, advice):
    error = OSError(code, os.strerror(code), 'runs/x')
    assert advice in remedy(code) and os_error_code(error) == code
    assert ('make room' in remedy(code)) == (code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
    caused = ValueError('no more')
    caused.__cause__ = error
    assert os_error_code(caused) == code
    assert os_error_code(ValueError(f"Failed to open [os_error_code='{code}']")) == code
    with (
        pytest.raises(InputError, match=rf'x cannot be written .*{advice}.*same command again'),
        writing('x'),
    ):
        raise error


def test_no_cause_is_guessed():
    for error in (ValueError('shape (28, 3)'), KeyError('a'), OSError('of a library'), None):
        assert os_error_code(error) is None
    assert not any('make room' in remedy(code) for code in (None, errno.EPIPE, errno.ECONNREFUSED))
    assert all(REMEDIES.values())


def test_an_error_of_the_system_is_one_line_and_one_of_ours_a_traceback():
    done = through_the_door('open("/nowhere/file")')
    assert done.returncode == 2
    assert done.stderr == (
        'error: /nowhere/file: No such file or directory; check the path, then give the same '
        'command again\n'
    )
    for ours in (
        'None.x',
        '{}["a"]',
        'raise OSError("a library of ours")',
        'raise ValueError("a")',
    ):
        done = through_the_door(ours)
        assert done.returncode == 1 and 'Traceback' in done.stderr, ours


def test_nothing_follows_the_line_of_an_error():
    """Libraries print while a process ends what they were about to do."""
    noisy = """
        import atexit
        from ser_jax.contract import InputError
        atexit.register(lambda: print('Event loop is closed', file=sys.stderr))
        class Late:
            def __del__(self):
                raise RuntimeError('Event loop is closed')
        Late()
        raise InputError('two lines,\\nin one')
    """
    done = through_the_door(textwrap.dedent(noisy))
    assert done.returncode == 2 and done.stderr == 'error: two lines, in one\n'
    shown = through_the_door(textwrap.dedent(noisy), '--debug').stderr
    assert 'error: two lines, in one\n' in shown and 'Traceback' in shown and 'InputError' in shown


def test_a_reader_that_has_ended_is_no_error():
    done = subprocess.run(
        f'{sys.executable} -c "from ser_jax import cli; cli.run(lambda _: print(*range(10**6)))" '
        f'| head -c 10',
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stderr == '' and done.stdout == '0 1 2 3 4 '


@pytest.mark.parametrize(
    'verb',
    ['main', 'train', 'evaluate', 'predict', 'build', 'eda', 'audit', 'weights', 'reproduce'],
)
def test_every_command_has_debug(verb):
    """Also build, whose flags TFDS parses."""
    wrong = {'main': [], 'train': [], 'build': ['nosuch']}.get(verb, ['--nosuch'])
    done = forked.run(
        [sys.executable, '-m', f'ser_jax.{verb}', *wrong, '--debug'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert 'Traceback' in done.stderr and 'error: ' in done.stderr.splitlines()[-1]
    assert '--debug' not in done.stderr.splitlines()[-1]
