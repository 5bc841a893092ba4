"""Fixtures of the server's tests: two tiny runs and a server of both."""

import pathlib

import pytest
from ml_collections import ConfigDict

from ser_jax import train
from tests.conftest import small_config
from tests.serving import server as servers


@pytest.fixture(scope='session')
def runs(data_dir, tmp_path_factory) -> dict[str, pathlib.Path]:
    """A run of audio and a run of audio and text, of one member and one epoch."""
    root, found = tmp_path_factory.mktemp('served'), {}
    for name in ('audio', 'fused'):
        c = small_config(data_dir)
        c.train.epochs, c.members.folds, c.members.only = 1, 2, (0,)
        c.train.eval_window_s = 2.0
        if name == 'fused':
            c.model = ConfigDict({'name': 'fusion', 'hidden': 8, 'dropout': 0.1})
        train.train(c, root / name)
        found[name] = root / name
    return found


@pytest.fixture(scope='session')
def server(runs):
    """A server of both runs, shared by the tests that do not end it."""
    named = [f'--run={name}={path}' for name, path in runs.items()]
    with servers.serving(*named, *servers.LIMITS) as found:
        yield found
