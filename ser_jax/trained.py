"""A run's directory, opened: all that evaluate, predict and everything after them need."""

import json
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from ser_jax import assemble
from ser_jax.config import completed
from ser_jax.contract import Facts, InputError
from ser_jax.data import text
from ser_jax.learn import checkpoint
from ser_jax.learn.inputs import Own
from ser_jax.learn.learner import Learner, Variables


class Trained(NamedTuple):
    """What a training left behind."""

    directory: pathlib.Path
    config: ConfigDict
    protocol: str
    emotions: tuple[str, ...]
    folds: dict[str, dict[str, list[str]]]  # member -> side -> ['corpus/id', ...]
    normalization: dict[str, tuple[np.ndarray, np.ndarray]]  # member -> mean, std [M]
    words: dict[str, list[str]]  # member -> vocabulary
    corpora: list[Facts]  # what was trained on
    learner: Learner

    @property
    def finished(self) -> list[str]:
        """The members whose training has ended, in the run's order."""
        return [m for m in self.folds if (self.directory / 'best' / m / 'about.json').exists()]

    def variables(self, members: list[str]) -> Variables:
        """The kept variables of `members`, stacked on a leading axis (numpy)."""
        loaded = [Variables(**checkpoint.load_best(self.directory / 'best' / m)[0]) for m in members]
        return jax.tree.map(lambda *x: np.stack(x), *loaded)

    def own(self, members: list[str], texts: list[str] | np.ndarray) -> Own:
        """What `members` need beside their variables to read utterances that say `texts`, stacked (numpy)."""
        return Own(
            key=np.zeros((len(members), 2), np.uint32),
            mean=np.stack([self.normalization[m][0] for m in members]),
            std=np.stack([self.normalization[m][1] for m in members]),
            class_weight=np.ones((len(members), len(self.emotions)), np.float32),
            tokens=self.tokens(members, texts),
        )

    def tokens(self, members: list[str], texts: list[str] | np.ndarray) -> np.ndarray:
        """What `members` read where utterances say `texts`: int32 [K N W]; of those that read nothing, zeros [K N 1]."""
        if not assemble.reads_text(self.config):
            return np.zeros((len(members), len(texts), 1), np.int32)
        return np.stack([text.encode(texts, self.words[m], self.config.features.max_words) for m in members])


def open_trained(directory: pathlib.Path) -> Trained:
    """Opens the directory of a run of which at least one member is finished.

    Raises:
      InputError: it is none, or holds no finished member.
    """
    trained = open_begun(directory)
    if not trained.finished:
        raise InputError(
            f'{directory} has no finished member yet; let its training end (the same command goes on with it)'
        )
    return trained


def open_begun(directory: pathlib.Path) -> Trained:
    """Opens a run's directory, finished or not.

    Raises:
      InputError: it is none.
    """
    directory = pathlib.Path(directory)
    if not (directory / 'config.json').exists():
        what = 'does not exist' if not directory.exists() else 'holds no config.json'
        raise InputError(f'{directory} {what}; give the --workdir of a training')
    try:
        config, folds, normalization, words, corpora = (
            json.loads((directory / f'{name}.json').read_text())
            for name in ('config', 'folds', 'normalization', 'vocabulary', 'corpora')
        )
    except (OSError, ValueError) as e:
        raise InputError(f'{directory} is not a complete run ({e}); train it again') from e
    config = completed(config)
    emotions = tuple(folds['emotions'])
    return Trained(
        directory,
        config,
        folds['protocol'],
        emotions,
        folds['members'],
        {m: (np.array(n['mean'], np.float32), np.array(n['std'], np.float32)) for m, n in normalization.items()},
        words,
        [Facts(**{**f, 'emotions': tuple(f['emotions'])}) for f in corpora],
        assemble.build_learner(config, len(emotions), max(len(w) for w in words.values()), 1),
    )
