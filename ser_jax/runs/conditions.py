"""Predictions of a run for distorted utterances: a choice of them, their members, their rows."""

import hashlib
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from ser_jax.data import distorted, speaker_statistics
from ser_jax.data.batches import Member
from ser_jax.data.distorted import Sources, Study
from ser_jax.data.utterances import Utterances
from ser_jax.explore.findings import place
from ser_jax.runs.trained import Trained


def rows(
    trained: Trained,
    utterances: Utterances,
    crossed: bool,
    study: Study,
    sources: Sources,
    score: Callable[[Utterances], Iterator[pa.Table]],
) -> Iterator[pa.Table]:
    """Yield the predictions of a run under conditions, with a column `condition`.

    Args:
      trained: the run.
      utterances: with stored features and the run's labels, before frozen layers.
      crossed: they are of a corpus that the run was not trained on.
      study: the conditions, and the number of utterances.
      sources: samples of the utterances.
      score: the evaluation of distorted utterances; their members are those of `tested`.

    Raises:
      InputError: samples are missing or of other recordings.
    """
    utterances = utterances.select(trained.takes(utterances))
    enrolled, scored = _sides(trained, utterances, crossed)
    chosen = balanced(utterances, scored, study.utterances, study.seed)
    if not len(chosen):
        return
    kept = np.flatnonzero(enrolled & np.isin(utterances.speaker, utterances.speaker[chosen]))
    if len(kept):  # enrolling needs a further recording of each speaker
        kept = np.union1d(kept, chosen)
    config = trained.config
    limits = config.features.trim_db, config.data.resident_gb
    for part in distorted.passes(utterances, chosen, kept, sources, study, *limits):
        for table in score(part):
            yield _with_condition(table)


def tested(trained: Trained, utterances: Utterances, crossed: bool) -> list[Member]:
    """Return the finished members with the distorted utterances of their test sides.

    The arguments are those of `tested_members.tested_members`, which has checked the sides.
    """
    members = []
    parts = [distorted.parts_of(id) for id in utterances.id]
    under = np.array([condition != distorted.CLEAN for _, condition in parts], bool)
    corpora = [utterances.names[c] for c in utterances.corpus]
    place = np.array([f'{c}/{id}' for c, (id, _) in zip(corpora, parts, strict=True)], object)
    for name in trained.finished:
        own = under if crossed else under & np.isin(place, trained.folds[name]['test'])
        test = np.flatnonzero(own).astype(np.int32)
        fold, seed = name.rsplit('_seed', 1)
        number = int(fold.removeprefix('fold'))
        if len(test):
            members.append(Member(name, number, int(seed), test[:0], test[:0], test))
    return members


def balanced(utterances: Utterances, eligible: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the indices of `count` utterances, the emotions and then the speakers about equal.

    Args:
      utterances: N utterances.
      eligible: bool [N].
      count: 0 = all eligible ones.
      seed: of the choice within an emotion of a speaker.

    Returns:
      Indices in ascending order.
    """
    left = np.flatnonzero(eligible)
    if not count or count >= len(left):
        return left
    names = [place(utterances, int(i)) for i in left]
    order = [hashlib.sha256(f'{seed} {name}'.encode()).hexdigest() for name in names]
    left = left[np.argsort(order)]
    emotion, speaker = (
        np.unique(column[left], return_inverse=True)[1]
        for column in (utterances.emotion.astype(str), utterances.speaker.astype(str))
    )
    cells = np.zeros((emotion.max() + 1, speaker.max() + 1), int)
    free = np.ones(len(left), bool)
    for _ in range(count):
        taken = cells.sum(1)[emotion], cells[emotion, speaker], cells.sum(0)[speaker]
        best = np.lexsort((*taken[::-1], ~free))[0]
        free[best] = False
        cells[emotion[best], speaker[best]] += 1
    return np.sort(left[~free])


def _sides(
    trained: Trained, utterances: Utterances, crossed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return bool [N], [N]: recordings whose mean is a speaker's, and those that are scored."""
    features, channels = trained.config.features, trained.config.data.channels
    mode = features.speaker_norm
    enrolled = np.zeros(len(utterances), bool)
    if mode != speaker_statistics.NONE:
        enrolled = speaker_statistics.enrolled(utterances, mode, channels, features.speaker_seed)
    if crossed:
        scored = np.isin(utterances.channel, list(channels))
    else:
        ids: set[str] = set()
        for name in trained.finished:
            ids |= {*trained.folds[name]['test']}
        scored = np.array([place(utterances, i) in ids for i in range(len(utterances))], bool)
    if mode != speaker_statistics.ALL:
        scored &= ~enrolled
    whole = [distorted.parts_of(id)[1] == distorted.CLEAN for id in utterances.id]  # no variants
    return enrolled, scored & np.array(whole, bool)


def _with_condition(table: pa.Table) -> pa.Table:
    """Return the rows of distorted utterances under their own ids, with a column `condition`."""
    parts = [distorted.parts_of(id) for id in table['id'].to_pylist()]
    ids = pa.array([id for id, _ in parts])
    table = table.set_column(table.column_names.index('id'), 'id', ids)
    return table.append_column('condition', pa.array([condition for _, condition in parts]))
