"""HTTP API of trained runs, as an ASGI application.

    uvicorn.run(app({'best': Predictor.open('runs/best')}))

Uploads live in memory, the larger ones in a temporary file without a name; nothing of a request is
kept or logged.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from importlib import metadata
from typing import Annotated, Any

from fastapi import Depends, FastAPI, File, Form, Query, Request, UploadFile, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from ser_jax.inference import Predictor
from ser_jax.serving import live, metrics, schemas
from ser_jax.serving.admission import Admission
from ser_jax.serving.decoding import display_name
from ser_jax.serving.failures import Failure
from ser_jax.serving.limits import Limits
from ser_jax.serving.service import Service, Transcriber, Wanted

LONGEST_TEXT = 2000
_ABOUT = """Emotions of recorded speech. Upload one recording to `/v1/predict`, more to `/v1/batch`.

`/v1/stream` is a WebSocket: send mono samples (`pcm16` or `float32`, little-endian) as binary
messages; every `hop_s` there is a JSON message with the probabilities of the last `window_s`; the
text message `finish` ends the signal. Query: `run`, `rate_hz`, `encoding`, `window_s`, `hop_s`.
"""
_DESCRIPTIONS = {
    400: 'the body is no form',
    401: 'the token is missing or wrong',
    404: 'there is no run of this name',
    408: 'the request arrived too slowly',
    413: 'the request is too large or the recording too long',
    415: 'the body is no form, or the file no recording',
    422: 'the recording is damaged, truncated, empty or silent, or a field is wrong',
    503: 'the server is starting or busy; Retry-After has the seconds to wait',
}

Run = Annotated[
    str | None, Query(max_length=64, description='name of a run; the first one by default')
]
Text = Annotated[
    str, Form(max_length=LONGEST_TEXT, description='spoken words, for runs that read text')
]
Transcribe = Annotated[bool, Form(description='recognize the words too')]


def app(
    predictors: Mapping[str, Predictor],
    limits: Limits | None = None,
    token: str = '',
    transcriber: Transcriber | None = None,
) -> FastAPI:
    """Return the application for opened runs.

    Args:
      predictors: by name; the first one answers requests that name none.
      limits: bounds of requests.
      token: bearer token that all paths but /health and /ready require; '' = none.
      transcriber: recognizer of words for requests with `transcribe`.
    """
    service = Service(predictors, limits or Limits(), transcriber)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    made = FastAPI(
        title='ser_jax',
        version=metadata.version('ser_jax'),
        description=_ABOUT,
        lifespan=lifespan,
        responses=_responses(401) if token else None,
        dependencies=[Depends(HTTPBearer(auto_error=False))] if token else None,
    )
    made.add_middleware(
        Admission,
        limits=service.limits,
        metrics=service.metrics,
        token=token,
        ready=lambda: service.is_ready,
    )
    made.state.service = service
    made.add_exception_handler(RequestValidationError, _invalid)
    made.add_exception_handler(HTTPException, _refused)
    made.add_exception_handler(Exception, _failed)
    _add_uploads(made, service)
    _add_status(made, service)

    @made.websocket('/v1/stream')
    async def stream(socket: WebSocket) -> None:
        await live.serve(socket, service, token)

    return made


def _add_uploads(made: FastAPI, service: Service) -> None:
    """Add the paths that take recordings."""
    codes = _responses(400, 404, 408, 413, 415, 422, 503)

    @made.post('/v1/predict', responses=codes, tags=['predict'])
    async def predict(
        file: Annotated[UploadFile, File(description='wav, flac, ogg, mp3, m4a, webm ...')],
        run: Run = None,
        text: Text = '',
        transcribe: Transcribe = False,
    ) -> schemas.Prediction:
        """Return the emotions of one recording, by window and over all."""
        wanted = Wanted(run, text, transcribe)
        return await service.answer(file.file, display_name(file.filename), wanted)

    @made.post('/v1/batch', responses=codes, tags=['predict'])
    async def batch(
        files: Annotated[list[UploadFile], File(description='recordings', min_length=1)],
        run: Run = None,
        transcribe: Transcribe = False,
    ) -> schemas.Batch:
        """Return the emotions of several recordings; one that is unusable has an error instead."""
        wanted, most = Wanted(run, '', transcribe), service.limits.max_files
        service.check(wanted)
        if len(files) > most:
            raise Failure(413, f'{len(files)} files, expected at most {most}', 'send fewer')

        async def item(number: int, upload: UploadFile) -> schemas.BatchItem:
            name = display_name(upload.filename, number)
            try:
                answer = await service.answer(upload.file, name, wanted)
            except Failure as e:
                return schemas.BatchItem(error=schemas.Error(**e.content()['error']))
            return schemas.BatchItem(answer=answer)

        items = [item(number, upload) for number, upload in enumerate(files, 1)]
        return schemas.Batch(results=await asyncio.gather(*items))


def _add_status(made: FastAPI, service: Service) -> None:
    """Add the paths that describe the server."""

    @made.get('/v1/runs', tags=['predict'])
    async def runs() -> schemas.Runs:
        """Return the runs of this server with their emotions."""
        return service.runs()

    @made.get('/health', tags=['status'])
    async def health() -> schemas.Status:
        """Answer as long as the process lives."""
        return schemas.Status(status='ok')

    @made.get('/ready', responses=_responses(503), tags=['status'])
    async def ready() -> schemas.Status:
        """Answer 200 once all buckets are compiled, 503 before."""
        if not service.is_ready:
            raise Failure(503, 'the server is starting', code='not_ready')
        return schemas.Status(status='ready')

    @made.get(
        '/metrics',
        response_class=Response,
        responses={200: {'content': {'text/plain': {'schema': {'type': 'string'}}}}},
        tags=['status'],
    )
    async def prometheus() -> Response:
        """Return the metrics of Prometheus."""
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)


def _responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of error responses."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        found[code] = {'model': schemas.Problem, 'description': _DESCRIPTIONS[code]}
    return found


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if not isinstance(error, Failure):
        error = Failure(error.status_code, str(error.detail), headers=error.headers)
    return JSONResponse(error.content(), error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Return the first errors of validation; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)
    found = []
    for one in error.errors()[:3]:
        found.append(f'{".".join(map(str, one["loc"]))}: {one["msg"]}')
    return await _refused(request, Failure(422, ', '.join(found)))


async def _failed(request: Request, _: Exception) -> JSONResponse:
    return await _refused(request, Failure(500, 'an error of the server'))
