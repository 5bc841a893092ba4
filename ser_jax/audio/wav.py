"""Any sound file as float32 samples at the rate you ask for: the one loader of builders, prediction and the app.

What real corpora contain and this loader takes in its stride: any rate, width (8 to 64 bit) and channel count; stereo
files of two equal channels; chunks before `data` (FLLR) and after it (LIST, bext, _PMX), an empty LIST at the end;
headers of streams that never learnt their length; a constant offset. What it refuses, in one line that names the file:
what is missing, empty, cut short, or no sound at all.
"""

import io
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ser_jax.contract import InputError

SUFFIXES = ('.wav', '.flac', '.ogg', '.oga', '.opus', '.mp3', '.aif', '.aiff', '.au', '.w64')  # what libsndfile decodes
OFFSET = 1e-3  # a mean beyond this is an offset of the recording chain, not speech
QUIET = 2 / 32768  # a signal that spans no more than two 16-bit steps holds nothing to hear

_POINTER = b'version https://git-lfs'
_SLACK_BYTES = 64  # some writers count their own header into the data: less than a millisecond, not a truncation
_STREAMED_BYTES = 0x7FFFF000  # data sizes from here on, and 0, mean that a pipe did not know its length


class SoundError(InputError):
    """A file that is no usable sound. `kind`: missing | empty | truncated | undecodable."""

    def __init__(self, name: str, kind: str, reason: str):
        super().__init__(f'{name}: {reason}')
        self.kind, self.reason = kind, reason


def read(file: str | os.PathLike | BinaryIO, name: str | None = None) -> tuple[np.ndarray, int]:
    """Decoded samples, float32 [T] or [T, channels] in [-1, 1], and their rate in Hz.

    Args:
      file: a path, or an open binary file that can seek (a zip member's bytes, an upload).
      name: how messages call it; the path by default.

    Raises:
      SoundError: missing, a folder, empty, not sound, or truncated; the message begins with the name.
    """
    if isinstance(file, (str, os.PathLike)):
        path, name = Path(file), name or str(file)
        if not path.exists():
            raise SoundError(name, 'missing', 'no such file; expected a sound file')
        if path.is_dir():
            raise SoundError(name, 'missing', 'is a folder; expected a sound file')
        try:
            with open(path, 'rb') as f:
                return _decode(f, name)
        except OSError as e:
            reason = f'cannot be read ({e.strerror or e}); check its permissions and the disk'
            raise SoundError(name, 'undecodable', reason) from e
    return _decode(file, name or str(getattr(file, 'name', 'audio')))


def mono(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels: [T] or [T, channels] -> [T]. Equal channels come back bit for bit."""
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """[T] at `from_hz` -> [about T * to_hz / from_hz] at `to_hz`, by soxr HQ (flat to 0.91 of Nyquist)."""
    if from_hz == to_hz or not samples.size:
        return samples
    return soxr.resample(samples, from_hz, to_hz, 'HQ')


def prepare(samples: np.ndarray, from_hz: int, rate_hz: int = 16000) -> np.ndarray:
    """Decoded samples as features and models want them: mono, without offset, float32 [T] at `rate_hz`.

    An offset (SAVEE's up to 0.045) would leak through the window into the lowest mel bands and make a click where the
    signal begins and ends, both marks of the recording chain from which a speaker can be told. Most recordings have a
    mean below OFFSET and stay bit for bit.
    """
    samples = mono(samples)
    mean = samples.mean() if samples.size else 0.0
    if abs(mean) > OFFSET:
        samples = samples - mean
    return resample(samples, from_hz, rate_hz)


def at_rate(file: str | os.PathLike | BinaryIO, rate_hz: int = 16000, name: str | None = None) -> np.ndarray:
    """A sound file as mono float32 [T] at `rate_hz`, without offset; any format, rate and channel count.

    Raises:
      SoundError: as `read`.
    """
    samples, from_hz = read(file, name)
    return prepare(samples, from_hz, rate_hz)


def defect(samples: np.ndarray) -> str | None:
    """Why there is nothing to hear in [T] or [T, channels]: 'empty', 'not finite', 'silent'; None if there is."""
    if not samples.size:
        return 'empty'
    low, high = samples.min(axis=0), samples.max(axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return 'not finite'
    if (high - low).max() <= QUIET:
        return 'silent'
    return None


def int16(samples: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as int16, rounded, clipped at full scale (resampling overshoots a little)."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def _decode(file: BinaryIO, name: str) -> tuple[np.ndarray, int]:
    held = file.seek(0, io.SEEK_END)
    if not held:
        raise SoundError(name, 'empty', 'is empty (0 bytes); copy or download it again')
    file.seek(0)
    if file.read(len(_POINTER)) == _POINTER:
        reason = 'is a pointer of git LFS, not the sound itself; fetch it with `git lfs pull`'
        raise SoundError(name, 'undecodable', reason)
    start, size = _data_chunk(file)
    missing = start + size - held
    if missing > _SLACK_BYTES and size < _STREAMED_BYTES:  # libsndfile reads what is there and says nothing
        reason = f'truncated, {missing} bytes of sound are missing; copy or download it again'
        raise SoundError(name, 'truncated', reason)
    if start and not size and held - start > 8:
        file = _with_length(file, start, held - start)
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as sound:
            # 16-bit samples are scaled here, exactly as libsndfile would, in half its time.
            short = sound.subtype == 'PCM_16'
            samples = sound.read(dtype='int16') * np.float32(1 / 32768) if short else sound.read(dtype='float32')
            # A cut FLAC still knows how long it was. Other formats do not, or are judged above.
            if len(samples) < sound.frames and sound.format == 'FLAC':
                reason = f'truncated, {len(samples)} of {sound.frames} frames are there; copy or download it again'
                raise SoundError(name, 'truncated', reason)
            return samples, sound.samplerate
    except (soundfile.SoundFileError, ValueError, TypeError) as e:
        reason = str(getattr(e, 'error_string', e)).rstrip('.')
        raise SoundError(name, 'undecodable', f'cannot be decoded ({reason}); expected wav, flac, ogg or mp3') from e


def _data_chunk(file: BinaryIO) -> tuple[int, int]:
    """Where the samples of a RIFF wave file begin and how many bytes its header promises; (0, 0) for other files."""
    file.seek(0)
    head = file.read(12)
    if head[:4] != b'RIFF' or head[8:] != b'WAVE':
        return 0, 0
    while len(chunk := file.read(8)) == 8:
        kind, size = struct.unpack('<4sI', chunk)
        if kind == b'data':
            return file.tell(), size
        file.seek(size + size % 2, io.SEEK_CUR)
    return 0, 0


def _with_length(file: BinaryIO, start: int, rest: int) -> BinaryIO:
    """A wave file whose stream never learnt its length (0) with all that follows as samples, unless that is a chunk."""
    file.seek(start)
    kind, size = struct.unpack('<4sI', file.read(8))
    if kind.isascii() and kind.decode().isprintable() and size <= rest:
        return file
    file.seek(0)
    content = bytearray(file.read())
    struct.pack_into('<I', content, start - 4, rest)
    struct.pack_into('<I', content, 4, len(content) - 8)
    return io.BytesIO(content)
