"""Temporary files for examples between decoding and writing, so memory is constant in corpus size.

TFDS sorts the examples that a builder yields in its own buffer. Above 1 GB that buffer needs
TensorFlow, and with ids as keys it fails even then. Our builders yield in order, so no sort is
needed.
"""

import contextlib
import io
import os
import tempfile
import weakref
from collections.abc import Hashable, Iterator, Mapping
from typing import IO, Any

import numpy as np
from tensorflow_datasets.core import shuffle


class Spool(Mapping[Hashable, bytes]):
    """Mapping from keys to bytes in an unnamed file of `folder`, deleted with the object."""

    def __init__(self, folder: str | os.PathLike):
        os.makedirs(folder, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=os.fspath(folder))  # noqa: SIM115 - the finalizer closes it
        weakref.finalize(self, _close, self._file)
        self._spans: dict[Hashable, tuple[int, int]] = {}
        self.size = 0

    def __setitem__(self, key: Hashable, data: bytes) -> None:
        self._file.seek(self.size)
        self._file.write(data)
        self._spans[key] = self.size, len(data)
        self.size += len(data)

    def __getitem__(self, key: Hashable) -> bytes:
        start, size = self._spans[key]
        self._file.seek(start)
        return self._file.read(size)

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[Hashable]:
        return iter(self._spans)


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # a full disk has already raised on write
        file.close()


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """Serialize arrays by name: for each, the .npy of its name and then the .npy of its values."""
    sink = io.BytesIO()
    for name, array in arrays.items():
        np.save(sink, np.array(name), allow_pickle=False)
        np.save(sink, array, allow_pickle=False)
    return sink.getvalue()


def unpacked(data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays that `packed` serialized."""
    source, arrays = io.BytesIO(data), {}
    while source.tell() < len(data):
        name = np.load(source, allow_pickle=False).item()
        arrays[name] = np.load(source, allow_pickle=False)
    return arrays


class Queue:
    """First-in, first-out replacement of TFDS's `Shuffler`; the builder ensures unique keys."""

    def __init__(
        self, dirpath, hash_salt, disable_shuffling: bool = False, ignore_duplicates: bool = False
    ):
        if not disable_shuffling or ignore_duplicates:
            raise ValueError('examples are kept in order, and all of them')
        self._spool = Spool(dirpath)

    @property
    def size(self) -> int:
        """Total size of the examples in bytes."""
        return self._spool.size

    @property
    def num_examples(self) -> int:
        """Number of examples."""
        return len(self._spool)

    @property
    def bucket_lengths(self) -> list[int]:
        """Number of examples in each bucket; there is one bucket."""
        return [len(self._spool)]

    def add(self, key, data: bytes) -> None:
        """Append a serialized example."""
        self._spool[key] = data

    def __iter__(self) -> Iterator[tuple[Any, bytes]]:
        """Iterate over (key, example) in order."""
        return ((key, self._spool[key]) for key in self._spool)


@contextlib.contextmanager
def in_order() -> Iterator[None]:
    """Make TFDS write examples in the order in which a builder yields them."""
    theirs, shuffle.Shuffler = shuffle.Shuffler, Queue
    try:
        yield
    finally:
        shuffle.Shuffler = theirs
