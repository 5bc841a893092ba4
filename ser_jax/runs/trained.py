"""Trained runs, opened from their directories for evaluate, predict and later verbs."""

import dataclasses
import glob
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from ml_collections import ConfigDict

from ser_jax import assemble
from ser_jax.config import completed
from ser_jax.contract import CorpusInfo, InputError
from ser_jax.data.utterances import Utterances, builder_config, data_dir
from ser_jax.learn import arrays
from ser_jax.learn.arrays import MemberData
from ser_jax.learn.learner import Learner
from ser_jax.learn.state import Variables
from ser_jax.runs import checkpoint, run_files
from ser_jax.scoring.score import protocol_label

_RENEW = 'restore it from a copy of the run, or train it again'


class Trained(NamedTuple):
    """A run as its training left it."""

    directory: pathlib.Path
    config: ConfigDict
    protocol: str
    emotions: tuple[str, ...]
    folds: dict[str, dict[str, list[str]]]  # member -> side -> ['corpus/id', ...]
    normalization: dict[str, tuple[np.ndarray, np.ndarray]]  # member -> mean, std [M]
    words: dict[str, list[str]]  # member -> vocabulary
    corpora: list[CorpusInfo]  # the training corpora
    environment: dict  # environment.json: versions, devices, fingerprints
    learner: Learner
    definition: Mapping[str, Any] = {}  # its protocol; {} in earlier versions

    @property
    def label(self) -> str:
        """The protocol for tables: its name, version, and whether it is partial or shared."""
        fields = self.definition
        version, partial = int(fields.get('version', 1)), bool(fields.get('partial'))
        return protocol_label(self.protocol, version, bool(fields.get('leaky')), partial)

    @property
    def finished(self) -> list[str]:
        """Members whose training has ended, in the run's order."""
        return [m for m in self.folds if (self.directory / 'best' / m / 'about.json').exists()]

    def takes(self, utterances: Utterances) -> np.ndarray:
        """Return bool [N]: the utterances whose channel and emotion the run uses."""
        channels = [*self.config.data.channels, *self.config.data.train_only_channels]
        has_channel = np.isin(utterances.channel, channels)
        return has_channel & np.isin(utterances.emotion, self.emotions)

    def check_weights(self) -> None:
        """Refuse other pretrained weights than those of the training.

        Raises:
          InputError: the file is missing, or its content differs from the run's.
        """
        then, now = self.environment.get('begins_with'), self.learner.begins_with()
        if then != now:
            raise InputError(
                f'{self.directory} was trained with other pretrained weights (sha256 '
                f'{str(then)[:12]}) than those in place ({now[:12]}); restore them, or train it '
                'again'
            )

    def check_build(self, fingerprints: Mapping[str, str], directory: str = '') -> None:
        """Refuse another build of the run's corpora, in which an id may name another utterance.

        Args:
          fingerprints: corpus -> fingerprint of the opened build.
          directory: folder of the opened builds, in the form of `data.dir`.

        Raises:
          InputError: a fingerprint differs from the run's, or the run has none.
        """
        kept = self.environment['fingerprints']
        for name, now in fingerprints.items():
            then = kept.get(name)
            if then is None and name != self.config.data.texts:
                raise InputError(
                    f'{self.directory / "environment.json"} is damaged (it has no fingerprint of '
                    f'{name}); {_RENEW}'
                )
            if then not in (None, now):
                self._refuse(name, then, now, directory)

    def _refuse(self, corpus: str, then: str, now: str, directory: str) -> NoReturn:
        source = builder_config(self.config.features.source, self.config.data.variants)
        opened = data_dir(directory) / corpus
        if '/' not in corpus and corpus != self.config.data.texts:
            opened /= source
        flag = f' --data_dir={directory}' if directory not in ('', self.config.data.dir) else ''
        raise InputError(
            f'{self.directory} was trained on another build of {corpus} (fingerprint {then[:12]}) '
            f'than the one in {opened} (fingerprint {now[:12]}); give the --data_dir of the build '
            'it was trained on, or train it again in a new --workdir '
            f'(python -m ser_jax.audit --run={self.directory}{flag} lists what changed)'
        )

    def variables(self, members: list[str]) -> Variables:
        """Return the kept variables of `members`, stacked on a leading axis (numpy)."""
        loaded = [
            Variables(**checkpoint.load_best(self.directory / 'best' / m)[0]) for m in members
        ]
        return jax.tree.map(lambda *x: np.stack(x), *loaded)

    def member_data(self, members: list[str], texts: list[str] | np.ndarray) -> MemberData:
        """Return the other per-member arrays, for utterances with `texts`, stacked (numpy)."""
        return MemberData(
            key=np.zeros((len(members), 2), np.uint32),
            mean=np.stack([self.normalization[m][0] for m in members]),
            std=np.stack([self.normalization[m][1] for m in members]),
            class_weight=np.ones((len(members), len(self.emotions)), np.float32),
            tokens=self.tokens(members, texts),
        )

    def tokens(self, members: list[str], texts: list[str] | np.ndarray) -> np.ndarray:
        """Return each member's token ids of `texts`, int32 [K N W]; zeros [K N 1] without text."""
        words, width = [self.words[m] for m in members], self.config.features.max_words
        return arrays.tokens(texts, words, width, assemble.reads_text(self.config))


def find_runs(patterns: Sequence[str]) -> list[pathlib.Path]:
    """Return the run directories that the patterns match, sorted, each once.

    Raises:
      InputError: no pattern was given, or one matches no trained run.
    """
    if not patterns:
        raise InputError("no --runs given; e.g. --runs='runs/*'")
    found = []
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        literal = [pattern] if os.path.exists(pattern) else []  # a name may hold brackets
        paths = sorted(map(pathlib.Path, literal or glob.glob(pattern)))
        trained = [p for p in paths if (p / 'config.json').exists()]
        if not trained:
            raise InputError(
                f'--runs={pattern} matches {len(paths)} paths and no trained run; give the '
                '--workdir of a training'
            )
        found.extend(trained)
    once: dict[pathlib.Path, pathlib.Path] = {}
    for path in found:
        once.setdefault(path.resolve(), path)
    return list(once.values())


def open_trained(directory: pathlib.Path) -> Trained:
    """Open the directory of a run with at least one finished member.

    Raises:
      InputError: it is no run, or no member is finished.
    """
    trained = open_begun(directory)
    if not trained.finished:
        raise InputError(
            f'{directory} has no finished member yet; let its training end (the same command '
            'resumes it)'
        )
    return trained


def open_begun(directory: pathlib.Path, checked: bool = True) -> Trained:
    """Open a run's directory, finished or not.

    Args:
      checked: False accepts files that were changed since training wrote them.

    Raises:
      InputError: it is no run, or one of its files is missing, damaged or changed.
    """
    directory = pathlib.Path(directory)
    if not (directory / 'config.json').exists():
        problem = 'does not exist' if not directory.exists() else 'has no config.json'
        raise InputError(f'{directory} {problem}; give the --workdir of a training')
    files = run_files.read(directory, checked)
    config, folds, words = completed(files['config']), files['folds'], files['vocabulary']
    emotions = tuple(folds['emotions'])
    normalization = {}
    for member, stored in files['normalization'].items():
        mean, std = (np.array(stored[name], np.float32) for name in ('mean', 'std'))
        normalization[member] = mean, std
    return Trained(
        directory=directory,
        config=config,
        protocol=folds['protocol'],
        emotions=emotions,
        folds=folds['members'],
        normalization=normalization,
        words=words,
        corpora=[_facts(c) for c in files['corpora']],
        environment=files['environment'],
        definition=folds.get(run_files.DEFINITION, {}),
        learner=_learner(directory, config, len(emotions), max(len(w) for w in words.values())),
    )


def _facts(stored: dict) -> CorpusInfo:
    fields = {f.name: stored[f.name] for f in dataclasses.fields(CorpusInfo) if f.name in stored}
    return CorpusInfo(**{**fields, 'emotions': tuple(stored['emotions'])})


def _learner(directory: pathlib.Path, config: ConfigDict, classes: int, words: int) -> Learner:
    try:
        return assemble.build_learner(config, classes, words, 1)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as e:
        if (directory / run_files.CHECKSUMS).exists():
            raise  # the checksum shows an unchanged config, so this is a bug
        reason = f'{type(e).__name__}: {" ".join(str(e).split())[:120]}'
        raise InputError(
            f'{directory / "config.json"} is damaged (it describes no network: {reason}); {_RENEW}'
        ) from e
