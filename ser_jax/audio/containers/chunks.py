"""Comparison of announced and actual lengths of wav, rf64, w64, aiff, caf, au and NIST files.

Headers of streams with unknown length, of recorders that did not update it and of files joined by
`cat` are rewritten, so that a decoder reads all samples. A file that is shorter than its header
announces is truncated.
"""

import re
import struct

from ser_jax.audio.containers import headers
from ser_jax.audio.containers.streams import (
    SLACK_BYTES,
    Fault,
    Link,
    after_tags,
    damaged,
    truncated,
)

_STARTS = re.compile(
    rb'RIF[FX].{4}WAVE|RF64.{4}WAVE|riff.{12}.{8}wave|FORM.{4}AIF[FC]|caff\x00\x01|'
    rb'\.snd\x00\x00|dns\..\x00\x00\x00',
    re.DOTALL,
)
_METADATA = re.compile(
    rb'LIST|bext|_PMX|iXML|fact|cue |smpl|junk|JUNK|PAD |FLLR|inst|plst|acid|afsp|DISP|axml|'
    rb'chna|cart|umid|PEAK|[iI][dD]3 |minf|elm1|regn|levl|strc|r64m|NAME|AUTH|\(c\) |ANNO|COMT|'
    rb'APPL|MARK|INST|MIDI|AESD|info|strg|free|mark|uuid|pakt|kuki|chan'
)


def is_chunked(content: bytes) -> bool:
    """Return True for the containers of this module."""
    return bool(_STARTS.match(content)) or content.startswith((b'NIST_1A', b'.snd', b'dns.'))


def links(content: bytes) -> list[Link]:
    """Return the streams of a file, each with a header that has the actual length.

    Raises:
      Fault: samples are missing, or the header contradicts itself.
    """
    found: list[Link] = []
    position = 0
    while position < len(content):
        part = content[position:] if position else content
        if not is_chunked(part):
            raise damaged(f'no header begins at byte {position}')
        try:
            sound, form = headers.read(part)
        except struct.error as e:
            raise truncated('its header is cut') from e
        if sound is None:
            if form:
                raise truncated('it has no chunk of samples')
            return [*found, Link(part)]
        end, last, following = _extent(part, sound, form)
        found.append(_link(part, sound, end, last))
        position += following
    return found


def _extent(
    content: bytes, sound: headers.Header, form: headers.Format | None
) -> tuple[int, int, int]:
    """Return the ends of the samples, of the chunks after them and of the tags after these."""
    length = len(content)
    if sound.size is None or (form and not sound.size and length - sound.start > 8):
        if form and sound.size == 0 and (tail := _tail(content, sound.start, form)):
            return sound.start, *tail
        return _up_to_next(content, sound.start)
    end = sound.start + sound.size
    if end > length:
        # Some writers include the header in the size of the data; then the outer size is right.
        if sound.whole and end - length <= SLACK_BYTES:
            return length, length, length
        raise truncated(f'{end - length} bytes of sound are missing')
    for position in dict.fromkeys((end + sound.size % 2, end)) if form else (end,):
        if tail := _tail(content, position, form):
            return end, *tail
    if not sound.fields:
        raise Fault(
            'truncated',
            'its header announces fewer samples than follow; write it again, e.g. as wav',
        )
    return _up_to_next(content, end)


def _up_to_next(content: bytes, position: int) -> tuple[int, int, int]:
    """Return ends as in `_extent` for samples that go on to the next stream's header."""
    following = _STARTS.search(content, position)
    end = following.start() if following else len(content)
    return end, end, end


def _tail(content: bytes, position: int, form: headers.Format | None) -> tuple[int, int] | None:
    """Return the ends of chunks and of tags and padding from a position on; None for samples."""
    last = position
    while True:
        position = after_tags(content, position)
        if _STARTS.match(content, position):
            return last, position
        if len(content) - position <= SLACK_BYTES:
            return (len(content) if position == last else last), len(content)
        if form is None or (chunk := next(headers.chunks(content, position, form), None)) is None:
            return None
        if not chunk.id[:4].isascii() or not chunk.id[:4].decode().isprintable():
            return None
        if chunk.end > len(content):  # metadata that was cut
            return (len(content), len(content)) if _METADATA.match(chunk.id) else None
        position = last = chunk.end + -chunk.size % form.align


def _link(content: bytes, sound: headers.Header, end: int, last: int) -> Link:
    size = end - sound.start
    frames = size // sound.block * sound.frames if sound.block else 0
    least = max(sound.least, frames - sound.frames + 1)  # the last block may be partly filled
    content = content if last >= len(content) else content[:last]
    if size == sound.size or (sound.size and end < sound.start + sound.size):
        return Link(content, least)
    changed = bytearray(content)
    for position, layout, extra in sound.fields:
        most = (1 << 8 * struct.calcsize(layout) - layout[-1].islower()) - 1
        struct.pack_into(layout, changed, position, min(size + extra, most))
    for position, layout in sound.counts:
        struct.pack_into(layout, changed, position, min(frames, 0xFFFFFFFF))
    return Link(bytes(changed), least)
