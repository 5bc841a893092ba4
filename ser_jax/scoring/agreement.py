"""Agreement of explanations: between methods, between members, and with random weights."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation of two maps of one shape; nan if one is constant."""
    ranks = [scipy.stats.rankdata(np.asarray(x, float).reshape(-1)) for x in (a, b)]
    if min(len(r) for r in ranks) < 2 or min(np.ptp(r) for r in ranks) == 0:
        return float('nan')
    return float(np.corrcoef(*ranks)[0, 1])


def mean_correlation(maps: Sequence[np.ndarray]) -> float:
    """Return the mean rank correlation over all pairs of maps; nan if there is no pair."""
    found = []
    for i, a in enumerate(maps):
        found += [rank_correlation(a, b) for b in maps[i + 1 :]]
    return mean(found)


def mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not nan; nan if there is none."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else float('nan')


class Agreement(NamedTuple):
    """Rank correlations of the attributions of one utterance, or means of them.

    Attributes:
      random: of integrated gradients with those of random weights.
      random_occlusion: the same of occlusion.
      random_size: as `random`, of magnitudes without sign.
      methods: of integrated gradients with occlusion.
      members: of integrated gradients between members (seeds) that test the utterance; of
        occlusion where there are no gradients.
    """

    random: float = float('nan')
    random_occlusion: float = float('nan')
    random_size: float = float('nan')
    methods: float = float('nan')
    members: float = float('nan')


def overall(each: Sequence[Agreement]) -> Agreement:
    """Return the means over utterances."""
    return Agreement(*(mean(values) for values in zip(*each, strict=True)))


def verdict(found: Agreement) -> tuple[bool, str]:
    """Return True if explanations differ from those of random weights, and a sentence about it.

    They do if the correlation with random weights is less than half of that which two explanations
    of the trained network have: of two members, else of the two methods, else 1.
    """
    kind, reference = 'identical explanations', 1.0
    if not np.isnan(found.methods):
        kind, reference = 'the two methods', found.methods
    if not np.isnan(found.members):
        kind, reference = 'members trained from other seeds', found.members
    random = found.random_occlusion if np.isnan(found.random) else found.random
    if np.isnan(random):
        return False, 'The explanations are constant, so nothing can be compared.'
    passed = reference > 0 and random < reference / 2
    numbers = (
        f'the rank correlation with explanations of random weights is {random:.2f}, that between '
        f'{kind} {reference:.2f}'
    )
    if passed:
        return True, f'The explanations depend on the training: {numbers}.'
    return False, (
        'The explanations cannot be told from those of random weights, so they show nothing that '
        f'the training has added: {numbers}. Do not interpret them.'
    )
