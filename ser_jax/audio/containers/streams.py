"""Shared parts of the container modules: decodable streams, faults of files, trailing tags."""

from collections.abc import Callable
from typing import NamedTuple

SLACK_BYTES = 64  # fewer trailing bytes are no header and less than a millisecond of audio


class Fault(Exception):
    """Error of a file that cannot be fully decoded. `kind`: truncated | undecodable | empty."""

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind, self.reason = kind, reason


class Link(NamedTuple):
    """Stream of a file, decodable on its own; files joined by `cat` have several.

    Attributes:
      content: a complete file in memory.
      frames: minimum number of frames that decoding must yield.
      counted: returns `content` with the counted number of frames in its header, for decoders
        that rely on it; None if the format has no such header.
      lag: samples of the decoder's delay that it removes at the beginning of `counted()`.
      md5: checksum of the decoded integers, if the file has one.
    """

    content: bytes
    frames: int = 0
    counted: Callable[[], bytes] | None = None
    lag: int = 0
    md5: bytes = b''


def truncated(missing: str) -> Fault:
    """Return the fault of a file that ends too early."""
    return Fault('truncated', f'truncated, {missing}; copy or download it again')


def damaged(detail: str) -> Fault:
    """Return the fault of a file whose bytes were changed or lost."""
    return Fault('undecodable', f'damaged, {detail}; copy or download it again')


def id3v2_bytes(content: bytes, position: int) -> int:
    """Return the length of the ID3v2 tag at a position, 0 if there is none."""
    head = content[position : position + 10]
    if len(head) < 10 or head[:3] != b'ID3' or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def tag_bytes(content: bytes, position: int) -> int:
    """Return the size of the tag (ID3v1, ID3v2, APE, Lyrics3) at a position, also if cut, or 0."""
    if size := id3v2_bytes(content, position):
        return min(size, len(content) - position)
    head = content[position : position + 32]
    if head[:3] == b'TAG':
        return min(227 if head[3:4] == b'+' else 128, len(content) - position)
    if head[:8] == b'APETAGEX' and len(head) >= 24:
        is_header = head[23] & 0x20
        size = int.from_bytes(head[12:16], 'little') if is_header else 0
        return min(32 + size, len(content) - position)
    if head[:11] == b'LYRICSBEGIN':
        end = max(content.find(b'LYRICS200', position), content.find(b'LYRICSEND', position))
        return end + 9 - position if end >= 0 else 0
    return 0


def padding_bytes(content: bytes, position: int) -> int:
    """Return the number of zero bytes from a position on."""
    step = 1 << 16
    for start in range(position, len(content), step):
        block = content[start : min(start + step, len(content))]
        if rest := block.lstrip(b'\0'):
            return start + len(block) - len(rest) - position
    return len(content) - position


def after_tags(content: bytes, position: int) -> int:
    """Return the position after the tags and zeros that begin at `position`."""
    while position < len(content) and (
        size := tag_bytes(content, position) or padding_bytes(content, position)
    ):
        position += size
    return position
