"""Headers of wav, rf64, w64, aiff, caf, au and NIST files, and the lengths they announce."""

import re
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ser_jax.audio.containers.streams import SLACK_BYTES, damaged, truncated

# 32-bit sizes from this on, and 0, mean unknown length, as written to a pipe.
_STREAMED_BYTES = 0x7FFFF000
_LONG = 1 << 62  # 64-bit sizes from this on mean unknown length
_AIFF_PLAIN = (
    b'NONE', b'sowt', b'twos', b'raw ', b'fl32', b'FL32', b'fl64', b'FL64', b'in24', b'in32',
)  # fmt: skip
_AIFF_BLOCKS = {b'GSM ': (33, 160), b'ima4': (34, 64)}  # bytes and frames


class Format(NamedTuple):
    """Layout of the head of a chunk.

    Attributes:
      head: struct of the chunk's id and size.
      counts_itself: True if the size includes the head.
      align: the content is padded to a multiple of this many bytes.
    """

    head: struct.Struct
    counts_itself: bool = False
    align: int = 2


_LITTLE, _BIG = Format(struct.Struct('<4sI')), Format(struct.Struct('>4sI'))
_WIDE = Format(struct.Struct('<16sQ'), True, 8)
_CORE = Format(struct.Struct('>4sq'), align=1)


class Chunk(NamedTuple):
    """Chunk of a file."""

    id: bytes
    start: int  # position of its content
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


class Header(NamedTuple):
    """Description of the samples of one stream in its header.

    Attributes:
      start: position of the first sample.
      size: announced bytes from there; None if unknown.
      fields: (position, format, bytes to add to the size of the samples) of each size to rewrite.
      block: bytes of a block; 0 if unknown.
      frames: frames in a block.
      counts: (position, format) of each number of frames to rewrite.
      whole: True if the file is at least as long as the outer size of the header.
      least: announced number of frames, if the header has one.
    """

    start: int
    size: int | None
    fields: list[tuple[int, str, int]]
    block: int = 0
    frames: int = 1
    counts: Sequence[tuple[int, str]] = ()
    whole: bool = False
    least: int = 0


def read(content: bytes) -> tuple[Header | None, Format | None]:
    """Return the header (None without samples) and the format of the chunks, if it has chunks."""
    magic = content[:4]
    if magic in (b'RIFF', b'RF64'):
        return _riff(content, _LITTLE, '<'), _LITTLE
    if magic == b'RIFX':
        return _riff(content, _BIG, '>'), _BIG
    if magic == b'riff':
        return _w64(content), _WIDE
    if magic == b'FORM':
        return _aiff(content), _BIG
    if magic == b'caff':
        return _caf(content), _CORE
    return (_nist(content) if magic == b'NIST' else _au(content)), None


def chunks(content: bytes, position: int, form: Format) -> Iterator[Chunk]:
    """Yield the chunks from a position on, including a last one that is cut."""
    while position + form.head.size <= len(content):
        name, size = form.head.unpack_from(content, position)
        position += form.head.size
        size -= form.head.size if form.counts_itself else 0
        yield Chunk(name, position, size)
        if size < 0:
            return
        position += size + -size % form.align


def _riff(content: bytes, form: Format, order: str) -> Header | None:
    long_size = layout = None
    for chunk in chunks(content, 12, form):
        if chunk.id == b'ds64' and chunk.size >= 24:
            long_size = chunk.start
        elif chunk.id == b'fmt ' and chunk.size >= 16:
            layout = _wave_layout(content, chunk, order)
        elif chunk.id == b'data':
            break
    else:
        return None
    outer, start = struct.unpack_from(f'{order}I', content, 4)[0], chunk.start
    size: int | None = chunk.size
    fields = [(4, f'{order}I', start - 8), (start - 4, f'{order}I', 0)]
    counts, available = [], len(content) - start
    if long_size and content[:4] == b'RF64':
        fields = [(long_size, '<Q', start - 8), (long_size + 8, '<Q', 0)]
        counts = [(long_size + 16, '<Q')]
        if size == 0xFFFFFFFF:
            outer, size = struct.unpack_from('<QQ', content, long_size)
            if not size or size >= _LONG or (size >= 0xFFFFFFFF and size > available):
                size = None
        else:
            fields.append((start - 4, '<I', 0))
    if size is not None and size >= _STREAMED_BYTES and size > available:
        size = None
    return Header(start, size, fields, *(layout or (0, 1)), counts, outer + 8 <= len(content))


def _wave_layout(content: bytes, chunk: Chunk, order: str) -> tuple[int, int]:
    """Return bytes and frames of a block; (0, 1) if they are unknown."""
    tag, channels, _, _, align, bits = struct.unpack_from(f'{order}HHIIHH', content, chunk.start)
    if tag == 0xFFFE and chunk.size >= 26:
        tag = struct.unpack_from(f'{order}H', content, chunk.start + 24)[0]
    if tag in (1, 3, 6, 7) and align:
        if align != channels * -(-bits // 8):
            raise damaged(f'its header has {channels} channels of {bits} bits in {align} bytes')
        return align, 1
    if tag in (2, 0x11, 0x31) and chunk.size >= 20:
        return align, struct.unpack_from(f'{order}H', content, chunk.start + 18)[0]
    return 0, 1


def _w64(content: bytes) -> Header | None:
    layout = (0, 1)
    for chunk in chunks(content, 40, _WIDE):
        if chunk.id[:4] == b'fmt ' and chunk.size >= 16:
            layout = _wave_layout(content, chunk, '<')
        elif chunk.id[:4] == b'data':
            fields = [(16, '<Q', chunk.start), (chunk.start - 8, '<Q', 24)]
            size = None if chunk.size < 0 or chunk.size >= _LONG else chunk.size
            return Header(chunk.start, size, fields, *layout)
    return None


def _aiff(content: bytes) -> Header | None:
    block, count, count_position, packing = 0, 0, 0, (0, 1)
    for chunk in chunks(content, 12, _BIG):
        if chunk.id == b'COMM' and chunk.size >= 18:
            channels, count, width = struct.unpack_from('>hIh', content, chunk.start)
            if channels < 1 or width < 1:
                raise damaged(f'its header announces {channels} channels of {width} bits')
            packed = b''
            if content[8:12] == b'AIFC':
                packed = bytes(content[chunk.start + 18 : chunk.start + 22])
            narrow = packed in (b'ulaw', b'alaw', b'ULAW', b'ALAW')
            plain = not packed or packed in _AIFF_PLAIN
            block = channels * (1 if narrow else -(-width // 8) if plain else 0)
            packing = _AIFF_BLOCKS.get(packed, (0, 1))
            count_position = chunk.start + 2
        elif chunk.id == b'SSND':
            offset = struct.unpack_from('>I', content, chunk.start)[0] if chunk.size >= 8 else 0
            start = chunk.start + 8 + offset
            streamed = chunk.size >= _STREAMED_BYTES or not chunk.size
            size = None if streamed else max(0, chunk.end - start)
            is_last = chunk.end >= len(content) - SLACK_BYTES
            if block and size is not None and count * block > size and is_last:
                raise truncated(f'{count * block - size} bytes of sound are missing')
            fields = [(4, '>I', start - 8), (chunk.start - 4, '>I', start - chunk.start)]
            layout = (block, 1) if block else packing
            return Header(start, size, fields, *layout, [(count_position, '>I')] if block else [])
    return None


def _caf(content: bytes) -> Header | None:
    found = {c.id: c for c in chunks(content, 8, _CORE)}
    desc, data, table = (found.get(name) for name in (b'desc', b'data', b'pakt'))
    if not desc or not data:
        return None
    block, frames = struct.unpack_from(
        '>II', content.ljust(desc.start + 24, b'\0'), desc.start + 16
    )
    least = 0
    if table and table.start + 16 <= len(content):
        least = max(0, struct.unpack_from('>q', content, table.start + 8)[0])
    size = None if data.size < 4 else data.size - 4  # without the number of edits before them
    return Header(
        data.start + 4, size, [(data.start - 8, '>q', 4)], block, frames or 1, least=least
    )


def _au(content: bytes) -> Header:
    order = '>' if content[:1] == b'.' else '<'
    start, size, encoding, _, channels = struct.unpack_from(f'{order}5I', content, 4)
    if start > len(content):
        raise truncated('its header is cut')
    width = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}.get(encoding, 0)
    unknown = size >= _STREAMED_BYTES or not size
    return Header(start, None if unknown else size, [(8, f'{order}I', 0)], width * channels)


def _nist(content: bytes) -> Header | None:
    head = bytes(content[:4096]).split(b'end_head')[0]
    fields = dict(re.findall(rb'^(\w+) -i (\d+)\s*$', head, re.MULTILINE))
    start = re.match(rb'NIST_1A\n\s*(\d+)\n', head)
    names = (b'sample_count', b'sample_n_bytes', b'channel_count')
    if not start or names[0] not in fields or names[1] not in fields:
        return None
    block = int(fields[names[1]]) * int(fields.get(names[2], 1))
    size = int(fields[names[0]]) * block
    return Header(int(start[1]), size, [], block)


def mpeg_in_wave(content: bytes) -> bytes:
    """Return the frames of MPEG audio after a wav header; b'' for other files."""
    tag = b''
    for chunk in chunks(content, 12, _LITTLE) if content[:4] == b'RIFF' else ():
        if chunk.id == b'fmt ':
            tag = content[chunk.start : chunk.start + 2]
        elif chunk.id == b'data' and tag in (b'\x50\0', b'\x55\0'):
            if chunk.end > len(content) and chunk.size < _STREAMED_BYTES:
                raise truncated(f'{chunk.end - len(content)} bytes of sound are missing')
            return content[chunk.start : chunk.end]
    return b''


def codec(content: bytes) -> bytes:
    """Return the codec of a CAF file; b'' if it has none."""
    desc = next((c for c in chunks(content, 8, _CORE) if c.id == b'desc'), None)
    return bytes(content[desc.start + 8 : desc.start + 12]) if desc else b''
