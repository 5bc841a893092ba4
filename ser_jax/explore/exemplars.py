"""Example recordings for plots: those at five quantiles of the duration of every emotion."""

import bisect
import dataclasses
import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.audio import features, mel, wav
from ser_jax.contract import InputError
from ser_jax.data import utterances as opening
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import ordered

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
LONGEST_S = 5.0  # maximum duration of the recording that is shown augmented


class Spectrogram(NamedTuple):
    """Front end for `features.extract`: power spectrogram in dB relative to a full-scale square.

    Hann windows of 25 ms, hop 10 ms.
    """

    rate_hz: int
    window_s: float = 0.025
    hop_s: float = 0.010

    @property
    def hop(self) -> int:
        return round(self.hop_s * self.rate_hz)

    def __call__(self, samples):
        """Return [..., 1 + T // hop, fft // 2 + 1] dB of [..., T]; bins: 0 Hz to rate / 2."""
        window = round(self.window_s * self.rate_hz)
        return mel.decibel(
            mel.power_spectrogram(samples, window, self.hop, 1 << (window - 1).bit_length()), 1e-10
        )


@dataclasses.dataclass(frozen=True)
class Example:
    """One recording at a quantile of the durations of its emotion.

    Attributes:
      mel: float32 [F, M] dB, as in the shards.
      samples: float32 [T] mono at `rate_hz`; None if the corpus has no build with samples.
      spectrogram: float32 [F, bins] dB, 0 Hz to `rate_hz` / 2; None if `samples` is.
    """

    corpus: str
    emotion: str
    quantile: float
    id: str
    seconds: float
    mel: np.ndarray
    samples: np.ndarray | None = None
    rate_hz: int = 0
    spectrogram: np.ndarray | None = None


def built(name: str, directory: str = '') -> tuple[str, ...]:
    """Return the built configs of a corpus, the fastest to read first."""
    root = opening.data_dir(directory) / name
    return tuple(
        c
        for c in ('text', 'log_mel', 'waveform', 'native')
        if any((root / c).glob('[0-9]*.[0-9]*.[0-9]*'))
    )


class Sounds:
    """Samples of a built corpus, read by index or id from `native` or `waveform` shards."""

    def __init__(self, name: str, directory: str = ''):
        """Open the `native` build if there is one, else `waveform`.

        Raises:
          InputError: neither is built, or the build is damaged or fails its fingerprint.
        """
        configs = built(name, directory)
        self.name, self.config = name, 'native' if 'native' in configs else 'waveform'
        self._data = opening.data_source(name, opening.data_dir(directory), self.config).data

    def __call__(self, index: int, id: str, sha256: str = '') -> tuple[np.ndarray, int] | None:
        """Return the recording `id`, float32 [T] mono, and its rate; None if it is missing.

        Args:
          index: the index tried before a search.
          id: the id of the utterance.
          sha256: hash of its decoded samples, as in `Utterances.source_sha256`; '' = any.

        Raises:
          InputError: its record is damaged, or `id` has other samples in this build.
        """
        try:
            if not (index < len(self._data) and self._id(index) == id):
                # Shards are sorted by id.
                index = bisect.bisect_left(range(len(self._data)), id, key=self._id)
                if index == len(self._data) or self._id(index) != id:
                    return None
            example = self._data[index]
        except Exception as e:  # a damaged record raises any error of its decoder
            raise InputError(
                f'corpus {self.name!r} ({self.config}) cannot be read ({type(e).__name__}: {e}); '
                'build it again with --overwrite'
            ) from e
        if sha256 not in ('', opening.decoded(example['source_sha256'])):
            raise InputError(
                f'{self.name}/{id} has other samples in the {self.config} build than in the other '
                'one; build both again from the same recordings, with --overwrite'
            )
        samples = example[self.config].astype(np.float32) / 32768
        native = self.config == 'native'
        return wav.mono(samples), int(example['rate_hz']) if native else features.RATE_HZ

    def _id(self, index: int) -> str:
        return opening.decoded(self._data[index]['id'])


def examples(corpus: Utterances, sounds: Sounds | None = None) -> list[Example]:
    """Return the recordings nearest to five quantiles of duration for every emotion, each once.

    Spectrograms are computed in one batch per rate; without `sounds` there are only log-mels.
    """
    found = []
    for emotion in ordered(corpus.emotion.tolist()):
        at = np.flatnonzero((corpus.emotion == emotion) & (corpus.seconds > 0))
        at = at[np.lexsort((at, corpus.seconds[at]))]
        chosen = {at[round(q * (len(at) - 1))]: q for q in reversed(QUANTILES) if len(at)}
        for index, quantile in reversed(chosen.items()):
            id, seconds = corpus.id[index], float(corpus.seconds[index])
            example = Example(corpus.names[0], emotion, quantile, id, seconds, _mel(corpus, index))
            if recording := sounds and sounds(int(index), id, corpus.source_sha256[index]):
                samples, rate_hz = recording
                example = dataclasses.replace(example, samples=samples, rate_hz=rate_hz)
            found.append(example)
    for rate_hz in sorted({e.rate_hz for e in found if e.samples is not None}):
        same = {i: e.samples for i, e in enumerate(found) if e.rate_hz == rate_hz}
        recordings = [s for s in same.values() if s is not None]
        spectrograms = features.extract(recordings, Spectrogram(rate_hz))  # type: ignore[arg-type]
        for i, spectrogram in zip(same, spectrograms, strict=True):
            found[i] = dataclasses.replace(found[i], spectrogram=spectrogram)
    return found


def median_recording(
    corpus: Utterances, sounds: Sounds | None = None
) -> tuple[str, np.ndarray, np.ndarray | None]:
    """Return the first 5 s of the recording of median duration.

    Returns:
      (id, log-mel dB [F, M], samples [T] at 16 kHz or None without `sounds`).
    """
    at = np.flatnonzero(corpus.seconds > 0)
    index = int(at[np.lexsort((at, corpus.seconds[at]))][len(at) // 2])
    recording = sounds and sounds(index, corpus.id[index], corpus.source_sha256[index])
    samples = (
        wav.prepare(*recording, features.RATE_HZ)[: round(LONGEST_S * features.RATE_HZ)]
        if recording
        else None
    )
    return (
        corpus.id[index],
        _mel(corpus, index)[: round(LONGEST_S / features.LOG_MEL.hop_s)],
        samples,
    )


def _mel(corpus: Utterances, index: int) -> np.ndarray:
    """Return the log-mel of one utterance of log-mel or waveform shards: float32 [F, M] dB."""
    values = corpus.read(index)
    return (
        features.extract([values])[0] if corpus.source == 'waveform' else values.astype(np.float32)
    )


def rows(found: Sequence[Example]) -> list[dict]:
    """Return the table of the recordings on the sheets."""
    columns = ('corpus', 'emotion', 'quantile', 'id', 'seconds', 'rate_hz')
    values = operator.attrgetter(*columns)
    return [dict(zip(columns, values(e), strict=True)) for e in found]
