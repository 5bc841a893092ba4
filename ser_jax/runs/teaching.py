"""Teaching of a speaker: heads from labelled recordings, and their score on recordings held out."""

import collections
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.contract import InputError
from ser_jax.learn import personal_head
from ser_jax.learn.personal_head import Head
from ser_jax.scoring import intervals
from ser_jax.scoring.intervals import Interval
from ser_jax.scoring.metrics import Predictions

LEAST = 2  # recordings of an emotion, and emotions, below which nothing can be taught
_FOLDS = 10


class Taught(NamedTuple):
    """A head, and scores on recordings that the heads for them were not fitted on.

    Attributes:
      before, after: UAR over the taught emotions: general model, taught model.
      gain: their difference.
      loss: cross-entropy before and after.
      kept: True if the head is better: a lower loss and no lower UAR.
    """

    head: Head
    recordings: int
    emotions: list[str]
    before: Interval
    after: Interval
    gain: Interval
    loss: tuple[float, float]
    kept: bool


def teach(
    probabilities: np.ndarray,
    embedding: np.ndarray,
    label: np.ndarray,
    group: np.ndarray,
    emotions: Sequence[str],
    progress: Callable[[float], None] = lambda share: None,
) -> Taught:
    """Return the head of each member, and how much better they are on recordings held out.

    Recordings are held out in turn, copies of one together; members are averaged as in prediction.

    Args:
      probabilities, embedding: of the general model, [N K C] and [N K D].
      label: int [N].
      group: int [N], equal for copies of one recording.
      emotions: the C classes.
      progress: receives the finished share.
    """
    folds, members = split(label, group), range(probabilities.shape[1])
    after = np.zeros(probabilities.shape, np.float64)
    for fold in range(folds.max() + 1):
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        for k in members:
            head = personal_head.fit(probabilities[rest, k], embedding[rest, k], label[rest])
            after[held, k] = personal_head.apply(head, probabilities[held, k], embedding[held, k])
        progress(0.9 * (fold + 1) / (folds.max() + 1))
    each = [personal_head.fit(probabilities[:, k], embedding[:, k], label) for k in members]
    progress(1.0)
    head = Head(*(np.stack(x) for x in zip(*each, strict=True)))
    words = [emotions[c] for c in np.unique(label)]
    return _scored(head, words, label, group, probabilities.mean(1), after.mean(1))


def check_enough(label: np.ndarray, group: np.ndarray, emotions: Sequence[str]) -> None:
    """Raise InputError unless enough different recordings are labelled."""
    once = {(int(g), int(c)) for g, c in zip(group, label, strict=True)}
    count = collections.Counter(c for _, c in once)
    if sum(n >= LEAST for n in count.values()) < LEAST:
        shown = ', '.join(f'{n} {emotions[c]}' for c, n in sorted(count.items()))
        raise InputError(
            f'too few labelled recordings ({shown}); give at least {LEAST} different ones of each '
            f'of at least {LEAST} emotions, better 3 of each that the run has'
        )


def split(label: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the fold of each recording, int [n]: emotions spread evenly, copies in one fold."""
    first = {g: int(np.flatnonzero(group == g)[0]) for g in np.unique(group)}
    order = sorted(first, key=lambda g: (label[first[g]], first[g]))
    count = min(_FOLDS, len(order))
    fold = {g: i % count for i, g in enumerate(order)}
    return np.array([fold[g] for g in group])


def _scored(
    head: Head,
    emotions: list[str],
    label: np.ndarray,
    group: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
) -> Taught:
    """Return the result of teaching from probabilities [n C] of recordings held out."""
    sides = []
    for probabilities in (before, after):
        same = np.zeros(len(label), int)  # one speaker: recordings are resampled
        sides.append(Predictions(label, probabilities.argmax(1), same, None, group))
    classes = before.shape[1]
    uar = [intervals.speaker_bootstrap(side, classes)['uar'] for side in sides]
    gain = intervals.paired_bootstrap(sides[1], sides[0], classes)
    rows = np.arange(len(label))
    logs = [personal_head.log_probabilities(p)[rows, label] for p in (before, after)]
    loss = float(-logs[0].mean()), float(-logs[1].mean())
    kept = loss[1] < loss[0] and uar[1].value >= uar[0].value
    return Taught(head, len(label), emotions, uar[0], uar[1], gain, loss, kept)
