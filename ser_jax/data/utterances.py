"""Opened corpora: metadata and features of their utterances, read without TensorFlow.

The shards are decoded once into one flat array with offsets; corpora above the memory limit stay on
disk and are read by index.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ser_jax.audio import features, front_ends, variants
from ser_jax.contract import CorpusInfo, InputError, Layout
from ser_jax.corpora import schema, shards
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
        published, see `corpora.schema`.
      length: int64 [N], frames (log_mel) or samples (waveform); 0 for texts.
      frames: int64 [N], number of frames that the model reads.
      sums, squares: float64 [N, M], sums of the model's features and of their squares over
        `frames`, for normalization.
      flat: concatenated features, float16 [sum of length, M] or int16 [sum of length]; None if they
        stay on disk.
      offset: int64 [N], start of each utterance in `flat`.
      read: utterance index -> its features, from `flat` or from disk.
      source: the builder config: a name of `audio.front_ends`, 'text', or 'derived'.
      layout: of the features.
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
    layout: Layout
    fingerprints: dict[str, str]

    def __len__(self) -> int:
        return len(self.id)

    @property
    def aligned(self) -> bool:
        """True if utterances are stored as adjacent windows of one length."""
        return self.layout.steps is not None

    def select(self, keep: np.ndarray) -> 'Utterances':
        """Return the utterances where `keep` [N] is True; the features are shared, not copied."""
        kept = np.flatnonzero(keep)
        arrays = {name: getattr(self, name)[kept] for name in _PER_UTTERANCE}
        return dataclasses.replace(self, read=lambda i: self.read(kept[i]), **arrays)

    def relabel(self, labels: str, merge: Sequence[str]) -> 'Utterances':
        """Return the utterances relabeled by `emotions.relabeling`, without those it omits."""
        present = set(self.emotion).union(*(f.emotions for f in self.facts))
        new = relabeling(labels, merge, sorted(present))
        kept = self.select(np.isin(self.emotion, list(new)))
        emotion = [new[e] for e in kept.emotion]
        if labels == 'sex_emotion':
            emotion = [f'{s}_{e}' for s, e in zip(kept.sex, emotion, strict=True)]
        facts = []
        for index, corpus in enumerate(self.facts):
            words = ordered([new[e] for e in corpus.emotions if e in new])
            if labels == 'sex_emotion':
                sexes = sorted({*kept.sex[kept.corpus == index]})
                words = ordered([f'{s}_{e}' for s, e in itertools.product(sexes, words)])
            facts.append(dataclasses.replace(corpus, emotions=words))
        return dataclasses.replace(kept, emotion=np.array(emotion, object), facts=tuple(facts))


_SAMPLES = front_ends.WAVEFORM.name
_NOTHING = np.zeros((0, features.LOG_MEL.bands), np.float16)  # the features of a text
_TEXT = Layout(features.LOG_MEL.bands, None, features.LOG_MEL.hop_s, False)
_READ = (*FIELDS, *MEASURES, 'corpus', 'length', 'frames', 'sums', 'squares')
_PER_UTTERANCE = (*_READ, 'offset')


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
    wanted: str = '',
) -> Utterances:
    """Open built corpora by path and check each against its stored fingerprint.

    Args:
      names: corpora, e.g. ('ravdess',); `goemotions/ekman` is a corpus in a builder config other
        than `source`.
      source: features to read and builder config: 'log_mel', 'waveform', another front end, or
        'text' for the words alone (of any config).
      directory: see `data_dir`.
      resident_gb: features larger than this stay on disk.
      trim_db: threshold for trimming silence, see `features.audible_span`.
      versions: names in `variants.STORED`, or, of samples, in `variants.CHANGES`; each version
        becomes an utterance `<source>+<name>` after its source.
      wanted: front end of the model, see `front_ends.model_input`.

    Raises:
      InputError: a corpus is not built (the message has the command that builds it), is damaged, or
        changed since it was built.
    """
    if source != 'text':
        front_ends.model_input(source, wanted)  # raises InputError for an unknown or unfit one
    _check(names, source, trim_db, versions)
    config = builder_config(source, versions)
    opened = [shards.opened(name, data_dir(directory), source, config) for name in names]
    made = len(versions) if source == _SAMPLES else 0  # versions beside what is stored
    size_gb = (1 + made) * sum(o.bytes for o in opened) / 1e9
    resident = source == 'text' or size_gb <= resident_gb
    rows = _Rows(source, wanted, resident, trim_db, [f'+{v}' for v in versions])
    fingerprints = {}
    for index, name in enumerate(names):
        fingerprints[name] = schema.fingerprint(rows.read(index, opened[index]))
        shards.compare(fingerprints[name], opened[index].fingerprint, opened[index].title)
    return rows.utterances(tuple(names), opened, fingerprints)


def _check(names: Sequence[str], source: str, trim_db: float, versions: Sequence[str]) -> None:
    """Raise InputError for knobs of `open_corpora` that are out of range or exclude each other."""
    if not (trim_db >= 0 and np.isfinite(trim_db)):
        raise InputError(f'features.trim_db must be at least 0, got {trim_db}; 0 disables trimming')
    if trim_db and source not in (*front_ends.TRIMMED, 'text'):
        raise InputError(
            f'features.trim_db={trim_db} with features.source={source!r}: only '
            f'{" and ".join(front_ends.TRIMMED)} are trimmed'
        )
    if twice := [n for i, n in enumerate(names) if n in names[:i]]:
        raise InputError(f'data.corpora names {twice[0]} twice; name every corpus once')
    if versions and source not in (*front_ends.VARIED, _SAMPLES):
        raise InputError(
            f'data.variants={tuple(versions)} with features.source={source!r}: variants are stored '
            f'for {", ".join(front_ends.VARIED)} and made of {_SAMPLES} only'
        )
    known = variants.CHANGES if source == _SAMPLES else variants.STORED.names
    if unknown := sorted(set(versions) - {*known}):
        raise InputError(f'data.variants must be one of {", ".join(known)}, got {unknown[0]!r}')


def builder_config(source: str, versions: Sequence[str]) -> str:
    """Return the builder config that holds features of `source` and those variants."""
    return f'{source}_variants' if versions and source in front_ends.VARIED else source


def data_source(name: str, root: pathlib.Path, source: str) -> shards.Opened:
    """Open the newest version of one built corpus and check its content by its fingerprint."""
    opened = shards.opened(name, root, source)
    found = schema.fingerprint(shards.examples(opened.data, opened.title))
    shards.compare(found, opened.fingerprint, opened.title)
    return opened


class _Rows:
    """Metadata, statistics and, if resident, features of the examples read so far."""

    def __init__(
        self, source: str, wanted: str, resident: bool, trim_db: float, versions: list[str]
    ):
        self.source, self.resident = source, resident
        self.trim_db, self.versions = trim_db, versions
        if source != 'text':
            self.front = front_ends.by_name(source)
            self.wanted = front_ends.model_input(source, wanted)
        self.columns: dict[str, list] = {name: [] for name in _READ}
        self.kept: list[np.ndarray] = []
        # corpus, example, first stored value, id
        self.places: list[tuple[int, int, int, str]] = []

    def read(self, corpus: int, opened: shards.Opened) -> Iterator[dict]:
        """Yield the examples of a corpus after their rows were added."""
        for at, example in enumerate(shards.examples(opened.data, opened.title)):
            for version in ['', *self.versions]:
                self._add(corpus, at, example, version)
            yield example

    def _add(self, corpus: int, at: int, example: dict, version: str) -> None:
        values, first = _NOTHING if self.source == 'text' else example[self.source], 0
        if self.versions and self.source == _SAMPLES:
            values = front_ends.varied_samples(decoded(example['id']) + version, values)
        elif self.versions:  # one frame per version, in stored order
            first = variants.STORED.ids('').index(version)
            values = values[first : first + 1]
        frames = values
        if self.source != 'text':
            begin, end = front_ends.audible_span(self.front, values, self.trim_db)
            values, first = values[begin:end], first + begin
            frames = front_ends.described(self.front, self.wanted, values)
        frames = frames.astype(np.float64)
        row: dict[str, Any] = {name: decoded(example[name]) for name in FIELDS}
        row |= {name: example[name] for name in MEASURES}
        row |= {'id': row['id'] + version, 'corpus': corpus, 'length': len(values)}
        row |= {'frames': len(frames), 'sums': frames.sum(0), 'squares': (frames**2).sum(0)}
        for name, value in row.items():
            self.columns[name].append(value)
        self.places.append((corpus, at, first, row['id']))
        if self.resident:
            self.kept.append(values)

    def utterances(
        self, names: tuple[str, ...], opened: list[shards.Opened], fingerprints: dict[str, str]
    ) -> Utterances:
        """Return the utterances of all corpora that were read."""
        arrays = {k: np.array(v, object if k in FIELDS else None) for k, v in self.columns.items()}
        length, places = arrays['length'], self.places
        offset = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64)
        flat = np.concatenate(self.kept) if self.resident else None

        def read(i):
            if flat is not None:
                return flat[offset[i] : offset[i] + length[i]]
            corpus, at, first, id = places[i]
            values = opened[corpus].values(at)
            if self.source == _SAMPLES and self.versions:
                values = front_ends.varied_samples(id, values)
            return values[first : first + length[i]]

        return Utterances(
            names=names,
            facts=tuple(o.facts for o in opened),
            flat=flat,
            offset=offset,
            read=read,
            source=self.source,
            layout=_TEXT if self.source == 'text' else self.front.layout,
            fingerprints=fingerprints,
            **arrays,
        )


def decoded(value: bytes | str) -> str:
    """Return a text field of an example as str."""
    return value.decode() if isinstance(value, bytes) else str(value)


def normalization(utterances: Utterances, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and deviation per band over the frames at `indices`: float32 [M], [M]."""
    total = max(1, utterances.frames[indices].sum())
    mean = utterances.sums[indices].sum(0) / total
    var = np.maximum(utterances.squares[indices].sum(0) / total - mean**2, 0)
    return mean.astype(np.float32), np.maximum(np.sqrt(var), 1e-3).astype(np.float32)
