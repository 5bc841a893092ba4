"""Folds: the sides of a member, and the check that no speaker, recording or session is on two."""

import dataclasses

import numpy as np

from ser_jax.audio.variants import source_of
from ser_jax.contract import InputError
from ser_jax.corpora import file_names


@dataclasses.dataclass(frozen=True)
class Fold:
    """Training, validation and test utterances of a member: indices into the opened corpora."""

    name: str
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def check(fold: Fold, utterances, leaky: bool = False, untrained: bool = False) -> None:
    """Raise InputError if a fold has an empty side, untrained test classes, or a leak.

    A leak is one speaker (by label or by published file name), recording or session on two sides.
    `leaky` permits leaks, `untrained` permits test classes without training examples.
    """
    if reason := impossible(fold, utterances, untrained):
        raise InputError('; '.join(reason))
    if not leaky:
        _check_leaks(fold, utterances)


def impossible(fold: Fold, utterances, untrained: bool = False) -> tuple[str, str] | None:
    """Return why a fold cannot be trained and tested, and the remedy; None if it can."""
    for side in ('test', 'train'):
        if not len(getattr(fold, side)):
            return (
                f'{fold.name} has no utterance to {side}',
                'use fewer folds or validation speakers, or more speakers',
            )
    trained = set(utterances.emotion[fold.train])
    missing = sorted(set(utterances.emotion[fold.test]) - trained)
    if missing and not untrained:
        return (
            f'{fold.name} tests {", ".join(missing)} but has no training example of it',
            'leave the class out with data.emotions or change the folds',
        )
    return None


def _check_leaks(fold: Fold, utterances) -> None:
    sides = {'training': fold.train, 'validation': fold.valid, 'test': fold.test}
    voices = file_names.voices(utterances.id, utterances.speaker)
    identities = {
        'speaker': utterances.speaker,
        'voice (by file names)': voices,
        'recording': utterances.source_sha256,
        'session': file_names.sessions(utterances.id),
    }
    none = {'session': {''}}  # most utterances are of no session
    for kind, values in identities.items():
        first_side: dict[str, str] = {}
        for side, indices in sides.items():
            for value in sorted(set(values[indices]) - none.get(kind, set())):
                if first_side.setdefault(value, side) != side:
                    raise InputError(
                        f'{fold.name} would leak: {kind} {value[:40]} is in {first_side[value]} '
                        f'and {side}; separate them, or ask for the leak by name with '
                        "members.protocol='leaky_random'"
                    )


def with_train_only(fold: Fold, extra: np.ndarray, utterances) -> Fold:
    """Add the train-only utterances of training speakers, except speakers of validation or test.

    If that leaves no speaker (leaky protocols), add those of all training speakers; never scored.
    """
    held_out = set(utterances.speaker[fold.valid]) | set(utterances.speaker[fold.test])
    allowed = set(utterances.speaker[fold.train]) - held_out or set(utterances.speaker[fold.train])
    keep = extra[np.isin(utterances.speaker[extra], list(allowed))]
    return dataclasses.replace(fold, train=np.concatenate([fold.train, keep]))


def with_variants(fold: Fold, varied: np.ndarray, utterances) -> Fold:
    """Add the variants of the training utterances only."""
    sources = [source_of(i) for i in utterances.id]
    trained = {(utterances.corpus[i], sources[i]) for i in fold.train}
    keep = np.array([i for i in varied if (utterances.corpus[i], sources[i]) in trained], int)
    return dataclasses.replace(fold, train=np.concatenate([fold.train, keep]))
