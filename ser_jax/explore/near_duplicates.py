"""Recordings that are copies of one another though their samples differ: another gain, codec, cut, or added noise.

Two takes of one sentence by one actor are alike too. On RAVDESS, whose actors repeat every sentence, different takes agree
by at most 0.94 in the measure below (2,035 recordings), while copies with another gain, start, MP3 coding, rotation or noise
at 20 dB agree by 0.977 and more (50 recordings each). Copies that lack a tenth of the sound agree less, and stretched or
pitch-shifted ones no more than other takes do: those are not found here; their names may tell them.

Published front ends whose frames are a spectrogram are compared in dB (180 recordings of three of
these actors: different takes agree by at most 0.93, copies with another gain by 1.000, with noise
at 20 dB by 0.978 and more). Most of them take an excerpt of fixed length, so copies with another
start agree by 0.86 and more only and may be missed. Curves and statistics are no spectrograms and
cannot be compared so.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ser_jax.audio import features
from ser_jax.data.utterances import Utterances

SAME = 0.96  # agreement from which on two recordings are taken for one
_RANGE_DB = 30.0  # what lies further below the loudest frames is noise or silence
_AUDIBLE = 0.15  # share of that range above which a frame counts as sound
_SIEVE = 0.85  # likeness of the coarse pictures from which on pairs are compared frame by frame
_STEPS, _BANDS, _BLOCK = 16, 32, 2048
WHOLE = ('log_mel', 'waveform')  # sources in which all of a recording is compared
# Front ends whose frames are a spectrogram: dB = factor * log10(value); 0: they are dB already.
_DECIBELS = {
    'log_mel': 0, 'waveform': 0, 'log_mel_100': 0, 'log_mel_40': 0, 'vsr_spectrogram': 0,
    'linear_spectrogram': 20, 'log_mel_40_published': 10,
}  # fmt: skip
_LEAST, _MOST = 6e-8, 65504  # of float16 numbers above 0
SPECTROGRAMS = tuple(_DECIBELS)


class Pair(NamedTuple):
    """Utterances `first` < `second` (indices) and how far they agree, 0 to 1."""

    first: int
    second: int
    agreement: float


def near_duplicates(
    utterances: Utterances, progress: Callable[[int, int], None] = lambda done, all_: None
) -> list[Pair]:
    """Pairs of recordings with the same content in other samples, most alike first; equal samples are left out.

    A coarse picture of every recording is compared with all others (one matrix product a block); what is alike is
    compared frame by frame at every alignment.

    Args:
      utterances: of a source of SPECTROGRAMS; ValueError otherwise.
      progress: told how many of all recordings have been compared.
    """
    if utterances.source not in SPECTROGRAMS:
        raise ValueError(
            f'{utterances.source} cannot be compared; comparable are {", ".join(SPECTROGRAMS)}'
        )
    heard = [i for i in range(len(utterances)) if utterances.length[i] > 1]
    pictures = {i: loud(_frames(utterances, i)).astype(np.float16) for i in heard}
    coarse = np.stack([_coarse(pictures[i].astype(np.float32)) for i in heard]) if heard else np.zeros((0, 1))
    found = []
    for start in range(0, len(heard), _BLOCK):
        alike = coarse[start : start + _BLOCK] @ coarse.T
        for a, b in np.argwhere(alike > _SIEVE):
            a = a + start
            i, j = heard[a], heard[b]
            if a >= b or utterances.source_sha256[i] == utterances.source_sha256[j]:
                continue
            agreement = agree(pictures[i], pictures[j])
            if agreement > SAME:
                found.append(Pair(i, j, agreement))
        progress(min(start + _BLOCK, len(heard)), len(heard))
    return sorted(found, key=lambda p: -p.agreement)


def loud(frames: np.ndarray) -> np.ndarray:
    """What of log-mel frames [F, M] in dB is loud, 0 to 1, from the first to the last sound: unmoved by gain and silence."""
    frames = np.asarray(frames, np.float32)
    top = np.quantile(frames.max(1), 0.98)
    shown = np.clip(frames - top, -_RANGE_DB, 0) / _RANGE_DB + 1
    sound = np.flatnonzero(shown.max(1) > _AUDIBLE)
    return shown[sound[0] : sound[-1] + 1]


def agree(a: np.ndarray, b: np.ndarray) -> float:
    """The largest correlation of two pictures [F, M] and [G, M] over all shifts in time."""
    a, b = (x.astype(np.float32) - x.mean(dtype=np.float32) for x in (a, b))
    n = 1 << (len(a) + len(b)).bit_length()
    product = (np.fft.rfft(a, n, axis=0) * np.fft.rfft(b, n, axis=0).conj()).sum(1)
    return float(np.fft.irfft(product, n).max() / max(np.sqrt((a**2).sum() * (b**2).sum()), 1e-9))


def _coarse(picture: np.ndarray) -> np.ndarray:
    """A picture in 16 steps of time and up to 32 bands, around 0 and of length 1."""
    small = _averaged(_averaged(picture, _STEPS).T, min(_BANDS, picture.shape[1]))
    small = small - small.mean()
    return (small / max(np.linalg.norm(small), 1e-9)).ravel()


def _averaged(rows: np.ndarray, parts: int) -> np.ndarray:
    """[N ...] -> [parts ...]: means over about equally many rows; fewer rows than parts repeat."""
    edges = np.linspace(0, len(rows), parts + 1).astype(int)
    return np.stack([rows[a : max(a + 1, b)].mean(0) for a, b in itertools.pairwise(edges)])


def _frames(utterances: Utterances, i: int) -> np.ndarray:
    """The frames [F M] of an utterance in dB."""
    values = utterances.read(i)
    if utterances.source == 'waveform':
        return features.extract([values])[0]
    if not (factor := _DECIBELS[utterances.source]):
        return values
    return factor * np.log10(np.clip(values.astype(np.float32), _LEAST, _MOST))
