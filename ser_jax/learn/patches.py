"""Patches of an utterance's input that occlusion takes away, and sums of attributions over them."""

import itertools
from typing import NamedTuple

import numpy as np


class Patch(NamedTuple):
    """Part of the input: frames [first, end) of the bands [low, high)."""

    first: int
    end: int
    low: int = 0
    high: int = 1 << 30


def edges(count: int, parts: int) -> np.ndarray:
    """Return the bounds of about equal parts of `count` frames or bands: int [parts + 1]."""
    return np.round(np.linspace(0, count, min(parts, count) + 1)).astype(int)


def grid(columns: np.ndarray, rows: np.ndarray) -> list[Patch]:
    """Return the patches between bounds of frames and of bands, all of one moment in a row."""
    patches = []
    for first, end in itertools.pairwise(columns):
        patches += [Patch(first, end, a, b) for a, b in itertools.pairwise(rows)]
    return patches


def moments(columns: np.ndarray) -> list[Patch]:
    """Return all bands of two adjacent columns each, so that no moment is split by a bound."""
    if len(columns) < 4:
        return [Patch(a, b) for a, b in itertools.pairwise(columns)]
    return [Patch(a, b) for a, b in zip(columns[:-2], columns[2:], strict=True)]


def by_column(drops: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the mean drop of the `moments` that cover each column: float32 [columns]."""
    if len(columns) < 4:
        return drops
    edge = drops[:1], drops[-1:]
    return (np.concatenate([edge[0], drops]) + np.concatenate([drops, edge[1]])) / 2


def summed(attribution: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the sums of attributions [frames, M] over the patches of `grid`: [columns, rows]."""
    over_time = np.add.reduceat(attribution, columns[:-1], axis=0)
    return np.add.reduceat(over_time, rows[:-1], axis=1)
