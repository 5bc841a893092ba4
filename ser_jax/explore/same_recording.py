"""Groups of recordings that are copies of one: the same samples, or another gain, codec or cut."""

import itertools
from collections.abc import Sequence

import numpy as np

from ser_jax.audio import features
from ser_jax.explore.near_duplicates import SAME, agree, loud

_LONGER = 1.3  # lengths of copies differ by less


def groups(samples: Sequence[np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Return the group of each recording, int [N]: the index of its first copy.

    Args:
      samples: mono float32 [T] at 16 kHz.
      names: equal for recordings that are known to be one.
    """
    group = np.arange(len(samples))
    pictures = [loud(features.extract([x])[0]) for x in samples]
    for i, j in itertools.combinations(range(len(samples)), 2):
        if group[i] == group[j]:
            continue
        short, long = sorted((len(pictures[i]), len(pictures[j])))
        alike = long < _LONGER * short and agree(pictures[i], pictures[j]) > SAME
        if names[i] == names[j] or alike:
            group[group == group[j]] = group[i]
    return group
