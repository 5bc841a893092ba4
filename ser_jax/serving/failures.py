"""Errors of the API: status, code, message and remedy, in one JSON form."""

import http
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException

from ser_jax.contract import InputError

# Remedies of errors that have none in their message, by status.
_REMEDIES = {
    400: 'check the form of the request against /docs',
    401: 'send the header Authorization: Bearer TOKEN',
    404: 'see /docs for the paths and /v1/runs for the runs',
    405: 'see /docs for the methods of this path',
    408: 'send it faster, or send less',
    413: 'send less: cut or compress the recording',
    415: 'send wav, flac, ogg, mp3, m4a or webm',
    422: 'correct it; see /docs',
    500: "report it with the server's log",
    503: 'try again later',
}
CODES = {
    400: 'bad_request',
    401: 'unauthorized',
    404: 'not_found',
    405: 'method_not_allowed',
    408: 'too_slow',
    413: 'too_large',
    415: 'unsupported_media_type',
    422: 'unusable_input',
    500: 'internal',
    503: 'busy',
}
RETRY_AFTER_S = 1


class Failure(HTTPException):
    """Refused request; its body is {"error": {"code", "message", "remedy"}}."""

    def __init__(
        self,
        status: int,
        message: str,
        remedy: str = '',
        code: str = '',
        headers: Mapping[str, str] | None = None,
    ):
        retry = {'Retry-After': str(RETRY_AFTER_S)} if status == 503 else {}
        super().__init__(status, message, {**retry, **(headers or {})})
        self.code = code or CODES.get(status, http.HTTPStatus(status).name.lower())
        self.message = message
        self.remedy = remedy or _REMEDIES.get(status, 'see /docs')

    def content(self) -> dict[str, Any]:
        """Return the body."""
        return {'error': {'code': self.code, 'message': self.message, 'remedy': self.remedy}}


def of_input(error: InputError, status: int = 422, code: str = '') -> Failure:
    """Return the failure for unusable input; the last clause of an InputError is its remedy."""
    message, _, remedy = str(error).rpartition('; ')
    return Failure(status, *((message, remedy) if message else (remedy, '')), code)
