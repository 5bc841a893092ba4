"""Built corpora, opened: who says what with which emotion, and the features, without TensorFlow.

The shards are decoded once into one flat float16 array with offsets; corpora above the memory limit stay on disk and
are read by index.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from ser_jax.audio import features
from ser_jax.contract import InputError
from ser_jax.data import corpus as corpora
from ser_jax.data import emotions

FIELDS = ('id', 'speaker', 'sex', 'emotion', 'label', 'text', 'language', 'intensity', 'channel', 'source_sha256')


@dataclasses.dataclass(frozen=True)
class Utterances:
    """The utterances of the opened corpora, in the order of their shards, N in all.

    Attributes:
      names: the corpora, in order; `corpus` [N] indexes them.
      id, speaker, sex, emotion, label, text, language, intensity, channel, source_sha256: str arrays [N].
      seconds: float32 [N].
      length: int64 [N], frames (log_mel) or samples (waveform).
      sums, squares: float64 [N, M], sums over frames of the log-mel and of its square, for normalization.
      flat: all features end to end, float16 [sum of length, M] or int16 [sum of length]; None when they stay on disk.
      offset: int64 [N], where each utterance begins in `flat`.
      read: utterance index -> its features, from `flat` or from disk.
      source: 'log_mel' or 'waveform'.
      fingerprints: corpus -> fingerprint of its decoded content.
    """

    names: tuple[str, ...]
    corpus: np.ndarray
    id: np.ndarray
    speaker: np.ndarray
    sex: np.ndarray
    emotion: np.ndarray
    label: np.ndarray
    text: np.ndarray
    language: np.ndarray
    intensity: np.ndarray
    channel: np.ndarray
    source_sha256: np.ndarray
    seconds: np.ndarray
    length: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    flat: np.ndarray | None
    offset: np.ndarray
    read: Callable[[int], np.ndarray]
    source: str
    fingerprints: dict[str, str]

    def __len__(self) -> int:
        return len(self.id)

    def select(self, keep: np.ndarray) -> 'Utterances':
        """The utterances where `keep` [N] is True; the features are shared, not copied."""
        at = np.flatnonzero(keep)
        chosen = {f.name: getattr(self, f.name)[at] for f in dataclasses.fields(self) if f.name in _PER_UTTERANCE}
        return dataclasses.replace(self, read=lambda i: self.read(at[i]), **chosen)


_PER_UTTERANCE = (*FIELDS, 'corpus', 'seconds', 'length', 'sums', 'squares', 'offset')


def data_dir(given: str = '') -> pathlib.Path:
    """Where built corpora lie: `given`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return pathlib.Path(given or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()


def open_corpora(
    names: Sequence[str],
    directory: str = '',
    source: str = 'log_mel',
    resident_gb: float = 4.0,
    trim_db: float = 0.0,
) -> Utterances:
    """Opens built corpora by path and checks each against its stored fingerprint.

    Args:
      names: corpora, e.g. ('ravdess',).
      source: the builder config that was built: 'log_mel' or 'waveform'.
      resident_gb: above this many GB of features they stay on disk.
      trim_db: what of each utterance is kept, see `features.heard_span`.

    Raises:
      InputError: a corpus is not built (with the command that builds it), damaged, or changed since it was built.
    """
    if source not in ('log_mel', 'waveform'):
        raise InputError(f'features.source={source!r} is not trained on; expected log_mel or waveform')
    for name in names:
        emotions.support(name)  # refuses a corpus that nobody knows
    opened = [_data_source(name, data_dir(directory), source) for name in names]
    size_gb = sum(bytes_ for _, bytes_, _ in opened) / 1e9
    return _decode(tuple(names), opened, source, size_gb <= resident_gb, trim_db)


def _data_source(name: str, root: pathlib.Path, source: str):
    """(data source, bytes on disk, stored fingerprint) of one built corpus."""
    import tensorflow_datasets as tfds

    versions = sorted(
        (root / name / source).glob('[0-9]*.[0-9]*.[0-9]*'), key=lambda p: [int(n) for n in p.name.split('.')]
    )
    if not versions:
        flags = '' if name == 'synthetic' else ' --manual_dir=WHERE_THE_RECORDINGS_ARE'
        flags += '' if source == 'log_mel' else f' --config={source}'
        raise InputError(
            f'corpus {name!r} ({source}) is not built in {root}; build it with: '
            f'python -m ser_jax.build datasets/{name}{flags}' + (f' --data_dir={root}' if root != data_dir() else '')
        )
    try:
        builder = tfds.builder_from_directory(versions[-1])
        data = builder.as_data_source('train')
        stored = json.loads((versions[-1] / corpora.FINGERPRINT).read_text())['fingerprint']
    except Exception as e:  # TFDS and array_record raise many kinds for a damaged directory
        raise InputError(
            f'{versions[-1]} cannot be opened ({type(e).__name__}: {e}); build it again with --overwrite'
        ) from e
    return data, builder.info.dataset_size, stored


def _decode(names, opened, source: str, resident: bool, trim_db: float) -> Utterances:
    """Reads every example once: metadata and normalization sums always, features where they stay resident."""
    rows: dict[str, list] = {f: [] for f in (*FIELDS, 'corpus', 'seconds', 'length', 'sums', 'squares')}
    kept, places, fingerprints = [], [], {}
    for index, (name, (data, _, stored)) in enumerate(zip(names, opened, strict=True)):

        def examples(data=data, index=index):
            for at in range(len(data)):
                example = data[at]
                values = example[source]
                for field in FIELDS:
                    rows[field].append(
                        example[field].decode() if isinstance(example[field], bytes) else str(example[field])
                    )
                rows['corpus'].append(index)
                rows['seconds'].append(example['seconds'])
                mel = (values if source == 'log_mel' else features.extract([values])[0]).astype(np.float64)
                first, last = features.heard_span(mel, trim_db)
                mel = mel[first:last]
                scale = 1 if source == 'log_mel' else features.LOG_MEL.hop
                values = values[first * scale : last * scale]
                rows['length'].append(len(values))
                rows['sums'].append(mel.sum(0))
                rows['squares'].append((mel**2).sum(0))
                places.append((index, at, first * scale))
                if resident:
                    kept.append(values)
                yield example

        try:
            fingerprints[name] = corpora.fingerprint(examples())
        except Exception as e:  # a damaged record raises whatever its decoder does
            raise InputError(
                f'corpus {name!r} cannot be read ({type(e).__name__}: {e}); build it again with --overwrite'
            ) from e
        if fingerprints[name] != stored:
            raise InputError(
                f'corpus {name!r} is not what was built (fingerprint {fingerprints[name][:12]}, '
                f'stored {str(stored)[:12]}); build it again with --overwrite'
            )
    arrays = {k: np.array(v, object if k in FIELDS else None) for k, v in rows.items()}
    offset = np.concatenate([[0], np.cumsum(arrays['length'])[:-1]]).astype(np.int64)
    flat = np.concatenate(kept) if resident else None
    if resident:
        read = lambda i: flat[offset[i] : offset[i] + arrays['length'][i]]
    else:

        def read(i):
            index, at, first = places[i]
            return opened[index][0][at][source][first : first + arrays['length'][i]]

    return Utterances(
        names=names, flat=flat, offset=offset, read=read, source=source, fingerprints=fingerprints, **arrays
    )


def normalization(utterances: Utterances, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per band over all frames of the utterances at `indices`: float32 [M], [M]."""
    frames = features.LOG_MEL
    counts = utterances.length[indices]
    total = (counts if utterances.source == 'log_mel' else 1 + counts // frames.hop).sum()
    mean = utterances.sums[indices].sum(0) / total
    var = np.maximum(utterances.squares[indices].sum(0) / total - mean**2, 0)
    return mean.astype(np.float32), np.maximum(np.sqrt(var), 1e-3).astype(np.float32)
