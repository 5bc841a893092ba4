"""Arrays of a run on the devices: those shared by all members, and those of each member."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ser_jax.contract import InputError
from ser_jax.data import text
from ser_jax.data.batches import Member
from ser_jax.data.utterances import Utterances


class CorpusData(NamedTuple):
    """Data shared by all members of a run, stored once on the devices; N utterances."""

    # [sum of lengths (, M)], all utterances end to end, then a window of zeros; None when streamed
    flat: Any
    offset: Any  # [N] int32
    length: Any  # [N] int32
    emotion: Any  # [N] int32
    corpus: Any  # [N] int32
    supported: Any  # [corpora C] bool
    frozen: Any = ()  # frozen variables by path; () if the model has none or needs none
    speaker: Any = ()  # [A], subtracted from derived features that are computed here; () = nothing


class MemberData(NamedTuple):
    """Data of one member, computed from its training utterances."""

    key: Any  # PRNG key
    mean: Any  # [M]
    std: Any  # [M]
    class_weight: Any  # [C]
    tokens: Any  # [N W] int32


class Batch(NamedTuple):
    """Windows of one step; `raw` is set if they are streamed, not cut from `CorpusData.flat`."""

    utterance: Any  # [B] int32
    start: Any  # [B] int32
    weight: Any  # [B] float32
    raw: Any = None  # [B span (, M)]


def corpus_data(
    utterances: Utterances,
    emotions: Sequence[str],
    supported: np.ndarray,
    span: int,
    frozen: dict | None = None,
) -> CorpusData:
    """Return the arrays that all members share (numpy); zeros at the end allow any slice of `span`.

    Args:
      utterances: N utterances of the classes `emotions`.
      emotions: the classes, in order.
      supported: bool [corpora C], see `emotions.answerable`.
      span: length of the longest window, in stored frames or samples.
      frozen: values of the frozen variables by path, where the network reads them.

    Raises:
      InputError: the resident features are too many for int32 indices.
    """
    count, flat = len(utterances), utterances.flat
    if flat is not None:
        flat = np.concatenate([flat, np.zeros((span, *flat.shape[1:]), flat.dtype)])
        if len(flat) >= 2**31:
            raise InputError(
                f'{len(flat):,} resident frames or samples are more than an int32 index allows; '
                'lower data.resident_gb'
            )
    offset = np.zeros(count) if flat is None else utterances.offset
    position = {e: c for c, e in enumerate(emotions)}
    return CorpusData(
        flat=flat,
        offset=offset.astype(np.int32),
        length=utterances.length.astype(np.int32),
        emotion=np.array([position[e] for e in utterances.emotion], np.int32),
        corpus=utterances.corpus.astype(np.int32),
        supported=supported,
        frozen=frozen or (),
    )


def member_data(
    members: Sequence[Member],
    normalization: tuple[np.ndarray, np.ndarray],
    class_weight: np.ndarray,
    tokens: np.ndarray,
) -> MemberData:
    """Return the arrays of members, stacked (numpy), with the key of each (seed, fold).

    Args:
      members: K members.
      normalization: mean and deviation per band, [K M] each.
      class_weight: [K C], see `class_weights`.
      tokens: [K N W], see `tokens`.
    """
    keys = [
        jax.random.key_data(jax.random.fold_in(jax.random.key(m.seed), 1_000_003 + m.fold))
        for m in members
    ]
    return MemberData(np.stack([np.asarray(k) for k in keys]), *normalization, class_weight, tokens)


def tokens(
    texts: Sequence[str] | np.ndarray,
    vocabularies: Sequence[list[str]],
    most_words: int,
    read: bool,
) -> np.ndarray:
    """Return each member's token ids of N texts, int32 [K N W]; zeros [K N 1] unless `read`.

    Args:
      texts: N transcripts.
      vocabularies: K vocabularies.
      most_words: W, longer texts are cut to it.
      read: the model has a text input.
    """
    if not read:
        return np.zeros((len(vocabularies), len(texts), 1), np.int32)
    return np.stack([text.encode(texts, words, most_words) for words in vocabularies])


def class_weights(emotion: np.ndarray, emotions: Sequence[str]) -> np.ndarray:
    """Return float32 [C]: 1 / frequency in the training labels [N], mean 1 over utterances."""
    counts = np.array([(emotion == e).sum() for e in emotions])
    present = counts > 0
    weight = np.where(present, counts.sum() / (np.maximum(counts, 1) * present.sum()), 0)
    return weight.astype(np.float32)
