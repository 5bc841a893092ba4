"""Files of a built corpus: their names, their JSON, and fingerprints of the content."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ser_jax.contract import InputError
from ser_jax.corpora import audio_files

# Files beside the shards: the hash of their content, the inspection (recordings used and left out),
# the facts (contract.CorpusInfo), the source of the build, and TFDS's own description of it.
FINGERPRINT, INSPECTION, FACTS = 'fingerprint.json', 'inspection.json', 'corpus.json'
ORIGIN, INFO = 'origin.json', 'dataset_info.json'


def read_json(path: Path, keys: Iterable[str] = ()) -> dict:
    """Load the JSON object in a file of a build.

    Raises:
      InputError: the file is missing, unreadable, truncated or corrupt, or lacks one of `keys`.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(content, dict):
            problem = 'holds no object'
        else:
            problem = next((f'holds no {k}' for k in keys if k not in content), '')
    except FileNotFoundError:
        problem = 'is missing'
    except OSError as e:
        reason = f'{path} cannot be read ({e.strerror})'
        raise InputError(f'{reason}; check its permissions and the disk') from e
    except ValueError as e:  # not JSON, or not UTF-8
        problem = f'is damaged ({e})'
    if problem:
        raise InputError(f'{path} {problem}; build the corpus again with --overwrite')
    return content


def write_json(path: Path, content: dict) -> None:
    """Write a JSON object to a file of a build."""
    text = json.dumps(content, indent=1, ensure_ascii=False) + '\n'
    path.write_text(audio_files.readable(text), encoding='utf-8')


def fingerprint(examples: Iterable[dict]) -> str:
    """Return the sha256 over the decoded content of examples, in order, however files store it.

    The hash covers the name, type, shape and bytes of every field; text may be str or bytes.
    """
    total = hashlib.sha256()
    for example in examples:
        for name in sorted(example):
            value = example[name].encode() if isinstance(example[name], str) else example[name]
            if isinstance(value, bytes):
                total.update(f'{name} text {len(value)}\n'.encode() + value)
            elif np.ndim(value) == 0:  # the type of a scalar depends on the reader
                total.update(f'{name} {np.asarray(value).item()!r}\n'.encode())
            else:
                array = np.asarray(value)
                total.update(f'{name} {array.dtype.str} {array.shape}\n'.encode() + array.tobytes())
    return total.hexdigest()
