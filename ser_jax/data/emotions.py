"""The one emotion vocabulary, and which of its words each corpus can show.

A corpus *supports* the emotions its actors were asked for. A class without support is masked in loss, scores and
screens: no recording of it exists, so nothing can be said about detecting it.
"""

import numpy as np

from ser_jax.contract import InputError

EMOTIONS = ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised', 'boredom')

SUPPORT = {
    'ravdess': ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised'),
    'synthetic': ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised'),
}


def classes(corpora: tuple[str, ...]) -> tuple[str, ...]:
    """The emotions at least one of `corpora` supports, in the order of EMOTIONS."""
    return tuple(e for e in EMOTIONS if any(e in support(c) for c in corpora))


def support(corpus: str) -> tuple[str, ...]:
    """The emotions `corpus` can show."""
    if corpus not in SUPPORT:
        raise InputError(f'corpus {corpus!r} is not known; known are {", ".join(SUPPORT)}')
    return SUPPORT[corpus]


def supported(corpora: tuple[str, ...], emotions: tuple[str, ...]) -> np.ndarray:
    """bool [corpora, C]: which of `emotions` each corpus supports."""
    return np.array([[e in support(c) for e in emotions] for c in corpora], bool)
