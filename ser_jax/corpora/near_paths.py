"""Suggestions for wrong paths: backslashes, paths of another computer, another case."""

import collections
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ser_jax.audio import wav

RULE = 'paths are relative to the manifest, with /'
_MOST = 200_000  # files listed at most, as a manifest may be in a home folder


class NearPaths:
    """Index of the files below a folder by name, for paths without a file; built on first use."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._by_name: dict[str, list[tuple[str, ...]]] | None = None

    def hint(self, path: str) -> str:
        """Return the likely reason why no file has this path, '' if there is none."""
        parts = [p for p in re.split(r'[\\/]+', path) if p not in ('', '.')]
        found = self._found(parts)
        suggestion = f'there is {found}' if found else ''
        if os.path.isdir(self.folder / path):
            return 'it is a folder'
        given = '/'.join(parts)
        if '\\' in path or path.startswith(('/', '~')) or re.match('[A-Za-z]:', path):
            return f'{RULE} ({suggestion})' if found else RULE
        if not found:
            return ''
        if given.count('/') != found.count('/'):
            return f'{RULE} ({suggestion})'
        if _composed(given) == _composed(found):
            return f'{suggestion} (the same characters in another Unicode form)'
        same = _plain(given) == _plain(found)
        return f'{suggestion} ({"upper and lower case differ" if same else "with its suffix"})'

    def _found(self, parts: list[str]) -> str:
        """Return the path with the longest common end with `parts`, '' if none or a tie."""
        if self._by_name is None:
            self._by_name = collections.defaultdict(list)
            for name in _files(self.folder):
                self._by_name[_stem(name[-1])].append(name)
        alike = [
            (_common(parts, name), name)
            for name in self._by_name.get(_stem(parts[-1]) if parts else '', ())
        ]
        most = max((n for n, _ in alike), default=0)
        best = [name for n, name in alike if n == most]
        return '/'.join(best[0]) if len(best) == 1 else ''


def _files(folder: Path) -> Iterator[tuple[str, ...]]:
    """Iterate over the relative paths, split into parts, of the files below a folder."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith('.'))
        above = Path(parent).relative_to(folder).parts
        for name in sorted(names):
            yield (*above, name)
        count += len(names)
        if count > _MOST:
            return


def _common(parts: list[str], name: tuple[str, ...]) -> int:
    """Return 2 x the number of equal names at the ends of two paths, + 1 for equal suffixes."""
    n = 2
    for a, b in zip(parts[-2::-1], name[-2::-1], strict=False):
        if _plain(a) != _plain(b):
            break
        n += 2
    return n + (_plain(parts[-1]) == _plain(name[-1]))


def _composed(name: str) -> str:
    return unicodedata.normalize('NFC', name)


def _plain(name: str) -> str:
    return _composed(_composed(name).casefold())


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(_plain(name))
    return stem if suffix in wav.SUFFIXES else _plain(name)
