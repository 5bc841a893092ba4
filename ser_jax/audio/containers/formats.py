"""Dispatch from the bytes of a file to the module that checks its container."""

from ser_jax.audio.containers import chunks, flac, headers, mpeg, ogg
from ser_jax.audio.containers.streams import Link, id3v2_bytes

_CAF_CODECS = (b'lpcm', b'ulaw', b'alaw', b'alac')  # decoded by libsndfile


def links(content: bytes) -> list[Link]:
    """Return the streams of a file that libsndfile decodes, in order.

    Raises:
      Fault: a part of the file is missing or damaged.
    """
    if chunks.is_chunked(content):
        frames = headers.mpeg_in_wave(content)
        return mpeg.links(frames) if frames else chunks.links(content)
    if content[:4] == b'OggS':
        return ogg.links(content)
    start = id3v2_bytes(content, 0)
    if content[start : start + 4] == b'fLaC':
        return flac.links(content)
    if start or mpeg.frame(bytes(content[:4])):
        return mpeg.links(content)
    return [Link(content)]


def foreign(content: bytes) -> str:
    """Return the container's name if FFmpeg decodes its codec and libsndfile does not, else ''."""
    if content[:4] == b'caff' and headers.codec(content) not in _CAF_CODECS:
        return 'caf'
    if content[:4] == b'OggS' and ogg.codec(content).startswith(b'Speex'):
        return 'ogg'
    return ''
