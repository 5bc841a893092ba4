"""Members of a run with the utterances that they are tested on."""

import numpy as np

from ser_jax.contract import InputError
from ser_jax.data import protocols
from ser_jax.data.batches import Member
from ser_jax.data.utterances import Utterances
from ser_jax.explore.findings import places
from ser_jax.runs.trained import Trained


def tested_members(trained: Trained, utterances: Utterances, crossed: bool) -> list[Member]:
    """Return the finished members with their test and validation sides, or, `crossed`, all as test.

    Raises:
      InputError: an utterance is missing, or a member was trained on a speaker it is tested on.
    """
    place = places(utterances)
    members = []
    for name in trained.finished:
        ids = list(place) if crossed else trained.folds[name]['test']
        if missing := [i for i in ids if i not in place]:
            raise InputError(
                f'{trained.directory} tests {missing[0]} and {len(missing) - 1} more that the '
                'built corpus lacks; build the corpus the run was trained on, or give its '
                '--data_dir'
            )
        fold, seed = name.rsplit('_seed', 1)
        test = np.array([place[i] for i in ids], np.int32)
        if not crossed:
            _check_sides(trained, name, utterances.speaker[test], place, utterances.speaker)
        chosen = [] if crossed else [place[i] for i in trained.folds[name]['valid'] if i in place]
        valid = np.array(chosen, np.int32)
        number = int(fold.removeprefix('fold'))
        members.append(Member(name, number, int(seed), test[:0], valid, test))
    return members


def _check_sides(
    trained: Trained, member: str, tested: np.ndarray, place: dict[str, int], speaker: np.ndarray
) -> None:
    """Refuse a member trained on a speaker it is tested on, unless its protocol names the leak."""
    if protocols.is_leaky(trained.protocol):
        return
    fold = trained.folds[member]
    used = [i for i in [*fold['train'], *fold['valid']] if i in place]
    if both := sorted({speaker[place[i]] for i in used} & set(tested)):
        raise InputError(
            f'{trained.directory / "folds.json"}: {member} was trained on {both[0]} and is '
            f'tested on the same speaker, but its protocol {trained.protocol} does not allow '
            'leaks; train it again'
        )
