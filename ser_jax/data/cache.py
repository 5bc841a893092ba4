"""Append-only store of float16 arrays by content hash; survives kills and notices damage.

A folder holds `values.bin`, the rows of all arrays end to end, and `index.jsonl`, a line for each
array, written after its rows. Whatever a killed process left behind the last whole line is dropped
by the next writer.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import zlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ser_jax import lock
from ser_jax.contract import InputError, writing

VALUES, INDEX = 'values.bin', 'index.jsonl'
LARGEST = float(np.finfo(np.float16).max)


def content_key(values: np.ndarray) -> str:
    """Return the key of an array: a hash of its type, shape and bytes."""
    head = f'{values.dtype.str} {values.shape}\n'.encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()[:32]


class Cache:
    """Arrays [rows, width], float16, by key.

    Args:
      folder: location; created by `add`.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.width = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the index again; lines whose rows are missing or that are torn count as absent."""
        self._lines: list[bytes] = []  # whole lines of the index
        self._places: dict[str, tuple[int, int, int]] = {}  # key -> first row, rows, crc32
        self._end = 0  # rows
        with contextlib.suppress(FileNotFoundError):
            size = (self.folder / VALUES).stat().st_size
            for line in (self.folder / INDEX).read_bytes().splitlines(keepends=True):
                if not self._accept(line, size):
                    break

    def _accept(self, line: bytes, size: int) -> bool:
        try:
            key, first, rows, width, crc = json.loads(line)
            whole = line.endswith(b'\n') and first == self._end
            end = 2 * width * (first + rows)
        except (ValueError, TypeError):
            return False
        if not whole or end > size or (self.width and width != self.width):
            return False
        self.width, self._end = width, first + rows
        self._lines.append(line)
        self._places[key] = first, rows, crc  # a later line replaces damaged rows
        return True

    def whole(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the undamaged arrays of those `keys` that are here: float16 [rows, width].

        They are views of one memory map.
        """
        if not self._places:
            return {}
        shape = self._end, self.width
        stored = np.memmap(self.folder / VALUES, np.float16, 'r', shape=shape)
        found = {}
        for key in keys:
            if key in self._places:
                first, rows, crc = self._places[key]
                values = stored[first : first + rows]
                if zlib.crc32(values.tobytes()) == crc:
                    found[key] = values
        return found

    @contextlib.contextmanager
    def writer(self) -> Iterator['Writer']:
        """Hold the folder's lock, read the index again, and yield a writer.

        Another process that writes is waited for, so that nothing is computed twice.

        Raises:
          InputError: the folder cannot be written.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with lock.held(self.folder, 'caching', wait=True):
            self.refresh()
            with writing(self.folder), Writer(self) as opened:
                yield opened
        self.refresh()


class Writer:
    """Appends arrays to a cache whose lock is held."""

    def __init__(self, cache: Cache):
        self._cache, self._rows = cache, cache._end
        folder = cache.folder
        # Replace the index by its whole lines, and cut the rows that no line names.
        whole = folder / f'{INDEX}.new'
        whole.write_bytes(b''.join(cache._lines))
        os.replace(whole, folder / INDEX)
        self._values = (folder / VALUES).open('ab')
        self._values.truncate(2 * cache.width * self._rows)
        self._index = (folder / INDEX).open('a')

    def __enter__(self) -> 'Writer':
        return self

    def __exit__(self, *_) -> None:
        self._values.close()
        self._index.close()

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Append arrays [rows, width] by key, and make them durable.

        Raises:
          InputError: an array is not finite in float16.
        """
        lines = []
        for key, values in arrays.items():
            if not np.abs(values).max() <= LARGEST:
                raise InputError(f'{key}: the values are not finite in float16')
            stored = np.ascontiguousarray(values, np.float16)
            self._values.write(stored.tobytes())
            width, crc = stored.shape[1], zlib.crc32(stored.tobytes())
            lines.append(json.dumps([key, self._rows, len(stored), width, crc]) + '\n')
            self._rows += len(stored)
        self._values.flush()
        os.fsync(self._values.fileno())
        self._index.write(''.join(lines))
        self._index.flush()
