"""Weights of published networks: readers of their files, and rules that map tensors to variables.

A rule names the variables it fills and the tensors it reads. Every variable and every tensor is
accounted for: a missing tensor and an unexpected one are both errors. Nothing is unpickled, and a
module is changed only after the whole file was read.
"""

import mmap
import os
import pathlib
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from ser_jax.contract import InputError


class Frozen(nnx.Variable):
    """Variable that is never trained: one copy for all members, in no checkpoint."""


class LowRank(nnx.Param):
    """Trained update beside a frozen variable; no file has it."""


class Rule(NamedTuple):
    """Source of some variables.

    Attributes:
      path: regular expression of the variables' paths, e.g. r'blocks/(\\d+)/norm/scale'.
      sources: names of the tensors; {0}, {1} ... are the groups of `path`.
      function: tensors -> value, e.g. the transpose of a matrix; None = the only tensor.
    """

    path: str
    sources: tuple[str, ...]
    function: Callable[..., np.ndarray] | None = None


class Names(NamedTuple):
    """Names of the tensors in one kind of file.

    Attributes:
      rules: sources of the variables.
      ignored: names of tensors that no variable needs.
      renamed: (regular expression, replacement) of parts of names, applied before the others.
    """

    rules: Sequence[Rule]
    ignored: re.Pattern
    renamed: tuple[tuple[str, str], ...] = ()

    def plain(self, name: str) -> str:
        """Return a name with its parts renamed."""
        for pattern, replacement in self.renamed:
            name = re.sub(pattern, replacement, name)
        return name


def load(
    module: nnx.Module,
    tensors: Mapping[str, np.ndarray],
    rules: Sequence[Rule],
    ignored: str | re.Pattern = '',
    file: str = 'the file',
) -> int:
    """Fill the variables of a module from tensors; return the number of tensors that were read.

    Args:
      module: its variables may be abstract (`nnx.eval_shape`).
      tensors: name -> array.
      rules: the first rule whose path matches fills a variable.
      ignored: regular expression of the names of tensors that no variable needs.
      file: name of the file for messages.

    Raises:
      InputError: a tensor is missing, unexpected, of another shape, or not finite.
    """
    state = nnx.state(module, nnx.Not(LowRank))
    values, used = [], set()
    leaves, tree = jax.tree_util.tree_flatten_with_path(state)
    for path, leaf in leaves:
        name = '/'.join(str(getattr(k, 'key', getattr(k, 'name', k))) for k in path)
        name = name.removesuffix('/value')
        value, read = _value(name, tensors, rules, file)
        if value.shape != leaf.shape:
            raise InputError(
                f'{file}: {", ".join(read)} has shape {list(value.shape)}; {name} needs '
                f'{list(leaf.shape)}: these are weights of another network'
            )
        if not np.isfinite(value).all():
            raise InputError(f'{file}: {read[0]} is not finite; get the file again')
        values.append(np.asarray(value, leaf.dtype))
        used.update(read)
    unexpected = [n for n in tensors if n not in used and not re.fullmatch(ignored, n)]
    if unexpected:
        raise InputError(
            f'{file} holds {unexpected[0]} and {len(unexpected) - 1} more tensors that the network '
            'lacks; these are weights of another network'
        )
    nnx.update(module, jax.tree.unflatten(tree, values))
    return len(used)


def _value(
    name: str, tensors: Mapping[str, np.ndarray], rules: Sequence[Rule], file: str
) -> tuple[np.ndarray, list[str]]:
    """Return the value of a variable and the names of the tensors it was made of."""
    for rule in rules:
        if found := re.fullmatch(rule.path, name):
            names = [s.format(*found.groups()) for s in rule.sources]
            if missing := [n for n in names if n not in tensors]:
                raise InputError(
                    f'{file} lacks {missing[0]}; these are weights of another network, or not all'
                )
            arrays = [np.asarray(tensors[n], np.float32) for n in names]
            return rule.function(*arrays) if rule.function else arrays[0], names
    raise ValueError(f'no rule fills {name}')


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the tensors of a `.safetensors` file by name.

    Raises:
      InputError: the library is missing, or the file is damaged.
    """
    try:
        import safetensors.flax
    except ImportError as e:
        raise InputError(f"{path}: install the reader with pip install 'ser_jax[weights]'") from e
    try:
        tensors = safetensors.flax.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as e:
        raise InputError(f'{path} is damaged or no .safetensors file ({e}); get it again') from e
    return {name: np.asarray(value, np.float32) for name, value in tensors.items()}


class CTranslate2(Mapping[str, np.ndarray]):
    """Tensors of a CTranslate2 `model.bin`, read when they are asked for.

    Format: version u32, specification (string), revision u32, count u32; for each tensor name, rank
    u8, sizes u32, type u8, bytes u32, data; strings are u16 length with the final NUL, bytes.
    Little-endian.

    Raises:
      InputError: the file is truncated, of another format, or quantized.
    """

    TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
    VERSIONS = (5, 6)

    def __init__(self, path: str | os.PathLike):
        self._path = pathlib.Path(path)
        with open(path, 'rb') as file:
            if not os.fstat(file.fileno()).st_size:
                raise InputError(f'{path} is empty; get it again')
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self._read()
        except (struct.error, UnicodeDecodeError, IndexError, OverflowError) as e:
            raise InputError(
                f'{path} is truncated or no model.bin of CTranslate2; get it again'
            ) from e

    def _read(self) -> None:
        self._at, self._places = 0, {}
        if (version := self._number('I')) not in self.VERSIONS:
            raise InputError(
                f'{self._path} is no model.bin of CTranslate2 that can be read (version {version}; '
                f'expected {self.VERSIONS[0]} or {self.VERSIONS[1]})'
            )
        self.specification = self._text()
        self._number('I')
        for _ in range(self._number('I')):
            name = self._text()
            shape = tuple(self._number('I') for _ in range(self._number('B')))
            dtype, size = np.dtype(self.TYPES[self._number('B')]), self._number('I')
            if size != int(np.prod(shape, dtype=np.int64)) * dtype.itemsize:
                raise struct.error('size')
            if self._at + size > len(self._data):
                raise struct.error('end')
            self._places[name] = self._at, shape, dtype
            self._at += size

    def _number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f'<{kind}', self._data, self._at)
        self._at += struct.calcsize(kind)
        return value

    def _text(self) -> str:
        size = self._number('H')
        text = self._data[self._at : self._at + size]
        if len(text) != size:
            raise struct.error('end')
        self._at += size
        return text.rstrip(b'\0').decode()

    def __getitem__(self, name: str) -> np.ndarray:
        at, shape, dtype = self._places[name]
        if name.endswith('weight') and dtype.kind == 'i':
            raise InputError(
                f'{self._path} is quantized ({dtype}); expected a file of float16 or float32'
            )
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._data, dtype, count, at).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
