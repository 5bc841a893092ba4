"""Admission of requests before their bodies are read: token, type, size, number, time."""

import asyncio
import contextlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ser_jax.serving.failures import Failure
from ser_jax.serving.limits import Limits
from ser_jax.serving.metrics import Metrics

UPLOADS = ('/v1/predict', '/v1/batch')
OPEN = ('/health', '/ready')  # without a token
_LINGER_S = 2.0  # time to read on after a refusal, so that the client can read the response
_LINGERING = 32  # connections that are read on at the same time


def authorized(headers: list[tuple[bytes, bytes]], token: str) -> bool:
    """Return True if a request has the token, or none is required.

    WebSockets of browsers cannot send an Authorization header; they send the token as a
    subprotocol, `bearer.TOKEN`.
    """
    if not token:
        return True
    offered = []
    for name, value in headers:
        if name == b'authorization' and value[:7].lower() == b'bearer ':
            offered.append(value[7:].strip())
        elif name == b'sec-websocket-protocol':
            offered += [v.strip()[7:] for v in value.split(b',') if v.strip()[:7] == b'bearer.']
    return any(hmac.compare_digest(value, token.encode()) for value in offered)


class Admission:
    """ASGI middleware that refuses requests early and bounds those that it admits."""

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Metrics, token: str, ready: Callable[[], bool]
    ):
        self._app, self.limits, self._metrics = app, limits, metrics
        self._token, self._ready = token, ready
        self._in_work = self._lingering = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        began, exchange = time.monotonic(), _Exchange(scope, receive, send, self)
        try:
            await self._answered(scope, exchange)
        except BaseException:
            exchange.status = exchange.status or 500
            raise
        finally:
            route = _route(scope)
            labels = route, _method(scope), str(exchange.status)
            self._metrics.requests.labels(*labels).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began)

    async def _answered(self, scope: Scope, exchange: '_Exchange') -> None:
        uploads = scope['method'] == 'POST' and scope['path'] in UPLOADS
        try:
            self._check(scope, uploads)
        except Failure as e:
            await exchange.refuse(scope, e)
            return
        self._in_work += uploads
        self._metrics.in_work.set(self._in_work)
        try:
            async with asyncio.timeout(self.limits.timeout_s) as clock:
                await self._app(scope, exchange.receive, exchange.send)
        except TimeoutError:
            if not clock.expired():
                raise
            if exchange.started:
                return  # the client does not read; the server ends the connection
            await exchange.refuse(scope, exchange.late())
        finally:
            self._in_work -= uploads
            self._metrics.in_work.set(self._in_work)

    def _check(self, scope: Scope, uploads: bool) -> None:
        """Raise Failure if a request is refused by its headers."""
        headers = scope['headers']
        if scope['path'] not in OPEN and not authorized(headers, self._token):
            challenge = {'WWW-Authenticate': 'Bearer'}
            raise Failure(401, 'the bearer token is missing or wrong', headers=challenge)
        if not uploads:
            return
        by_name = dict(headers)
        kind = by_name.get(b'content-type', b'').split(b';')[0].strip().lower()
        if kind != b'multipart/form-data':
            remedy = "send the file as a form: curl -F 'file=@recording.wav' URL"
            raise Failure(415, 'the body must be multipart/form-data', remedy)
        length = by_name.get(b'content-length', b'')
        if re.fullmatch(rb'\d+', length) and int(length[:20]) > self.limits.max_bytes:
            raise too_large(self.limits)
        if not self._ready():
            raise Failure(503, 'the server is starting', code='not_ready')
        if self._in_work >= self.limits.max_concurrent:
            raise Failure(503, f'{self._in_work} requests are in work, no more are taken')

    async def linger(self, receive: Receive) -> None:
        """Discard the rest of a body for a while; closing at once would reset the connection."""
        if self._lingering >= _LINGERING:
            return
        self._lingering += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER_S):
                    while (await receive()).get('more_body', False):
                        pass
        finally:
            self._lingering -= 1


class _Exchange:
    """One request and its response, with a bound on the body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, admission: Admission):
        self._receive, self._send = receive, send
        self._linger, self._limits = admission.linger, admission.limits
        headers = dict(scope['headers'])
        has_body = headers.get(b'content-length', b'0') != b'0' or b'transfer-encoding' in headers
        self._bytes, self._whole = 0, not has_body
        self.started, self.status = False, 0

    async def receive(self) -> Message:
        """Return the next part of the body; raise Failure if it is too large."""
        message = await self._receive()
        self._bytes += len(message.get('body', b''))
        self._whole = self._whole or not message.get('more_body', False)
        if self._bytes > self._limits.max_bytes:
            raise too_large(self._limits)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the response; read on after its end if the body was not read whole."""
        if message['type'] == 'http.response.start':
            self.started, self.status = True, message['status']
            if not self._whole:
                closing = (b'connection', b'close')
                message = {**message, 'headers': [*message.get('headers', ()), closing]}
        is_last = message['type'] == 'http.response.body' and not message.get('more_body', False)
        if is_last and not self._whole:
            await self._send({**message, 'more_body': True})
            await self._linger(self._receive)
            message = {'type': 'http.response.body', 'body': b'', 'more_body': False}
        await self._send(message)

    async def refuse(self, scope: Scope, failure: Failure) -> None:
        """Send the response of a failure."""
        response = JSONResponse(failure.content(), failure.status_code, failure.headers)
        await response(scope, self.receive, self.send)

    def late(self) -> Failure:
        """Return the failure of a request whose time is over."""
        seconds = f'{self._limits.timeout_s:g} s'
        if not self._whole:
            return Failure(408, f'the request did not arrive within {seconds}')
        return Failure(503, f'the answer was not ready within {seconds}', code='timeout')


def too_large(limits: Limits) -> Failure:
    """Return the failure of a body that exceeds the limit."""
    return Failure(413, f'the request has more than {limits.max_mb:g} MB')


def _route(scope: Scope) -> str:
    """Return the path's template; paths without one share a label."""
    route: Any = scope.get('route')
    known = scope['path'] if scope['path'] in (*UPLOADS, *OPEN) else 'other'
    return getattr(route, 'path', known)


def _method(scope: Scope) -> str:
    known = ('GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH')
    return scope['method'] if scope['method'] in known else 'other'
