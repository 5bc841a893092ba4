"""Text files (reviews, transcripts, tables) in folders of any depth, in zips and in tars.

name = re.compile(r'(train|test)/(pos|neg)/\\d+_\\d+\\.txt$')
for document in text_files.collect(self, dl_manager, name, 'train/pos/0_9.txt'):
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
from ser_jax.corpora import audio_files, builder, labels, tables

TARS = ('.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz')
# cp1252 has curly quotes, dashes and the ellipsis at 0x80 to 0x9F, where Unicode has control
# characters that occur in no text.
_CURLY = {c: bytes([c]).decode('cp1252', 'replace') for c in range(0x80, 0xA0)}


@dataclasses.dataclass(frozen=True)
class Document:
    """One text file.

    Attributes:
      source: its path, `folder/file` or `archive.tar.gz:member`, with '/' on every system.
      match: match of the pattern searched for in `source`.
      content: its bytes, unchanged.
    """

    source: str
    match: re.Match
    content: bytes

    @property
    def text(self) -> str:
        """Content as text, see `decode`.

        Raises:
          InputError: the content is UTF-16.
        """
        if tables.is_utf16(self.content):
            raise InputError(f'{self.source} is UTF-16; save it as UTF-8')
        return decode(self.content)


def decode(content: bytes) -> str:
    r"""Decode UTF-8, with or without a byte order mark; bytes that are not UTF-8 are cp1252.

    cp1252 quotes that were stored as the control characters U+0080 to U+009F become quotes again:
    b'there\xc2\x92s' and b'there\x92s' both give there’s. One such byte does not change the
    decoding of the others.
    """
    return content.decode('utf-8-sig', 'ser_jax_latin_1').translate(_CURLY)


def _latin_1(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes that are not UTF-8 as cp1252; `decode` then replaces the control characters."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode('latin-1'), error.end


codecs.register_error('ser_jax_latin_1', _latin_1)


def documents(root: str | os.PathLike, name: re.Pattern) -> Iterator[Document]:
    """Iterate over files matching `name` in a zip, or in a folder and the zips and tars below it.

    `name` is searched for in the absolute source, so it can include the name of the folder and of
    those above it. Tars are read once, sequentially; hidden files are skipped.

    Raises:
      InputError: a file or an archive cannot be read (the message names it).
    """
    for parent, file_name in audio_files.walk(Path(root).absolute()):
        archive = parent if isinstance(parent, zipfile.ZipFile) else None
        folder = Path(str(archive.filename)).as_posix() if archive else str(parent)
        source = labels.printable(
            f'{folder}:{file_name}' if archive else Path(folder, file_name).as_posix()
        )
        try:
            if not archive and file_name.lower().endswith(TARS):
                yield from _tar_documents(Path(folder, file_name), name)
            elif match := name.search(source):
                content = (
                    audio_files.content(archive, file_name)
                    if archive
                    else Path(folder, file_name).read_bytes()
                )
                yield Document(source, match, content)
        except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error) as e:
            raise InputError(f'{source}: cannot be read ({e}); copy or download it again') from e


def collect(
    builder: builder.CorpusBuilder, dl_manager, name: re.Pattern, example: str, layout: str = ''
) -> list[Document]:
    """Return the documents of the user's folder, else of the builder's downloaded archives.

    It is the counterpart of `CorpusBuilder.audio` for texts.

    Args:
      name: pattern of the sources, see `documents`.
      example: a source that matches, for messages.
      layout: another layout that the builder reads, for messages.

    Raises:
      InputError: the given folder is missing, empty, or holds no such file; or no folder is given
        and the corpus cannot be downloaded.
    """
    folder = builder.manual_dir(dl_manager)
    if folder is not None and (found := list(documents(folder, name))):
        return found
    if folder is not None and builder._given_manual_dir is not None:
        raise InputError(
            f'--manual_dir={folder} holds no {builder.name} text; expected files like '
            f'{example}{layout} (at any depth, also in zips and tars), found '
            f'{audio_files.file_kinds(folder)}; give the folder that holds them'
        )
    target = builder.downloaded(dl_manager)[0].parent
    return list(documents(target, name))


def _tar_documents(path: Path, name: re.Pattern) -> Iterator[Document]:
    try:
        # As a stream, because every seek in a compressed file reads it from the start again.
        with tarfile.open(path, 'r|*') as archive:
            for member in archive:
                source = labels.printable(f'{path.as_posix()}:{member.name}')
                hidden = any(part.startswith('._') for part in member.name.split('/'))
                if not member.isfile() or hidden or not (match := name.search(source)):
                    continue
                if file := archive.extractfile(member):
                    yield Document(source, match, file.read())
    except (lzma.LZMAError, TypeError, ValueError) as e:  # bugs of tarfile on damaged headers
        raise tarfile.ReadError(str(e)) from e
