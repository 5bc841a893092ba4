"""A real server in a process of its own, and uploads for it."""

import contextlib
import io
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import numpy as np
import soundfile

from tests.conftest import tone

ROOT = pathlib.Path(__file__).parents[2]
LIMITS = ('--max_batch=2', '--max_mb=4', '--max_seconds=40', '--max_files=6', '--timeout_s=60')
READY_S = 240  # on a busy machine without compiled programs


class Server:
    """`python -m ser_jax.serve` on a free port."""

    def __init__(self, *flags: str, **environment: str):
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH', '')]))
        self.process = subprocess.Popen(
            # Tones are no human voice; a test of the gate turns it on.
            [sys.executable, '-m', 'ser_jax.serve', '--port=0', '--gate=off', *flags],
            env={**os.environ, 'PYTHONPATH': paths, **environment},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        found = re.search(r'http://\S+', line)
        if not found:
            raise RuntimeError(f'no server: {line}{self.process.stderr.read()}')
        self.url = found[0]
        self.address = self.url.rsplit('/', 1)[1].rsplit(':', 1)[0], int(self.url.rsplit(':', 1)[1])

    def wait(self) -> 'Server':
        """Return when it is ready."""
        end = time.monotonic() + READY_S
        while httpx.get(f'{self.url}/ready', timeout=60).status_code != 200:
            assert time.monotonic() < end and self.process.poll() is None
            time.sleep(0.1)
        return self

    def post(self, content: bytes, name: str = 'x.wav', path: str = '/v1/predict', **more):
        """Return the response for an upload."""
        data, timeout = more.pop('data', {}), 120
        files = {'file': (name, content)}
        return httpx.post(f'{self.url}{path}', files=files, data=data, timeout=timeout, **more)

    def resident_mb(self) -> float:
        """Return the memory of the server and its decoders."""
        return sum(map(resident_mb, [self.process.pid, *self.children()]))

    def children(self) -> list[int]:
        """Return the processes that it has started."""
        tasks = pathlib.Path(f'/proc/{self.process.pid}/task').glob('*/children')
        return [int(pid) for pid in ' '.join(t.read_text() for t in tasks).split()]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it; return its exit code and what it wrote to stderr."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=120)
        return self.process.returncode, err


def resident_mb(pid: int) -> float:
    """Return the memory of a process."""
    status = pathlib.Path(f'/proc/{pid}/status').read_text()
    return int(re.search(r'VmRSS:\s+(\d+)', status)[1]) / 1024


@contextlib.contextmanager
def serving(*flags: str, **environment: str) -> Iterator[Server]:
    """A server that is ready, and ends with the block without a traceback."""
    server = Server(*flags, **environment)
    try:
        yield server.wait()
    finally:
        if server.process.poll() is None:
            code, err = server.stop()
            assert code == 0 and 'Traceback' not in err, err
        else:
            server.process.communicate()


def wav(seconds: float = 1.0, rate_hz: int = 16000, kind: str = 'WAV', subtype=None) -> bytes:
    """A tone as a file."""
    file, samples = io.BytesIO(), np.resize(tone(1, 2, 0), round(seconds * rate_hz))
    soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


def error(response: httpx.Response) -> dict:
    """Return the error of a response, whose form is that of the API."""
    body = response.json()
    assert set(body) == {'error'} and set(body['error']) == {'code', 'message', 'remedy'}, body
    assert all(body['error'].values()), body
    assert 'Traceback' not in response.text and str(ROOT) not in response.text
    return body['error']


def connect(server: Server, timeout_s: float = 60) -> socket.socket:
    """Return a raw connection."""
    return socket.create_connection(server.address, timeout=timeout_s)
