"""Schema of built corpora: fields of an example, builder configs that store audio, fingerprints."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ser_jax.audio import features, front_ends, variants, wav
from ser_jax.contract import InputError
from ser_jax.corpora import audio_files

# Files beside the shards: the hash of their content, the inspection (recordings used and left out),
# the facts (contract.CorpusInfo), the source of the build, and TFDS's own description of it.
FINGERPRINT, INSPECTION, FACTS = 'fingerprint.json', 'inspection.json', 'corpus.json'
ORIGIN, INFO = 'origin.json', 'dataset_info.json'


def _nothing(samples: np.ndarray, id: str) -> dict:
    return {}


@dataclasses.dataclass(eq=False)
class FeatureConfig(tfds.core.BuilderConfig):
    """Builder config that stores audio in one form, computed in two steps.

    Attributes:
      spec: returns the TFDS features that this config adds to an example.
      rate_hz: rate of the samples passed to `prepare`, mono and checked; None: as decoded, [T] or
        [T, channels].
      prepare: (samples, id) -> intermediate result of one recording; runs in threads.
      finish: list of intermediate results -> their example fields, in order; it gets a whole
        chunk, so it can batch.
    """

    spec: Callable[[], dict] = dict
    rate_hz: int | None = features.RATE_HZ
    prepare: Callable[[np.ndarray, str], Any] = _nothing
    finish: Callable[[list], list[dict]] = list


def _tensor(shape: tuple, dtype) -> tfds.features.Tensor:
    # TFDS's default encoding is six times slower; `bytes` also keeps float16 as it is.
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')


def _log_mel(prepared: list[np.ndarray]) -> list[dict]:
    return [{'log_mel': frames.astype(np.float16)} for frames in features.extract(prepared)]


LOG_MEL = FeatureConfig(
    name='log_mel',
    description=(
        'log-mel spectrogram at 16 kHz, float16 [F, 64], dB: `ser_jax.audio.features.LOG_MEL`'
    ),
    spec=lambda: {'log_mel': _tensor((None, features.LOG_MEL.bands), np.float16)},
    prepare=lambda samples, id: samples,
    finish=_log_mel,
)
WAVEFORM = FeatureConfig(
    name='waveform',
    description='samples at 16 kHz, mono, int16 [T]',
    spec=lambda: {'waveform': _tensor((None,), np.int16)},
    prepare=lambda samples, id: {'waveform': wav.int16(samples)},
)
NATIVE = FeatureConfig(
    name='native',
    description='samples as recorded, int16 [T, channels], at the rate of the field rate_hz',
    spec=lambda: {'native': _tensor((None, None), np.int16)},
    rate_hz=None,
    prepare=lambda samples, id: {'native': wav.int16(samples.reshape(len(samples), -1))},
)


def _front_end(front) -> FeatureConfig:
    layout = front.layout
    summary = (type(front).__doc__ or '').splitlines()[0]
    dtype = np.float32 if len(front.shape) == 1 else np.float16
    return FeatureConfig(
        name=front.name,
        description=f'{summary} [{layout.steps or "F"}, {layout.bands}], {front.rate_hz} Hz',
        spec=lambda: {front.name: _tensor((None, layout.bands), dtype)},
        rate_hz=front.rate_hz,
        prepare=lambda samples, id: {front.name: front.stored(samples)},
    )


def _with_variants(name: str) -> FeatureConfig:
    front = front_ends.by_name(name)
    layout = front.layout
    names = ', '.join(variants.STORED.names)
    return FeatureConfig(
        name=f'{name}_variants',
        description=f'as {name}, each recording followed by its variants ({names})',
        spec=lambda: {name: _tensor((None, layout.bands), np.float32)},
        rate_hz=front.rate_hz,
        prepare=lambda samples, id: {name: front_ends.versions(name, id, samples)},
    )


FRONT_ENDS = [
    *(_front_end(front) for front in front_ends.PUBLISHED),
    *(_with_variants(name) for name in front_ends.VARIED),
]
TEXT = FeatureConfig(name='text', description='nothing but the fields: a corpus of texts')


def fields() -> dict:
    """Return the TFDS features that the examples of every config have."""
    text = tfds.features.Text
    return {
        'id': text(doc='unique within the corpus, stable between builds'),
        'speaker': text(doc='unique across corpora, e.g. ravdess_07'),
        'sex': text(doc='female | male | unknown'),
        'emotion': text(
            doc="a word of ser_jax.emotions.EMOTIONS where that has one, else the corpus's own"
        ),
        'label': text(doc="the corpus's own word or code"),
        'text': text(doc='what was said; empty where unknown'),
        'language': text(doc='ISO 639-1'),
        'intensity': text(doc='normal | strong | unknown'),
        'channel': text(doc='speech | song | sound | text'),
        'seconds': tfds.features.Scalar(np.float32, doc='length of the recording as published'),
        'rate_hz': tfds.features.Scalar(
            np.int32, doc='sampling rate of the recording as published'
        ),
        'level_db': tfds.features.Scalar(
            np.float32, doc='root mean square, dB relative to full scale'
        ),
        'peak': tfds.features.Scalar(np.float32, doc='largest absolute sample, 1 = full scale'),
        'clipped': tfds.features.Scalar(
            np.int32, doc='1 where three samples in a row sit at full scale, else 0'
        ),
        'silence': tfds.features.Scalar(
            np.float32, doc='share of 10 ms stretches 40 dB or more under the loudest'
        ),
        'source_sha256': text(
            doc='hash of the decoded samples, see ser_jax.corpora.inspection.sha256'
        ),
    }


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
