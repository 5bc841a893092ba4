"""Pool of decoder processes with limits of time and memory."""

import asyncio
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

import numpy as np

from ser_jax.audio.wav import SoundError
from ser_jax.serving.decoder import READY, REPLY, REQUEST, UNKNOWN
from ser_jax.serving.failures import of_input
from ser_jax.serving.limits import MEGABYTE, Limits

_STATUS = {UNKNOWN: 415, 'too long': 413}  # by kind of SoundError; others are 422
_CODES = {'too long': 'too_long'}


class Decoded(NamedTuple):
    """Recording as the network takes it."""

    samples: np.ndarray  # float32 [T], mono
    seconds: float  # length of the recording


class Decoders:
    """Decoder processes, started when first needed and replaced when they end.

    Args:
      limits: their number, time and memory.

    Attributes:
      restarts: number of processes that crashed or exceeded their time.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._pool = ThreadPoolExecutor(limits.decoders, 'decoding')
        self._processes = [_Process(limits) for _ in range(limits.decoders)]
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self.restarts = 0

    def start(self) -> None:
        """Start all processes."""
        for process in self._processes:
            process.start()

    async def decode(self, file: BinaryIO, name: str, rate_hz: int) -> Decoded:
        """Return the samples of an uploaded file.

        Raises:
          Failure: 413 too long, 415 no recording, 422 damaged, empty or silent.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._decode, file, name, rate_hz)

    def _decode(self, file: BinaryIO, name: str, rate_hz: int) -> Decoded:
        process = self._idle.get()
        try:
            about, samples = process.ask(file, name, rate_hz)
        except _Ended as e:
            self.restarts += 1
            raise of_input(SoundError(name, 'undecodable', str(e))) from e
        finally:
            self._idle.put(process)
        if 'message' in about:
            kind = about['kind']
            error = SoundError(name, kind, about['message'].removeprefix(f'{name}: '))
            raise of_input(error, _STATUS.get(kind, 422), _CODES.get(kind, ''))
        return Decoded(samples, about['seconds'])

    def close(self) -> None:
        """End all processes; recordings in work get an error."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._pool.shutdown()
        for process in self._processes:
            process.end()


class _Ended(Exception):
    """End of a decoder process before its reply."""


class _Process:
    """One decoder process."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._process: subprocess.Popen | None = None

    def start(self) -> subprocess.Popen:
        """Return the running process."""
        if self._process is None or self._process.poll() is not None:
            self.end()
            package = pathlib.Path(__file__).parents[2]
            paths = [str(package), os.environ.get('PYTHONPATH', '')]
            environment = os.environ | {
                'PYTHONPATH': os.pathsep.join(filter(None, paths)),
                'OPENBLAS_NUM_THREADS': '1',
            }
            module, memory = 'ser_jax.serving.decoder', f'{self._limits.decoder_mb:g}'
            self._process = subprocess.Popen(
                [sys.executable, '-m', module, memory],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C ends the server, which lets requests finish
            )
            assert self._process.stdout
            self._process.stdout.read(len(READY))  # '' if it could not start; then asking fails
        return self._process

    def ask(self, file: BinaryIO, name: str, rate_hz: int) -> tuple[dict, np.ndarray]:
        """Return the reply for a file; end the process if it takes too long."""
        process = self.start()
        late = threading.Event()
        timer = threading.Timer(self._limits.decode_s, _stop, (process, late))
        timer.start()
        try:
            return self._exchange(process, file, name, rate_hz)
        except (OSError, EOFError) as e:
            process.kill()
            process.wait()
            reason = f'decoding took more than {self._limits.decode_s:g} s'
            reason = reason if late.is_set() else 'damaged, it crashed the decoder'
            raise _Ended(f'{reason}; convert it to wav') from e
        finally:
            timer.cancel()

    def _exchange(
        self, process: subprocess.Popen, file: BinaryIO, name: str, rate_hz: int
    ) -> tuple[dict, np.ndarray]:
        sink, source = process.stdin, process.stdout
        assert sink and source
        size, encoded = file.seek(0, os.SEEK_END), name.encode()
        file.seek(0)
        sink.write(REQUEST.pack(size, rate_hz, self._limits.max_seconds, len(encoded)) + encoded)
        while block := file.read(MEGABYTE):
            sink.write(block)
        sink.flush()
        length, count = REPLY.unpack(_exactly(source, REPLY.size))
        about = json.loads(_exactly(source, length))
        return about, np.frombuffer(_exactly(source, 4 * count), np.float32)

    def kill(self) -> None:
        """End the process, also while a thread waits for its reply."""
        if self._process is not None:
            self._process.kill()

    def end(self) -> None:
        """End the process and close its pipes."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _stop(process: subprocess.Popen, late: threading.Event) -> None:
    """End a process whose time is over."""
    late.set()
    process.kill()


def _exactly(source, size: int) -> bytes:
    """Read `size` bytes.

    Raises:
      EOFError: there are fewer.
    """
    content = source.read(size)
    if len(content) < size:
        raise EOFError
    return content


def display_name(name: str | None, number: int = 0) -> str:
    """Return the name of an upload in messages; of the client's words only a plain suffix."""
    suffix = pathlib.PurePosixPath(name or '').suffix.lower()
    known = suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) <= 6
    which = f'recording {number}' if number else 'the recording'
    return f'{which} ({suffix})' if known else which
