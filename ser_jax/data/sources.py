"""Sound files wherever they lie: in folders of any depth, and inside zips without unpacking them."""

import collections
import dataclasses
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
    """One sound file: its name without suffix, where it is (`folder/file` or `archive.zip:member`), how to hear it."""

    stem: str
    source: str
    read: Callable[[], tuple[np.ndarray, int]]


def audio_files(root: str | os.PathLike) -> list[Audio]:
    """All sound files under a folder, in or out of zips, sorted by where they are.

    `root` may be a zip itself. Hidden files and what macOS adds to archives are passed over, as is everything that is
    not sound.

    Raises:
      InputError: a zip cannot be read (named).
    """
    return sorted((_audio(*found) for found in _walk(Path(root)) if _is_audio(found[1])), key=lambda a: a.source)


def seen(root: str | os.PathLike) -> str:
    """What lies under a folder, for messages: '12 .mp4, 3 .txt', or 'nothing'."""
    kinds = collections.Counter(PurePosixPath(name).suffix.lower() or 'without suffix' for _, name in _walk(Path(root)))
    return ', '.join(f'{n} {kind}' for kind, n in kinds.most_common(5)) or 'nothing'


def _walk(root: Path) -> Iterator[tuple[Path | zipfile.ZipFile, str]]:
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


def _audio(place: Path | zipfile.ZipFile, name: str) -> Audio:
    if isinstance(place, Path):
        path = place / name
        return Audio(path.stem, str(path), lambda: wav.read(path))
    source = f'{place.filename}:{name}'
    return Audio(PurePosixPath(name).stem, source, lambda: _read_member(place, name, source))


def _read_member(archive: zipfile.ZipFile, name: str, source: str) -> tuple[np.ndarray, int]:
    try:
        content = archive.read(name)
    except (zipfile.BadZipFile, OSError, EOFError, zipfile.zlib.error) as e:
        raise wav.SoundError(source, 'undecodable', f'cannot be unpacked ({e}); download the zip again') from e
    return wav.read(io.BytesIO(content), source)
