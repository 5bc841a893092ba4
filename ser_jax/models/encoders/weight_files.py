"""Files of pretrained encoders: location, fingerprint, loading into an encoder."""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from flax import nnx

from ser_jax.contract import InputError
from ser_jax.models import encoders, pretrained
from ser_jax.models.encoders.published import FILE, conversion, repositories

SHARDS = 'model.safetensors.index.json'
NAMES = (FILE, 'model.safetensors', SHARDS)  # in a folder
PICKLED = ('.bin', '.pt', '.pth', '.ckpt')  # files of PyTorch


def folder() -> pathlib.Path:
    """Return the default folder of pretrained weights."""
    given = os.environ.get('SER_JAX_WEIGHTS') or '~/.cache/ser_jax/weights'
    return pathlib.Path(given).expanduser()


def weights_in(directory: pathlib.Path) -> pathlib.Path | None:
    """Return the file of weights in a folder, None if there is none; of shards, their index."""
    for name in NAMES:
        if (directory / name).is_file():
            return directory / name
    return None


def find(name: str, directory: str | os.PathLike = '') -> pathlib.Path | None:
    """Return the file of an encoder's weights, None if it is in none of the places.

    The places are `<name>/` in the folder of weights and, unless a folder is given, the cache of
    the Hugging Face hub, where faster-whisper and transformers keep their files.
    """
    place = pathlib.Path(directory).expanduser() if directory else folder()
    if found := weights_in(place / name):
        return found
    if directory:
        return None
    hub = os.environ.get('HF_HUB_CACHE')
    hub = hub or os.path.join(os.environ.get('HF_HOME') or '~/.cache/huggingface', 'hub')
    for repository in repositories(name):
        stored = f'models--{repository.replace("/", "--")}'
        for snapshot in sorted(pathlib.Path(hub).expanduser().glob(f'{stored}/snapshots/*')):
            if found := weights_in(snapshot):
                return found
    return None


def need(name: str) -> pathlib.Path:
    """Return the file of an encoder's weights.

    Raises:
      InputError: it is missing; the message has the command to get it.
    """
    if path := find(name):
        return path
    raise InputError(
        f'the weights of {name} are in neither {folder() / name} nor the cache of the hub; get '
        f'them with: python -m ser_jax.weights {name}'
    )


def fingerprint(name: str) -> str:
    """Return the SHA-256 of an encoder's file of weights; of shards, of their hashes in order.

    Raises:
      InputError: the file is missing; the message has the command to get it.
    """
    return digest(need(name))


def digest(path: pathlib.Path) -> str:
    """Return the SHA-256 of a file of weights; of shards, that of their hashes in order."""
    hashes = [_digest(p, p.stat().st_size, p.stat().st_mtime_ns) for p in parts(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(''.join(hashes).encode()).hexdigest()


@functools.cache
def _digest(path: pathlib.Path, size: int, changed: int) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def parts(path: pathlib.Path) -> list[pathlib.Path]:
    """Return the files of `path`: itself, or the shards that its index names.

    Raises:
      InputError: the index is damaged, or a shard is missing.
    """
    if path.name != SHARDS:
        return [path]
    try:
        names = sorted(set(json.loads(path.read_text())['weight_map'].values()))
        found = [path.parent / pathlib.PurePath(name).name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise InputError(f'{path} is damaged; get it again') from e
    if missing := [p.name for p in found if not p.is_file()]:
        raise InputError(f'{path.parent} lacks {missing[0]}, which {path.name} names; get it again')
    return found


def load(encoder: encoders.Encoder) -> int:
    """Fill an encoder from its file of weights; return the number of tensors that were read.

    Raises:
      InputError: the file is missing, damaged, or of another network.
    """
    return load_file(encoder, need(encoder.name))


def load_file(encoder: encoders.Encoder, path: pathlib.Path) -> int:
    """Fill an encoder from a file: `model.bin` of CTranslate2, `.safetensors`, or an index of them.

    Raises:
      InputError: the file is damaged, of another network, or of a kind that is not read.
    """
    names = encoder.names(_suffix(encoder, path))
    if path.name == FILE:
        tensors: Mapping[str, np.ndarray] = pretrained.CTranslate2(path)
    else:
        read: dict[str, np.ndarray] = {}
        for part in parts(path):
            read |= pretrained.read_safetensors(part)
        tensors = {names.plain(name): value for name, value in read.items()}
    return pretrained.load(encoder, tensors, names.rules, names.ignored, str(path))


def _suffix(encoder: encoders.Encoder, path: pathlib.Path) -> str:
    """Return the kind of a file: '.bin' of CTranslate2, or '.safetensors'.

    Raises:
      InputError: the encoder has no rules for it, or it is a pickle.
    """
    if path.name == FILE and '.bin' in encoder.suffixes:
        return '.bin'
    if path.suffix in PICKLED:
        raise InputError(f'{path} is not read: a pickle can run code; {conversion(encoder.name)}')
    return '.safetensors'


def given_file(name: str, given: pathlib.Path) -> pathlib.Path:
    """Return the file of weights that the user names: a file, or the one in a folder.

    Raises:
      InputError: there is none, or only a pickle, or a folder has several.
    """
    present = [n for n in NAMES if given.is_dir() and (given / n).is_file()]
    if len(present) > 1:
        raise InputError(
            f'--from={given} holds {" and ".join(present)}; give one of them, --from=FILE'
        )
    path = weights_in(given) if given.is_dir() else given
    if path is not None and path.is_file():
        return path
    if given.is_dir() and (pickled := [p for p in given.iterdir() if p.suffix in PICKLED]):
        raise InputError(f'{pickled[0]} is not read: a pickle can run code; {conversion(name)}')
    raise InputError(
        f'--from={given} must be a folder with model.bin or .safetensors, such a file, or a URL'
    )


def verify(name: str, path: pathlib.Path) -> str:
    """Load a file into an encoder of that name, and describe it.

    Raises:
      InputError: the file is damaged, or of another network.
    """
    encoder = nnx.eval_shape(lambda: encoders.by_name(name)(name, rngs=nnx.Rngs(0)))
    tensors = load_file(encoder, path)
    numbers = sum(x.size for x in jax.tree.leaves(nnx.state(encoder)))
    return f'{name}: {tensors:,} tensors, {numbers:,} parameters; all imported'
