"""A trained run that the tests of the pages and of the browser share."""

import pathlib

import pytest

from ser_jax import train
from tests.conftest import small_config


@pytest.fixture(scope='session')
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    c = small_config(data_dir)
    c.members.folds, c.train.epochs = 2, 4
    directory = tmp_path_factory.mktemp('runs') / 'general'
    train.train(c, directory)
    return directory
