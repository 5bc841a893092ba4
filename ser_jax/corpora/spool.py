"""Spool of features on disk between inspection and writing, so that memory does not grow with hours.

TFDS sorts what a builder yields in a buffer of its own. Past 1 GB that buffer needs TensorFlow, and with ids for keys it
fails even there. Our builders yield in order, so nothing has to be sorted.
"""

import contextlib
import io
import os
import tempfile
import weakref
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
from tensorflow_datasets.core import shuffle


class Kept:
    """Bytes by key in a file of `folder` that has no name and is gone with its owner."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with its owner, whatever becomes of it
        weakref.finalize(self, _close, self._file)
        self._places: dict[Hashable, tuple[int, int]] = {}
        self.size = 0

    def __setitem__(self, key: Hashable, data: bytes) -> None:
        self._file.seek(self.size)
        self._file.write(data)
        self._places[key] = self.size, len(data)
        self.size += len(data)

    def __getitem__(self, key: Hashable) -> bytes:
        start, size = self._places[key]
        self._file.seek(start)
        return self._file.read(size)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._places)


def _close(file) -> None:
    with contextlib.suppress(OSError):  # what a full disk did not take has been said when it was written
        file.close()


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays by name as bytes: a .npy of each name and one of each array, one after another."""
    sink = io.BytesIO()
    for name, array in arrays.items():
        np.save(sink, np.array(name), allow_pickle=False)
        np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def unpacked(data: bytes) -> dict[str, np.ndarray]:
    """The arrays that were `packed`."""
    source, arrays = io.BytesIO(data), {}
    while source.tell() < len(data):
        name = np.load(source, allow_pickle=False).item()
        arrays[name] = np.load(source, allow_pickle=False)
    return arrays


class Queue:
    """First-in, first-out replacement of TFDS's `Shuffler`. The builder provides distinct keys."""

    def __init__(self, dirpath, hash_salt, disable_shuffling: bool = False, ignore_duplicates: bool = False):
        if not disable_shuffling or ignore_duplicates:
            raise ValueError('examples are kept in order, and all of them')
        self._kept = Kept(dirpath)

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return self._kept.size

    @property
    def num_examples(self) -> int:
        """Number of added examples."""
        return len(self._kept)

    @property
    def bucket_lengths(self) -> list[int]:
        """All of them as one bucket."""
        return [len(self._kept)]

    def add(self, key, data: bytes) -> None:
        """Puts one serialized example last."""
        self._kept[key] = data

    def __iter__(self) -> Iterator[tuple[Any, bytes]]:
        """(key, example) in order."""
        return ((key, self._kept[key]) for key in self._kept)


@contextlib.contextmanager
def in_order() -> Iterator[None]:
    """TFDS writes what it is given in the order in which it comes."""
    theirs, shuffle.Shuffler = shuffle.Shuffler, Queue
    try:
        yield
    finally:
        shuffle.Shuffler = theirs
