"""Recordings from the browser: decoding, storage as WAV, pieces of a fixed length."""

import io
from typing import NamedTuple

import numpy as np

from ser_jax.audio import soundness, wav
from ser_jax.audio.clips import Clip
from ser_jax.contract import Answer, InputError
from ser_jax.inference import Predictor

RATE_HZ = 16_000  # of stored recordings
PIECE_S = 4.0
SHORTEST_S, LONGEST_S = 1.0, 30.0
_LEAST_PIECE_S = 1.0  # shorter rests belong to the piece before


class Piece(NamedTuple):
    """One piece of a recording with its emotion; '' if it has no signal or no voice."""

    start_s: float
    end_s: float
    emotion: str
    probability: float


def decoded(content: bytes, name: str) -> np.ndarray:
    """Return mono samples [T] at RATE_HZ of a file of any format.

    Raises:
      InputError: it is not audio, silent, or too short.
    """
    samples, rate_hz = wav.read(io.BytesIO(content), name)
    if problem := wav.defect(samples):
        raise InputError(
            f'{name} is {problem}; check that the right microphone is chosen and not muted'
        )
    samples = soundness.checked(samples, rate_hz, RATE_HZ, name)
    if len(samples) < SHORTEST_S * RATE_HZ:
        raise InputError(
            f'{name} lasts {len(samples) / RATE_HZ:.1f} s; record at least {SHORTEST_S:.0f} s, '
            'better 5 to 30'
        )
    return samples


def shortened(samples: np.ndarray, longest_s: float = LONGEST_S) -> tuple[np.ndarray, str]:
    """Return the beginning of a recording, and a sentence about it if a rest is left out."""
    size = round(longest_s * RATE_HZ)
    if len(samples) <= size:
        return samples, ''
    length_s = len(samples) / RATE_HZ
    return samples[:size], f'It lasts {length_s:.0f} s; the first {longest_s:.0f} s are used.'


def as_wav(samples: np.ndarray) -> bytes:
    """Return a WAV file of samples [T] at RATE_HZ, 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, wav.int16(samples), RATE_HZ, format='WAV', subtype='PCM_16')
    return buffer.getvalue()


def cut(samples: np.ndarray) -> list[tuple[int, int]]:
    """Return the ranges of pieces of PIECE_S; a short rest belongs to the last one."""
    size = round(PIECE_S * RATE_HZ)
    starts = list(range(0, max(1, len(samples)), size))
    if len(starts) > 1 and len(samples) - starts[-1] < _LEAST_PIECE_S * RATE_HZ:
        starts.pop()
    return list(zip(starts, [*starts[1:], len(samples)], strict=True))


def answered(
    predictor: Predictor, samples: np.ndarray, text: str = ''
) -> tuple[Answer, list[Piece]]:
    """Return the answer for a recording, and the emotion of each of its pieces by the sound alone.

    Raises:
      InputError: the recording is unusable.
    """
    whole = Clip(samples, RATE_HZ, text, 'the recording')
    ranges = cut(samples)
    sound = [not wav.defect(samples[a:b]) for a, b in ranges]
    clips = [Clip(samples[a:b], RATE_HZ) for (a, b), s in zip(ranges, sound, strict=True) if s]
    answer, *found = predictor.predict([whole, *clips])
    each = iter(found)
    pieces = []
    for (start, end), has_sound in zip(ranges, sound, strict=True):
        part = next(each) if has_sound else None
        known = part is not None and part.voice != 'unknown'
        emotion, p = (part.emotion, part.probability) if part and known else ('', 0.0)
        pieces.append(Piece(start / RATE_HZ, end / RATE_HZ, emotion, p))
    return answer, pieces


def clip(content: bytes, source: str) -> Clip:
    """Return the recording of a stored WAV file."""
    samples, rate_hz = wav.read(io.BytesIO(content), source)
    return Clip(samples, rate_hz, source=source)
