"""Places that the command hands to the pages: the run, and the folder of the person's data."""

import hashlib
import os
import pathlib

from ser_jax.contract import InputError

RUN, DATA = 'SER_JAX_APP_RUN', 'SER_JAX_APP_DATA'


def run() -> pathlib.Path:
    """Return the directory of the general run.

    Raises:
      InputError: the page was not started by `python -m ser_jax.app`.
    """
    return pathlib.Path(_given(RUN))


def data() -> pathlib.Path:
    """Return the folder of the person's data; see `run`."""
    return pathlib.Path(_given(DATA))


def _given(name: str) -> str:
    if not os.environ.get(name):
        raise InputError('no run is given; start the app with python -m ser_jax.app --run=runs/x')
    return os.environ[name]


def versions_folder(voices: pathlib.Path) -> pathlib.Path:
    """Return the folder of the versions of the run, one for each run."""
    directory = run().resolve()
    return voices / f'{directory.name}-{hashlib.sha256(str(directory).encode()).hexdigest()[:8]}'


def versions(voices: pathlib.Path) -> list[str]:
    """Return the names of the versions of the run, oldest first."""
    found = versions_folder(voices).glob('v*/parent.json')
    names = [p.parent.name for p in found if p.parent.name[1:].isdecimal()]
    return sorted(names, key=lambda name: int(name[1:]))
