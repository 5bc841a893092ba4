"""Which utterances meet in which step, as a pure function of (member, step): there is no loader state to save.

The resident path gathers windows on the device at these indices; the streamed path reads the same windows from disk
through Grain, in the same order.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.data.utterances import Utterances


class Plan(NamedTuple):
    """The windows of one or more batches; leading axes [..., B]."""

    utterance: np.ndarray  # int32, index into the utterances
    start: np.ndarray  # int32, first frame (or sample) of the window
    weight: np.ndarray  # float32, 0 = the slot repeats an utterance only to fill the shape


class Member(NamedTuple):
    """One model among those a run trains: a fold seen with one seed."""

    name: str
    fold: int
    seed: int
    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    versions: np.ndarray | None = None  # [n, V] instead of `train`: of each row one is heard in an epoch, drawn by seed


def steps_per_epoch(members: Sequence[Member], batch_size: int) -> int:
    """Steps every member takes per epoch: what the largest training side needs."""
    heard = lambda m: len(m.train if m.versions is None else m.versions)
    return max(-(-heard(m) // batch_size) for m in members)


def epoch_plan(
    member: Member, epoch: int, batch_size: int, steps: int, length: np.ndarray, span: int, aligned: bool = False
) -> Plan:
    """One epoch of a member: each training utterance once, at a random place, in random order: [steps, B].

    Utterances are dealt to steps in turn, so that where there are fewer than steps * B every step lacks about equally
    many; those slots wrap around with weight 0.

    Args:
      length: [N] lengths of all utterances.
      span: how long a window is; longer utterances are cut at a random start, shorter ones start at 0.
      aligned: an utterance consists of windows of `span` side by side, of which one is chosen.
    """
    random = np.random.default_rng([member.seed, member.fold, epoch])
    heard = member.train
    if member.versions is not None:
        heard = random.permuted(member.versions, axis=1)[:, 0]
    order = random.permutation(heard)
    slots = np.resize(order, steps * batch_size)
    weight = (np.arange(steps * batch_size) < len(order)).astype(np.float32)
    places = np.maximum(length[slots] // span, 1) if aligned else np.maximum(length[slots] - span, 0) + 1
    start = (np.floor(random.random(steps * batch_size) * places) * (span if aligned else 1)).astype(np.int32)
    deal = lambda x: np.ascontiguousarray(x.reshape(batch_size, steps).T)
    return Plan(deal(slots.astype(np.int32)), deal(start), deal(weight))


class Windows(NamedTuple):
    """Windows that together cover utterances: one each, or half-overlapping ones for long recordings."""

    utterance: np.ndarray  # int32 [n]
    start: np.ndarray  # int32 [n]
    length: np.ndarray  # int32 [n]


def windows(indices: np.ndarray, length: np.ndarray, most: int, aligned: bool = False) -> Windows:
    """Covers the utterances at `indices` by windows of at most `most`, sorted by length so that batches pad little.

    A longer utterance gets windows of exactly `most`, half overlapping, the last one flush with its end; or side by side,
    where it consists of such windows (`aligned`).
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
    """The windows themselves, zero-padded: [..., span, M] or [..., span], read from memory or disk."""
    pieces = [utterances.read(int(i))[s : s + span] for i, s in zip(utterance.flat, start.flat, strict=True)]
    out = np.zeros((len(pieces), span, *pieces[0].shape[1:]), pieces[0].dtype)
    for row, piece in enumerate(pieces):
        out[row, : len(piece)] = piece
    return out.reshape(*utterance.shape, *out.shape[1:])


def stream(utterances: Utterances, plans: Sequence[Plan], span: int, threads: int = 2) -> Iterator[np.ndarray]:
    """The windows of each plan in turn, read ahead from disk by Grain's threads: arrays [..., span, M]."""
    import grain

    dataset = grain.MapDataset.source(plans).map(lambda plan: cut(utterances, plan.utterance, plan.start, span))
    return iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)))
