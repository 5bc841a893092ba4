"""Structure of recordings from phones and browsers: mp4, webm, 3gp, amr, aac, wma.

This module reads only the heads of elements, to detect truncated and joined files: PyAV, which
decodes them (`ser_jax.audio.containers.media`), reports no error for a truncated file.
"""

import struct

from ser_jax.audio.containers.streams import Fault, after_tags, damaged, truncated

_EBML = b'\x1a\x45\xdf\xa3'
_ASF = bytes.fromhex('3026b2758e66cf11a6d900aa0062ce6c')
_MP4 = (b'ftyp', b'moov', b'mdat', b'wide', b'free', b'skip', b'pnot')
_ALL_BOXES = (
    *_MP4, b'moof', b'mfra', b'sidx', b'ssix', b'styp', b'uuid', b'meta', b'udta', b'emsg', b'prft',
    b'pdin',
)  # fmt: skip
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ELEMENTS = {  # children of a Segment and of a Cluster
    _SEGMENT, _CLUSTER, 0x1A45DFA3, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1254C367,
    0x1043A770, 0x1941A469, 0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xAB, 0xA7, 0x5854, 0xAF,
}  # fmt: skip
_AMR = {
    b'#!AMR\n': (13, 14, 16, 18, 20, 21, 27, 32, 6, 7, 6, 6, 1, 1, 1, 1),
    b'#!AMR-WB\n': (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 6, 6, 6, 6, 1, 1),
}


def kind(content: bytes) -> str:
    """Return the common name of the container; '' if this module does not handle it."""
    head = bytes(content[:16])
    if head[4:8] in _MP4:
        return 'mp4'
    if head[:4] == _EBML:
        return 'webm'
    if head == _ASF:
        return 'wma'
    if head.startswith(tuple(_AMR)):
        return 'amr'
    return 'aac' if _is_adts(content, after_tags(content, 0)) else ''


def parts(content: bytes, container: str) -> list[bytes]:
    """Split a file into the files joined in it, usually one.

    Raises:
      Fault: the file ends within an element, lacks one, or has bytes outside of elements.
    """
    readers = {'mp4': _boxes, 'webm': _elements, 'wma': _objects, 'amr': _frames, 'aac': _adts}
    starts = readers[container](content)
    if len(starts) == 1:
        return [content]
    return [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]


def _boxes(content: bytes) -> list[int]:
    starts, position = [0], 0
    names: list[bytes] = []
    while position < len(content):
        if after_tags(content, position) == len(content):
            break
        head = content[position : position + 16]
        if len(head) < 8:
            raise truncated('its last box is cut')
        size, name = struct.unpack_from('>I4s', head)
        if name not in _ALL_BOXES:
            raise damaged(f'no box begins at byte {position}')
        if name == b'ftyp' and names:
            _check_complete(names)
            starts.append(position)
            names = []
        if size == 1:
            size = int.from_bytes(head[8:16], 'big')
        elif not size:
            size = len(content) - position
        if position + size > len(content):
            raise truncated(
                f'{position + size - len(content)} bytes of its {name.decode()} box are missing'
            )
        if size < 8:
            raise damaged(f'no box begins at byte {position}')
        names.append(name)
        position += size
    _check_complete(names)
    return starts


def _check_complete(names: list[bytes]) -> None:
    order = [n for n in names if n in (b'moov', b'moof', b'mdat')]
    if b'moov' not in order:
        raise truncated('its index (moov) is missing')
    if b'mdat' not in order or order[-1] == b'moof':
        raise truncated('its samples (mdat) are missing')


def _elements(content: bytes) -> list[int]:
    starts, position, outer = [], 0, 0
    while position < len(content):
        if after_tags(content, position) == len(content):
            break
        name, body = _vint(content, position, keep=True)
        size, body = _vint(content, body) if body else (None, 0)
        if not body:
            raise truncated('its last element is cut')
        if name not in _ELEMENTS:
            raise damaged(f'no element begins at byte {position}')
        if name == 0x1A45DFA3:
            if position < outer:
                raise truncated(
                    f'{outer - position} bytes before the file joined to it are missing'
                )
            starts.append(position)
        if size is not None and body + size > len(content):
            raise truncated(f'{body + size - len(content)} bytes are missing')
        if name == _SEGMENT and size is not None:
            outer = body + size
        position = body if name in (_SEGMENT, _CLUSTER) else body + (size or 0)
    if len(content) < outer or not starts:
        raise truncated(f'{outer - len(content)} bytes are missing')
    return starts


def _vint(content: bytes, position: int, keep: bool = False) -> tuple[int | None, int]:
    """Return a Matroska integer (None if unknown) and the position after it (0 if it is cut)."""
    first = content[position] if position < len(content) else 0
    length = 9 - first.bit_length()
    if length > 8 or position + length > len(content):
        return None, 0
    value = int.from_bytes(content[position : position + length], 'big')
    if keep:
        return value, position + length
    value &= (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), position + length


def _objects(content: bytes) -> list[int]:
    starts, position, has_data = [], 0, True
    while position < len(content):
        if len(content) - position < 24 or after_tags(content, position) == len(content):
            if content[position:].strip(b'\0'):
                raise truncated('its last object is cut')
            break
        name, size = struct.unpack_from('<16sQ', content, position)
        if name == _ASF:
            starts.append(position)
            has_data = False
        has_data |= name == bytes.fromhex('3626b2758e66cf11a6d900aa0062ce6c')
        if size < 24:
            raise damaged(f'no object begins at byte {position}')
        if position + size > len(content):
            raise truncated(f'{position + size - len(content)} bytes are missing')
        position += size
    if not has_data:
        raise truncated('its samples are missing')
    return starts


def _frames(content: bytes) -> list[int]:
    starts, position = [], 0
    sizes: tuple[int, ...] = ()
    while position < len(content):
        magic = next((m for m in _AMR if content[position : position + len(m)] == m), None)
        if magic:
            starts.append(position)
            position, sizes = position + len(magic), _AMR[magic]
            continue
        if content[position] & 0x83:
            raise damaged(f'no frame begins at byte {position}')
        position += sizes[content[position] >> 3 & 15]
    if position > len(content):
        raise truncated('its last frame is cut')
    return starts


def _is_adts(content: bytes, position: int) -> bool:
    head = content[position : position + 2]
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


def _adts(content: bytes) -> list[int]:
    position = after_tags(content, 0)
    while (position := after_tags(content, position)) < len(content):
        if not _is_adts(content, position):
            if len(content) - position < 2:
                raise truncated('its last frame is cut')
            raise damaged(f'no frame begins at byte {position}')
        size = 7
        if position + 6 <= len(content):
            size = (
                (content[position + 3] & 3) << 11
                | content[position + 4] << 3
                | content[position + 5] >> 5
            )
        if size < 7:
            raise damaged(f'no frame begins at byte {position}')
        if position + size > len(content):
            raise truncated('its last frame is cut')
        position += size
    return [0]


def unsupported(reason: str) -> Fault:
    """Return the fault of a complete file that cannot be decoded."""
    return Fault('undecodable', f'cannot be decoded ({reason})')
