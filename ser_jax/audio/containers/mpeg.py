"""Frames of MPEG audio (mp1, mp2, mp3), counted by their headers, and tags that announce them."""

import functools
import struct
from typing import NamedTuple

from ser_jax.audio.containers.streams import Link, after_tags, damaged, truncated

_DECODER_DELAY = 529  # samples of a decoder's delay; gapless decoding removes as many at the end
# Rates by version bits.
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_HIGH = {  # kbit/s of MPEG-1 by layer bits (3 = layer I)
    3: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_LOW_1 = (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


class Kind(NamedTuple):
    """Properties of a stream that are equal in all of its frames."""

    version: int
    layer: int
    rate_hz: int
    mono: bool

    @property
    def frames(self) -> int:
        """Number of sample frames in one MPEG frame."""
        return 384 if self.layer == 3 else 576 if self.layer == 1 and self.version != 3 else 1152


class _Run(NamedTuple):
    """Consecutive frames of one kind. `info`: the frame that announces them, without audio."""

    kind: Kind
    start: int
    end: int
    frame_count: int
    info: bytes


@functools.lru_cache(maxsize=1024)
def frame(head: bytes) -> tuple[Kind, int] | None:
    """Return kind and size of the frame that begins with four bytes; size 0 is free format.

    None if no frame begins there.
    """
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    rate, speed, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 0 or rate == 15 or speed == 3 or head[3] & 3 == 2:
        return None
    kind = Kind(version, layer, _RATES[version][speed], head[3] >> 6 == 3)
    table = _HIGH[layer] if version == 3 else _LOW_1 if layer == 3 else _LOW
    bits = 1000 * table[rate]
    if not bits:
        return kind, 0
    if layer == 3:
        return kind, (12 * bits // kind.rate_hz + padding) * 4
    return kind, kind.frames // 8 * bits // kind.rate_hz + padding


def links(content: bytes) -> list[Link]:
    """Return the streams of an MPEG audio file or of several joined ones, with their lengths.

    Raises:
      Fault: the last frame is cut, frames are missing, or there are other bytes between frames.
    """
    runs = _runs(content)
    if runs is None:
        return [Link(content)]
    if len(runs) == 1:
        return [_link(content, runs[0])]
    return [_link(content[r.start : r.end], r._replace(start=0, end=r.end - r.start)) for r in runs]


def _runs(content: bytes) -> list[_Run] | None:
    """Return the runs of frames of a file; None if they cannot be counted (free format)."""
    runs: list[_Run] = []
    position = after_tags(content, 0)
    while position < len(content):
        found = frame(bytes(content[position : position + 4]))
        if found is None:
            rest = len(content) - position
            if rest < 4 and runs and content[position] == 0xFF:
                raise truncated('its last frame is cut')
            raise damaged(f'no frame begins at byte {position}')
        if not found[1]:
            return None
        run = _run(content, position, *found)
        if run.end > len(content):
            raise truncated('its last frame is cut')
        runs.append(run)
        position = after_tags(content, run.end)
        if (
            position == run.end
            and position < len(content)
            and frame(bytes(content[position : position + 4])) is None
        ):
            if len(content) - position < 4:
                raise truncated('its last frame is cut')
            raise damaged(f'no frame begins at byte {position}')
    return runs


def _run(content: bytes, start: int, kind: Kind, size: int) -> _Run:
    """Return the frames from a position up to another kind, another stream, a gap or the end."""
    info = bytes(content[start : start + size]) if _tag(content, start, kind) else b''
    position, count = start + size, 0 if info else 1
    while position < len(content):
        found = frame(bytes(content[position : position + 4]))
        if found is None or found[0] != kind or not found[1] or _tag(content, position, kind):
            break
        position, count = position + found[1], count + 1
    return _Run(kind, start, position, count, info)


def _tag_offset(kind: Kind) -> int:
    side = (17 if kind.mono else 32) if kind.version == 3 else (9 if kind.mono else 17)
    return 4 + side


def _tag(content: bytes, position: int, kind: Kind) -> bool:
    """Return True if a frame announces a stream (Xing, Info, VBRI) and has no audio."""
    offset = position + _tag_offset(kind)
    return kind.layer == 1 and (
        content[offset : offset + 4] in (b'Xing', b'Info')
        or content[position + 36 : position + 40] == b'VBRI'
    )


def _announced(run: _Run) -> tuple[int, int, int]:
    """Return announced frames, bytes, and samples removed by gapless decoding; 0 if absent."""
    info, position = run.info, _tag_offset(run.kind)
    if info[36:40] == b'VBRI':
        size, count = struct.unpack_from('>II', info, 46)
        return count, size, 0
    flags = int.from_bytes(info[position + 4 : position + 8], 'big')
    position, count, size = position + 8, 0, 0
    if flags & 1:
        count, position = int.from_bytes(info[position : position + 4], 'big'), position + 4
    if flags & 2:
        size, position = int.from_bytes(info[position : position + 4], 'big'), position + 4
    position += (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
    if len(info) < position + 24 or not info[position]:
        return count, size, 0
    gaps = int.from_bytes(info[position + 21 : position + 24], 'big')
    return count, size, (gaps >> 12) + max(gaps & 0xFFF, _DECODER_DELAY)


def _link(content: bytes, run: _Run) -> Link:
    count, size, removed = _announced(run) if run.info else (0, 0, 0)
    cut_bytes = size - (run.end - run.start)
    # Some writers include the announcing frame in the count.
    if run.frame_count < count - 1 or (run.frame_count == count - 1 and cut_bytes > 0):
        raise truncated(f'{run.frame_count} of {count} frames are present')
    frames = max(0, run.frame_count * run.kind.frames - removed)
    lag = 0 if _patchable(run) else _DECODER_DELAY
    return Link(content, frames, functools.partial(_counted, content, run), lag)


def _patchable(run: _Run) -> bool:
    """Return True if the run begins with a tag that has its number of frames."""
    position = _tag_offset(run.kind)
    return run.info[position : position + 4] in (b'Xing', b'Info') and bool(
        run.info[position + 7] & 1
    )


def _counted(content: bytes, run: _Run) -> bytes:
    """Return the frames after a tag with their actual number."""
    position = _tag_offset(run.kind)
    if _patchable(run):
        info = bytearray(run.info)
        struct.pack_into('>I', info, position + 8, run.frame_count)
        if info[position + 7] & 2:
            struct.pack_into('>I', info, position + 12, run.end - run.start)
    else:
        head = bytearray(content[run.start : run.start + 4])
        head[1] |= 1  # no checksum follows
        head[2] = head[2] & 0x0C | 0xE0  # the largest frame has room for the tag
        largest = frame(bytes(head))
        info = bytearray(largest[1] if largest else 0)
        info[:4] = head
        info[position : position + 12] = struct.pack('>4sII', b'Xing', 1, run.frame_count)
    return bytes(info) + content[run.start + len(run.info) : run.end]
