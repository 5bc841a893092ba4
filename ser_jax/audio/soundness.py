"""Checks of samples, and of fields computed from them: finite, in range and audible."""

import numpy as np

from ser_jax.audio import wav

OVERFLOW = 2.0**31  # beyond the integers of any format; the power of such samples is not finite
LOUDEST = 4.0  # 12 dB; coding and resampling overshoot full scale by less
CANCELLED = 1e-3  # the mean of opposite channels has less than this share of their power


def checked(samples: np.ndarray, from_hz: int, rate_hz: int | None, source: str) -> np.ndarray:
    """Return samples as features require them: mono at `rate_hz`, or unchanged if that is None.

    Raises:
      wav.SoundError: the samples are empty, not finite, out of range or silent, as decoded or after
        a later step (mixing opposite channels, resampling that removes a tone).
    """
    _check(samples, '', source)
    peak = float(np.abs(samples).max())
    if peak > LOUDEST or (peak > 1 and np.array_equal(samples, np.rint(samples))):
        reach = f'samples reach {peak:.6g}, expected at most 1'
        if peak > OVERFLOW:
            raise wav.SoundError(source, 'not finite', f'not finite as features: {reach}')
        reason = f'{reach}: integers stored as floats, or a damaged file'
        raise wav.SoundError(source, 'out of range', reason)
    if samples.ndim > 1:
        mixed = wav.mono(samples)
        _check(mixed, 'after mixing down', source)
        of_channels = np.var(samples, 0, dtype=np.float64).mean()
        if np.var(mixed, dtype=np.float64) < CANCELLED * of_channels:
            reason = 'silent after mixing down: the channels cancel each other'
            raise wav.SoundError(source, 'silent', reason)
    if rate_hz is None:
        return samples
    prepared = wav.prepare(samples, from_hz, rate_hz)
    _check(prepared, f'at {rate_hz} Hz', source)
    return prepared


def _check(samples: np.ndarray, stage: str, source: str) -> None:
    if defect := wav.defect(samples):
        raise wav.SoundError(source, defect, f'{defect} {stage}' if stage else defect)


def flaw(stored: dict[str, np.ndarray]) -> tuple[str, str] | None:
    """Return (kind, reason) for the first field that is not finite or is constant, or None."""
    for name, values in stored.items():
        if not np.isfinite(values).all():
            return 'not finite', f'{name} is not finite'
        if np.size(values) and np.min(values) == np.max(values):
            return 'silent', f'{name} is constant, as for silence'
    return None
