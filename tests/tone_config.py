"""The config of tests/conftest.py as a file, for trainings in processes of their own."""

from tests.conftest import small_config


def get_config():
    return small_config('set by the test')
