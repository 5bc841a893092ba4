"""Cache on disk of the activations of a network's frozen part for every window of a corpus.

The outputs of frozen layers are the same in every epoch of every member if no trained layer
precedes them. Training reads them instead of the windows; prediction runs the whole network.
"""

import dataclasses
import glob
import hashlib
import os
import pathlib
import shutil
import socket
import tempfile
from collections.abc import Callable

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_jax.contract import InputError, writing
from ser_jax.data.utterances import Utterances

SOURCE = 'activations'  # `Utterances.source` of utterances with activations
_BATCH = 16
_WRITING = '.writing'


def folder() -> pathlib.Path:
    """Return the folder of the cached activations, beside the compiled programs by default."""
    return pathlib.Path(
        os.environ.get('SER_JAX_ACTIVATIONS') or '~/.cache/ser_jax/activations'
    ).expanduser()


def frozen_activations(
    utterances: Utterances, steps: int, name: str, build: Callable[[], Callable], resident_gb: float
) -> Utterances:
    """Return the utterances with one float16 row [A] per window instead of their frames.

    Args:
      utterances: utterances of a front end that stores adjacent windows of `steps` frames.
      name: cache key of all that activations depend on except recordings: network, arguments,
        weights.
      build: returns the function windows [B, steps, M] -> [B, A]; called only on a cache miss.
      resident_gb: activations larger than this stay on disk.

    Raises:
      InputError: an activation is not finite in float16.
    """
    heard = list(zip(utterances.corpus.tolist(), utterances.id.tolist(), strict=True))
    content = repr(
        (utterances.names, sorted(utterances.fingerprints.items()), utterances.source, heard, name)
    )
    path = folder() / f'{hashlib.sha256(content.encode()).hexdigest()[:24]}.npy'
    length = utterances.length // steps
    if not _whole(path):
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path.parent)
            own = f'{path.stem}.{socket.gethostname()}.{os.getpid()}.'  # unique to this process
            with tempfile.TemporaryDirectory(_WRITING, own, path.parent) as fresh:
                _write(pathlib.Path(fresh, path.name), utterances, steps, length, build())
                digest = _sha256(pathlib.Path(fresh, path.name))
                os.replace(pathlib.Path(fresh, path.name), path)
                pathlib.Path(fresh, 'sha256').write_text(digest)
                os.replace(pathlib.Path(fresh, 'sha256'), path.with_suffix('.sha256'))
    rows = np.load(path, mmap_mode='r')
    offset = np.concatenate([[0], np.cumsum(length)[:-1]]).astype(np.int64)
    nothing = np.zeros((len(utterances), 1))
    return dataclasses.replace(
        utterances,
        flat=rows if rows.nbytes <= resident_gb * 1e9 else None,
        offset=offset,
        length=length,
        frames=length,
        sums=nothing,
        squares=nothing,
        read=lambda i: rows[offset[i] : offset[i] + length[i]],
        source=SOURCE,
    )


def _remove_leftovers(where: pathlib.Path) -> None:
    """Remove the temporary folders of processes of this host that were killed while writing."""
    for left in where.glob(f'*.{glob.escape(socket.gethostname())}.*.*{_WRITING}'):
        process = left.name.removesuffix(_WRITING).split('.')[-2]
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except (PermissionError, ValueError):  # alive but another user's; not a process id
            continue


def _whole(path: pathlib.Path) -> bool:
    """Return True if the cache file exists and matches its checksum; else it is recomputed."""
    kept = path.with_suffix('.sha256')
    return path.exists() and kept.exists() and _sha256(path) == kept.read_text()


def _sha256(path: pathlib.Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _write(
    path: pathlib.Path, utterances: Utterances, steps: int, length: np.ndarray, function: Callable
) -> None:
    total, function = int(length.sum()), jax.jit(function)
    places = [(i, w * steps) for i in range(len(utterances)) for w in range(length[i])]
    rows = None
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task('windows through the frozen layers', total=total)
        for start in range(0, total, _BATCH):
            chosen = places[start : start + _BATCH]
            windows = np.stack([utterances.read(i)[at : at + steps] for i, at in chosen]).astype(
                np.float32
            )
            # Padding keeps one shape to compile.
            windows = np.pad(windows, ((0, _BATCH - len(chosen)), (0, 0), (0, 0)))
            with np.errstate(over='ignore'):  # reported below as an InputError
                given = np.asarray(function(windows))[: len(chosen)].astype(np.float16)
            if not np.isfinite(given).all():
                where = utterances.id[chosen[0][0]]
                raise InputError(
                    f'the frozen layers give no finite float16 numbers at {where}; check their weights'
                )
            if rows is None:
                rows = np.lib.format.open_memmap(path, 'w+', np.float16, (total, given.shape[1]))
                with open(path, 'r+b') as f:  # else a full disk kills the process by SIGBUS
                    if hasattr(os, 'posix_fallocate'):
                        os.posix_fallocate(f.fileno(), 0, path.stat().st_size)
            rows[start : start + len(chosen)] = given
            progress.advance(task, len(chosen))
    rows.flush()
