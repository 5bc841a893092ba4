"""Sources of a running signal: a microphone, a recording that is played, raw samples from a pipe.

A microphone needs sounddevice (`pip install -e '.[live]'`) and its library PortAudio.
"""

import queue
import threading
import time
from collections.abc import Iterator
from typing import IO, Protocol

import numpy as np

from ser_jax.contract import InputError

BLOCK_S = 0.1
PATIENCE_S = 60.0  # wait for a device that has disappeared
RETRY_S = 1.0
SILENT_S = 2.0  # a device that gives no block for so long has disappeared
INSTALL = "pip install -e '.[live]'"
PIPE = '-'  # in place of a file name: standard input


class DeviceLost(Exception):
    """Failure of a source that may come back, such as a microphone that was unplugged."""


class Source(Protocol):
    """Running mono signal.

    Attributes:
      rate_hz: its rate.
      live: True if blocks come at the speed of the signal, wherever their receiver is.
    """

    rate_hz: int
    live: bool

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield float32 samples [T] in [-1, 1] until the signal ends; a second call opens it again.

        Raises:
          DeviceLost: the source has failed and may come back.
        """
        ...


class FileSource:
    """A recording, played.

    Args:
      samples: mono [T].
      rate_hz: their rate.
      speed: 1 = as it was recorded, 0 = without pauses.
    """

    def __init__(self, samples: np.ndarray, rate_hz: int, speed: float = 1.0):
        self.rate_hz, self.live = rate_hz, speed > 0
        self._samples, self._speed = samples, speed

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples; see the protocol."""
        size, begin = max(1, round(BLOCK_S * self.rate_hz)), time.monotonic()
        for start in range(0, len(self._samples), size):
            block = self._samples[start : start + size]
            if self.live:
                due = begin + (start + len(block)) / self.rate_hz / self._speed
                time.sleep(max(0.0, due - time.monotonic()))
            yield block


class PipeSource:
    """Raw samples from a pipe: 16-bit little-endian, mono.

    Args:
      pipe: open for reading bytes, without a buffer: a thread that waits in a buffered read keeps
        Python from ending.
      rate_hz: their rate.
    """

    live = True

    def __init__(self, pipe: IO[bytes], rate_hz: int = 16_000):
        self.rate_hz, self._pipe = rate_hz, pipe

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples; see the protocol."""
        size = 2 * max(1, round(BLOCK_S * self.rate_hz))
        rest = b''  # half of a sample
        while content := self._pipe.read(size):
            content = rest + content
            whole = len(content) // 2 * 2
            rest = content[whole:]
            yield np.frombuffer(content[:whole], '<i2').astype(np.float32) / 32768


class Microphone:
    """A microphone, at its own rate.

    Args:
      device: number or part of the name; '' = the system's default.

    Raises:
      InputError: sounddevice or PortAudio is not installed, or there is no such device.
    """

    live = True

    def __init__(self, device: str = ''):
        try:
            import sounddevice
        except ImportError as e:
            raise InputError(f'a microphone needs sounddevice, which is missing; {INSTALL}') from e
        except OSError as e:  # the package is there, its library is not
            raise InputError(
                f'a microphone needs the library PortAudio ({e}); apt install libportaudio2, brew '
                'install portaudio, or pipe raw sound: arecord -f S16_LE -r 16000 -c 1 -t raw | '
                f'python -m ser_jax.predict --stream={PIPE} ...'
            ) from e
        self._library = sounddevice
        self._device = int(device) if device.isdecimal() else device or None
        try:
            self.rate_hz = self._rate_hz()
        except DeviceLost as e:
            raise InputError(f'--device={device}: {e}; {self._inputs()}') from e

    def _rate_hz(self) -> int:
        """Return the rate of the device.

        Raises:
          DeviceLost: it is not there.
        """
        try:
            facts = self._library.query_devices(self._device, 'input')
        except (ValueError, self._library.PortAudioError) as e:
            raise DeviceLost(f'no such microphone ({e})') from e
        return round(facts['default_samplerate'])

    def _inputs(self) -> str:
        """Return the names of the devices that record."""
        devices = self._library.query_devices()
        names = [f'{d["index"]} {d["name"]}' for d in devices if d['max_input_channels'] > 0]
        return f'microphones: {", ".join(names)}' if names else 'this machine has no microphone'

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield recorded samples; see the protocol."""
        # PortAudio lists devices once; to find one that came back, it is started again.
        self._library._terminate()
        self._library._initialize()
        if self._rate_hz() != self.rate_hz:
            raise DeviceLost(f'its rate is no longer {self.rate_hz} Hz')
        received: queue.SimpleQueue = queue.SimpleQueue()

        def keep(samples, frames, times, status) -> None:
            received.put(samples[:, 0].copy())

        try:
            with self._library.InputStream(
                device=self._device,
                channels=1,
                samplerate=self.rate_hz,
                blocksize=round(BLOCK_S * self.rate_hz),
                dtype='float32',
                callback=keep,
            ) as stream:
                while True:
                    block = received.get(timeout=SILENT_S)
                    if not stream.active:
                        raise DeviceLost('the microphone has stopped')
                    yield block
        except queue.Empty as e:
            raise DeviceLost(f'the microphone gave nothing for {SILENT_S:g} s') from e
        except self._library.PortAudioError as e:
            raise DeviceLost(f'the microphone has failed ({e})') from e


def arriving(source: Source) -> Iterator[tuple[np.ndarray, float, str]]:
    """Yield (samples, time of arrival, '') or (none, time, note) where a source was lost.

    A live source is read in a thread; what arrives while the caller is busy comes in one piece.

    Raises:
      DeviceLost: the source has not come back in PATIENCE_S.
    """
    nothing = np.zeros(0, np.float32)
    if not source.live:
        for block in source.blocks():
            yield block, time.monotonic(), ''
        return
    received: queue.SimpleQueue = queue.SimpleQueue()
    stopped = threading.Event()
    reader = threading.Thread(target=_read, args=(source, received, stopped), daemon=True)
    reader.start()
    try:
        while True:
            items = [received.get()]
            while not received.empty():
                items.append(received.get())
            for kind, group in _grouped(items):
                if kind == 'end':
                    return
                if kind == 'failed':
                    raise group[0][1]
                if kind == 'lost':
                    yield nothing, group[-1][2], str(group[-1][1])
                else:
                    yield np.concatenate([g[1] for g in group]), group[-1][2], ''
    finally:
        stopped.set()


def _grouped(items: list[tuple]) -> list[tuple[str, list[tuple]]]:
    """Return neighbors of one kind together."""
    groups: list[tuple[str, list[tuple]]] = []
    for item in items:
        if not groups or groups[-1][0] != item[0]:
            groups.append((item[0], []))
        groups[-1][1].append(item)
    return groups


def _read(source: Source, received: queue.SimpleQueue, stopped: threading.Event) -> None:
    """Put (kind, value, time) of everything that a source gives; open it again where it is lost."""
    deadline = time.monotonic() + PATIENCE_S
    lost = False
    while not stopped.is_set():
        try:
            for block in source.blocks():
                received.put(('block', block, time.monotonic()))
                lost, deadline = False, time.monotonic() + PATIENCE_S
                if stopped.is_set():
                    return
            received.put(('end', None, time.monotonic()))
            return
        except DeviceLost as e:
            if time.monotonic() > deadline:
                received.put(('failed', e, time.monotonic()))
                return
            if not lost:
                received.put(('lost', f'{e}; waiting for it', time.monotonic()))
            lost = True
            stopped.wait(RETRY_S)
        except Exception as e:  # shown by the reader of the queue, with its traceback
            received.put(('failed', e, time.monotonic()))
            return
