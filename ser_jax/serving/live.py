"""Predictions for a running signal over a WebSocket.

The client sends binary messages of mono samples, little-endian; the server sends a JSON message for
every window. The text message `finish` ends the signal.
"""

import asyncio
import json
from typing import Literal

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ser_jax.contract import InputError, Window
from ser_jax.inference import Predictor
from ser_jax.serving import admission, schemas
from ser_jax.serving.failures import Failure
from ser_jax.serving.service import Service
from ser_jax.stream import Stream

SUBPROTOCOL = 'ser_jax'
_POLICY, _BUSY, _LATE = 1008, 1013, 1008  # close codes (RFC 6455 and its registry)
_TYPES: dict[str, np.dtype] = {'pcm16': np.dtype('<i2'), 'float32': np.dtype('<f4')}
_PIECE_S = 1.0  # audio that is predicted before other requests have their turn


class Options(BaseModel):
    """Query of /v1/stream."""

    model_config = ConfigDict(extra='ignore')

    run: str | None = None
    rate_hz: int = Field(16000, ge=1000, le=192_000)
    encoding: Literal['pcm16', 'float32'] = 'pcm16'
    window_s: float | None = Field(None, ge=0.1)
    hop_s: float | None = Field(None, ge=0.1)


async def serve(socket: WebSocket, service: Service, token: str) -> None:
    """Answer one stream from its opening to its close."""
    if not admission.authorized(socket.scope['headers'], token):
        await socket.close(_POLICY)  # before it is accepted: the response is 403
        return
    offered = socket.scope.get('subprotocols', ())
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    open_streams = service.metrics.streams
    service.open_streams += 1
    open_streams.set(service.open_streams)
    try:
        await _Signal(socket, service).run()
    except Failure as e:
        await _refuse(socket, service, e)
    except TimeoutError:
        seconds = f'{service.limits.timeout_s:g} s'
        await _refuse(socket, service, Failure(408, f'no message was exchanged within {seconds}'))
    except (WebSocketDisconnect, RuntimeError) as e:
        if isinstance(e, RuntimeError) and 'websocket' not in str(e).lower():
            raise  # Starlette raises it where the other side has closed
    finally:
        service.open_streams -= 1
        open_streams.set(service.open_streams)


async def _refuse(socket: WebSocket, service: Service, failure: Failure) -> None:
    """Send an error and close."""
    code = _BUSY if failure.status_code == 503 else _POLICY
    try:
        async with asyncio.timeout(service.limits.timeout_s):
            await socket.send_json(failure.content())
            await socket.close(code, failure.code)
    except (TimeoutError, WebSocketDisconnect, RuntimeError):
        return  # the other side has closed or does not read


class _Signal:
    """Signal of one WebSocket."""

    def __init__(self, socket: WebSocket, service: Service):
        self._socket, self._service = socket, service
        self._seconds = 0.0

    async def run(self) -> None:
        """Receive samples and send windows until the end.

        Raises:
          Failure: an option or a message is unusable, or a limit is exceeded.
          TimeoutError: the client neither sends nor reads.
        """
        limits = self._service.limits
        if not self._service.is_ready:
            raise Failure(503, 'the server is starting', code='not_ready')
        if self._service.open_streams > limits.max_streams:
            raise Failure(503, f'{limits.max_streams} streams are open, no more are taken')
        options = _options(dict(self._socket.query_params))
        _, predictor = self._service.predictor(options.run)
        stream = _stream(predictor, options)
        self._emotions = predictor.emotions
        while True:
            async with asyncio.timeout(limits.timeout_s):
                message = await self._socket.receive()
            if message['type'] == 'websocket.disconnect':
                return
            if (content := message.get('bytes')) is not None:
                await self._push(stream, options, content)
                continue
            if message.get('text') != 'finish':
                remedy = "send samples as binary messages and 'finish' at the end"
                raise Failure(422, 'a text message other than finish', remedy)
            await self._send(await self._call(stream.finish))
            async with asyncio.timeout(limits.timeout_s):
                await self._socket.send_json({'end_s': round(self._seconds, 3)})
                await self._socket.close()
            return

    async def _push(self, stream: Stream, options: Options, content: bytes) -> None:
        """Predict for the samples of a message, piece by piece."""
        dtype = _TYPES[options.encoding]
        if len(content) % dtype.itemsize:
            remedy = f'send whole samples of {dtype.itemsize} bytes'
            raise Failure(422, f'a message of {len(content)} bytes', remedy)
        samples = np.frombuffer(content, dtype)
        self._seconds += len(samples) / options.rate_hz
        most = self._service.limits.max_stream_s
        if self._seconds > most:
            raise Failure(413, f'the stream has more than {most:g} s', 'open a new one')
        size = max(1, round(_PIECE_S * options.rate_hz))
        for start in range(0, len(samples), size):
            piece = samples[start : start + size].astype(dtype.newbyteorder('='))
            await self._send(await self._call(stream.push, piece))

    async def _call(self, function, *args) -> list[Window]:
        async with asyncio.timeout(self._service.limits.timeout_s):
            try:
                return await asyncio.wrap_future(self._service.batcher.call(function, *args))
            except InputError as e:
                raise self._service.failure(e) from e

    async def _send(self, windows: list[Window]) -> None:
        for window in windows:
            async with asyncio.timeout(self._service.limits.timeout_s):
                body = schemas.window(window, self._emotions)
                await self._socket.send_text(json.dumps(body.model_dump(), allow_nan=False))


def _options(query: dict[str, str]) -> Options:
    try:
        return Options.model_validate(query)
    except ValidationError as e:
        first = e.errors()[0]
        place = '.'.join(map(str, first['loc']))
        raise Failure(422, f'{place}: {first["msg"]}', 'correct the query; see /docs') from e


def _stream(predictor: Predictor, options: Options) -> Stream:
    """Return the stream that a query describes."""
    longest = predictor.window_s
    window_s = options.window_s or min(4.0, longest)
    if window_s > longest:
        message = f'window_s must be at most {longest:g} s for this run, got {window_s:g}'
        raise Failure(422, message, 'give a shorter one or leave it out')
    hop_s = options.hop_s or min(0.5, window_s)
    if hop_s > window_s:
        message = f'hop_s must be at most window_s, {window_s:g} s, got {hop_s:g}'
        raise Failure(422, message, 'give a shorter one or leave it out')
    return Stream(predictor, window_s, hop_s, options.rate_hz)
