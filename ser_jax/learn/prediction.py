"""Predictions for utterances by windows: cut, pad, apply, average.

Evaluation (`members.Group.predict`) and prediction (`ser_jax.inference`) both go this way.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ser_jax.data import batches
from ser_jax.data.batches import Windows


class Prediction(NamedTuple):
    """Probabilities that one member gives to utterances."""

    utterance: np.ndarray  # int32 [n]
    probabilities: dict[str, np.ndarray]  # modality -> float32 [n, C]


def answering(modalities: Collection[str], text: bool = True) -> str:
    """Return the modality of the model's answers: fused if there is a `text`, else audio."""
    return 'fused' if text and 'fused' in modalities else 'audio'


def in_batches(
    windows: Sequence[Windows],
    most: int,
    batch_size: int,
    function: Callable[[Windows, int], dict[str, Any]],
    ahead: int = 1,
    span: Callable[[int, int], int] | None = None,
) -> list[dict[str, np.ndarray]]:
    """Apply a function to windows in batches of one size and few lengths.

    Args:
      windows: the windows of each of K rows; rows with fewer windows repeat their last.
      most: maximum length of a window.
      batch_size: B.
      function: (windows [K B], span) -> arrays [K B ...] by name; `span` is at least the length of
        each of these windows.
      ahead: maximum number of unfinished calls when the next one begins.
      span: padded length of a batch from its longest window and `most`; None = `padded_span`.

    Returns:
      For each row the arrays [n ...] by name, in the order of its windows.
    """
    count = max(len(w.utterance) for w in windows)
    outs: list[dict[str, Any]] = []
    for at in range(0, count, batch_size):
        pieces = []
        for w in windows:
            rows = np.minimum(np.arange(at, at + batch_size), len(w.utterance) - 1)
            pieces.append(Windows(w.utterance[rows], w.start[rows], w.length[rows]))
        batch = Windows(*(np.stack(x) for x in zip(*pieces, strict=True)))
        outs.append(function(batch, (span or padded_span)(int(batch.length.max()), most)))
        if len(outs) > ahead:
            jax.block_until_ready(outs[-1 - ahead])
    return [_row(outs, k, len(w.utterance)) for k, w in enumerate(windows)]


def _row(outs: list[dict[str, Any]], k: int, count: int) -> dict[str, np.ndarray]:
    """Return the first `count` values of row `k` of consecutive batches, by name."""
    rows = {}
    for name in outs[0]:
        rows[name] = np.concatenate([np.asarray(out[name])[k] for out in outs])[:count]
    return rows


def padded_span(longest: int, most: int) -> int:
    """Return `longest` rounded up to a sixteenth of `most`, so that few shapes are compiled."""
    step = max(1, most // 16)
    return min(most, -(-longest // step) * step)


def of_arrays(
    values: Sequence[np.ndarray],
    most: int,
    aligned: bool,
    batch_size: int,
    span: Callable[[int, int], int] | None,
    function: Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, Any]],
) -> tuple[Windows, dict[str, np.ndarray]]:
    """Apply a function to the windows of recordings in memory.

    Args:
      values: the stored form of each recording, [T (, M)].
      most, aligned: see `batches.windows`.
      batch_size: maximum number of windows per batch.
      span: see `in_batches`.
      function: (recording [B], raw [B span ...], length [B]) -> arrays [B ...] by name.

    Returns:
      The windows, and the arrays [n ...] by name.
    """
    length = np.array([len(v) for v in values])
    windows = batches.windows(np.arange(len(values)), length, most, aligned)

    def apply(cut: Windows, span: int) -> dict[str, Any]:
        utterance, start, size = (x[0] for x in cut)
        raw = np.zeros((len(utterance), span, *values[0].shape[1:]), values[0].dtype)
        for row, (i, first, n) in enumerate(zip(utterance, start, size, strict=True)):
            raw[row, :n] = values[i][first : first + n]
        return {name: v[None] for name, v in function(utterance, raw, size).items()}

    rows = min(batch_size, 1 << (len(windows.utterance) - 1).bit_length())
    (each,) = in_batches([windows], most, rows, apply, span=span)
    return windows, each


def average(
    windows: Windows, values: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Average the values of windows, weighted by length, over each utterance.

    Args:
      windows: n windows.
      values: arrays [n ...] by name.

    Returns:
      The utterances, int32, in ascending order, and their means, float32, by name.
    """
    utterance, place = np.unique(windows.utterance, return_inverse=True)
    total = np.bincount(place, windows.length)
    means = {}
    for name, v in values.items():
        flat = v.reshape(len(v), -1)
        sums = np.zeros((len(utterance), flat.shape[1]))
        np.add.at(sums, place, flat * windows.length[:, None])
        means[name] = (sums / total[:, None]).astype(np.float32).reshape(-1, *v.shape[1:])
    return utterance.astype(np.int32), means


def scaled(probabilities, temperature: float):
    """Return probabilities [... C] (NumPy or JAX) with log-probabilities divided by `temperature`.

    The same as `scoring.calibration.scaled`, in the dtype that came.
    """
    if temperature == 1:
        return probabilities
    raised = (probabilities / probabilities.max(-1, keepdims=True)) ** (1 / temperature)
    return (raised / raised.sum(-1, keepdims=True)).astype(probabilities.dtype)
