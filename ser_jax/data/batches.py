"""Batch plans: the utterances of every step as a pure function of (member, epoch).

There is no loader state to save. The resident path gathers windows on the device at these indices;
the streamed path reads the same windows from disk through Grain, in the same order.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.data.utterances import Utterances


class Plan(NamedTuple):
    """The windows of one or more batches; every array is [..., B]."""

    utterance: np.ndarray  # int32, index into the utterances
    start: np.ndarray  # int32, first frame (or sample) of the window
    weight: np.ndarray  # float32, 0 = the slot repeats an utterance to fill the batch


class Member(NamedTuple):
    """One of the models that a run trains: a fold and a seed."""

    name: str
    fold: int
    seed: int
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    # [n, V] instead of `train`: an epoch trains on one version of each row, drawn by seed.
    versions: np.ndarray | None = None

    @property
    def epoch_size(self) -> int:
        """Number of utterances that an epoch trains on."""
        return len(self.train if self.versions is None else self.versions)


def steps_per_epoch(members: Sequence[Member], batch_size: int) -> int:
    """Return the steps per epoch of every member: enough for the largest training side."""
    return max(-(-m.epoch_size // batch_size) for m in members)


def epoch_plan(
    member: Member,
    epoch: int,
    batch_size: int,
    steps: int,
    length: np.ndarray,
    span: int,
    aligned: bool = False,
) -> Plan:
    """Return the plan [steps, B] of one epoch: each training utterance once, in random order.

    Utterances are dealt to steps in turn. If there are fewer than steps * B, the empty slots are
    spread evenly over the steps; they repeat utterances with weight 0.

    Args:
      length: [N] lengths of all utterances.
      span: length of a window; longer utterances start at a random frame, shorter ones at 0.
      aligned: utterances are stored as adjacent windows of `span`, of which one is drawn.
    """
    random = np.random.default_rng([member.seed, member.fold, epoch])
    selected = member.train
    if member.versions is not None:
        selected = random.permuted(member.versions, axis=1)[:, 0]
    order = random.permutation(selected)
    slots = np.resize(order, steps * batch_size)
    weight = (np.arange(steps * batch_size) < len(order)).astype(np.float32)
    if aligned:
        choices, unit = np.maximum(length[slots] // span, 1), span
    else:
        choices, unit = np.maximum(length[slots] - span, 0) + 1, 1
    start = np.floor(random.random(steps * batch_size) * choices) * unit
    columns = slots.astype(np.int32), start.astype(np.int32), weight
    return Plan(*(np.ascontiguousarray(x.reshape(batch_size, steps).T) for x in columns))


class Windows(NamedTuple):
    """Windows that together cover utterances; a long utterance has several."""

    utterance: np.ndarray  # int32 [n]
    start: np.ndarray  # int32 [n]
    length: np.ndarray  # int32 [n]


def windows(indices: np.ndarray, length: np.ndarray, most: int, aligned: bool = False) -> Windows:
    """Return windows of at most `most` that cover the utterances at `indices`.

    Windows are sorted by length, so that batches need little padding. An utterance longer than
    `most` gets windows of exactly `most`, half overlapping, the last one flush with its end;
    adjacent ones if it is stored as such windows (`aligned`).
    """
    rows = []
    for i in indices:
        if length[i] <= most:
            rows.append((i, 0, length[i]))
            continue
        step = most if aligned else max(1, most // 2)
        starts = sorted({*range(0, int(length[i]) - most, step), int(length[i]) - most})
        rows.extend((i, s, most) for s in starts)
    rows.sort(key=lambda r: (r[2], r[0], r[1]))
    table = np.array(rows, np.int32).reshape(-1, 3)
    return Windows(table[:, 0], table[:, 1], table[:, 2])


def cut(utterances: Utterances, utterance: np.ndarray, start: np.ndarray, span: int) -> np.ndarray:
    """Read the windows from memory or disk, zero-padded: [..., span, M] or [..., span]."""
    pieces = [
        utterances.read(int(i))[s : s + span]
        for i, s in zip(utterance.flat, start.flat, strict=True)
    ]
    out = np.zeros((len(pieces), span, *pieces[0].shape[1:]), pieces[0].dtype)
    for row, piece in enumerate(pieces):
        out[row, : len(piece)] = piece
    return out.reshape(*utterance.shape, *out.shape[1:])


def stream(
    utterances: Utterances, plans: Sequence[Plan], span: int, threads: int = 2
) -> Iterator[np.ndarray]:
    """Return the windows [..., span, M] of each plan in turn, prefetched by Grain's threads."""
    import grain

    dataset = grain.MapDataset.source(plans).map(
        lambda plan: cut(utterances, plan.utterance, plan.start, span)
    )
    return iter(
        dataset.to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        )
    )
