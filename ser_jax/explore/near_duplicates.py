"""Near duplicates: copies of one recording with another gain, codec, cut, or added noise.

Two takes of one sentence by one actor are similar too. On RAVDESS, whose actors repeat every
sentence, the agreement (`agree`) of different takes is at most 0.94 (2,035 recordings), that of
copies with another gain, start, MP3 coding, rotation or noise at 20 dB at least 0.977 (50
recordings each). Copies that lack a tenth of the audio agree less, and stretched or pitch-shifted
ones no more than different takes: those are not found here, but possibly by their names.

Published front ends whose frames are a spectrogram are compared in dB (180 recordings of three of
these actors: different takes agree by at most 0.93, copies with another gain by 1.000, with noise
at 20 dB by at least 0.978). Most of them take an excerpt of fixed length: copies with another start
agree by as little as 0.86 and may be missed. Curves and statistics are not spectrograms and cannot
be compared this way.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ser_jax.audio import features
from ser_jax.data.utterances import Utterances

SAME = 0.96  # minimum agreement of two copies
_RANGE_DB = 30.0  # values further below the loudest frames are noise or silence
_AUDIBLE = 0.15  # share of that range above which a frame is audible
_SIEVE = 0.85  # minimum correlation of coarse pictures for a comparison by frame
_STEPS, _BANDS, _BLOCK = 16, 32, 2048
WHOLE = ('log_mel', 'waveform')  # sources that hold the whole recording
# Front ends whose frames are a spectrogram: dB = factor * log10(value); 0: values are in dB.
_DECIBELS = {
    'log_mel': 0, 'waveform': 0, 'log_mel_100': 0, 'log_mel_40': 0, 'vsr_spectrogram': 0,
    'linear_spectrogram': 20, 'log_mel_40_published': 10,
}  # fmt: skip
_LEAST, _MOST = 6e-8, 65504  # the range of positive float16 numbers
SPECTROGRAMS = tuple(_DECIBELS)


class Pair(NamedTuple):
    """Utterances `first` < `second` (indices) and their agreement, 0 to 1."""

    first: int
    second: int
    agreement: float


def near_duplicates(
    utterances: Utterances, progress: Callable[[int, int], None] = lambda compared, total: None
) -> list[Pair]:
    """Return copies whose samples differ, in order of decreasing agreement.

    A coarse picture of every recording is compared with all others (one matrix product per block);
    similar pairs are compared frame by frame at every alignment.

    Args:
      utterances: utterances of a source in SPECTROGRAMS.
      progress: called with the numbers of compared and of all recordings.

    Raises:
      ValueError: the source is not in SPECTROGRAMS.
    """
    if utterances.source not in SPECTROGRAMS:
        raise ValueError(
            f'{utterances.source} cannot be compared; comparable are {", ".join(SPECTROGRAMS)}'
        )
    comparable = [i for i in range(len(utterances)) if utterances.length[i] > 1]
    pictures = {i: loud(_frames(utterances, i)).astype(np.float16) for i in comparable}
    coarse = (
        np.stack([_coarse(pictures[i].astype(np.float32)) for i in comparable])
        if comparable
        else np.zeros((0, 1))
    )
    found = []
    for start in range(0, len(comparable), _BLOCK):
        alike = coarse[start : start + _BLOCK] @ coarse.T
        for a, b in np.argwhere(alike > _SIEVE):
            a = a + start
            i, j = comparable[a], comparable[b]
            if a >= b or utterances.source_sha256[i] == utterances.source_sha256[j]:
                continue
            agreement = agree(pictures[i], pictures[j])
            if agreement > SAME:
                found.append(Pair(i, j, agreement))
        progress(min(start + _BLOCK, len(comparable)), len(comparable))
    return sorted(found, key=lambda p: -p.agreement)


def loud(frames: np.ndarray) -> np.ndarray:
    """Return the loudness, 0 to 1, of log-mel frames [F, M] in dB, trimmed to the audible span.

    It is invariant to gain and to silence at both ends.
    """
    frames = np.asarray(frames, np.float32)
    top = np.quantile(frames.max(1), 0.98)
    shown = np.clip(frames - top, -_RANGE_DB, 0) / _RANGE_DB + 1
    sound = np.flatnonzero(shown.max(1) > _AUDIBLE)
    return shown[sound[0] : sound[-1] + 1]


def agree(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest correlation of two pictures [F, M] and [G, M] over all shifts in time."""
    a, b = (x.astype(np.float32) - x.mean(dtype=np.float32) for x in (a, b))
    n = 1 << (len(a) + len(b)).bit_length()
    product = (np.fft.rfft(a, n, axis=0) * np.fft.rfft(b, n, axis=0).conj()).sum(1)
    return float(np.fft.irfft(product, n).max() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-9))


def _coarse(picture: np.ndarray) -> np.ndarray:
    """Return a picture as a unit vector of mean 0: 16 time steps of up to 32 bands."""
    small = _averaged(_averaged(picture, _STEPS).T, min(_BANDS, picture.shape[1]))
    small = small - small.mean()
    return (small / max(np.linalg.norm(small), 1e-9)).ravel()


def _averaged(rows: np.ndarray, parts: int) -> np.ndarray:
    """Return [parts ...]: means of about equally many of the [N ...]; repeated if N < parts."""
    edges = np.linspace(0, len(rows), parts + 1).astype(int)
    return np.stack([rows[a : max(a + 1, b)].mean(0) for a, b in itertools.pairwise(edges)])


def _frames(utterances: Utterances, i: int) -> np.ndarray:
    """Return the frames [F M] of an utterance in dB."""
    values = utterances.read(i)
    if utterances.source == 'waveform':
        return features.extract([values])[0]
    if not (factor := _DECIBELS[utterances.source]):
        return values
    return factor * np.log10(np.clip(values.astype(np.float32), _LEAST, _MOST))
