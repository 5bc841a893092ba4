"""Files of pretrained encoders: published files, location, fingerprint, loading into an encoder."""

import functools
import hashlib
import json
import os
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from ser_jax.contract import InputError
from ser_jax.models import pretrained
from ser_jax.models.encoders import whisper

FILE = 'model.bin'
SHARDS = 'model.safetensors.index.json'


class Published(NamedTuple):
    """Files of an encoder as published in a repository of the Hugging Face hub.

    Attributes:
      repository: its name.
      revision: commit or branch.
      files: name -> (size in bytes, SHA-256); `model.bin` has the weights.
      licence: of the weights.
    """

    repository: str
    revision: str
    files: dict[str, tuple[int, str]]
    licence: str = 'MIT'

    def url(self, file: str) -> str:
        """Return the address of a file."""
        return f'https://huggingface.co/{self.repository}/resolve/{self.revision}/{file}'


# OpenAI's weights as converted for CTranslate2, float16. The other files of `base` are used by
# faster-whisper for transcripts.
PUBLISHED = {
    'whisper_tiny': Published(
        'Systran/faster-whisper-tiny',
        'main',
        {
            FILE: (
                75_538_270,
                'dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1',
            )
        },
    ),
    'whisper_base': Published(
        'Systran/faster-whisper-base',
        'ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66',
        {
            FILE: (
                145_217_532,
                'd01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9',
            ),
            'config.json': (
                2_309,
                '56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a',
            ),
            'tokenizer.json': (
                2_203_239,
                'fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab',
            ),
            'vocabulary.txt': (
                459_861,
                '34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913',
            ),
        },
    ),
    'whisper_small': Published(
        'Systran/faster-whisper-small',
        'main',
        {
            FILE: (
                483_546_902,
                '3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671',
            )
        },
    ),
    'whisper_medium': Published(
        'Systran/faster-whisper-medium',
        'main',
        {
            FILE: (
                1_527_906_378,
                '9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae',
            )
        },
    ),
}


def licence(name: str) -> str:
    """Return the licence of an encoder's published weights."""
    return PUBLISHED[name].licence if name in PUBLISHED else 'licence of its publisher'


def folder() -> pathlib.Path:
    """Return the default folder of pretrained weights."""
    given = os.environ.get('SER_JAX_WEIGHTS') or '~/.cache/ser_jax/weights'
    return pathlib.Path(given).expanduser()


def weights_in(directory: pathlib.Path) -> pathlib.Path | None:
    """Return the file of weights in a folder, None if there is none; of shards, their index."""
    for name in (FILE, 'model.safetensors', SHARDS):
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
    repositories = [f'openai/{name.replace("_", "-")}']
    if name in PUBLISHED:
        repositories.insert(0, PUBLISHED[name].repository)
    for repository in repositories:
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


def load(encoder: whisper.Encoder) -> int:
    """Fill an encoder from its file of weights; return the number of tensors that were read.

    Raises:
      InputError: the file is missing, damaged, or of another network.
    """
    return load_file(encoder, need(encoder.name))


def load_file(encoder: whisper.Encoder, path: pathlib.Path) -> int:
    """Fill an encoder from a file: `model.bin` of CTranslate2, `.safetensors`, or an index of them.

    Raises:
      InputError: the file is damaged, or of another network.
    """
    ignored = whisper.unused(len(encoder.blocks), encoder.complete)
    if path.name == FILE:
        tensors = pretrained.CTranslate2(path)
        return pretrained.load(encoder, tensors, whisper.CTRANSLATE2, ignored, str(path))
    read: dict[str, np.ndarray] = {}
    for part in parts(path):
        read |= pretrained.read_safetensors(part)
    plain = {name.removeprefix('model.'): value for name, value in read.items()}
    return pretrained.load(encoder, plain, whisper.TRANSFORMERS, ignored, str(path))


def verify(name: str, path: pathlib.Path) -> str:
    """Load a file into an encoder of that name, and describe it.

    Raises:
      InputError: the file is damaged, or of another network.
    """
    encoder = nnx.eval_shape(lambda: whisper.Encoder(name, rngs=nnx.Rngs(0)))
    tensors = load_file(encoder, path)
    numbers = sum(x.size for x in jax.tree.leaves(nnx.state(encoder)))
    return f'{name}: {tensors:,} tensors, {numbers:,} parameters; all imported'
