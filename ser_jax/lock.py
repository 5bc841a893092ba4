"""Locks on folders that one process at a time may write; the kernel releases them in a crash."""

import contextlib
import datetime
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ser_jax.contract import InputError

try:
    import fcntl
except ImportError:  # a system without flock
    fcntl = None  # type: ignore[assignment]

_LOCKED = (errno.EWOULDBLOCK, errno.EACCES)


@contextlib.contextmanager
def held(
    path: str | os.PathLike, what: str, reenter: bool = False, wait: bool = False
) -> Iterator[None]:
    """Hold the lock of `path` while the block runs: `.<name>.lock` beside it, removed at the end.

    The kernel releases the lock when the process ends, even by `kill -9`; a lock file left behind
    locks nothing. If no lock can be made (a file system without `flock`, a read-only folder), the
    block runs without one.

    Args:
      path: a folder or file, which need not exist.
      what: a noun for messages, e.g. 'build' or 'training'.
      reenter: allow a process that already holds the lock to enter again; else it raises as well.
      wait: wait until another process releases the lock instead of raising.

    Raises:
      InputError: another process holds the lock; the message names that process, its host and its
        start time.
    """
    path = Path(os.path.realpath(path))
    lock = path.parent / f'.{path.name}.lock'
    descriptor = None if reenter and lock in _HELD else _acquired(lock, path, what, wait)
    if descriptor is None:
        yield
        return
    _HELD[lock] = descriptor
    try:
        with contextlib.suppress(OSError):
            now = datetime.datetime.now().strftime('%Y-%m-%d %H:%M:%S')
            os.ftruncate(descriptor, 0)
            holder = f'{what}, process {os.getpid()} on {socket.gethostname()} since {now}'
            os.pwrite(descriptor, holder.encode(), 0)
        yield
    finally:
        if _HELD.pop(lock, None) is not None:  # else this is a forked child, which holds no lock
            with contextlib.suppress(OSError):
                os.unlink(lock)  # before the release: it is still this process's file
            os.close(descriptor)


def _acquired(lock: Path, path: Path, what: str, wait: bool) -> int | None:
    """Lock the file and return its descriptor; None if locks are not available."""
    while fcntl is not None:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            current = os.stat(lock)
            if os.path.samestat(os.fstat(descriptor), current):
                return descriptor
        except FileNotFoundError:
            pass  # the previous holder has just removed it: try again
        except OSError as e:
            holder = os.pread(descriptor, 500, 0).decode(errors='replace') or what
            os.close(descriptor)
            if e.errno not in _LOCKED:
                return None
            raise InputError(
                f'{path} is in use by another process ({holder}); wait until it ends, or stop it'
            ) from e
        os.close(descriptor)
    return None


_HELD: dict[Path, int] = {}  # lock file -> its open descriptor


def _close_in_child() -> None:
    """Close the lock files in a forked child, which may outlive its parent."""
    while _HELD:
        os.close(_HELD.popitem()[1])


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_close_in_child)
