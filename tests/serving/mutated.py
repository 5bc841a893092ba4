"""Files with damaged headers, drawn from a generator with a fixed seed."""

import random

FORMATS = ('wav', 'flac', 'ogg', 'mp3', 'm4a', 'webm', 'aiff', 'opus', 'wav_float', 'mp4_fragments')
_HEAD = 256  # bytes of the beginning in which most headers end
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)


def file(content: bytes, choose: random.Random) -> bytes:
    """Return a file with one to eight changes, most of them in its header."""
    changed = bytearray(content)
    for _ in range(choose.choice((1, 1, 2, 4, 8))):
        area = len(changed) if choose.random() < 0.15 else min(_HEAD, len(changed))
        at = choose.randrange(max(1, area))
        _change(changed, at, choose)
    return bytes(changed)


def _change(changed: bytearray, at: int, choose: random.Random) -> None:
    """Change the bytes at a position."""
    kind, size = choose.randrange(7), choose.choice((1, 2, 4, 8))
    if kind == 0:
        changed[at : at + size] = choose.randbytes(size)
    elif kind == 1:
        changed[at : at + size] = bytes([choose.choice(_EXTREMES)]) * size
    elif kind == 2 and at < len(changed):
        changed[at] ^= 1 << choose.randrange(8)
    elif kind == 3:
        del changed[at : at + size]
    elif kind == 4:
        changed[at:at] = choose.randbytes(size)
    elif kind == 5:
        number = choose.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, choose.getrandbits(32)))
        changed[at : at + 4] = number.to_bytes(4, choose.choice(('big', 'little')))
    elif choose.random() < 0.2:
        del changed[at:]
