"""Sound files wherever they lie: in folders of any depth, and inside zips without unpacking them."""

import collections
import dataclasses
import functools
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from ser_jax.audio import wav
from ser_jax.contract import InputError


@dataclasses.dataclass(frozen=True)
class Audio:
    """One sound file.

    Attributes:
      stem: its name without suffix.
      source: where it is, `folder/file` or `archive.zip:member`.
      read: returns its samples and rate; can be pickled and called on another machine that sees the same files.
      folders: the folders between the root that was searched and the file, outermost first.
    """

    stem: str
    source: str
    read: Callable[[], tuple[np.ndarray, int]]
    folders: tuple[str, ...] = ()


def audio_files(root: str | os.PathLike) -> list[Audio]:
    """All sound files under a folder, in or out of zips, sorted by where they are.

    `root` may be a zip itself. Hidden files and what macOS adds to archives are passed over, as is everything that is
    not sound.

    Raises:
      InputError: a zip cannot be read (named).
    """
    root = Path(root)
    return sorted((_audio(*found, root) for found in walk(root) if _is_audio(found[1])), key=lambda a: a.source)


def strangers(root: str | os.PathLike) -> list[str]:
    """Where the files under a folder are that are no sound, sorted."""
    place = lambda at: str(at) if isinstance(at, Path) else at.filename
    return sorted(os.path.join(place(at), name) for at, name in walk(Path(root)) if not _is_audio(name))


def seen(root: str | os.PathLike) -> str:
    """What lies under a folder, for messages: '12 .mp4, 3 .txt', or 'nothing'."""
    kinds = collections.Counter(PurePosixPath(name).suffix.lower() or 'without suffix' for _, name in walk(Path(root)))
    return ', '.join(f'{n} {kind}' for kind, n in kinds.most_common(5)) or 'nothing'


def walk(root: Path) -> Iterator[tuple[Path | zipfile.ZipFile, str]]:
    """(folder or open zip, name inside it) of every file that is not hidden."""
    if root.is_file():
        yield from _members(root)
        return
    visited = set()
    for folder, folders, files in os.walk(root, followlinks=True):  # actor folders are often links to another disk
        real = os.path.realpath(folder)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(d for d in folders if not d.startswith('.') and d != '__MACOSX')
        for name in files:
            if name.startswith('.'):
                continue
            if name.lower().endswith('.zip'):
                yield from _members(Path(folder, name))
            else:
                yield Path(folder), name


def _members(path: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as e:
        raise InputError(
            f'{path}: cannot be read as a zip ({e}); download it again, or give the unpacked folder'
        ) from e
    for name in archive.namelist():
        parts = PurePosixPath(name).parts
        if parts and not name.endswith('/') and not any(p.startswith('.') or p == '__MACOSX' for p in parts):
            yield archive, name


def _is_audio(name: str) -> bool:
    return name.lower().endswith(wav.SUFFIXES)


def _audio(place: Path | zipfile.ZipFile, name: str, root: Path) -> Audio:
    if isinstance(place, Path):
        path = place / name
        return Audio(path.stem, str(path), functools.partial(wav.read, path), place.relative_to(root).parts)
    inside = PurePosixPath(name)
    read = functools.partial(_read_member, place.filename, name)
    outside = () if Path(place.filename) == root else Path(place.filename).parent.relative_to(root).parts
    return Audio(inside.stem, f'{place.filename}:{name}', read, (*outside, *inside.parts[:-1]))


@functools.lru_cache(maxsize=8)
def _opened(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _read_member(path: str, name: str) -> tuple[np.ndarray, int]:
    source = f'{path}:{name}'
    try:
        content = _opened(path).read(name)
    except (zipfile.BadZipFile, OSError, EOFError, zipfile.zlib.error) as e:
        raise wav.SoundError(source, 'undecodable', f'cannot be unpacked ({e}); download the zip again') from e
    return wav.read(io.BytesIO(content), source)
