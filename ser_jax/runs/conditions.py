"""Predictions of a run for distorted utterances: a choice of them, their members, their rows."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from ml_collections import ConfigDict

from ser_jax.data import distorted, speaker_statistics
from ser_jax.data.batches import Member
from ser_jax.data.distorted import Sources, Study
from ser_jax.data.utterances import Utterances
from ser_jax.explore.findings import place
from ser_jax.runs.trained import Trained

# Evaluation of (utterances, crossed), or of distorted ones with their `members_of`.
Score = Callable[..., Iterator[pa.Table]]


def ready(
    study: Study, config: ConfigDict, corpora: Sequence[str], opened: dict, say=print
) -> Study:
    """Open the samples that a study of a run needs; return the study without missing sounds.

    Args:
      study: the conditions.
      config: of the run, with the folder of the builds.
      corpora: others that the run is scored on.
      opened: cache, shared by runs.
      say: gets the line about the conditions left out.

    Raises:
      InputError: samples are not built; the message has the command that builds them.
    """
    study = distorted.built(study, config.data.dir, say)
    for name in dict.fromkeys([*config.data.corpora, *corpora]):
        _sources((name,), config, study, opened)
    return study


def rows(
    trained: Trained,
    config: ConfigDict,
    utterances: Utterances,
    crossed: bool,
    study: Study | None,
    opened: dict,
    score: Score,
) -> Iterator[pa.Table]:
    """Yield the predictions of a run, then those under the conditions of a study, as tables.

    The latter have a column `condition`. Their utterances are chosen and the samples checked before
    anything is scored.

    Args:
      trained: the run.
      config: of the run, with the folder of the builds.
      utterances: with stored features and the run's labels, before frozen layers.
      crossed: they are of a corpus that the run was not trained on.
      study: the conditions; None = none.
      opened: cache, shared by runs.
      score: the evaluation.

    Raises:
      InputError: samples are missing or of other recordings.
    """
    if study is None:
        yield from score(utterances, crossed)
        return
    used = utterances.select(trained.takes(utterances))
    sources = _sources(used.names, config, study, opened)
    enrolled, scored = _sides(trained, used, crossed)
    chosen = _chosen(used, scored, study)
    sources.check(used, chosen)
    yield from score(utterances, crossed)
    if not len(chosen):
        return
    kept = np.flatnonzero(enrolled & np.isin(used.speaker, used.speaker[chosen]))
    if len(kept):  # enrolling needs a further recording of each speaker
        kept = np.union1d(kept, chosen)
    limits = config.features.trim_db, config.data.resident_gb
    for part in distorted.passes(used, chosen, kept, sources, study, *limits):
        for table in score(part, crossed, tested):
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


def _chosen(utterances: Utterances, eligible: np.ndarray, study: Study) -> np.ndarray:
    """Return the indices of the utterances that a study distorts, corpus by corpus."""
    chosen = []
    for corpus in range(len(utterances.names)):
        own = eligible & (utterances.corpus == corpus)
        chosen.append(balanced(utterances, own, study.utterances, study.seed))
    return np.concatenate(chosen)


def _sources(names: Sequence[str], config: ConfigDict, study: Study, opened: dict) -> Sources:
    return distorted.opened(names, config.features.source, study, config.data.dir, opened)


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
    """Return the rows of distorted utterances under their own ids, with their condition."""
    ids, names = zip(*map(distorted.parts_of, table['id'].to_pylist()), strict=True)
    for column, values in (('id', ids), ('condition', names)):
        at = table.column_names.index(column)
        table = table.set_column(at, column, pa.array(values, pa.string()))
    return table
