"""Streams over a WebSocket: the windows of `Stream`, limits, and clients that misbehave."""

import contextlib
import json
import socket as socket_module
import threading
import time

import httpx
import numpy as np
import pytest
import websockets
from websockets.sync import client

from ser_jax.inference import Predictor
from ser_jax.stream import Stream
from tests.conftest import tone
from tests.serving.server import connect, serving, wav

SIGNAL = np.resize(tone(2, 1, 0), 3 * 16000)


def opened(server, query: str = '', **more):
    """A WebSocket of a server."""
    return client.connect(f'{server.url.replace("http", "ws")}/v1/stream?{query}', **more)


def received(socket) -> list[dict]:
    """All messages up to the close."""
    found = []
    with contextlib.suppress(websockets.ConnectionClosedError):  # a code other than 1000
        for message in socket:
            found.append(json.loads(message))
    return found


@pytest.mark.parametrize(('encoding', 'size'), [('pcm16', 1600), ('float32', 7777)])
def test_a_stream_has_the_windows_of_the_predictor(server, runs, encoding, size):
    query = f'run=audio&encoding={encoding}&window_s=1&hop_s=0.5'
    coded = (SIGNAL * 32767).astype('<i2') if encoding == 'pcm16' else SIGNAL.astype('<f4')
    with opened(server, query) as socket:
        for start in range(0, len(coded), size):
            socket.send(coded[start : start + size].tobytes())
        socket.send('finish')
        *messages, last = received(socket)
        assert socket.protocol.close_code == 1000
    stream = Stream(Predictor.open(runs['audio']), 1.0, 0.5)
    windows = [*stream.push(coded.astype(coded.dtype.newbyteorder('='))), *stream.finish()]
    assert last == {'end_s': 3.0} and len(messages) == len(windows) == 6
    for message, window in zip(messages, windows, strict=True):
        assert (message['start_s'], message['end_s']) == (window.start_s, window.end_s)
        got = list(message['probabilities'].values())
        np.testing.assert_allclose(got, window.probabilities, atol=1e-5)


@pytest.mark.parametrize(
    ('query', 'message', 'word'),
    [
        ('rate_hz=5', b'', 'rate_hz'),
        ('run=..', b'', 'run'),
        ('encoding=mp3', b'', 'encoding'),
        ('window_s=nan', b'', 'window_s'),
        ('hop_s=3&window_s=1', b'', 'hop_s'),
        ('window_s=99', b'', 'window_s'),
        ('', b'123', '3 bytes'),
        ('', 'hello', 'finish'),
    ],
)
def test_unusable_streams_are_refused_in_words(server, query, message, word):
    with opened(server, query) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):  # refused before it is sent
            socket.send(message)
        (refused,) = received(socket)
        assert word in refused['error']['message'] and socket.protocol.close_code == 1008


def test_samples_that_are_not_finite_are_windows_with_a_problem(server):
    bad = SIGNAL.copy()
    bad[:100] = np.nan
    with opened(server, 'encoding=float32&window_s=1&hop_s=0.5') as socket:
        socket.send(bad.astype('<f4').tobytes())
        socket.send('finish')
        *messages, _ = received(socket)
    assert messages[0]['probabilities'] is None and messages[0]['problem'] == 'not finite'
    assert messages[-1]['probabilities']


def open_streams(server) -> float:
    """The gauge of open streams."""
    lines = httpx.get(f'{server.url}/metrics').text.splitlines()
    return next(float(x.split()[1]) for x in lines if x.startswith('ser_jax_streams '))


def test_dropped_streams_are_forgotten_and_too_many_refused(server):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(opened(server, 'window_s=1')) for _ in range(8)]
        with opened(server) as more:
            assert received(more)[0]['error']['code'] == 'busy'
            assert more.protocol.close_code == 1013
        for socket in sockets:
            socket.send(SIGNAL[:160].astype('<f4').tobytes())
            socket.socket.shutdown(socket_module.SHUT_RDWR)  # without a closing handshake
    end = time.monotonic() + 60
    while open_streams(server):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert server.post(wav()).status_code == 200


@pytest.mark.slow
def test_a_client_that_stops_reading_is_closed_and_memory_stays(runs):
    flags = f'--run={runs["audio"]}', '--max_batch=1', '--timeout_s=3', '--max_stream_s=1000000'
    with serving(*flags) as small, client_socket(small, receive_bytes=4096) as raw:
        before = small.resident_mb()
        address = f'ws{small.url[4:]}/v1/stream?rate_hz=1000&hop_s=0.1&window_s=0.2'
        options = {'max_queue': 1, 'ping_interval': None, 'close_timeout': 1}
        with client.connect(address, sock=raw, **options) as socket:
            sender = threading.Thread(target=send_for_ever, args=(socket,), daemon=True)
            sender.start()
            wait_for(lambda: open_streams(small) == 1)
            wait_for(lambda: open_streams(small) == 0)  # although the client reads nothing
        assert small.resident_mb() < before + 100
        assert small.post(wav()).status_code == 200


def client_socket(server, receive_bytes: int):
    """A connection whose side keeps few bytes that nobody has read."""
    raw = socket_module.socket()
    raw.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, receive_bytes)
    raw.connect(server.address)
    return raw


def send_for_ever(socket) -> None:
    """Send until the connection ends, and read nothing."""
    content = np.resize(SIGNAL, 2000).astype('<i2').tobytes()
    with contextlib.suppress(Exception):
        while True:
            socket.send(content)


def wait_for(condition, seconds: float = 120) -> None:
    """Return when the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_a_token_may_come_as_a_subprotocol(runs):
    flags = f'--run={runs["audio"]}', '--max_batch=1', '--token=s3cret'
    with serving(*flags) as guarded:
        with pytest.raises(websockets.InvalidStatus, match='403'):
            opened(guarded)
        with opened(guarded, subprotocols=['ser_jax', 'bearer.s3cret']) as socket:
            assert socket.subprotocol == 'ser_jax'
            socket.send('finish')
            assert received(socket) == [{'end_s': 0.0}]
        headers = {'Authorization': 'Bearer s3cret'}
        with opened(guarded, additional_headers=headers) as socket:
            socket.send('finish')
            assert received(socket) == [{'end_s': 0.0}]


def test_a_broken_handshake_harms_nothing(server):
    with connect(server) as raw:
        raw.sendall(b'GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n')
        assert raw.recv(4096).startswith(b'HTTP/1.1 4')
    assert httpx.get(f'{server.url}/health').status_code == 200
