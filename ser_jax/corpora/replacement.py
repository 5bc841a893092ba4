"""Replacement of built shards: the old ones stay until the new ones are complete."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def clean(folder: Path) -> None:
    """Remove remains of killed builds, or restore the old shards; the caller holds the lock."""
    old = _old(folder)
    if old.exists() and not folder.exists():  # killed while the new shards were written
        os.replace(old, folder)
    shutil.rmtree(old, ignore_errors=True)
    for remnant in folder.parent.glob(f'incomplete.*_{folder.name}'):
        shutil.rmtree(remnant, ignore_errors=True)


@contextlib.contextmanager
def replacing(folder: Path, overwrite: bool) -> Iterator[None]:
    """Set existing shards aside while new ones are built; restore them if that fails."""
    old = _old(folder)
    if not overwrite or not folder.exists():
        yield
        return
    os.replace(folder, old)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(old, folder)
        raise
    shutil.rmtree(old)


def _old(folder: Path) -> Path:
    return folder.with_name(f'replaced.{folder.name}')
