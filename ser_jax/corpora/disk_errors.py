"""Errors of the disk during a build, as one line with a remedy."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator, Sequence

from ser_jax.contract import InputError, remedy

# Errors of the disk or of --data_dir; an errno that a bug may cause is not among them.
_DISK_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EIO,
)  # fmt: skip


@contextlib.contextmanager
def clear(folder: pathlib.Path, given: Sequence[os.PathLike | None]) -> Iterator[None]:
    """Turn errors of the disk in the block into an InputError.

    Args:
      folder: the folder of the build.
      given: other paths that the user gave.
    """
    try:
        yield
    except (OSError, RuntimeError) as e:
        if not (message := _message(e, folder, given)):
            raise
        raise InputError(f'{message}, then run the same command again') from e


def _message(error: Exception, folder: pathlib.Path, given: Sequence[os.PathLike | None]) -> str:
    """Describe an error of the disk and its remedy; '' for other errors."""
    # array_record raises a RuntimeError with the system's message for a failed write; TFDS has its
    # own message for a full disk.
    in_text = (c for c in _DISK_ERRORS if os.strerror(c) in str(error))
    code = getattr(error, 'errno', None) or next(in_text, None)
    name = getattr(error, 'filename', None)
    if code in _DISK_ERRORS:
        reason, advice = os.strerror(code), remedy(code)
        return f'{name or folder} cannot be written ({reason}); {advice} (--data_dir)'
    if code is None and str(error).startswith('Not enough disk space'):
        advice = remedy(errno.ENOSPC)
        return f'{folder} cannot be written ({error}); {advice} (--data_dir)'
    used = [p for p in (folder.parents[2], *given) if p]
    if code and name and any(str(name).startswith(str(p)) for p in used):
        reason = os.strerror(code)
        return f'{name} cannot be used ({reason}); repair that or give another --data_dir'
    return ''
