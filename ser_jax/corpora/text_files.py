"""Text files wherever they lie: reviews, transcripts and tables, in folders of any depth, in zips and in tars.

for document in documents.of(self, dl_manager, re.compile(r'(train|test)/(pos|neg)/\\d+_\\d+\\.txt$'), 'train/pos/0_9.txt'):
    split, polarity = document.match.groups()
"""

import codecs
import dataclasses
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ser_jax.contract import InputError
from ser_jax.corpora import audio_files, builder, download, labels, tables

TARS = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz')
# What cp1252 has at 0x80 to 0x9F, where Unicode has controls that no text holds: curly quotes, dashes, the ellipsis.
_CURLY = {c: bytes([c]).decode('cp1252', 'replace') for c in range(0x80, 0xA0)}


@dataclasses.dataclass(frozen=True)
class Document:
    """One text file.

    Attributes:
      source: where it is, `folder/file` or `archive.tar.gz:member`, with '/' on every system.
      match: how its source matched what was looked for.
      content: its bytes, as they are.
    """

    source: str
    match: re.Match
    content: bytes

    @property
    def text(self) -> str:
        """The content as text, see `decode`.

        Raises:
          InputError: it is UTF-16.
        """
        if tables.is_utf16(self.content):
            raise InputError(f'{self.source} is UTF-16; save it as UTF-8')
        return decode(self.content)


def decode(content: bytes) -> str:
    r"""Bytes as text: UTF-8 with or without a byte order mark, and cp1252 where a byte is no UTF-8.

    Curly quotes that were once cp1252 and were then stored as the controls U+0080 to U+009F come back as quotes:
    b'there\xc2\x92s' and b'there\x92s' are both there’s. One such byte does not change how the others
    are read.
    """
    return content.decode('utf-8-sig', 'ser_jax_latin_1').translate(_CURLY)


def _latin_1(error: UnicodeDecodeError) -> tuple[str, int]:
    """Decode bytes that are not UTF-8 as cp1252, except the controls, which `decode` replaces."""
    return error.object[error.start : error.end].decode('latin-1'), error.end


codecs.register_error('ser_jax_latin_1', _latin_1)


def documents(root: str | os.PathLike, name: re.Pattern) -> Iterator[Document]:
    """Every file under a folder, or in a zip, whose source `name` finds, in and out of zips and tars.

    The source is absolute, so that a folder's own name and those above it can be part of what `name` asks for. Tars are
    read once, from front to end; hidden files are passed over.

    Raises:
      InputError: a file or an archive cannot be read (named).
    """
    for place, inside in audio_files.walk(Path(root).absolute()):
        path = place / inside if isinstance(place, Path) else None
        source = labels.printable(path.as_posix() if path else f'{Path(place.filename).as_posix()}:{inside}')
        try:
            if path and inside.lower().endswith(TARS):
                yield from _of_tar(path, name)
            elif match := name.search(source):
                yield Document(source, match, path.read_bytes() if path else audio_files.content(place, inside))
        except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as e:
            raise InputError(f'{source}: cannot be read ({e}); copy or download it again') from e


def collect(
    builder: builder.CorpusBuilder, dl_manager, name: re.Pattern, example: str, otherwise: str = ''
) -> list[Document]:
    """The documents of the user's folder, else of the builder's downloaded archives: `CorpusBuilder.audio` for texts.

    Args:
      name, example: what is looked for, see `documents`, and how it looks, for messages.
      otherwise: another layout that the builder reads, for messages.

    Raises:
      InputError: a given folder is missing, empty, or holds no such file; nothing is given nor can be downloaded.
    """
    folder = builder.manual_dir(dl_manager)
    if folder is not None and (found := list(documents(folder, name))):
        return found
    if folder is not None and builder._given_manual_dir is not None:
        raise InputError(
            f'--manual_dir={folder} holds no {builder.name} text: looked for files like {example}{otherwise} (at any '
            f'depth, in zips and tars too), found {audio_files.seen(folder)}; give the folder that holds them'
        )
    if not builder.ARCHIVES:
        raise InputError(f'{builder.name} cannot be downloaded; {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}')
    target = Path(dl_manager.download_dir) / builder.name
    for archive in builder.ARCHIVES:
        download.fetch(archive, target, builder.MANUAL_DOWNLOAD_INSTRUCTIONS)
    return list(documents(target, name))


def _of_tar(path: Path, name: re.Pattern) -> Iterator[Document]:
    try:
        # A stream: seeking in a compressed file reads it again and again.
        with tarfile.open(path, 'r|*') as archive:
            for member in archive:
                source = labels.printable(f'{path.as_posix()}:{member.name}')
                hidden = any(part.startswith('._') for part in member.name.split('/'))
                if member.isfile() and not hidden and (match := name.search(source)):
                    yield Document(source, match, archive.extractfile(member).read())
    except (lzma.LZMAError, TypeError, ValueError) as e:  # tarfile's own slips on damaged headers
        raise tarfile.ReadError(str(e)) from e
