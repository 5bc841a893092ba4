"""Types that the packages exchange: recordings, batches, outputs, and the error that users see.

Axis letters, everywhere the same: B utterances, T samples, F frames, M bands, W words, D embedding, C emotions,
K members (folds x seeds).
"""

import contextlib
import dataclasses
import errno
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

SEXES = ('female', 'male', 'unknown')
CHANNELS = ('speech', 'song', 'sound', 'text')  # sound: no speech at all; text: nothing but words
INTENSITIES = ('normal', 'strong', 'unknown')


class InputError(Exception):
    """Unusable input. The message is one line: the value given, the value expected, the remedy."""


# What to do about an error of the operating system, by the cause it names.
_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): 'make room on the disk or give another place',
    (errno.EROFS, errno.EACCES, errno.EPERM): 'mend its permissions or give a place that can be written',
    (errno.ENAMETOOLONG,): 'give a shorter path',
    (errno.ENOENT,): 'check the path',
    (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP):
        'check what is there, or give another place',
    (errno.EMFILE, errno.ENFILE): 'raise the limit of open files (ulimit -n)',
    (errno.ENOMEM,): 'free some memory',
    (errno.EBUSY, errno.ETXTBSY, errno.EAGAIN, errno.EDEADLK, errno.ENOLCK): 'end what else uses it',
    (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV): 'check the disk',
}  # fmt: skip
REMEDIES = {code: remedy for codes, remedy in _REMEDIES.items() for code in codes}


def os_error_code(error: BaseException | None) -> int | None:
    """Return the errno of an error, or of one that led to it, also where it stands in its text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        text = str(error)
        if found := re.search(r"os_error_code='(\d+)'|\[Errno (\d+)\]", text):  # tensorstore; Python
            return int(found[1] or found[2])
        if found := next((code for code in REMEDIES if os.strerror(code) in text), None):
            return found
        error = error.__cause__ or error.__context__
    return None


def remedy(code: int | None) -> str:
    """Return the advice for an errno: an imperative clause."""
    return REMEDIES.get(code, 'mend that or give another place')


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn an error of the operating system in the block into one line about `path`."""
    try:
        yield
    except OSError as e:
        raise InputError(
            f'{path} cannot be written ({e.strerror or e}); {remedy(e.errno)}, then give the same command again'
        ) from e


@dataclasses.dataclass(frozen=True)
class Recording:
    """One utterance of a corpus before its features are computed: what the corpus says of it, and how to hear it.

    Attributes:
      id: unique within the corpus and stable between builds, e.g. `03-01-06-01-02-01-12`.
      speaker: unique across corpora, e.g. `ravdess_12`.
      emotion: a word of `ser_jax.emotions.EMOTIONS`, or the corpus's own where that has none for it.
      label: the corpus's own word or code for the emotion.
      read: returns the decoded samples, float32 `[T]` or `[T, channels]` in [-1, 1], and their rate in Hz; None where
        there is nothing but text.
      source: where it came from, for messages: a path, or `archive.zip:member`.
      text: what was said ('' where unknown); language: ISO 639-1.
    """

    id: str
    speaker: str
    emotion: str
    label: str
    read: Callable[[], tuple[np.ndarray, int]] | None
    source: str
    sex: str = 'unknown'
    text: str = ''
    language: str = 'en'
    intensity: str = 'unknown'
    channel: str = 'speech'


@dataclasses.dataclass(frozen=True)
class CorpusInfo:
    """Description of a corpus, kept beside its shards and in every run that used it.

    Attributes:
      title: its name and its makers.
      licence: what its makers allow, in their words.
      research_only: they allow research and no (changed) copies.
      emotions: what its actors were asked for; no other class is ever scored on it.
    """

    name: str
    title: str
    licence: str
    research_only: bool
    emotions: tuple[str, ...]


class Batch(NamedTuple):
    """Inputs and targets of a step; loss = sum(weight * per-utterance loss) / sum(weight).

    Everything past `length` in `features` is padding and must not change any output.
    """

    features: Any  # [B F M] float32, normalized log-mel
    length: Any  # [B] int32, frames that are not padding
    text: Any  # [B W] int32 token ids, 0 = padding
    emotion: Any  # [B C] float32, one-hot, or a mixture of two when mixup is on
    speaker: Any  # [B] int32
    sex: Any  # [B] int32, index into SEXES
    intensity: Any  # [B] int32, index into INTENSITIES
    corpus: Any  # [B] int32
    supported: Any  # [B C] bool, the emotions the utterance's corpus can show
    weight: Any  # [B] float32, 0 = a slot filled only to keep shapes equal


class Output(NamedTuple):
    """Outputs of a model."""

    logits: Any  # [B C]
    embedding: Any  # [B D]
    heads: dict  # further tasks, name -> [B ...]
    modalities: (
        dict  # logits by modality: {'audio': [B C], 'text': [B C], 'fused': [B C]}; audio-only models: {'audio'}
    )
