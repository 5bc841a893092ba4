"""Cached activations: computed once, keyed by all that they depend on, one row per window."""

import dataclasses
import errno
import os
import socket
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.contract import InputError
from ser_jax.data import batches, derived, utterances
from tests.conftest import ToneBuilder

STEPS = 173  # frames of a window of vsr_spectrogram


@pytest.fixture(scope='module')
def opened(data_dir):
    """The tone corpus in windows of 4 s, its third utterance made of two."""
    ToneBuilder(config='vsr_spectrogram', data_dir=data_dir).download_and_prepare()
    one = utterances.open_corpora(('synthetic',), str(data_dir), 'vsr_spectrogram')
    length = one.length.copy()
    length[2] += STEPS  # it and the fourth, as if one recording
    return dataclasses.replace(
        one.select(np.arange(len(one)) != 3), length=np.delete(length, 3), read=None
    )


@pytest.fixture
def windows(opened, tmp_path, monkeypatch):
    """Those utterances, readable, with a place of their own for activations."""
    monkeypatch.setenv('SER_JAX_ACTIVATIONS', str(tmp_path))

    def read(i):
        return opened.flat[opened.offset[i] : opened.offset[i] + opened.length[i]]

    return dataclasses.replace(opened, read=read)


def edges(calls: list):
    def build():
        calls.append(1)
        return lambda x: jnp.concatenate([x[:, 0, :3], x[:, -1, :2]], -1)

    return build


def test_every_window_s_activations_stand_in_its_place(windows):
    calls = []
    given = derived.frozen_activations(windows, STEPS, 'edges', edges(calls), 4.0)
    assert given.source == derived.SOURCE and not given.aligned and given.flat.dtype == np.float16
    np.testing.assert_array_equal(given.length, windows.length // STEPS)
    for i in (0, 2, 40):
        frames = windows.read(i).reshape(-1, STEPS, 128)
        expected = np.concatenate([frames[:, 0, :3], frames[:, -1, :2]], -1)
        np.testing.assert_allclose(given.read(i), expected, atol=0.05)
    assert len(given.read(2)) == 2 and list(given.id) == list(windows.id)


def test_they_are_computed_once_for_all_that_decides_them(windows):
    calls = []
    for name in ('a', 'a', 'b'):
        derived.frozen_activations(windows, STEPS, name, edges(calls), 4.0)
    assert len(calls) == 2
    some = windows.select(np.arange(len(windows)) < 20)
    assert (
        len(derived.frozen_activations(some, STEPS, 'a', edges(calls), 4.0).flat)
        == int(some.length.sum()) // STEPS
    )
    assert len(calls) == 3


def test_numbers_that_float16_cannot_hold_are_refused_and_nothing_is_kept(windows, tmp_path):
    with pytest.raises(
        InputError, match='outputs of the frozen layers at s0_angry_0 are not finite'
    ):
        derived.frozen_activations(
            windows, STEPS, 'large', lambda: lambda x: x[:, 0, :3] * 1e6, 4.0
        )
    assert not list(tmp_path.glob('*.npy'))


@pytest.mark.parametrize(
    'spoil', [lambda b: b[:-7], lambda b: b[:300] + bytes([b[300] ^ 64]) + b[301:], lambda b: b'']
)
def test_damaged_activations_are_computed_again(windows, tmp_path, spoil):
    calls = []
    before = derived.frozen_activations(windows, STEPS, 'edges', edges(calls), 4.0).flat.copy()
    (path,) = tmp_path.glob('*.npy')
    path.write_bytes(spoil(path.read_bytes()))
    np.testing.assert_array_equal(
        derived.frozen_activations(windows, STEPS, 'edges', edges(calls), 4.0).flat, before
    )
    assert len(calls) == 2


def test_windows_side_by_side_are_heard_where_they_stand(windows):
    assert windows.aligned
    cut = batches.windows(np.array([1, 2]), windows.length, STEPS, aligned=True)
    assert sorted(zip(cut.utterance, cut.start, cut.length, strict=True)) == [
        (1, 0, 173),
        (2, 0, 173),
        (2, 173, 173),
    ]
    member = batches.Member('m', 0, 0, np.array([1, 2]), np.array([], int), np.array([], int))
    plans = [
        batches.epoch_plan(member, e, 2, 1, windows.length, STEPS, aligned=True) for e in range(40)
    ]
    used = {
        (int(i), int(s))
        for p in plans
        for i, s in zip(p.utterance.ravel(), p.start.ravel(), strict=True)
    }
    assert used == {(1, 0), (2, 0), (2, 173)}


def test_two_processes_that_compute_the_same_do_not_write_into_each_other(windows, tmp_path):
    """The second begins while the first is at work, and ends before it."""
    calls = []

    def read(i):
        if i == 20 and len(calls) == 1:
            derived.frozen_activations(windows, STEPS, 'edges', edges(calls), 4.0)
        return windows.read(i)

    given = derived.frozen_activations(
        dataclasses.replace(windows, read=read), STEPS, 'edges', edges(calls), 4.0
    )
    assert len(calls) == 2 and (np.abs(given.flat).max(1) > 0).all()
    assert sorted(p.suffix for p in tmp_path.iterdir()) == ['.npy', '.sha256']


def test_more_than_shall_be_in_memory_stays_on_disk(windows):
    assert derived.frozen_activations(windows, STEPS, 'edges', edges([]), 1e-9).flat is None
    np.testing.assert_array_equal(
        derived.frozen_activations(windows, STEPS, 'edges', edges([]), 1e-9).read(2),
        derived.frozen_activations(windows, STEPS, 'edges', edges([]), 4.0).read(2),
    )


def test_what_a_killed_process_was_writing_goes_and_what_a_living_one_writes_stays(
    windows, tmp_path
):
    (gone := subprocess.Popen(['true'])).wait()

    def name(process):
        return f'abc.{socket.gethostname()}.{process}.x1_y.writing'

    for left in (name(gone.pid), name(os.getpid()), f'abc.elsewhere.{gone.pid}.x.writing'):
        (tmp_path / left).mkdir()
    derived.frozen_activations(windows, STEPS, 'edges', edges([]), 4.0)
    left = {p.name for p in tmp_path.glob('*.writing')}
    assert left == {name(os.getpid()), f'abc.elsewhere.{gone.pid}.x.writing'}


def test_a_full_disk_is_said_before_anything_is_computed_into_it(windows, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'posix_fallocate', full)
    with pytest.raises(InputError, match=r'No space left on device.*make room'):
        derived.frozen_activations(windows, STEPS, 'edges', edges([]), 4.0)
    assert not list(tmp_path.iterdir())
