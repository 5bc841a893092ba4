"""Distorted utterances: features of recordings under conditions, computed from their samples.

The samples come from another build of the same corpus, `waveform` (`native` for front ends at
another rate), matched by id and content hash. They are distorted, rounded to 16 bits as a recording
is, and go through the run's own front end. A distorted utterance is a row `<id>+<condition>`.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_jax.audio import conditions, front_ends, variants, wav
from ser_jax.audio.conditions import Condition
from ser_jax.contract import FrontEnd, InputError
from ser_jax.corpora import schema
from ser_jax.data.recordings import Recordings
from ser_jax.data.utterances import Utterances, data_dir

NONSPEECH = 'nonspeech'  # the corpus of other sounds
CLEAN = conditions.CLEAN


class Study(NamedTuple):
    """Conditions that runs are scored under.

    Attributes:
      conditions: in the order of the table.
      utterances: number of utterances of a corpus that are distorted; 0 = all that are scored.
      seed: of the choice of utterances, of noises, and of the recordings mixed in.
      asked: names and groups of conditions that the user gave.
    """

    conditions: tuple[Condition, ...]
    utterances: int = 200
    seed: int = 0
    asked: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str], utterances: int = 200, seed: int = 0) -> 'Study | None':
        """Return the study of conditions given by names or groups; None without any.

        Raises:
          InputError: a name is unknown, or the number is negative.
        """
        if utterances < 0:
            raise InputError(
                f'--condition_utterances must be at least 0 (all), got {utterances}; e.g. 200'
            )
        found = conditions.chosen(names)
        return cls(found, utterances, seed, tuple(names)) if found else None


class Sources(NamedTuple):
    """Samples for the utterances of a run: a corpus each, and the sounds that are mixed in."""

    front: FrontEnd
    corpora: tuple[Recordings, ...]
    sounds: Recordings | None

    def check(self, utterances: Utterances, indices: np.ndarray) -> None:
        """Raise InputError if samples of the utterances at `indices` are missing or others'."""
        for corpus, recordings in enumerate(self.corpora):
            recordings.check(utterances, indices[utterances.corpus[indices] == corpus])

    def distorted(
        self, utterances: Utterances, index: int, condition: Condition, seed: int
    ) -> np.ndarray:
        """Return the samples of an utterance under a condition, float32 [T'].

        They depend on the seed, the id and the condition; the utterances in a babble and the sound
        also on the content of their corpora.
        """
        id, corpus = utterances.id[index], self.corpora[utterances.corpus[index]]
        rng = variants.generator(id, condition.name, seed)
        mixed = []
        if condition.others:
            of = corpus if condition.kind == conditions.SPEECH else self.sounds
            assert of is not None
            names = sorted(of.place)
            if of is corpus:
                names = of.others(utterances.speaker[index])
            if not names:
                raise InputError(
                    f'{condition.name} mixes in other speakers, and {utterances.speaker[index]} is '
                    f'the only one of {utterances.names[utterances.corpus[index]]}; leave it out'
                )
            drawn = rng.choice(len(names), condition.others, len(names) < condition.others)
            mixed = [of.samples(names[at]) for at in drawn]
        return condition(corpus.samples(id), self.front.rate_hz, rng, mixed)


def built(study: Study, directory: str, say=print) -> Study:
    """Return the study without the sounds of `nonspeech` if that is not built.

    Args:
      study: as asked for.
      directory: folder of the builds.
      say: gets the line about the conditions left out.

    Raises:
      InputError: a condition with these sounds was asked for by its name, not by a group.
    """
    mixing = [c for c in study.conditions if c.kind == conditions.SOUNDS]
    root = data_dir(directory)
    if not mixing or any(root.glob(f'{NONSPEECH}/*/*/{schema.FINGERPRINT}')):
        return study
    named = next((c.name for c in mixing if {c.name, c.stem} & {*study.asked}), '')
    reason = (
        f'the corpus {NONSPEECH} is not built in {root} (python -m ser_jax.build '
        f'datasets/{NONSPEECH} --manual_dir=WHERE_THE_RECORDINGS_ARE --config=waveform)'
    )
    if named:
        raise InputError(f'{named} needs other sounds, and {reason}')
    say(f'left out {", ".join(c.name for c in mixing)}: {reason}')
    return study._replace(conditions=tuple(c for c in study.conditions if c not in mixing))


def opened(
    corpora: Sequence[str], source: str, study: Study, directory: str, cache: dict
) -> Sources:
    """Open the samples of corpora, and of the other sounds if the study needs them.

    Args:
      corpora: names, as `Utterances.names`.
      source: name of the stored front end.
      study: the conditions.
      directory: folder of the builds.
      cache: of opened samples, shared by calls.

    Raises:
      InputError: see `Recordings`.
    """
    front, names = front_ends.by_name(source), list(corpora)
    if any(c.kind == conditions.SOUNDS for c in study.conditions):
        names.append(NONSPEECH)
    for name in names:
        if (name, directory, front.rate_hz) not in cache:
            cache[name, directory, front.rate_hz] = Recordings(name, directory, front.rate_hz)
    found = [cache[name, directory, front.rate_hz] for name in names]
    count = len(corpora)
    return Sources(front, tuple(found[:count]), found[count] if len(found) > count else None)


def passes(
    utterances: Utterances,
    chosen: np.ndarray,
    kept: np.ndarray,
    sources: Sources,
    study: Study,
    trim_db: float,
    resident_gb: float,
) -> Iterator[Utterances]:
    """Yield distorted utterances, as many conditions at once as fit into memory.

    Args:
      utterances: with stored features.
      chosen: indices of those that are distorted.
      kept: indices of those that stand undistorted before them, such as enrolled ones.
      sources: their samples.
      study: the conditions and the seed.
      trim_db: see `features.audible_span`.
      resident_gb: features larger than this are computed whenever they are read.
    """
    first = utterances.read(int(chosen[0]))
    row_bytes = first.itemsize * int(np.prod(first.shape[1:]))
    size_gb = 1.2 * row_bytes * int(utterances.length[chosen].sum()) / 1e9
    at_once = max(1, int(resident_gb / max(size_gb, 1e-9)))
    for at in range(0, len(study.conditions), at_once):
        some = study.conditions[at : at + at_once]
        pairs = itertools.product(some, chosen)
        rows = [(int(i), None) for i in kept] + [(int(i), c) for c, i in pairs]
        yield _distorted(utterances, rows, sources, study.seed, trim_db, size_gb <= resident_gb)


def parts_of(id: str) -> tuple[str, str]:
    """Return the utterance's id and its condition, `clean` if it has none."""
    return variants.source_of(id), variants.variant_of(id) or conditions.CLEAN


def _distorted(
    utterances: Utterances,
    rows: Sequence[tuple[int, Condition | None]],
    sources: Sources,
    seed: int,
    trim_db: float,
    resident: bool,
) -> Utterances:
    def read(row: int) -> np.ndarray:
        index, condition = rows[row]
        if condition is None:
            return utterances.read(index)
        samples = wav.int16(sources.distorted(utterances, index, condition, seed))
        values = sources.front.stored(samples.astype(np.float32) / 32768)
        first, last = front_ends.audible_span(sources.front, values, trim_db)
        return values[first:last]

    values, length = [], np.zeros(len(rows), np.int64)
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        for row in progress.track(range(len(rows)), description='recordings distorted'):
            one = read(row)
            length[row] = len(one)
            if resident:
                values.append(one)
    index = np.array([i for i, _ in rows], np.int64)
    arrays: dict[str, Any] = {}
    for field in dataclasses.fields(utterances):
        value = getattr(utterances, field.name)
        if isinstance(value, np.ndarray) and field.name != 'flat':
            arrays[field.name] = value[index]
    empty = np.zeros((len(rows), 1))  # no normalization is computed from distorted utterances
    ids = [f'{utterances.id[i]}+{c.name}' if c else utterances.id[i] for i, c in rows]
    offset = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64)
    flat = np.concatenate(values) if resident else None

    def kept(row: int) -> np.ndarray:
        return read(row) if flat is None else flat[offset[row] : offset[row] + length[row]]

    arrays |= {'id': np.array(ids, object), 'offset': offset, 'length': length, 'frames': length}
    arrays |= {'sums': empty, 'squares': empty}
    return dataclasses.replace(utterances, flat=flat, read=kept, **arrays)
