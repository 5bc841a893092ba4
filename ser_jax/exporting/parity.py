"""Comparison of an exported file, in its own runtime, with the run in JAX on generated sound."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from ser_jax.contract import InputError
from ser_jax.exporting.program import Program

TOLERANCE = 1e-4  # of a probability; float32 in another order stays below it
REFUSED = 1e-2  # an export that differs more is wrong

LENGTHS_S = ((0.5,), (2.3,), (1.1, 3.1, 0.2))  # of the rows of each batch


def sounds(program: Program) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Generate batches (samples [B T], length [B]) of voice-like tones of several lengths."""
    rate_hz = program.predictor.rate_hz
    for at, seconds in enumerate(LENGTHS_S):
        length = [max(1, min(int(s * rate_hz), program.longest)) for s in seconds]
        size = max(program.shortest, *length) if program.any_length else program.longest
        samples = np.zeros((len(length), size), np.float32)
        for row, n in enumerate(length):
            samples[row, :n] = voice(n, rate_hz, 100 + 40 * (at + row), at)
        yield samples, np.array(length, np.int32)


def voice(size: int, rate_hz: int, pitch_hz: float, seed: int) -> np.ndarray:
    """Return harmonics of a moving pitch under a slow envelope, and noise: float32 [size]."""
    t = np.arange(size) / rate_hz
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 2 * t))) / rate_hz
    tone = sum(np.sin(k * phase) / k for k in range(1, 12))
    noise = np.random.default_rng(seed).standard_normal(size)
    return (0.1 * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t)) * tone + 0.003 * noise).astype(np.float32)


def difference(program: Program, call: Callable, most_rows: int = 1 << 30) -> float:
    """Return the largest difference of a probability between `call` and JAX.

    Args:
      program: the run.
      call: (samples [B T], length [B]) -> probabilities [B C].
      most_rows: B of the largest batch that `call` takes.

    Raises:
      InputError: it exceeds REFUSED, or a probability is not finite.
    """
    expected, largest = jax.jit(program.function), 0.0
    for samples, length in sounds(program):
        truth = np.asarray(expected(samples, length)[0])
        for at in range(0, len(length), most_rows):
            rows = slice(at, at + most_rows)
            given = np.asarray(call(samples[rows], length[rows]))
            gap = np.abs(given - truth[rows]).max()
            largest = max(largest, float(gap if np.isfinite(gap) else np.inf))
    if largest > REFUSED:
        raise InputError(
            f'the exported file differs from the run by {largest:.2g} in a probability; nothing '
            'was written: export it with another --format and report this run'
        )
    return largest
