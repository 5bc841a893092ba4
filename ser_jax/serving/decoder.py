"""Process that decodes recordings: `python -m ser_jax.serving.decoder MEGABYTES`.

A damaged file may crash or exhaust a decoder written in C; here it ends this process and nothing
else. Requests come on stdin: a head (REQUEST), then the bytes of the file. Replies go to stdout: a
head (REPLY), JSON, then the samples, float32 [T]. The process ends with its stdin.
"""

import contextlib
import io
import json
import os
import struct
import sys
from typing import BinaryIO

import numpy as np
import soundfile

from ser_jax.audio import soundness, wav
from ser_jax.audio.containers import boxes, chunks, formats, mpeg
from ser_jax.audio.containers.streams import Fault, after_tags
from ser_jax.contract import InputError

REQUEST = struct.Struct(
    '<QIdH'
)  # bytes, rate of the samples, longest recording in s, bytes of name
REPLY = struct.Struct('<IQ')  # bytes of the JSON, number of samples
READY = b'+'  # written once, before the first reply
UNKNOWN = 'unknown format'


def decode(content: bytes, rate_hz: int, max_seconds: float, name: str) -> tuple[np.ndarray, float]:
    """Return the mono samples [T] of a file at `rate_hz`, and its length in seconds.

    Raises:
      wav.SoundError: see `wav.read` and `soundness.checked`; kind UNKNOWN: it is no recording;
        kind 'too long': it is longer than `max_seconds` or does not fit the memory.
    """
    if content and not is_sound(content):
        reason = 'no known format of sound; send wav, flac, ogg, mp3, m4a or webm'
        raise wav.SoundError(name, UNKNOWN, reason)
    try:
        check_length(least_seconds(content), max_seconds, name)
        samples, from_hz = wav.read(io.BytesIO(content), name)
        seconds = len(samples) / from_hz
        check_length(seconds, max_seconds, name)
        return soundness.checked(samples, from_hz, rate_hz, name), seconds
    except MemoryError as e:
        reason = f'does not fit the memory of the decoder; expected at most {max_seconds:g} s'
        raise wav.SoundError(name, 'too long', f'{reason}; send a shorter recording') from e


def check_length(seconds: float, most: float, name: str) -> None:
    """Raise wav.SoundError if a recording is too long."""
    if seconds > most:
        reason = f'lasts {seconds:.0f} s, expected at most {most:g} s; send a shorter recording'
        raise wav.SoundError(name, 'too long', reason)


def is_sound(content: bytes) -> bool:
    """Return True if a file begins like a recording in a known container."""
    if boxes.kind(content) or chunks.is_chunked(content):
        return True
    head = bytes(content[(start := after_tags(content, 0)) : start + 4])
    return head in (b'OggS', b'fLaC', b'FORM', b'HTK ') or mpeg.frame(head) is not None


def least_seconds(content: bytes) -> float:
    """Return the length of a recording by its headers and packets, without decoding; 0 if unknown.

    It is a lower bound for complete files; damaged ones are left to `wav.read`.
    """
    with contextlib.suppress(Fault, soundfile.SoundFileError, ValueError, TypeError):
        if boxes.kind(content) or formats.foreign(content):
            return _packets_seconds(content)
        total = 0.0
        for link in formats.links(content):
            with soundfile.SoundFile(io.BytesIO(link.content)) as sound:
                announced = sound.frames if sound.frames < 1 << 60 else 0
                total += max(announced, link.frames) / sound.samplerate
        return total
    return 0.0


def _packets_seconds(content: bytes) -> float:
    """Return the sum of the packets' durations in a media file, which no header can misstate."""
    try:
        import av
    except ImportError:
        return 0.0  # wav.read names the package
    try:
        with av.open(io.BytesIO(content), mode='r') as opened:
            stream = opened.streams.best('audio')
            if stream is None:
                return 0.0
            units = 0
            for packet in opened.demux(stream):
                units += packet.duration or 0
            return float(units * (packet.time_base or stream.time_base or 0))
    except (av.error.FFmpegError, EOFError, UnicodeDecodeError):
        return 0.0


def reply(content: bytes, rate_hz: int, max_seconds: float, name: str) -> tuple[dict, np.ndarray]:
    """Return the JSON and the samples for one request."""
    nothing = np.zeros(0, np.float32)
    try:
        samples, seconds = decode(content, rate_hz, max_seconds, name)
        return {'seconds': seconds}, np.ascontiguousarray(samples, np.float32)
    except InputError as e:
        return {'kind': getattr(e, 'kind', 'undecodable'), 'message': str(e)}, nothing
    except MemoryError:
        message = f'{name}: does not fit the memory of the decoder; send a shorter recording'
        return {'kind': 'too long', 'message': message}, nothing
    except Exception as e:  # a file that no check expects must not end the process
        message = f'{name}: damaged, it cannot be decoded; copy or download it again'
        return {'kind': 'undecodable', 'message': message, 'bug': type(e).__name__}, nothing


def limit_memory(megabytes: float) -> None:
    """Limit the address space to its present size and `megabytes`; nothing where it is unknown."""
    try:
        import resource

        with open('/proc/self/statm') as f:
            now = int(f.read().split()[0]) * resource.getpagesize()
        most = now + int(megabytes * (1 << 20))
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    except (ImportError, OSError, ValueError):
        return


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until `source` ends."""
    while len(head := source.read(REQUEST.size)) == REQUEST.size:
        size, rate_hz, max_seconds, name_size = REQUEST.unpack(head)
        name = source.read(name_size).decode()
        content = source.read(size)
        if len(content) < size:
            return
        about, samples = reply(content, rate_hz, max_seconds, name)
        del content
        text = json.dumps(about).encode()
        sink.write(REPLY.pack(len(text), len(samples)) + text)
        sink.write(samples.data)
        sink.flush()


def main() -> None:
    """Serve requests on stdin and stdout; messages of the libraries go nowhere."""
    with contextlib.suppress(ImportError):
        import av

        av.logging.set_level(av.logging.PANIC)
    sink = os.fdopen(os.dup(1), 'wb')
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)
    limit_memory(float(sys.argv[1]))
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        sink.write(READY)
        sink.flush()
        serve(sys.stdin.buffer, sink)


if __name__ == '__main__':
    main()
