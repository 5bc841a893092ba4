"""Examples between a builder and its shards, in the order in which they come; past a limit they wait on disk.

TFDS sorts what a builder yields in a buffer of its own. Past 1 GB that buffer needs TensorFlow, and with ids for keys it
fails even there. Our builders yield in order, so nothing has to be sorted.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from tensorflow_datasets.core import shuffle

HELD_BYTES = 256 << 20  # serialized examples kept in memory


class Queue:
    """What TFDS's writer asks of its `Shuffler`, first in, first out. The builder sees to it that keys differ."""

    def __init__(self, dirpath, hash_salt, disable_shuffling: bool = False, ignore_duplicates: bool = False):
        if not disable_shuffling or ignore_duplicates:
            raise ValueError('examples are kept in order, and all of them')
        os.makedirs(dirpath, exist_ok=True)
        self._file = tempfile.SpooledTemporaryFile(HELD_BYTES, dir=dirpath)  # noqa: SIM115 - closed when read
        self._lengths: list[tuple[Any, int]] = []
        self.size = 0

    @property
    def num_examples(self) -> int:
        """How many were added."""
        return len(self._lengths)

    @property
    def bucket_lengths(self) -> list[int]:
        """All of them as one bucket."""
        return [len(self._lengths)]

    def add(self, key, data: bytes) -> None:
        """Puts one serialized example last."""
        self._file.write(data)
        self._lengths.append((key, len(data)))
        self.size += len(data)

    def __iter__(self) -> Iterator[tuple[Any, bytes]]:
        """(key, example) in order, once."""
        with self._file as file:
            file.seek(0)
            for key, length in self._lengths:
                yield key, file.read(length)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """TFDS writes what it is given in the order in which it comes."""
    theirs, shuffle.Shuffler = shuffle.Shuffler, Queue
    try:
        yield
    finally:
        shuffle.Shuffler = theirs
