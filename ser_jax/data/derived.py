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
from collections.abc import Callable, Iterator

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
    path = folder() / f'{_key(utterances, name)}.npy'
    length = utterances.length // steps
    if not _whole(path):
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path.parent)
            prefix = f'{path.stem}.{socket.gethostname()}.{os.getpid()}.'  # of this process alone
            with tempfile.TemporaryDirectory(_WRITING, prefix, path.parent) as temporary:
                fresh, checksum = pathlib.Path(temporary, path.name), pathlib.Path(temporary, 'sha')
                _write(fresh, utterances, steps, length, build())
                checksum.write_text(_sha256(fresh))
                os.replace(fresh, path)
                os.replace(checksum, path.with_suffix('.sha256'))
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


def _key(utterances: Utterances, name: str) -> str:
    """Return the cache key of the activations of utterances."""
    ids = list(zip(utterances.corpus.tolist(), utterances.id.tolist(), strict=True))
    fingerprints = sorted(utterances.fingerprints.items())
    content = repr((utterances.names, fingerprints, utterances.source, ids, name))
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def _remove_leftovers(cache: pathlib.Path) -> None:
    """Remove the temporary folders of processes of this host that were killed while writing."""
    for left in cache.glob(f'*.{glob.escape(socket.gethostname())}.*.*{_WRITING}'):
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
    """Write the activations of all windows as one .npy file [windows, A]."""
    total, rows = int(length.sum()), None
    columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task('windows through the frozen layers', total=total)
        start = 0
        for activations in _activations(utterances, steps, length, jax.jit(function)):
            if rows is None:
                rows = _allocated(path, (total, activations.shape[1]))
            rows[start : start + len(activations)] = activations
            start += len(activations)
            progress.advance(task, len(activations))
    if rows is not None:
        rows.flush()


def _activations(
    utterances: Utterances, steps: int, length: np.ndarray, function: Callable
) -> Iterator[np.ndarray]:
    """Yield the float16 activations [n, A] of windows, batch by batch."""
    starts = [np.arange(n) * steps for n in length]
    utterance, start = np.repeat(np.arange(len(utterances)), length), np.concatenate(starts)
    for first in range(0, len(start), _BATCH):
        batch = slice(first, first + _BATCH)
        pieces = zip(utterance[batch].tolist(), start[batch].tolist(), strict=True)
        windows = np.stack([utterances.read(i)[at : at + steps] for i, at in pieces])
        count = len(windows)
        # Padding keeps one shape to compile.
        padding = ((0, _BATCH - count), (0, 0), (0, 0))
        windows = np.pad(windows.astype(np.float32), padding)
        with np.errstate(over='ignore'):  # reported below as an InputError
            activations = np.asarray(function(windows))[:count].astype(np.float16)
        if not np.isfinite(activations).all():
            raise InputError(
                f'the outputs of the frozen layers at {utterances.id[utterance[first]]} are not '
                'finite in float16; check their weights'
            )
        yield activations


def _allocated(path: pathlib.Path, shape: tuple[int, int]) -> np.memmap:
    """Return a new float16 .npy file whose blocks exist: on a full disk, writing raises here."""
    rows = np.lib.format.open_memmap(path, 'w+', np.float16, shape)
    with open(path, 'r+b') as f:  # else a full disk kills the process by SIGBUS
        if hasattr(os, 'posix_fallocate'):
            os.posix_fallocate(f.fileno(), 0, path.stat().st_size)
    return rows
