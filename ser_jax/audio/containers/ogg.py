"""Pages of Ogg files: checksums, order, ends, and the links of chained streams (RFC 3533)."""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ser_jax.audio.containers.streams import Link, after_tags, damaged, truncated

_REVERSED = bytes(int(f'{i:08b}'[::-1], 2) for i in range(256))
# Capture pattern, version, flags, granule, serial, sequence, checksum, segments.
_HEAD = struct.Struct('<4sBBqIIIB')
_BEGINS, _ENDS = 2, 4


class _Page(NamedTuple):
    position: int
    end: int
    flags: int
    serial: int
    sequence: int


def links(content: bytes) -> list[Link]:
    """Return the links of an Ogg file, each a complete file of its own.

    Raises:
      Fault: a page is cut, changed, missing or out of order, or a stream has no last page.
    """
    starts, end = [0], 0
    last: dict[int, _Page] = {}  # latest page of each stream of this link
    for page in _pages(content):
        if page.flags & _BEGINS:
            if last and all(p.flags & _ENDS for p in last.values()):
                starts.append(page.position)
                last = {}
            elif page.serial in last or any(not p.flags & _BEGINS for p in last.values()):
                raise truncated('the stream before the one joined to it has no end')
        elif page.serial not in last:
            raise damaged(f'the first page of a stream is missing before byte {page.position}')
        elif page.sequence != last[page.serial].sequence + 1:
            raise damaged(f'pages are missing before byte {page.position}')
        last[page.serial], end = page, page.end
    if not all(p.flags & _ENDS for p in last.values()):
        raise truncated('the stream has no last page')
    if (starts, end) == ([0], len(content)):
        return [Link(content)]
    return [Link(content[a:b]) for a, b in zip(starts, [*starts[1:], end], strict=True)]


def codec(content: bytes) -> bytes:
    """Return the first bytes of the first packet, the codec's identification."""
    return content[28:36]


def _pages(content: bytes) -> Iterator[_Page]:
    position = 0
    while position < len(content):
        head = content[position : position + _HEAD.size]
        if head[:4] != b'OggS'[: len(head)] or not head:
            if (end := after_tags(content, position)) == len(content):
                return
            raise damaged(f'no page begins at byte {end}')
        if len(head) < _HEAD.size:
            raise truncated('its last page is cut')
        _, version, flags, _, serial, sequence, checksum, segments = _HEAD.unpack(head)
        body = position + _HEAD.size + segments
        end = body + sum(content[position + _HEAD.size : body])
        if end > len(content):
            raise truncated('its last page is cut')
        if version or checksum != _crc(
            content[position : position + 22] + bytes(4) + content[position + 26 : end]
        ):
            raise damaged(f'the page at byte {position} does not match its checksum')
        yield _Page(position, end, flags, serial, sequence)
        position = end


def _crc(page: bytes) -> int:
    """Return the CRC-32 with the most significant bit first, from zlib's with the least first."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f'{reflected:032b}'[::-1], 2)
