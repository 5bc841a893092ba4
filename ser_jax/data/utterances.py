"""Opened corpora: metadata and features of their utterances, read without TensorFlow.

The shards are decoded once into one flat array with offsets; corpora above the memory limit stay on
disk and are read by index.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from ser_jax.audio import features, front_ends, variants
from ser_jax.contract import CorpusInfo, InputError
from ser_jax.corpora import builder as corpora
from ser_jax.corpora import shards
from ser_jax.emotions import ordered, relabeling

FIELDS = (
    'id',
    'speaker',
    'sex',
    'emotion',
    'label',
    'text',
    'language',
    'intensity',
    'channel',
    'source_sha256',
)
MEASURES = ('seconds', 'rate_hz', 'level_db', 'peak', 'clipped', 'silence')


@dataclasses.dataclass(frozen=True)
class Utterances:
    """The N utterances of the opened corpora, in the order of their shards.

    Attributes:
      names, facts: names and descriptions of the corpora, in order; `corpus` [N] indexes them.
      id, speaker, sex, emotion, label, text, language, intensity, channel, source_sha256: str
        arrays [N].
      seconds, rate_hz, level_db, peak, clipped, silence: [N], measured on the recordings as
        published, see `stored.fields`.
      length: int64 [N], frames (log_mel) or samples (waveform); 0 for texts.
      frames: int64 [N], number of log-mel frames.
      sums, squares: float64 [N, M], sums of the log-mel and of its square over `frames`, for
        normalization.
      flat: concatenated features, float16 [sum of length, M] or int16 [sum of length]; None if they
        stay on disk.
      offset: int64 [N], start of each utterance in `flat`.
      read: utterance index -> its features, from `flat` or from disk.
      source: the builder config: a name of `audio.front_ends`, 'waveform' or 'text'.
      fingerprints: corpus -> fingerprint of its decoded content.
    """

    names: tuple[str, ...]
    facts: tuple[CorpusInfo, ...]
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
    rate_hz: np.ndarray
    level_db: np.ndarray
    peak: np.ndarray
    clipped: np.ndarray
    silence: np.ndarray
    length: np.ndarray
    frames: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    flat: np.ndarray | None
    offset: np.ndarray
    read: Callable[[int], np.ndarray]
    source: str
    fingerprints: dict[str, str]

    def __len__(self) -> int:
        return len(self.id)

    @property
    def aligned(self) -> bool:
        """True if utterances are stored as adjacent windows of one length."""
        return (
            self.source in front_ends.SOURCES and front_ends.layout(self.source).steps is not None
        )

    def select(self, keep: np.ndarray) -> 'Utterances':
        """Return the utterances where `keep` [N] is True; the features are shared, not copied."""
        at = np.flatnonzero(keep)
        chosen = {
            f.name: getattr(self, f.name)[at]
            for f in dataclasses.fields(self)
            if f.name in _PER_UTTERANCE
        }
        return dataclasses.replace(self, read=lambda i: self.read(at[i]), **chosen)

    def relabel(self, labels: str, merge: Sequence[str]) -> 'Utterances':
        """Return the utterances relabeled by `emotions.relabeling`, without those it omits."""
        new = relabeling(
            labels, merge, sorted({*self.emotion, *(e for f in self.facts for e in f.emotions)})
        )
        kept = self.select(np.isin(self.emotion, list(new)))
        words = [ordered([new[e] for e in f.emotions if e in new]) for f in self.facts]
        emotion = [new[e] for e in kept.emotion]
        if labels == 'sex_emotion':
            emotion = [f'{s}_{e}' for s, e in zip(kept.sex, emotion, strict=True)]
            sexes = [sorted({*kept.sex[kept.corpus == c]}) for c in range(len(self.names))]
            words = [
                ordered([f'{s}_{e}' for s in ss for e in es])
                for ss, es in zip(sexes, words, strict=True)
            ]
        facts = tuple(
            dataclasses.replace(f, emotions=w) for f, w in zip(self.facts, words, strict=True)
        )
        return dataclasses.replace(kept, emotion=np.array(emotion, object), facts=facts)


_NOTHING = np.zeros((0, features.LOG_MEL.bands), np.float16)  # the features of a text
_PER_UTTERANCE = (*FIELDS, *MEASURES, 'corpus', 'length', 'frames', 'sums', 'squares', 'offset')


def data_dir(given: str = '') -> pathlib.Path:
    """Return the folder of built corpora: `given`, $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return pathlib.Path(
        given or os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
    ).expanduser()


def open_corpora(
    names: Sequence[str],
    directory: str = '',
    source: str = 'log_mel',
    resident_gb: float = 4.0,
    trim_db: float = 0.0,
    versions: Sequence[str] = (),
) -> Utterances:
    """Open built corpora by path and check each against its stored fingerprint.

    Args:
      names: corpora, e.g. ('ravdess',); `goemotions/ekman` is a corpus in a builder config other
        than `source`.
      source: features to read and builder config: 'log_mel', 'waveform', another front end, or
        'text' for the words alone (of any config).
      directory: see `data_dir`.
      resident_gb: features larger than this stay on disk.
      trim_db: threshold for trimming silence, see `features.heard_span`.
      versions: names in `variants.STORED`; each version becomes an utterance `<source>+<name>`
        after its source.

    Raises:
      InputError: a corpus is not built (the message has the command that builds it), is damaged, or
        changed since it was built.
    """
    if source != 'text':
        front_ends.by_name(source)  # raises InputError for unknown sources
    if not (trim_db >= 0 and np.isfinite(trim_db)):
        raise InputError(f'features.trim_db must be at least 0, got {trim_db}; 0 disables trimming')
    if trim_db and source not in ('log_mel', 'waveform', 'text'):
        raise InputError(
            f'features.trim_db={trim_db} with features.source={source!r}: only log_mel and waveform are trimmed'
        )
    if twice := [n for i, n in enumerate(names) if n in names[:i]]:
        raise InputError(f'data.corpora names {twice[0]} twice; name every corpus once')
    if versions and source not in front_ends.VARIED:
        raise InputError(
            f'data.variants={tuple(versions)} with features.source={source!r}: variants are stored of '
            f'{", ".join(front_ends.VARIED)} only'
        )
    if unknown := sorted(set(versions) - {*variants.STORED.names}):
        raise InputError(
            f'data.variants names {unknown[0]!r}; stored are {", ".join(variants.STORED.names)}'
        )
    config = f'{source}_variants' if versions else source
    opened = [shards.opened(name, data_dir(directory), source, config) for name in names]
    size_gb = sum(o.bytes for o in opened) / 1e9
    resident = source == 'text' or size_gb <= resident_gb
    return _decode(
        tuple(names), opened, source, resident, trim_db, [''] + [f'+{v}' for v in versions]
    )


def data_source(name: str, root: pathlib.Path, source: str) -> shards.Opened:
    """Open the newest version of one built corpus and check its content by its fingerprint."""
    opened = shards.opened(name, root, source)
    shards.compare(corpora.fingerprint(shards.examples(opened)), opened)
    return opened


def _decode(
    names, opened, source: str, resident: bool, trim_db: float, versions: list[str]
) -> Utterances:
    """Read every example once: metadata and normalization sums, and features if resident."""
    rows: dict[str, list] = {
        f: [] for f in (*FIELDS, *MEASURES, 'corpus', 'length', 'frames', 'sums', 'squares')
    }
    kept, places, fingerprints = [], [], {}

    def keep(example: dict, version: str, index: int, at: int) -> None:
        values, first = _NOTHING if source == 'text' else example[source], 0
        if len(versions) > 1:  # one frame per version, in stored order
            first = variants.STORED.ids('').index(version)
            values = values[first : first + 1]
        for field in FIELDS:
            rows[field].append(
                example[field].decode()
                if isinstance(example[field], bytes)
                else str(example[field])
            )
        rows['id'][-1] += version
        rows['corpus'].append(index)
        for measure in MEASURES:
            rows[measure].append(example[measure])
        mel = (features.extract([values])[0] if source == 'waveform' else values).astype(np.float64)
        begin, end = features.heard_span(mel, trim_db)
        mel = mel[begin:end]
        scale = features.LOG_MEL.hop if source == 'waveform' else 1
        values = values[begin * scale : end * scale]
        rows['length'].append(len(values))
        rows['frames'].append(len(mel))
        rows['sums'].append(mel.sum(0))
        rows['squares'].append((mel**2).sum(0))
        places.append((index, at, first + begin * scale))
        if resident:
            kept.append(values)

    def kept_examples(index: int):
        for at, example in enumerate(shards.examples(opened[index])):
            for version in versions:
                keep(example, version, index, at)
            yield example

    for index, name in enumerate(names):
        fingerprints[name] = corpora.fingerprint(kept_examples(index))
        shards.compare(fingerprints[name], opened[index])
    arrays = {k: np.array(v, object if k in FIELDS else None) for k, v in rows.items()}
    offset = np.concatenate([[0], np.cumsum(arrays['length'])[:-1]]).astype(np.int64)
    flat = np.concatenate(kept) if resident else None
    if resident:
        read = lambda i: flat[offset[i] : offset[i] + arrays['length'][i]]
    else:

        def read(i):
            index, at, first = places[i]
            return opened[index].values(at)[first : first + arrays['length'][i]]

    return Utterances(
        names=names,
        facts=tuple(o.facts for o in opened),
        flat=flat,
        offset=offset,
        read=read,
        source=source,
        fingerprints=fingerprints,
        **arrays,
    )


def normalization(utterances: Utterances, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and deviation per band over the frames at `indices`: float32 [M], [M]."""
    total = max(1, utterances.frames[indices].sum())
    mean = utterances.sums[indices].sum(0) / total
    var = np.maximum(utterances.squares[indices].sum(0) / total - mean**2, 0)
    return mean.astype(np.float32), np.maximum(np.sqrt(var), 1e-3).astype(np.float32)
