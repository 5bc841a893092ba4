"""Derived features: the outputs of a model's frozen part, computed once per recording and cached.

They are the same in every epoch of every member if no trained variable precedes them. Training and
evaluation read them instead of the stored features; prediction runs the whole network.
"""

import dataclasses
import hashlib
import itertools
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_jax.contract import InputError, Layout
from ser_jax.data import batches
from ser_jax.data.cache import LARGEST, Cache, Writer, content_key
from ser_jax.data.utterances import Utterances

SOURCE = 'derived'  # `Utterances.source`
_VERSION = 1  # of the computation
_BATCH = 4  # windows per device
_LENGTHS = 40  # lengths of padded windows: few shapes are compiled

Derive = Callable[[np.ndarray, np.ndarray], tuple[jax.Array, jax.Array]]


def folder() -> pathlib.Path:
    """Return the folder of the caches, beside the compiled programs by default."""
    given = os.environ.get('SER_JAX_ACTIVATIONS') or '~/.cache/ser_jax/derived'
    return pathlib.Path(given).expanduser()


def derived_features(
    utterances: Utterances,
    name: str,
    build: Callable[[], Derive],
    most: int,
    layout: Layout,
    resident_gb: float,
) -> Utterances:
    """Return the utterances with derived features [R A] instead of the stored ones.

    Args:
      utterances: N utterances.
      name: identity of the frozen part: network, arguments, weights.
      build: returns the function (raw [B span ...], length [B]) -> (features [B R' A], length [B]);
        called only if an utterance is not cached.
      most: longest window in stored values.
      layout: of the derived features. With `steps` 1 an utterance has a row for each of the windows
        in which it would be scored; else it is cut into equal parts, whose frames follow one
        another.
      resident_gb: derived features larger than this stay on disk.

    Raises:
      InputError: a derived feature is not finite in float16, or the cache cannot be written.
    """
    identity = repr((_VERSION, name, utterances.source, most, layout.steps, utterances.aligned))
    cache = Cache(folder() / hashlib.sha256(identity.encode()).hexdigest()[:24])
    keys = [content_key(utterances.read(i)) for i in range(len(utterances))]
    rows = cache.whole(keys)
    if missing := {k: i for i, k in enumerate(keys) if k not in rows}:
        with cache.writer() as writer:
            rows |= cache.whole(missing)  # those that another process has added meanwhile
            if missing := {k: i for k, i in missing.items() if k not in rows}:
                _fill(writer, utterances, missing, build(), most, layout.steps == 1)
        rows |= cache.whole(missing)
    length = np.array([len(rows[k]) for k in keys])
    offset = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64)
    width = cache.width
    resident = 2 * width * int(length.sum()) <= resident_gb * 1e9
    empty = np.zeros((len(utterances), 1))
    return dataclasses.replace(
        utterances,
        flat=np.concatenate([rows[k] for k in keys]) if resident else None,
        offset=offset,
        length=length,
        frames=length,
        sums=empty,
        squares=empty,
        read=lambda i: rows[keys[i]],
        source=SOURCE,
        layout=layout._replace(bands=width),
    )


def _fill(
    writer: Writer,
    utterances: Utterances,
    missing: dict[str, int],
    derive: Derive,
    most: int,
    by_window: bool,
) -> None:
    """Compute and append what the cache lacks, shortest recordings first."""
    devices = jax.devices()
    batch = NamedSharding(Mesh(np.array(devices), ('batch',)), P('batch'))
    order = sorted(missing.items(), key=lambda item: utterances.length[item[1]])
    seconds = sum(float(utterances.seconds[i]) for _, i in order)
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        what = f'{len(order):,} recordings through the frozen layers, s'
        task = progress.add_task(what, total=round(seconds))
        for at in range(0, len(order), _BATCH * len(devices)):
            chosen = order[at : at + _BATCH * len(devices)]
            parts: dict[str, list] = {}
            for key, i in chosen:
                values, spans = utterances.read(i), _windows(utterances, i, most, by_window)
                parts[key] = [values[start:end] for start, end in spans]
            outputs = iter(_apply(derive, list(itertools.chain(*parts.values())), most, batch))
            arrays = {}
            for key, i in chosen:
                arrays[key] = np.concatenate([next(outputs) for _ in parts[key]])
                if not np.abs(arrays[key]).max() <= LARGEST:
                    raise InputError(
                        f'the frozen layers give values that are not finite in float16 at '
                        f'{utterances.id[i]}; check their weights'
                    )
            writer.add(arrays)
            progress.advance(task, sum(float(utterances.seconds[i]) for _, i in chosen))


def _windows(
    utterances: Utterances, index: int, most: int, by_window: bool
) -> list[tuple[int, int]]:
    """Return the spans (first, end) of an utterance that are computed apart, in order of time."""
    if by_window:
        cut = batches.windows(np.array([index]), utterances.length, most, utterances.aligned)
        return sorted((int(s), int(s + n)) for s, n in zip(cut.start, cut.length, strict=True))
    size = int(utterances.length[index])
    edges = np.linspace(0, size, max(1, -(-size // most)) + 1).astype(int).tolist()
    return list(itertools.pairwise(edges))


def _apply(
    derive: Derive, parts: Sequence[np.ndarray], most: int, sharding: NamedSharding
) -> list[np.ndarray]:
    """Return the derived features [R A] of each part, computed in padded batches of one size."""
    outputs, size, step = [], _BATCH * sharding.mesh.size, max(1, most // _LENGTHS)
    for at in range(0, len(parts), size):
        some = parts[at : at + size]
        span = min(most, -(-max(map(len, some)) // step) * step)
        raw = np.zeros((size, span, *some[0].shape[1:]), some[0].dtype)
        length = np.full(size, span, np.int32)
        for row, part in enumerate(some):
            raw[row, : len(part)], length[row] = part, len(part)
        features, count = (np.asarray(x) for x in derive(*jax.device_put((raw, length), sharding)))
        outputs += [features[row, : count[row]] for row in range(len(some))]
    return outputs
