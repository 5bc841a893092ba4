"""Leaky protocols: splits by utterance, as published systems have them, with inflated scores.

Each is reproduced to compare with a published score. Its name begins with `leaky` and is printed
with every score; see `ser_jax.data.protocols`.
"""

import numpy as np

from ser_jax.contract import InputError
from ser_jax.data.folds import Fold


def leaky_random(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return K folds by utterance, as in most published scores: speakers on both sides."""
    if not 2 <= members.folds <= len(scored):
        raise InputError(
            f'members.folds must be 2 to {len(scored)} with {len(scored)} utterances, got '
            f'{members.folds}'
        )
    shuffled = np.random.default_rng(0).permutation(scored)
    parts = np.array_split(shuffled, members.folds)
    folds = []
    for i, test in enumerate(parts):
        rest = np.concatenate([p for j, p in enumerate(parts) if j != i])
        cut = max(1, len(rest) // 10)
        folds.append(Fold(f'fold{i}', np.sort(rest[cut:]), np.sort(rest[:cut]), np.sort(test)))
    return folds


def leaky_holdout(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Return one random split by utterance, as in most published systems."""
    shuffled = np.random.default_rng(0).permutation(scored)
    test, valid = (
        round(len(scored) * share) for share in (members.test_share, members.valid_share)
    )
    if not (test and test + valid < len(scored)):
        raise InputError(
            f'members.test_share={members.test_share} and valid_share={members.valid_share} of '
            f'{len(scored)} utterances leave nothing to test or to train; expected shares above 0 '
            'that sum to less than 1'
        )
    sides = np.split(shuffled, [test, test + valid])
    test_side, valid_side, train_side = (np.sort(side) for side in sides)
    return [Fold('fold0', train_side, valid_side, test_side)]


def leaky_augmented(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Split as `leaky_holdout`, variants too: most test utterances have a variant in training."""
    return leaky_holdout(utterances, scored, members)


def leaky_label_pairing(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Split as `leaky_holdout`, with texts paired by label: the text contains the answer."""
    return leaky_holdout(utterances, scored, members)


def leaky_position(utterances, scored: np.ndarray, members) -> list[Fold]:
    """Split each speaker's utterances by id: the first 70 % train, the next 15 % test.

    A published RAVDESS data set splits its folders so. The names sort by emotion: disgust and
    surprise are never trained on, nearly all test utterances are disgust, and every speaker is on
    all sides. The score is meaningless.
    """
    sides: dict[str, list[int]] = {'train': [], 'valid': [], 'test': []}
    for speaker in sorted(set(utterances.speaker[scored])):
        indices = scored[utterances.speaker[scored] == speaker]
        indices = indices[np.argsort(utterances.id[indices])]
        first, second = round(0.7 * len(indices)), round(0.85 * len(indices))
        sides['train'].extend(indices[:first])
        sides['test'].extend(indices[first:second])
        sides['valid'].extend(indices[second:])
    return [Fold('fold0', **{name: np.array(side, int) for name, side in sides.items()})]
