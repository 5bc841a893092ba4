"""FLAC files: joined streams, announced lengths, checksums of the decoded samples (RFC 9639)."""

import hashlib
import re

import numpy as np

from ser_jax.audio.containers.streams import Link, id3v2_bytes

# The marker and the head of STREAMINFO, always 34 bytes.
_START = re.compile(rb'fLaC[\x00\x80]\x00\x00\x22')
_TOTAL = 21  # offset of the byte whose lower half begins the 36-bit number of samples


def links(content: bytes) -> list[Link]:
    """Return the streams of a FLAC file or of several joined ones."""
    starts = [m.start() for m in _START.finditer(content, id3v2_bytes(content, 0))]
    if not starts:
        return [Link(content)]
    if len(starts) == 1:
        return [_link(content, starts[0])]
    ends = [*starts[1:], len(content)]
    return [_link(content[start:end], 0) for start, end in zip(starts, ends, strict=True)]


def _link(content: bytes, position: int) -> Link:
    total = int.from_bytes(content[position + _TOTAL : position + _TOTAL + 5], 'big') & 0xFFFFFFFFF
    md5 = content[position + 26 : position + 42]
    if any(md5):
        return Link(content, total, md5=md5)
    return Link(_without_total(content, position) if total else content, total)


def _without_total(content: bytes, position: int) -> bytes:
    """Return the stream with its length set to unknown, so that a decoder reads to its end."""
    total = bytes([content[position + _TOTAL] & 0xF0, 0, 0, 0, 0])
    return content[: position + _TOTAL] + total + content[position + _TOTAL + 5 :]


def matches(samples: np.ndarray, subtype: str, md5: bytes) -> bool:
    """Return True if the MD5 of decoded samples in [-1, 1] is that of the encoder."""
    bits = {'PCM_S8': 8, 'PCM_16': 16, 'PCM_24': 24}.get(subtype)
    if not bits:
        return True
    if samples.dtype == np.int16:
        packed = np.ascontiguousarray(samples, '<i2')
    else:
        whole = np.ascontiguousarray(samples * np.float32(1 << (bits - 1))).astype('<i4')
        packed = np.ascontiguousarray(whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8])
    return hashlib.md5(packed.data, usedforsecurity=False).digest() == md5
