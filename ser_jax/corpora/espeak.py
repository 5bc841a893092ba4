"""Synthesis of English sentences with eSpeak NG, deterministic in text and settings.

eSpeak NG (GPL-3) comes from the wheel `espeakng-loader`, is called through ctypes and is never
shipped. Its wave generator has state that no call resets (flutter and roughness counters, echo,
gain control, libc's `rand`), so a separate process synthesizes each sentence: a worker, this file
run as a script, loads the library once and forks per sentence (Linux, macOS). The calling process
never loads the library and may have any number of threads.
"""

# The worker runs without site-packages: only the standard library is imported at the top.
import atexit
import contextlib
import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from typing import IO

# Names of speak_lib.h: espeak_AUDIO_OUTPUT, espeakINITIALIZE_DONT_EXIT, espeakCHARS_UTF8.
_SYNCHRONOUS, _DO_NOT_EXIT, _UTF8 = 2, 0x8000, 1
_PARAMETERS = {'rate': 1, 'volume': 2, 'pitch': 3, 'range': 4, 'word_gap': 7}  # espeak_PARAMETER
LIMITS = {
    'rate': (80, 450),
    'volume': (0, 200),
    'pitch': (0, 99),
    'range': (0, 99),
    'word_gap': (0, 50),
}
_lock = threading.Lock()
_worker: subprocess.Popen | None = None


def speak(text: str, voice: str = 'en-us', **settings: int):
    """Return the samples of `text` and their rate in Hz: int16 [T], and 22050.

    May be called from any thread; calls are serialized.

    Args:
      text: one or more sentences; '.', '!', '?' and ',' shape the intonation.
      voice: a language and a variant, e.g. `en-us+f2`, `en+m3`.
      **settings: rate (words per minute, 80-450, default 175), pitch (0-99: an octave below to one
        above the voice's own, default 50), range (of pitch, 0-99: monotone to double, default 50),
        volume (0-200, default 100), word_gap (0-50, in units of 10 ms at the default rate,
        default 0).

    Raises:
      InputError: eSpeak NG is not installed, the voice is unknown, a setting is outside its limits,
        or the text is empty.
    """
    import numpy as np

    from ser_jax.contract import InputError

    values = {'rate': 175, 'volume': 100, 'pitch': 50, 'range': 50, 'word_gap': 0}
    for name, value in settings.items():
        low, high = LIMITS.get(name, (1, 0))
        if not low <= value <= high:
            limits = ', '.join(f'{k} {a} to {b}' for k, (a, b) in LIMITS.items())
            raise InputError(f'eSpeak NG got {name}={value}; expected {limits}')
        values[name] = round(value)
    if not text.strip():
        raise InputError('eSpeak NG got an empty text; expected at least one word')
    request = json.dumps({'text': text, 'voice': voice, **values}).encode() + b'\n'
    with _lock:
        try:
            rate, reply = _ask(request)
        except (OSError, EOFError, struct.error) as e:
            _stop()
            raise InputError(
                'the eSpeak NG worker ended before its reply; run the command again, and if it '
                "ends again reinstall: pip install --force-reinstall 'ser_jax[synthetic]'"
            ) from e
        except BaseException:  # e.g. Ctrl-C: the next call must not read this one's samples
            _stop()
            raise
    if rate == 0:
        reason = reply.decode()
        raise InputError(f'eSpeak NG cannot speak {text!r} with voice {voice!r}: {reason}')
    return np.frombuffer(reply, '<i2'), rate


def _ask(request: bytes) -> tuple[int, bytes]:
    """Send a request to the worker; return rate and samples, or 0 and an error message."""
    requests, replies = _pipes(_worker or _start())
    requests.write(request)
    requests.flush()
    rate, size = struct.unpack('<II', replies.read(8))
    reply = replies.read(size)
    if len(reply) < size:
        raise EOFError
    return rate, reply


def _pipes(worker: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    if worker.stdin is None or worker.stdout is None:
        raise ValueError('the worker was started without pipes')
    return worker.stdin, worker.stdout


def _start() -> subprocess.Popen:
    global _worker
    from ser_jax.contract import InputError

    try:
        import espeakng_loader
    except ImportError as e:
        raise InputError(
            'eSpeak NG, which synthesizes the synthetic corpus, is not installed (no module '
            "espeakng_loader); pip install 'ser_jax[synthetic]'"
        ) from e
    library, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    # In a new session, so that Ctrl-C does not reach it. It ends when its stdin closes, however the
    # caller ended.
    _worker = subprocess.Popen(
        [sys.executable, '-I', '-S', __file__, str(library), str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    return _worker


@atexit.register
def _stop() -> None:
    global _worker
    if _worker is not None:
        worker, _worker = _worker, None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)  # and its fork; neither has state to save
        requests, replies = _pipes(worker)
        with contextlib.suppress(BrokenPipeError):
            requests.close()
        replies.close()
        worker.wait()


def _forget() -> None:
    """Drop the worker in a forked child, which must not write to its parent's pipe."""
    global _worker, _lock
    _worker, _lock = None, threading.Lock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget)


def _serve(library: str, data: str) -> None:
    """Run the worker: read one JSON request per line from stdin, write each reply to stdout.

    A reply is (rate, number of bytes) and the samples, or (0, number of bytes) and a message.
    """
    # eSpeak NG limits its data path to 160 characters: a relative one always fits.
    os.chdir(os.path.dirname(data))
    lib = ctypes.CDLL(library)
    for line in sys.stdin.buffer:
        child = os.fork()
        if child == 0:
            _answer(lib, os.path.basename(data), json.loads(line))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != 0:
            _write(0, f'its process ended with status {status}'.encode())


def _write(rate: int, body: bytes) -> None:
    sys.stdout.buffer.write(struct.pack('<II', rate, len(body)) + body)
    sys.stdout.buffer.flush()


def _answer(lib: ctypes.CDLL, data: str, request: dict) -> None:
    received = bytearray()

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def receive(samples, count, _):
        if count > 0:
            received.extend(ctypes.string_at(samples, 2 * count))
        return 0

    rate = lib.espeak_Initialize(_SYNCHRONOUS, 0, b'.', _DO_NOT_EXIT)
    if rate <= 0:
        return _write(0, f'it cannot read its data in {os.path.abspath(data)}'.encode())
    lib.espeak_ng_SetRandSeed(ctypes.c_long(1))  # espeak_Initialize seeds with the time of day
    lib.espeak_SetSynthCallback(receive)
    # eSpeak NG ignores an unknown variant without an error.
    variant = request['voice'].partition('+')[2]
    missing = variant and not os.path.isfile(os.path.join(data, 'voices', '!v', variant))
    if missing or lib.espeak_SetVoiceByName(request['voice'].encode()) != 0:
        return _write(0, b'there is no such voice; expected a voice like en-us+f2 or en+m3')
    for name, number in _PARAMETERS.items():
        lib.espeak_SetParameter(number, request[name], 0)
    text = request['text'].encode()
    status = lib.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8, None, None)
    if status != 0 or lib.espeak_Synchronize() != 0 or not received:
        return _write(0, b'it returned no samples')
    _write(rate, bytes(received))


if __name__ == '__main__':
    _serve(*sys.argv[1:])
