"""Pairing of utterances with texts of the same label, as published for STSaM: a leak.

The polarity of a review then *is* the label of its utterance, so a model that reads the text gets
the answer. Only the protocol of this name may use it.
"""

import dataclasses
import re

import numpy as np

from ser_jax.contract import InputError
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import VALENCE

PROTOCOL = 'leaky_label_pairing'


def by_label(utterances: Utterances, texts: Utterances, seed: int = 0) -> Utterances:
    """Return the utterances, each with a text of `texts` instead of its transcript.

    As published: take the first texts of the training part, as many as there are utterances; sort
    both by polarity, shuffle both by one permutation, and pair them row by row. If the polarities
    are not equally frequent in both, a few pairs contradict each other.

    Args:
      utterances: utterances whose emotions have a valence.
      texts: utterances labeled 'negative' and 'positive', e.g. the corpus imdb.

    Raises:
      InputError: an emotion or a text is neither negative nor positive, or there are too few texts.
    """
    train = np.flatnonzero(['test/' not in i for i in texts.id])
    # Reviews read from files have other ids and are sorted by polarity.
    if not all(re.fullmatch(r'train/\d+', i) for i in texts.id[train]):
        train = np.random.default_rng(0).permutation(train)
    chosen = train[: len(utterances)]
    if len(chosen) < len(utterances):
        raise InputError(
            f'{len(utterances)} utterances need as many training texts, {", ".join(texts.names)} '
            f'has {len(chosen)}; build more of it, or choose fewer emotions with data.emotions'
        )
    sorted_utterances = _by_polarity(np.arange(len(utterances)), utterances.emotion)
    sorted_texts = _by_polarity(chosen, texts.emotion[chosen])
    order = np.random.default_rng(seed).permutation(len(utterances))
    paired = np.empty(len(utterances), object)
    paired[sorted_utterances[order]] = texts.text[sorted_texts[order]]
    fingerprints = utterances.fingerprints | texts.fingerprints  # all data of a score
    return dataclasses.replace(utterances, text=paired, fingerprints=fingerprints)


def _by_polarity(indices: np.ndarray, emotions: np.ndarray) -> np.ndarray:
    if unknown := sorted({e for e in emotions if e not in VALENCE}):
        raise InputError(
            f'{unknown[0]!r} is neither negative nor positive; pairing by label needs emotions '
            'with a valence'
        )
    return indices[np.argsort([VALENCE[e] for e in emotions], kind='stable')]
