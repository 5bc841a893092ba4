"""Sources of a running signal: pace, pipes, and a microphone that disappears and comes back."""

import contextlib
import io
import sys
import threading
import time
import types

import numpy as np
import pytest

from ser_jax.audio import microphone
from ser_jax.audio.microphone import DeviceLost, FileSource, Microphone, PipeSource, arriving
from ser_jax.contract import InputError

SIGNAL = np.linspace(-0.5, 0.5, 16_050, dtype=np.float32)


def test_a_file_is_whole_and_paced():
    fast = FileSource(SIGNAL, 16_000, speed=0)
    np.testing.assert_array_equal(np.concatenate(list(fast.blocks())), SIGNAL)
    begin = time.monotonic()
    played = FileSource(SIGNAL, 16_000, speed=4)
    np.testing.assert_array_equal(np.concatenate(list(played.blocks())), SIGNAL)
    assert played.live and not fast.live and time.monotonic() - begin > 0.24


def test_a_pipe_gives_its_samples_and_drops_half_a_sample():
    content = (SIGNAL * 32768).astype('<i2')
    source = PipeSource(io.BytesIO(content.tobytes() + b'\x01'), 8000)
    np.testing.assert_array_equal(np.concatenate(list(source.blocks())) * 32768, content)


class Trickle:
    """A pipe that gives three bytes at a time."""

    def __init__(self, content):
        self._pipe = io.BytesIO(content)

    def read(self, size):
        return self._pipe.read(3)


def test_a_sample_in_two_pieces_of_a_pipe_is_whole():
    content = (SIGNAL[:500] * 32768).astype('<i2')
    source = PipeSource(Trickle(content.tobytes()), 8000)
    np.testing.assert_array_equal(np.concatenate(list(source.blocks())) * 32768, content)


class Flaky:
    """A device: a list of blocks and failures; each failure ends one opening."""

    rate_hz, live = 1000, True

    def __init__(self, *events):
        self._events = list(events)

    def blocks(self):
        while self._events:
            event = self._events.pop(0)
            if isinstance(event, Exception):
                raise event
            yield np.full(100, event, np.float32)


def test_a_device_that_disappears_is_opened_again_and_noted_once(monkeypatch):
    monkeypatch.setattr(microphone, 'RETRY_S', 0.01)
    gone = DeviceLost('unplugged')
    found = list(arriving(Flaky(1, 2, gone, gone, gone, 3, gone, 4)))
    notes = [note for _, _, note in found if note]
    assert notes == ['unplugged; waiting for it'] * 2
    samples = np.concatenate([s for s, _, _ in found])
    np.testing.assert_array_equal(samples[::100], [1, 2, 3, 4])


def test_a_device_that_stays_away_ends_it(monkeypatch):
    monkeypatch.setattr(microphone, 'RETRY_S', 0.01)
    monkeypatch.setattr(microphone, 'PATIENCE_S', 0.05)
    with pytest.raises(DeviceLost, match='unplugged'):
        list(arriving(Flaky(1, *[DeviceLost('unplugged')] * 1000)))


def test_other_errors_are_raised_where_the_signal_is_read():
    with pytest.raises(ZeroDivisionError):
        list(arriving(Flaky(1, ZeroDivisionError('a bug'))))


def test_a_slow_receiver_gets_all_samples_in_larger_pieces():
    sizes = []
    for samples, _, _ in arriving(FileSource(SIGNAL, 16_000, speed=20)):
        sizes.append(len(samples))
        time.sleep(0.02)
    assert sum(sizes) == len(SIGNAL) and len(sizes) < 10


class Library(types.ModuleType):
    """Stands in for sounddevice: a microphone that gives four blocks and then nothing."""

    class PortAudioError(Exception):
        pass

    def __init__(self, rate_hz=16_000, failure=None):
        super().__init__('sounddevice')
        self.rate_hz, self.failure, self.restarts, self.present = rate_hz, failure, 0, True

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return [{'index': 0, 'name': 'Built-in', 'max_input_channels': 1}]
        if not self.present:
            raise self.PortAudioError('Error querying device -1')
        if device not in (None, 0, 'Built'):
            raise ValueError(f'No input device matching {device!r}')
        return {'default_samplerate': float(self.rate_hz)}

    def _terminate(self):
        self.restarts += 1

    def _initialize(self):
        pass

    @contextlib.contextmanager
    def InputStream(self, device, channels, samplerate, blocksize, dtype, callback):
        assert (channels, samplerate, blocksize, dtype) == (1, 16_000, 1600, 'float32')
        if self.failure:
            raise self.PortAudioError(self.failure)

        def record():
            for value in range(4):
                callback(np.full((blocksize, 1), value, np.float32), blocksize, None, None)

        thread = threading.Thread(target=record)
        thread.start()
        yield types.SimpleNamespace(active=True)
        thread.join()


@pytest.fixture
def library(monkeypatch):
    found = Library()
    monkeypatch.setitem(sys.modules, 'sounddevice', found)
    monkeypatch.setattr(microphone, 'SILENT_S', 0.1)
    return found


def test_a_microphone_that_falls_silent_is_lost(library):
    source, found = Microphone('Built'), []
    assert source.rate_hz == 16_000
    with pytest.raises(DeviceLost, match=r'gave nothing for 0\.1 s'):
        for block in source.blocks():
            found.append(block[0])
    assert found == [0, 1, 2, 3] and library.restarts == 1
    library.failure = 'Device unavailable'
    with pytest.raises(DeviceLost, match='Device unavailable'):
        next(source.blocks())
    library.failure, library.present = None, False
    with pytest.raises(DeviceLost, match='no such microphone'):
        next(source.blocks())
    library.present = True
    assert next(source.blocks())[0] == 0  # back again


def test_a_microphone_that_does_not_exist_is_named_with_those_that_do(library):
    with pytest.raises(InputError, match=r'--device=7: no such.*; microphones: 0 Built-in'):
        Microphone('7')


def test_without_sounddevice_or_portaudio_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sounddevice', None)
    with pytest.raises(InputError, match=r"needs sounddevice.*pip install -e '\.\[live\]'"):
        Microphone()

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == 'sounddevice':
                raise OSError('PortAudio library not found')

    monkeypatch.delitem(sys.modules, 'sounddevice')
    monkeypatch.setattr(sys, 'meta_path', [Missing(), *sys.meta_path])
    with pytest.raises(InputError, match=r'needs the library PortAudio .*apt install.*--stream=-'):
        Microphone()
