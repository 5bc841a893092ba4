"""The command: mistakes in one line before any page is open."""

import socket
import subprocess
import sys

import pytest

from ser_jax import app
from ser_jax.contract import InputError


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], '--run is missing'),
        (['--run=/nowhere'], 'does not exist'),
        (['--run=x', 'y'], "unexpected argument 'y'"),
        (['--run=x', '--port=99999'], 'port'),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path):
    command = [sys.executable, '-m', 'ser_jax.app', f'--data_dir={tmp_path / "d"}', *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    if '/nowhere' in str(arguments) and 'streamlit' in done.stderr:
        message = 'ser_jax[app]'  # the package is missing here
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / 'd').exists()


def test_a_taken_port_is_refused():
    with socket.socket() as other:
        other.bind(('127.0.0.1', 0))
        other.listen()
        with pytest.raises(InputError, match='another --port'):
            app.check_port(other.getsockname()[1])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(InputError, match=r'ser_jax\[app\]'):
        app.check_installed()
