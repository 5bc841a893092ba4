"""Audio files in folders of any depth, and in zips without unpacking them."""

import collections
import contextlib
import dataclasses
import functools
import io
import lzma
import os
import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath, PurePosixPath

import numpy as np

from ser_jax.audio import wav
from ser_jax.contract import InputError


@dataclasses.dataclass(frozen=True)
class Audio:
    """One audio file.

    Attributes:
      stem: file name without suffix.
      source: location, `folder/file` or `archive.zip:member`.
      read: function that returns samples and rate; picklable, and callable on another machine with
        the same files.
      folders: the folders between the searched root and the file, outermost first.
    """

    stem: str
    source: str
    read: Callable[[], tuple[np.ndarray, int]]
    folders: tuple[str, ...] = ()


def audio_files(root: str | os.PathLike) -> list[Audio]:
    """Return all audio files under a folder, zips included, sorted by location.

    `root` may be a zip itself. Hidden files, files that macOS adds to archives and files that are
    not audio are left out.

    Raises:
      InputError: a zip or a folder cannot be read; the message names it.
    """
    root = Path(root)
    return sorted(
        (_audio(*found, root) for found in walk(root) if _is_audio(found[1])),
        key=lambda a: a.source,
    )


def other_files(root: str | os.PathLike) -> list[str]:
    """Return the locations of the files under a folder that are not audio, sorted."""
    found = [(parent, name) for parent, name in walk(Path(root)) if not _is_audio(name)]
    paths = (
        os.path.join(parent if isinstance(parent, Path) else str(parent.filename), name)
        for parent, name in found
    )
    return sorted(map(readable, paths))


def nested_zips(root: str | os.PathLike) -> list[str]:
    """Return the locations of zips inside other zips; these are not opened."""
    return [
        readable(f'{parent.filename}:{name}')
        for parent, name in walk(Path(root))
        if isinstance(parent, zipfile.ZipFile) and _is_zip(name)
    ]


def file_kinds(root: str | os.PathLike) -> str:
    """Return the kinds of files under a folder, for messages: '12 .mp4, 3 .txt', or 'nothing'."""
    kinds = collections.Counter(
        PurePosixPath(name).suffix.lower() or 'without suffix' for _, name in walk(Path(root))
    )
    found = ', '.join(f'{n} {readable(kind)}' for kind, n in kinds.most_common(5)) or 'nothing'
    if nested := nested_zips(root):
        found += f' ({nested[0]} is a zip within a zip: unpack the outer one)'
    return found


def walk(root: Path) -> Iterator[tuple[Path | zipfile.ZipFile, str]]:
    """Yield (folder or open zip, name inside it) of every file that is not hidden.

    Raises:
      InputError: a zip or a folder cannot be read; the message names it.
    """
    for path in files(root):
        if path == root or _is_zip(path.name):
            yield from _members(path)
        else:
            yield path.parent, path.name


def files(root: Path) -> Iterator[Path]:
    """Yield every file under a folder that is not hidden, or `root` if it is a file; open no zips.

    Raises:
      InputError: a folder cannot be read; the message names it.
    """
    if root.is_file():
        yield root
        return
    visited = set()
    # Actor folders are often links to another disk.
    for folder, folders, names in os.walk(root, onerror=_raise_unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(d for d in folders if not _is_hidden(d))
        yield from (Path(folder, name) for name in names if not _is_hidden(name))


def readable(name: str) -> str:
    """Return a name that can be printed and stored: bytes that are not UTF-8 become Latin-1."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return re.sub('[\udc80-\udcff]', lambda m: chr(ord(m[0]) - 0xDC00), name)


def content(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return the decompressed bytes of a member.

    Raises:
      wav.SoundError: the member is encrypted, damaged, or compressed by an unknown method.
    """
    source = readable(f'{archive.filename}:{name}')
    unpack = 'unpack the zip yourself and give the folder'
    try:
        if archive.getinfo(name).flag_bits & 1:
            raise wav.SoundError(source, 'undecodable', f'is encrypted; {unpack}')
        return archive.read(name)
    except NotImplementedError as e:
        raise wav.SoundError(source, 'undecodable', f'cannot be unpacked ({e}); {unpack}') from e
    except _DAMAGED as e:
        reason = f'cannot be unpacked ({e or type(e).__name__}); copy or download the zip again'
        raise wav.SoundError(source, 'undecodable', reason) from e


# Errors that zipfile and its decompressors raise for damaged bytes.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, ValueError,
    OverflowError, KeyError,
)  # fmt: skip


def _raise_unreadable(error: OSError) -> None:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return  # `root` does not exist: callers check that
    name = readable(error.filename)
    raise InputError(
        f'{name}: cannot be read ({error.strerror}); make it readable, or leave it out'
    )


def _is_hidden(name: str) -> bool:
    return name.startswith('.') or name == '__MACOSX'


def _is_zip(name: str) -> bool:
    return name.lower().endswith('.zip')


def _is_audio(name: str) -> bool:
    return name.lower().endswith(wav.SUFFIXES)


def _members(path: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    archive = _archive(str(path))
    for name in archive.namelist():
        parts = PurePosixPath(name).parts
        if parts and not name.endswith('/') and not any(map(_is_hidden, parts)):
            yield archive, name


def _archive(path: str) -> zipfile.ZipFile:
    """Return an open zip whose members have readable and unique names.

    Raises:
      InputError: it cannot be read.
    """
    try:
        stat = os.stat(path)
        return _opened(path, stat.st_size, stat.st_mtime_ns)
    except (NotImplementedError, *_DAMAGED) as e:
        reason = getattr(e, 'strerror', None) or e
        raise InputError(
            f'{readable(path)}: cannot be read as a zip ({reason}); download it again, or give the '
            'unpacked folder'
        ) from e


@functools.lru_cache(maxsize=8)
def _opened(path: str, size: int, mtime_ns: int) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(path)
    archive.NameToInfo.clear()
    for info in archive.infolist():
        name = _member_name(info)
        while name in archive.NameToInfo:
            name = f'./{name}'  # the same folder and stem, another key
        info.filename = name
        archive.NameToInfo[name] = info
    return archive


def _member_name(info: zipfile.ZipInfo) -> str:
    """Return the original name: some programs write \\ for /, or UTF-8 without its flag."""
    name = info.orig_filename.split('\0')[0]
    if not info.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            name = name.encode('cp437').decode('utf-8')
    return name.replace('\\', '/')


def _audio(parent: Path | zipfile.ZipFile, name: str, root: Path) -> Audio:
    inside: PurePath
    if isinstance(parent, Path):
        path = parent / name
        read, source = functools.partial(wav.read, path), str(path)
        folders = parent.relative_to(root).parts
        inside = path
    else:
        inside, outer = PurePosixPath(name), Path(str(parent.filename))
        read = functools.partial(_read_member, str(parent.filename), name)
        source = f'{parent.filename}:{name}'
        folders = () if outer == root else outer.parent.relative_to(root).parts
        folders = (*folders, *inside.parts[:-1])
    return Audio(normal(inside.stem), readable(source), read, tuple(map(normal, folders)))


def normal(name: str) -> str:
    """Return a readable name in the form NFC, since file systems and archives differ."""
    return unicodedata.normalize('NFC', readable(name))


def _read_member(path: str, name: str) -> tuple[np.ndarray, int]:
    return wav.read(io.BytesIO(content(_archive(path), name)), readable(f'{path}:{name}'))
