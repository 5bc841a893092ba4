"""Variants of recordings as in published systems: noise, tempo, pitch, shift in time.

Tempo and pitch (librosa's phase vocoder) cost twenty times a front end, so variants are built once
per recording and stored beside it; those of samples are made when the samples are read.
`ser_jax.audio.augment` has the augmentation of the training step. A variant has an id of its own,
`<source>+<name>`, and belongs to the training sides that contain its source, except under
`leaky_augmented`, which splits variants as the published systems did: their test sets had siblings
of training recordings.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ser_jax.audio import conditions
from ser_jax.audio.distortions import Change, speed
from ser_jax.contract import InputError

_WINDOW = 2048  # window of librosa's phase vocoder, in samples


def noise(amplitude: float) -> Change:
    """Add Gaussian noise whose deviation is `amplitude` x U(0, 1) x the largest sample."""

    def change(samples, rate_hz, rng):
        deviation = amplitude * rng.uniform() * max(0.0, samples.max(initial=0.0))
        return (samples + deviation * rng.standard_normal(samples.size)).astype(np.float32)

    return change


def stretch(rate: float) -> Change:
    """Change the tempo by a factor of `rate` at the same pitch: T' = round(T / rate)."""

    def change(samples, rate_hz, rng):
        import librosa

        stretched = librosa.effects.time_stretch(_whole(samples), rate=rate)
        return stretched[: round(samples.size / rate)].astype(np.float32)

    return change


def pitch(semitones: float) -> Change:
    """Raise the pitch by `semitones` at the same tempo."""

    def change(samples, rate_hz, rng):
        import librosa

        raised = librosa.effects.pitch_shift(_whole(samples), sr=rate_hz, n_steps=semitones)
        return raised[: samples.size].astype(np.float32)

    return change


def shift(most: int) -> Change:
    """Roll samples by an integer from -+ `most`: those shifted out enter at the other end."""

    def change(samples, rate_hz, rng):
        return np.roll(samples, int(rng.integers(-most, most, endpoint=True)))

    return change


def in_turn(*changes: Change) -> Change:
    """Apply several changes in order."""

    def change(samples, rate_hz, rng):
        for each in changes:
            samples = each(samples, rate_hz, rng)
        return samples

    return change


CHANGES: dict[str, Change] = {
    # S. Burnwal's notebook trains on `noise` and `stretch_pitch`, and only plots the others.
    'noise': noise(0.035),
    'stretch': stretch(0.8),
    'pitch': pitch(0.7),
    'shift': shift(5000),
    'stretch_pitch': in_turn(stretch(0.8), pitch(0.7)),
    # DeepEmo plots these and `stretch`, and trains on none.
    'strong_noise': noise(0.05),
    'fast': stretch(1.2),
    'low': pitch(-4),
    'high': pitch(4),
    # Cheap enough to be made whenever samples are read.
    'speed_92': speed(92),
    'speed_108': speed(108),
    # Conditions of `evaluate --conditions` that need no other recording.
    **conditions.ALONE,
}


class Variants(NamedTuple):
    """Variants stored beside each recording.

    Attributes:
      names: keys of CHANGES.
      seed: seed of the noise and shifts, the only random changes.
    """

    names: tuple[str, ...] = ('noise', 'stretch_pitch')
    seed: int = 0

    def ids(self, source: str) -> list[str]:
        """Return the ids of a recording and its variants, the recording's own first."""
        return [source, *(f'{source}+{name}' for name in self.names)]

    def __call__(
        self, source: str, samples: np.ndarray, rate_hz: int
    ) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yield (id, variant, samples) of the recording (variant ''), then of `names` in order.

        Args:
          source: id of the recording. With `seed` and the variant's name it seeds the generator, so
            a variant is the same in every build, whatever else is built.
          samples: the front end's `excerpt` of the recording, mono float32 [T].
          rate_hz: sampling rate of `samples`.

        Raises:
          InputError: a name is not in CHANGES.
        """
        if unknown := [name for name in self.names if name not in CHANGES]:
            known = ', '.join(CHANGES)
            raise InputError(f'variant {unknown[0]!r} is not known; known are {known}')
        yield source, '', samples
        for name in self.names:
            changed = CHANGES[name](samples, rate_hz, generator(source, name, self.seed))
            yield f'{source}+{name}', name, changed


# Variants that builders store, in order.
STORED = Variants(('noise', 'stretch_pitch', 'stretch', 'pitch', 'shift'))


def generator(source: str, variant: str, seed: int) -> np.random.Generator:
    """Return a variant's random generator, seeded by `seed` and crc32 of `<source>+<variant>`."""
    return np.random.default_rng([seed, zlib.crc32(f'{source}+{variant}'.encode())])


def source_of(id: str) -> str:
    """Return the id of a variant's source recording; a recording's own id is unchanged."""
    source, plus, variant = id.rpartition('+')
    known = variant in CHANGES or variant in conditions.CONDITIONS
    return source if plus and known else id


def variant_of(id: str) -> str:
    """Return the variant's name in an id; '' for a recording itself."""
    return id[len(source_of(id)) + 1 :]


def _whole(samples: np.ndarray) -> np.ndarray:
    # librosa warns of recordings shorter than a window; the zeros do not change the samples kept.
    return np.pad(np.asarray(samples, np.float32), (0, max(0, _WINDOW - samples.size)))
