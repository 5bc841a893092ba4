"""Outputs of frozen layers are computed once per recording and stand where its windows stood."""

import dataclasses
import errno
import itertools
import os
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.contract import InputError, Layout
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
    """Counts its calls; five values of the first and last frame of each window."""

    def build():
        calls.append(1)

        def derive(raw, length):
            x = jnp.asarray(raw, jnp.float32)
            ends = jnp.concatenate([x[:, 0, :3], x[jnp.arange(len(x)), length - 1, :2]], -1)
            return ends[:, None], jnp.ones_like(length)

        return derive

    return build


ROW = Layout(0, 1, 0.0, False)


def derive(windows, name='edges', build=None, resident_gb=4.0):
    build = edges([]) if build is None else build
    return derived.derived_features(windows, name, build, STEPS, ROW, resident_gb)


def test_every_window_has_a_row_in_its_place(windows):
    given = derive(windows)
    assert given.source == derived.SOURCE and given.flat.dtype == np.float16
    assert given.layout == Layout(5, 1, 0.0, False)
    np.testing.assert_array_equal(given.length, windows.length // STEPS)
    for i in (0, 2, 40):
        frames = windows.read(i).reshape(-1, STEPS, 128)
        expected = np.concatenate([frames[:, 0, :3], frames[:, -1, :2]], -1)
        np.testing.assert_array_equal(given.read(i), expected)
    assert len(given.read(2)) == 2 and list(given.id) == list(windows.id)


def test_frames_of_equal_parts_follow_one_another(data_dir, tmp_path, monkeypatch):
    """Recordings without windows of their own, every second frame of each part."""
    monkeypatch.setenv('SER_JAX_ACTIVATIONS', str(tmp_path))
    opened = utterances.open_corpora(('synthetic',), str(data_dir))

    def build():
        return lambda raw, length: (jnp.asarray(raw, jnp.float32)[:, ::2, :4], -(-length // 2))

    layout = Layout(0, None, 0.02, False)
    given = derived.derived_features(opened, 'halves', build, 50, layout, 4.0)
    for i in (0, 7, 95):
        whole = opened.read(i)
        edges = np.linspace(0, len(whole), -(-len(whole) // 50) + 1).astype(int)
        parts = [whole[a:b][::2, :4] for a, b in itertools.pairwise(edges)]
        np.testing.assert_array_equal(given.read(i), np.concatenate(parts))


def test_recordings_are_computed_once_for_all_that_decides_them(windows):
    calls = []
    for name in ('a', 'a', 'b'):
        derive(windows, name, edges(calls))
    assert len(calls) == 2
    some = windows.select(np.arange(len(windows)) < 20)  # another selection of the same content
    assert len(derive(some, 'a', edges(calls)).flat) == int(some.length.sum()) // STEPS
    assert len(calls) == 2


def test_values_that_float16_cannot_hold_are_refused_and_not_stored(windows, tmp_path):
    def large():
        return lambda raw, length: (raw[:, :1, :3].astype(np.float32) * 1e6, np.ones_like(length))

    with pytest.raises(InputError, match=r'not finite in float16 at s\d_\w+_\d'):
        derive(windows, 'large', large)
    assert not [p for p in tmp_path.glob('*/index.jsonl') if p.read_text()]


@pytest.mark.parametrize('file', ['values.bin', 'index.jsonl'])
@pytest.mark.parametrize(
    'spoil', [lambda b: b[:-7], lambda b: b[:30] + bytes([b[30] ^ 64]) + b[31:], lambda b: b'']
)
def test_damaged_rows_are_computed_again(windows, tmp_path, spoil, file):
    calls = []
    before = np.array(derive(windows, build=edges(calls)).flat)
    (path,) = tmp_path.glob(f'*/{file}')
    path.write_bytes(spoil(path.read_bytes()))
    for _ in range(2):
        np.testing.assert_array_equal(derive(windows, build=edges(calls)).flat, before)
    assert len(calls) == 2


def test_adjacent_windows_are_scored_and_drawn_in_their_places(windows):
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
    drawn = {
        (int(i), int(s))
        for p in plans
        for i, s in zip(p.utterance.ravel(), p.start.ravel(), strict=True)
    }
    assert drawn == {(1, 0), (2, 0), (2, 173)}


def test_a_second_process_waits_and_computes_nothing_again(windows, tmp_path):
    """Two threads stand for two processes: locks of a file are those of its open descriptions."""
    calls, started = [], threading.Event()

    def read(i):
        if i == 20:
            started.set()
            time.sleep(0.3)
        return windows.read(i)

    slow = dataclasses.replace(windows, read=read)
    first = threading.Thread(target=derive, args=(slow, 'edges', edges(calls)))
    first.start()
    started.wait()
    given = derive(windows, 'edges', edges(calls))
    first.join()
    assert len(calls) == 1 and len(given.flat) == windows.length.sum() // STEPS


def test_features_larger_than_the_limit_stay_on_disk(windows):
    streamed = derive(windows, resident_gb=1e-9)
    assert streamed.flat is None
    np.testing.assert_array_equal(streamed.read(2), derive(windows).read(2))


def test_a_killed_computation_goes_on_where_it_ended(windows, tmp_path):
    calls, fresh = [], np.array(derive(windows, 'fresh').flat)

    def dying():
        first = edges(calls)()

        def derive(raw, length):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return first(raw, length)

        return derive

    with pytest.raises(KeyboardInterrupt):
        derive(windows, build=dying)
    again = []

    def counted():
        first = edges([])()

        def derive(raw, length):
            again.append(len(raw))
            return first(raw, length)

        return derive

    np.testing.assert_array_equal(derive(windows, build=counted).flat, fresh)
    batch = again[0]
    assert len(again) == -(-len(fresh) // batch) - 2


def test_a_full_disk_is_one_line(windows, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(InputError, match=r'No space left on device.*make room'):
        derive(windows)
    monkeypatch.undo()
    monkeypatch.setenv('SER_JAX_ACTIVATIONS', str(tmp_path))
    assert len(derive(windows).flat) == windows.length.sum() // STEPS
