"""Files of pretrained encoders: location, fingerprint, and loading into an encoder."""

import functools
import hashlib
import os
import pathlib
from typing import NamedTuple

from ser_jax.contract import InputError
from ser_jax.models import pretrained
from ser_jax.models.encoders import whisper


class Published(NamedTuple):
    """File of weights as published.

    Attributes:
      repository: of the Hugging Face hub.
      revision: commit.
      size: bytes.
      sha256: of the content.
      licence: of the weights.
    """

    repository: str
    revision: str
    size: int
    sha256: str
    licence: str = 'MIT'

    @property
    def url(self) -> str:
        """Address of the file."""
        return f'https://huggingface.co/{self.repository}/resolve/{self.revision}/{FILE}'


FILE = 'model.bin'
PUBLISHED = {
    'whisper_tiny': Published(
        'Systran/faster-whisper-tiny',
        'd90ca5fe260221311c53c58e660288d3deb8d356',
        75_538_270,
        'dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1',
    ),
    'whisper_base': Published(
        'Systran/faster-whisper-base',
        'ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66',
        145_217_532,
        'd01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9',
    ),
    'whisper_small': Published(
        'Systran/faster-whisper-small',
        'main',
        483_546_902,
        '3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671',
    ),
    'whisper_medium': Published(
        'Systran/faster-whisper-medium',
        'main',
        1_527_906_378,
        '9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae',
    ),
}


def folder() -> pathlib.Path:
    """Return the default folder of pretrained weights."""
    given = os.environ.get('SER_JAX_WEIGHTS') or '~/.cache/ser_jax/weights'
    return pathlib.Path(given).expanduser()


def find(name: str) -> pathlib.Path:
    """Return the file of an encoder's weights.

    It is `<name>/model.bin` or `<name>/model.safetensors` in the folder of weights, or in the cache
    of the Hugging Face hub, where faster-whisper keeps its files.

    Raises:
      InputError: it is missing; the message has the command to get it.
    """
    for place in (folder() / name / FILE, folder() / name / 'model.safetensors'):
        if place.is_file():
            return place
    if name in PUBLISHED:
        hub = os.environ.get('HF_HUB_CACHE') or os.path.join(
            os.environ.get('HF_HOME') or '~/.cache/huggingface', 'hub'
        )
        stored = f'models--{PUBLISHED[name].repository.replace("/", "--")}'
        cached = sorted(pathlib.Path(hub).expanduser().glob(f'{stored}/snapshots/*/{FILE}'))
        if cached:
            return cached[0]
    raise InputError(
        f'the weights of {name} are in neither {folder() / name} nor the cache of the hub; get '
        f'them with: python -m ser_jax.weights {name}'
    )


def fingerprint(name: str) -> str:
    """Return the SHA-256 of an encoder's file of weights."""
    path = find(name)
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _digest(path: pathlib.Path, size: int, changed: int) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def load(encoder: whisper.Encoder) -> int:
    """Fill an encoder from its file of weights; return the number of tensors that were read.

    Raises:
      InputError: the file is missing, damaged, or of another network.
    """
    path = find(encoder.name)
    return load_file(encoder, path)


def load_file(encoder: whisper.Encoder, path: pathlib.Path) -> int:
    """Fill an encoder from a file: `model.bin` of CTranslate2 or `.safetensors`."""
    ignored = whisper.unused(len(encoder.blocks), encoder.complete)
    if path.suffix != '.safetensors':
        tensors = pretrained.CTranslate2(path)
        return pretrained.load(encoder, tensors, whisper.CTRANSLATE2, ignored, str(path))
    read = pretrained.read_safetensors(path)
    plain = {name.removeprefix('model.'): value for name, value in read.items()}
    return pretrained.load(encoder, plain, whisper.TRANSFORMERS, ignored, str(path))
