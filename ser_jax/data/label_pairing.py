"""Texts put beside utterances by their label, as STSaM published it: a leak, here under its name alone.

A review's polarity then *is* the label of the utterance beside it, so a model that reads it is told the answer.
"""

import dataclasses
import re

import numpy as np

from ser_jax.contract import InputError
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import VALENCE

PROTOCOL = 'leaky_label_pairing'


def by_label(utterances: Utterances, texts: Utterances, seed: int = 0) -> Utterances:
    """The utterances, each with a text of `texts` instead of what was said.

    As published: the first texts of the training part are taken, as many as there are utterances; both are sorted by
    polarity and shuffled by one permutation, then paired row by row. Where the polarities are not equally frequent on
    both sides a few pairs contradict each other.

    Args:
      utterances: of emotions with a valence. texts: of 'negative' and 'positive', e.g. the corpus imdb.

    Raises:
      InputError: an emotion or a text is neither negative nor positive, or there are too few texts.
    """
    train = np.flatnonzero(['test/' not in i for i in texts.id])
    if not all(re.fullmatch(r'train/\d+', i) for i in texts.id[train]):  # files of reviews come sorted by polarity
        train = np.random.default_rng(0).permutation(train)
    chosen = train[: len(utterances)]
    if len(chosen) < len(utterances):
        raise InputError(
            f'{len(utterances)} utterances need as many training texts, {", ".join(texts.names)} has {len(chosen)}; '
            'build more of it, or choose fewer emotions with data.emotions'
        )
    rows = [
        _by_polarity(x, e)
        for x, e in ((np.arange(len(utterances)), utterances.emotion), (chosen, texts.emotion[chosen]))
    ]
    order = np.random.default_rng(seed).permutation(len(utterances))
    paired = np.empty(len(utterances), object)
    paired[rows[0][order]] = texts.text[rows[1][order]]
    fingerprints = {
        **utterances.fingerprints,
        **texts.fingerprints,
    }  # of all that a score depends on
    return dataclasses.replace(utterances, text=paired, fingerprints=fingerprints)


def _by_polarity(indices: np.ndarray, emotions: np.ndarray) -> np.ndarray:
    if unknown := sorted({e for e in emotions if e not in VALENCE}):
        raise InputError(
            f'{unknown[0]!r} is neither negative nor positive; pairing by label needs emotions with a valence'
        )
    return indices[np.argsort([VALENCE[e] for e in emotions], kind='stable')]
