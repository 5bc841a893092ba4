"""Speaker statistics: derived features relative to the mean of a speaker's unlabeled recordings.

Speakers differ more than emotions do. A mean over a few recordings of a voice, whatever their
emotions, removes much of that. It needs recordings of the test speaker, so scores with it are
*transductive* and are marked as such.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from ser_jax.audio.variants import variant_of
from ser_jax.contract import InputError
from ser_jax.data import derived
from ser_jax.data.utterances import Utterances

NONE, ALL, ENROLLED = 'none', 'all', 'enrolled:'


def relative(
    utterances: Utterances, features, channels: Sequence[str]
) -> tuple[Utterances, np.ndarray]:
    """Return the utterances relative to their speakers, and bool [N]: those not to be scored.

    Args:
      utterances: N utterances.
      features: the config's section `features`.
      channels: channels from which recordings are taken.

    Raises:
      InputError: the features are not derived, or a speaker has too few recordings.
    """
    mode, none = features.speaker_norm, np.zeros(len(utterances), bool)
    if not enrolled_count(mode):
        return utterances, none
    if utterances.source != derived.SOURCE:
        raise InputError(
            f'features.speaker_norm={mode!r} needs the outputs of a frozen encoder; set it to '
            "'none' for this model"
        )
    used = enrolled(utterances, mode, channels, features.speaker_seed)
    share = share_of_mean(mode, features.speaker_prior)
    return centered(utterances, used, share), none if mode == ALL else used


def enrolled_count(mode: str) -> int:
    """Return the recordings per speaker that a mode takes the mean of; 0 for 'none', -1 for 'all'.

    Args:
      mode: 'none', 'enrolled:k' or 'all'.

    Raises:
      InputError: another word, or k is no number from 1 on.
    """
    if mode in (NONE, ALL):
        return 0 if mode == NONE else -1
    number = mode.removeprefix(ENROLLED)
    if not mode.startswith(ENROLLED) or not number.isdecimal() or not int(number):
        raise InputError(
            f"features.speaker_norm must be 'none', 'enrolled:k' (k recordings of each speaker, "
            f"e.g. enrolled:8) or 'all', got {mode!r}"
        )
    return int(number)


def share_of_mean(mode: str, prior: float) -> float:
    """Return the share of a speaker's mean that is subtracted: k / (k + prior), 1 with 'all'.

    A mean over few recordings is uncertain and is shrunk. The share is the same for all speakers,
    so the rest of the general mean is a constant, which no discriminant depends on.
    """
    count = enrolled_count(mode)
    return 1.0 if count < 0 else count / (count + prior)


def enrolled(utterances: Utterances, mode: str, channels: Sequence[str], seed: int) -> np.ndarray:
    """Return bool [N]: the recordings whose mean is a speaker's; those of 'enrolled:k' by seed.

    The choice for a speaker depends on the seed and the ids of the speaker's recordings alone.

    Args:
      utterances: N utterances.
      mode: as in `enrolled_count`.
      channels: channels from which recordings are taken.
      seed: of the choice.

    Raises:
      InputError: a speaker has no recording beyond k, so that nothing of it could be scored.
    """
    count, eligible = enrolled_count(mode), np.isin(utterances.channel, list(channels))
    eligible &= np.array([not variant_of(i) for i in utterances.id], bool)
    if count < 0:
        return eligible
    chosen = np.zeros(len(utterances), bool)
    for speaker in sorted(set(utterances.speaker)) if count else ():
        own = np.flatnonzero(eligible & (utterances.speaker == speaker))
        if len(own) <= count:
            raise InputError(
                f'features.speaker_norm={mode!r} leaves no recording of {speaker} to score: it has '
                f'{len(own)}; take fewer'
            )
        names = [f'{seed} {speaker} {utterances.id[i]}'.encode() for i in own]
        order = np.argsort([hashlib.sha256(name).hexdigest() for name in names])
        chosen[own[order[:count]]] = True
    return chosen


def means(utterances: Utterances, features, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the mean [A] that `relative` subtracts from the features of each speaker."""
    mode = features.speaker_norm
    used = enrolled(utterances, mode, channels, features.speaker_seed)
    return _means(utterances, used, share_of_mean(mode, features.speaker_prior))


def _means(utterances: Utterances, used: np.ndarray, share: float) -> dict[str, np.ndarray]:
    found = {}
    for speaker in set(utterances.speaker):
        own = np.flatnonzero(used & (utterances.speaker == speaker))
        rows = [np.asarray(utterances.read(int(i)), np.float32).mean(0) for i in own]
        if not rows:
            raise InputError(f'speaker {speaker} has no recording for its statistics')
        found[speaker] = np.float32(share) * np.mean(rows, 0)
    return found


def centered(utterances: Utterances, used: np.ndarray, share: float = 1.0) -> Utterances:
    """Return the utterances with features relative to the mean of their speaker.

    Args:
      utterances: N utterances with derived features [R A].
      used: bool [N], the recordings whose mean is subtracted; every recording has the same weight.
      share: of the mean that is subtracted, see `share_of_mean`.
    """
    means = _means(utterances, used, share)

    def read(i: int) -> np.ndarray:
        values = np.asarray(utterances.read(i), np.float32) - means[utterances.speaker[i]]
        return values.astype(np.float16)

    flat = None
    if utterances.flat is not None:
        flat = np.concatenate([read(i) for i in range(len(utterances))])
    offset = np.concatenate([[0], np.cumsum(utterances.length)[:-1]]).astype(np.int64)
    return dataclasses.replace(utterances, flat=flat, offset=offset, read=read)
