"""A recording's variants as the published systems made them, stored beside it: noise, tempo, pitch, shift in time.

Tempo and pitch (librosa's phase vocoder) cost twenty times a front end, so they are built once per recording and not in
the training step; what can be drawn anew in every step is in `ser_jax.audio.augment`. A variant has an id of its own,
`<source>+<name>`, and belongs wherever its source is trained on and nowhere else: published systems made variants before
they split, so their tests held siblings of what was trained on.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ser_jax.contract import InputError

Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]  # (samples [T], rate_hz, rng) -> samples [T']

_WINDOW = 2048  # of librosa's phase vocoder


def noise(amplitude: float) -> Change:
    """Adds Gaussian noise whose deviation is `amplitude` x U(0, 1) x the largest sample."""

    def change(samples, rate_hz, rng):
        deviation = amplitude * rng.uniform() * max(0.0, samples.max(initial=0.0))
        return (samples + deviation * rng.standard_normal(samples.size)).astype(np.float32)

    return change


def stretch(rate: float) -> Change:
    """Plays `rate` times as fast at the same pitch: T' = round(T / rate)."""

    def change(samples, rate_hz, rng):
        import librosa

        stretched = librosa.effects.time_stretch(_whole(samples), rate=rate)
        return stretched[: round(samples.size / rate)].astype(np.float32)

    return change


def pitch(semitones: float) -> Change:
    """Raises the pitch by `semitones` at the same tempo."""

    def change(samples, rate_hz, rng):
        import librosa

        raised = librosa.effects.pitch_shift(_whole(samples), sr=rate_hz, n_steps=semitones)
        return raised[: samples.size].astype(np.float32)

    return change


def shift(most: int) -> Change:
    """Rolls by a whole number of samples drawn from -+ `most`: what leaves at one end enters at the other."""
    return lambda samples, rate_hz, rng: np.roll(samples, int(rng.integers(-most, most, endpoint=True)))


def in_turn(*changes: Change) -> Change:
    """One change after another."""

    def change(samples, rate_hz, rng):
        for each in changes:
            samples = each(samples, rate_hz, rng)
        return samples

    return change


CHANGES: dict[str, Change] = {
    # S. Burnwal's notebook trains on `noise` and `stretch_pitch`, and shows the others.
    'noise': noise(0.035),
    'stretch': stretch(0.8),
    'pitch': pitch(0.7),
    'shift': shift(5000),
    'stretch_pitch': in_turn(stretch(0.8), pitch(0.7)),
    # DeepEmo shows these and `stretch`, and trains on none.
    'strong_noise': noise(0.05),
    'fast': stretch(1.2),
    'low': pitch(-4),
    'high': pitch(4),
}


class Variants(NamedTuple):
    """Variants that are stored beside each recording.

    Attributes:
      names: of CHANGES.
      seed: another seed makes other noise and shifts; nothing else is drawn.
    """

    names: tuple[str, ...] = ('noise', 'stretch_pitch')
    seed: int = 0

    def ids(self, source: str) -> list[str]:
        """Ids of a recording and its variants, the recording's own first."""
        return [source, *(f'{source}+{name}' for name in self.names)]

    def __call__(self, source: str, samples: np.ndarray, rate_hz: int) -> Iterator[tuple[str, str, np.ndarray]]:
        """Yields (id, variant, samples): the recording itself (variant ''), then `names` in order.

        Args:
          source: the recording's id; with `seed` and the variant's name it decides all that is drawn, so a variant is the
            same in every build and whatever is built with it.
          samples: what the front end hears of it (its `excerpt`), mono float32 [T].

        Raises:
          InputError: a name that is not in CHANGES.
        """
        if unknown := [name for name in self.names if name not in CHANGES]:
            raise InputError(f'variant {unknown[0]!r} is not known; known are {", ".join(CHANGES)}')
        yield source, '', samples
        for name in self.names:
            yield f'{source}+{name}', name, CHANGES[name](samples, rate_hz, generator(source, name, self.seed))


STORED = Variants(
    ('noise', 'stretch_pitch', 'stretch', 'pitch', 'shift')
)  # what builders with variants store, in order


def generator(source: str, variant: str, seed: int) -> np.random.Generator:
    """The random numbers of one variant of one recording: seeded by crc32 of `<source>+<variant>`, and by `seed`."""
    return np.random.default_rng([seed, zlib.crc32(f'{source}+{variant}'.encode())])


def source_of(id: str) -> str:
    """The id of the recording that a variant was made of; a recording's own id as it is."""
    source, plus, variant = id.rpartition('+')
    return source if plus and variant in CHANGES else id


def variant_of(id: str) -> str:
    """The variant's name in an id; '' for a recording itself."""
    return id[len(source_of(id)) + 1 :]


def _whole(samples: np.ndarray) -> np.ndarray:
    # A recording shorter than one window: librosa would warn, and zeros after it change nothing that is kept.
    return np.pad(np.asarray(samples, np.float32), (0, max(0, _WINDOW - samples.size)))
