"""Types shared by all packages: recordings, front ends, inputs, outputs, answers, and InputError.

Axis letters, the same everywhere: B utterances, T samples, F frames, M bands, W words, D embedding,
C emotions, K members (folds x seeds).
"""

import contextlib
import dataclasses
import errno
import os
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

SEXES = ('female', 'male', 'unknown')
CHANNELS = ('speech', 'song', 'sound', 'text')  # sound: audio without speech; text: no audio
INTENSITIES = ('normal', 'strong', 'unknown')


class InputError(Exception):
    """Unusable input from the user.

    The message is one line: the value found, the value expected, the remedy.
    """


# Errnos of operating system errors, by remedy.
_ERRNOS = {
    'make room on the disk or give another place': 'ENOSPC EDQUOT EFBIG',
    'mend its permissions or give a place that can be written': 'EROFS EACCES EPERM',
    'give a shorter path': 'ENAMETOOLONG',
    'check the path': 'ENOENT',
    'check what is there, or give another place': 'ENOTDIR EISDIR EEXIST ENOTEMPTY ELOOP',
    'raise the limit of open files (ulimit -n)': 'EMFILE ENFILE',
    'free some memory': 'ENOMEM',
    'end what else uses it': 'EBUSY ETXTBSY EAGAIN EDEADLK ENOLCK',
    'check the disk': 'EIO ESTALE ENXIO ENODEV',
}
REMEDIES: dict[int, str] = {}
for _remedy, _names in _ERRNOS.items():
    REMEDIES |= {getattr(errno, name): _remedy for name in _names.split()}


def os_error_code(error: BaseException | None) -> int | None:
    """Return the errno of an error or of one that caused it, from its attribute or its text."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        text = str(error)
        # The form of tensorstore, then that of Python.
        if found := re.search(r"os_error_code='(\d+)'|\[Errno (\d+)\]", text):
            return int(found[1] or found[2])
        for code in REMEDIES:
            if os.strerror(code) in text:
                return code
        error = error.__cause__ or error.__context__
    return None


def remedy(code: int | None) -> str:
    """Return the advice for an errno: an imperative clause."""
    default = 'mend that or give another place'
    return default if code is None else REMEDIES.get(code, default)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Convert an OSError in the block to a one-line InputError about `path`."""
    try:
        yield
    except OSError as e:
        raise InputError(
            f'{path} cannot be written ({e.strerror or e}); {remedy(e.errno)}, then give the same '
            'command again'
        ) from e


@dataclasses.dataclass(frozen=True)
class Recording:
    """One utterance of a corpus before feature extraction: its metadata and its read function.

    Attributes:
      id: unique within the corpus and stable between builds, e.g. `03-01-06-01-02-01-12`.
      speaker: unique across corpora, e.g. `ravdess_12`.
      emotion: a word of `ser_jax.emotions.EMOTIONS`, or the corpus's own if none of them matches.
      label: the corpus's own word or code for the emotion.
      read: function that returns the decoded samples, float32 `[T]` or `[T, channels]` in [-1, 1],
        and their rate in Hz; None if the utterance is text only.
      source: origin for messages: a path, or `archive.zip:member`.
      text: transcript, '' if unknown.
      text_origin: '' = as given, else 'automatic: ...', or 'none: ...' if transcription gave none.
      language: ISO 639-1 code.
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
    text_origin: str = ''


@dataclasses.dataclass(frozen=True)
class CorpusInfo:
    """Facts about a corpus, stored beside its shards and in every run that used it.

    Attributes:
      title: name and makers.
      licence: terms of use in the makers' words.
      research_only: the makers allow research but no (changed) copies.
      emotions: emotions that its actors were asked for; no other class is ever scored on it.
    """

    name: str
    title: str
    licence: str
    research_only: bool
    emotions: tuple[str, ...]


class Layout(NamedTuple):
    """Layout of a front end's output.

    Attributes:
      bands: M; 0 for samples, which have no band axis.
      steps: F if it is fixed, or the frames per window of a front end with windows; None if it
        depends on the recording's length.
      hop_s: time between frames; the excerpt's length for statistics, which are one frame.
      decibels: True if adding an offset is a gain and shifting bands shifts frequencies.
    """

    bands: int
    steps: int | None
    hop_s: float
    decibels: bool


class FrontEnd(Protocol):
    """Function from mono samples at `rate_hz` to the features that are stored and that models read.

    `stored` fills the shards; `traced` computes the same inside a compiled function.
    """

    @property
    def name(self) -> str: ...

    @property
    def rate_hz(self) -> int: ...

    @property
    def layout(self) -> Layout: ...

    def stored(self, samples: np.ndarray) -> np.ndarray:
        """Return the features [F M] of mono samples [T], in the dtype of storage."""
        ...

    def traced(self, samples, length) -> tuple[Any, Any]:
        """Return features [B F M] and lengths [B] of samples [B T], zero from `length` [B] on."""
        ...


class Inputs(NamedTuple):
    """Input of a model; frames from `length` on are padding and must not change any output."""

    features: Any  # [B F M] float32, normalized
    length: Any  # [B] int32, frames that are not padding
    text: Any  # [B W] int32 token ids, 0 = padding
    supported: Any  # [B C] bool, emotions that an answer is chosen from


class Targets(NamedTuple):
    """Targets of a batch; loss = sum(weight * per-utterance loss) / sum(weight)."""

    emotion: Any  # [B C] float32, one-hot, or a mixture of two with mixup
    weight: Any  # [B] float32, 0 = a row that only pads the batch


class Output(NamedTuple):
    """Output of a model."""

    logits: Any  # [B C]
    embedding: Any  # [B D]
    modalities: dict  # logits [B C] of 'audio', 'text' and 'fused'; audio-only models: 'audio'


class Window(NamedTuple):
    """Prediction for one window of a recording."""

    start_s: float
    end_s: float
    probabilities: np.ndarray  # [C]; nan if `problem`
    problem: str = ''  # reason for no prediction, e.g. 'silent'
    voice: str = ''  # 'voice', 'uncertain' or 'unknown'; '' without a gate


@dataclasses.dataclass(frozen=True)
class Answer:
    """Prediction for one recording.

    Attributes:
      emotions: the C classes.
      probabilities: float32 [C], mean over members and, weighted by length, over windows.
      modalities: probabilities [C] of 'audio' and, if a text was given to a model that reads it,
        of 'text' and 'fused'.
      windows: in order of time.
      embedding: float32 [D], mean over members and windows.
      spread: float32 [C], standard deviation of the probabilities over members.
      voice: 'voice', 'uncertain' or 'unknown' (not a human voice); '' without a gate.
    """

    emotions: tuple[str, ...]
    probabilities: np.ndarray
    modalities: dict[str, np.ndarray]
    windows: list[Window]
    embedding: np.ndarray
    spread: np.ndarray
    voice: str = ''

    @property
    def emotion(self) -> str:
        """The most probable class."""
        return self.emotions[int(self.probabilities.argmax())]

    @property
    def probability(self) -> float:
        """The probability of the most probable class."""
        return float(self.probabilities.max())

    def ranked(self) -> list[tuple[str, float]]:
        """Return the classes with their probabilities, most probable first."""
        order = np.argsort(-self.probabilities, kind='stable')
        return [(self.emotions[i], float(self.probabilities[i])) for i in order]
