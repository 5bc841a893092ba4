"""Source of a build, stored beside its shards, so that a build from another source is refused."""

import hashlib
import os
from pathlib import Path

from ser_jax.contract import InputError
from ser_jax.corpora import audio_files
from ser_jax.corpora.schema import ORIGIN, read_json, write_json

_WHOLE_BYTES = 1 << 16  # of larger files only the size and two samples are hashed
_TABLES = ('.csv', '.tsv', '.json', '.jsonl', '.txt')
_NOISE = ('Thumbs.db', 'desktop.ini')  # added by Windows to folders on display


def describe(source: Path) -> dict:
    """Return the path, number of files and hash of a source (folder, zip or manifest).

    The hash covers relative names, sizes, the whole content of tables and small files, and the
    middle and the end of other files; the end of a zip holds the checksums of all members.

    Raises:
      InputError: a folder or a file cannot be read (the message names it).
    """
    total, count = hashlib.sha256(), 0
    found = [p for p in audio_files.files(source) if p.name not in _NOISE]
    for path in sorted(found, key=os.fsencode):
        name = b'' if path == source else os.fsencode(path.relative_to(source))
        try:
            total.update(name + b'\0' + _sampled(path))
        except FileNotFoundError:
            total.update(name + b'\0missing')  # a broken link
        except OSError as e:
            raise InputError(
                f'{audio_files.readable(str(path))}: cannot be read ({e.strerror})'
            ) from e
        count += 1
    shown = audio_files.readable(os.path.realpath(source))
    return {'source': shown, 'files': count, 'listing': total.hexdigest()}


def _sampled(path: Path) -> bytes:
    size = os.stat(path).st_size
    total = hashlib.sha256(b'%d' % size)
    with open(path, 'rb') as f:
        if size <= _WHOLE_BYTES or path.suffix.lower() in _TABLES:
            while block := f.read(1 << 20):
                total.update(block)
        else:
            for start in (size // 2, size - _WHOLE_BYTES // 4):
                f.seek(start)
                total.update(f.read(_WHOLE_BYTES // 4))
    return total.digest()


def compared(folder: Path, given: str | os.PathLike | None, advice: str) -> str:
    """Compare the source of a build with the given one.

    Args:
      folder: folder of the build.
      given: --manual_dir of the command; None: no comparison.
      advice: instruction for building another source, for messages.

    Returns:
      '' if the sources are the same or none is given, else the reason why they were not compared.

    Raises:
      InputError: the build was made from another source, or from this one when it held other files.
    """
    if given is None:
        return ''
    given = Path(given).expanduser()
    shown = audio_files.readable(str(given))
    if not (folder / ORIGIN).exists():
        return (
            f'built by an earlier version, without {ORIGIN}; its source is not compared with '
            f'{shown}'
        )
    built = read_json(folder / ORIGIN, ('source', 'files', 'listing'))
    same_path = audio_files.readable(os.path.realpath(given)) == built['source']
    if not given.exists():
        if same_path:
            return f'{shown}, its source, does not exist any more; not compared'
        raise InputError(
            f'{folder} was built from {built["source"]}, but --manual_dir={shown} does not exist'
        )
    now = describe(given)
    if now['listing'] == built['listing']:
        return ''
    if same_path:
        raise InputError(
            f'{folder} was built from {shown} when it held other files ({built["files"]:,} then, '
            f'{now["files"]:,} now); {advice}'
        )
    raise InputError(
        f'{folder} was built from {built["source"]} ({built["files"]:,} files), not from {shown} '
        f'({now["files"]:,} files); {advice}'
    )


def write(folder: Path, source: Path) -> None:
    """Write the description of a source beside the shards built from it."""
    write_json(folder / ORIGIN, describe(source))
