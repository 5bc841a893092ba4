"""Downloads that resume after a broken connection and get their final name only if complete."""

import dataclasses
import errno
import functools
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ser_jax.contract import InputError

ATTEMPTS = 5  # in a row without any new byte
WAIT_S = 1.0  # before the second attempt; doubles each time
TIMEOUT_S = 60.0
BLOCK_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file on the web: its URL, its size in bytes, and its published md5 or sha256."""

    url: str
    size: int
    checksum: str

    @property
    def algorithm(self) -> str:
        """Name of the checksum's algorithm, by its length."""
        return 'sha256' if len(self.checksum) == 64 else 'md5'

    @property
    def name(self) -> str:
        """Last part of the URL's path."""
        return self.url.split('?')[0].rsplit('/', 1)[-1]


def fetch(archive: Archive, folder: str | os.PathLike, fallback: str = '') -> Path:
    """Download an archive unless a valid copy exists; return its path, `folder/archive.name`.

    Bytes are written to `<name>.part`, which the next call resumes by an HTTP Range request; it is
    renamed only if its size and checksum are right.

    Args:
      archive: the file to download.
      folder: target folder, created if missing.
      fallback: advice for working without the download, the end of every error message.

    Raises:
      InputError: no network, an HTTP error (404 ...), no disk space, or a wrong checksum (the file
        is deleted then).
    """
    path = Path(folder) / archive.name
    part = path.with_name(path.name + '.part')
    hint = f'; {fallback}' if fallback else ''
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if path.stat().st_size == archive.size and _digest(path, archive) == archive.checksum:
                return path
            path.unlink()
        _complete(archive, part, hint)
        if (found := _digest(part, archive)) != archive.checksum:
            part.unlink()
            raise InputError(
                f'{archive.url}: checksum is {archive.algorithm} {found}, '
                f'expected {archive.checksum}; the file was '
                f'deleted, try again{hint}'
            )
        os.replace(part, path)
    except OSError as e:
        reason = f'cannot write {e.filename or part} ({e.strerror or e})'
        full = e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = 'free some space or give' if full else 'give'
        raise InputError(f'{archive.url}: {reason}; {advice} another --download_dir{hint}') from e
    return path


def _complete(archive: Archive, part: Path, hint: str) -> None:
    """Download the missing bytes of `part`, over several connections if necessary."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    idle = 0
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f'downloading {archive.name}', total=archive.size)
        while (have := _size(part)) != archive.size:
            if have > archive.size:  # a part of another version
                part.unlink()
                have = 0
            progress.update(task, completed=have)
            reason, final = _receive(
                archive, part, have, lambda n: progress.update(task, completed=n)
            )
            idle = 0 if _size(part) > have else idle + 1
            if final or idle >= ATTEMPTS:
                raise InputError(f'{archive.url}: download failed ({reason}){hint}')
            if idle:
                time.sleep(WAIT_S * 2 ** (idle - 1))
        progress.update(task, completed=archive.size)


def _receive(
    archive: Archive, part: Path, have: int, show: Callable[[int], None]
) -> tuple[str, bool]:
    """Append the bytes of one connection; return the reason of its end, and True if it is final."""
    request = urllib.request.Request(
        archive.url, headers={'Range': f'bytes={have}-'} if have else {}
    )
    broken = (http.client.HTTPException, TimeoutError, ConnectionError)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as e:
        e.close()
        return f'HTTP {e.code} {e.reason}', 400 <= e.code < 500 and e.code not in (408, 425, 429)
    except (urllib.error.URLError, *broken) as e:
        return str(getattr(e, 'reason', e)) or type(e).__name__, False
    with response:
        span = response.headers.get('Content-Range', '')
        resumed = response.status == 206 and span.startswith(f'bytes {have}-')
        have = have if resumed else 0  # a server without Range sends the whole file
        length = response.headers.get('Content-Length')
        if length is not None and have + int(length) != archive.size:
            reason = f'expected {archive.size:,} bytes, the server has {have + int(length):,}'
            return reason, True
        with open(part, 'ab' if resumed else 'wb') as f:
            while True:
                try:
                    block = response.read1(BLOCK_BYTES)
                except broken as e:
                    return str(e) or type(e).__name__, False
                if not block:
                    return 'the connection was closed early', False
                f.write(block)
                have += len(block)
                show(have)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path, archive: Archive) -> str:
    begin = functools.partial(hashlib.new, archive.algorithm, usedforsecurity=False)
    with open(path, 'rb') as f:
        return hashlib.file_digest(f, begin).hexdigest()
