"""Loader of audio files as float32 samples at a given rate, for builders, prediction and the app.

It reads any rate, width (8 to 64 bit) and channel count; stereo files of two equal channels; chunks
before `data` (FLLR) and after it (LIST, bext, _PMX); headers of streams with unknown length; joined
files; recordings with a constant offset. It raises for files that are missing, empty, truncated,
damaged or not audio, with a one-line message that begins with the file's name.
"""

import io
import os
import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from ser_jax.audio.containers import boxes, flac, formats, media
from ser_jax.audio.containers.streams import Fault, Link, damaged, truncated
from ser_jax.contract import InputError

MEDIA = (  # suffixes of formats decoded by FFmpeg: `ser_jax.audio.containers.media`
    '.m4a', '.m4b', '.mp4', '.m4v', '.mov', '.3gp', '.3g2', '.aac', '.webm', '.mka', '.mkv',
    '.amr', '.awb', '.wma', '.spx',
)  # fmt: skip
SUFFIXES = (  # suffixes of all decodable formats: by libsndfile and FFmpeg
    '.wav', '.wave', '.bwf', '.rf64', '.w64', '.flac', '.ogg', '.oga', '.opus', '.mp3', '.mp2',
    '.mpga', '.aif', '.aiff', '.aifc', '.au', '.snd', '.caf', '.sph', '.nist', *MEDIA,
)  # fmt: skip
OFFSET = 1e-3  # a larger mean is an offset of the recording chain, not speech
QUIET = 2 / 32768  # a signal that spans no more than two 16-bit steps is silent

_POINTER = b'version https://git-lfs'
_BLOCK = 1 << 26  # samples per read; an hour at 16 kHz fits, so it needs no concatenation
# Containers for which libsndfile's log reports truncation.
_LOGGED = ('SVX', 'MAT4', 'WVE', 'HTK')
# Containers in which a truncated file cannot be recognized.
_UNCHECKED = ('AVR', 'IRCAM', 'MAT5', 'MPC2K', 'PAF', 'PVF', 'SD2', 'SDS', 'VOC', 'XI')
_FLAC_ERRORS = range(157, 163)  # libsndfile's SFE_FLAC_*: a lost frame, a wrong checksum


class SoundError(InputError):
    """File without usable audio. `kind`: missing | empty | truncated | undecodable."""

    def __init__(self, name: str, kind: str, reason: str):
        super().__init__(f'{name}: {reason}')
        self.kind, self.reason = kind, reason


def read(file: str | os.PathLike | BinaryIO, name: str | None = None) -> tuple[np.ndarray, int]:
    """Return samples, float32 [T] or [T, channels] in [-1, 1], and their rate in Hz.

    Args:
      file: a path, or an open seekable binary file (a zip member's bytes, an upload).
      name: name of the file in messages; the path by default.

    Raises:
      SoundError: the file is missing, a folder, empty, not audio, damaged or truncated; the message
        begins with the name.
    """
    if isinstance(file, (str, os.PathLike)):
        path, name = Path(file), name or str(file)
        if not path.exists():
            raise SoundError(name, 'missing', 'no such file; expected a sound file')
        if path.is_dir():
            raise SoundError(name, 'missing', 'is a folder; expected a sound file')
        try:
            content = path.read_bytes()
        except OSError as e:
            reason = f'cannot be read ({e.strerror or e}); check its permissions and the disk'
            raise SoundError(name, 'undecodable', reason) from e
    else:
        name = name or str(getattr(file, 'name', 'audio'))
        file.seek(0)
        content = file.read()
    try:
        return _decode(content, name)
    except Fault as e:
        raise SoundError(name, e.kind, e.reason) from e


def mono(samples: np.ndarray) -> np.ndarray:
    """Return the mean of the channels: [T] or [T, channels] -> [T]; exact if they are equal."""
    return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Resample [T] to about [T * to_hz / from_hz] by soxr HQ, flat to 0.91 of Nyquist."""
    if from_hz == to_hz or not samples.size:
        return samples
    return soxr.resample(samples, from_hz, to_hz, 'HQ')


def prepare(samples: np.ndarray, from_hz: int, rate_hz: int = 16000) -> np.ndarray:
    """Return decoded samples as features and models take them: mono, no offset, [T] at `rate_hz`.

    An offset (in SAVEE up to 0.045) would leak through the window into the lowest mel bands and
    cause a click at the signal's beginning and end, marks of the recording chain that can identify
    the speaker. Most recordings have a mean below OFFSET and are not changed by this.
    """
    samples = mono(samples)
    mean = samples.mean() if samples.size else 0.0
    if abs(mean) > OFFSET:
        samples = samples - mean
    return resample(samples, from_hz, rate_hz)


def defect(samples: np.ndarray) -> str | None:
    """Return 'empty', 'not finite' or 'silent' for unusable [T] or [T, channels], else None."""
    if not samples.size:
        return 'empty'
    low, high = samples.min(axis=0), samples.max(axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return 'not finite'
    return 'silent' if (high - low).max() <= QUIET else None


def int16(samples: np.ndarray) -> np.ndarray:
    """Round float samples in [-1, 1] to int16; clip them, since resampling overshoots."""
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


def _decode(content: bytes, name: str) -> tuple[np.ndarray, int]:
    if not content:
        raise Fault('empty', 'is empty (0 bytes); copy or download it again')
    if content.startswith(_POINTER):
        raise Fault(
            'undecodable',
            'is a pointer of git LFS, not the sound itself; fetch it with `git lfs pull`',
        )
    if container := boxes.kind(content):
        parts = boxes.parts(content, container)
        return _joined([media.decode(part, container, name) for part in parts])
    links = formats.links(content)
    if container := formats.foreign(content):
        return _joined([media.decode(link.content, container, name) for link in links])
    return _joined([_samples(link) for link in links])


def _joined(parts: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, int]:
    """Concatenate the parts of one file."""
    if len(parts) == 1:
        return parts[0]
    kinds = {(rate_hz, samples.shape[1:]) for samples, rate_hz in parts}
    if len(kinds) > 1:
        reason = f'holds {len(parts)} joined sounds of different rates or channels; split it'
        raise Fault('undecodable', reason)
    return np.concatenate([samples for samples, _ in parts]), parts[0][1]


def _samples(link: Link) -> tuple[np.ndarray, int]:
    """Return all samples of a stream and their rate."""
    samples, sound = _blocks(link.content)
    if len(samples) < link.frames and link.counted:
        # The decoder estimated the length. With a count in the header it reads all, and drops its
        # initial delay.
        more, _ = _blocks(link.counted())
        samples = np.concatenate([samples, more[len(samples) - link.lag :]])
    if len(samples) < link.frames:
        raise truncated(f'{len(samples)} of {link.frames} frames are present')
    if link.md5 and not flac.matches(samples, sound.subtype, link.md5):
        raise damaged('its samples do not match its checksum')
    if samples.dtype == np.int16:
        # Equal to libsndfile's conversion, in half its time.
        samples = samples * np.float32(1 / 32768)
    return samples, sound.samplerate


class _Forward(soundfile.SoundFile):
    """Audio file read once from beginning to end, regardless of the length in its header."""

    def seekable(self) -> bool:
        return False


class _Content(io.BytesIO):
    """Bytes in which seeking to a negative position, as damaged headers cause, goes to 0."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: len(self.getbuffer())}
        return super().seek(max(0, starts[whence] + offset))


def _check_rare(sound: soundfile.SoundFile) -> None:
    """Raise if a file in a rarer container is truncated, or if that cannot be checked."""
    if sound.format in _UNCHECKED:
        raise Fault(
            'undecodable',
            f'is {sound.format_info}, in which truncation cannot be detected; convert it to wav',
        )
    if sound.format in _LOGGED and re.search(r'should be|truncated', sound.extra_info):
        raise truncated('its header announces more')


def _blocks(content: bytes) -> tuple[np.ndarray, soundfile.SoundFile]:
    """Return samples, int16 for 16-bit files, else float32, and the file they were read from."""
    blocks: list[np.ndarray] = []
    try:
        with _Forward(_Content(content)) as sound:
            _check_rare(sound)
            dtype = 'int16' if sound.subtype == 'PCM_16' else 'float32'
            left, most = sound.frames, max(1, _BLOCK // sound.channels)
            while not blocks or (left and len(blocks[-1]) == most):
                blocks.append(sound.read(min(left, most), dtype))
                left -= len(blocks[-1])
    except (soundfile.SoundFileError, ValueError, TypeError) as e:
        if getattr(e, 'code', 0) in _FLAC_ERRORS:
            raise truncated('or damaged, some of its frames cannot be decoded') from e
        reason = str(getattr(e, 'error_string', e)).rstrip('.')
        expected = 'expected wav, flac, ogg, mp3, m4a or webm'
        raise Fault('undecodable', f'cannot be decoded ({reason}); {expected}') from e
    return (blocks[0] if len(blocks) == 1 else np.concatenate(blocks)), sound
