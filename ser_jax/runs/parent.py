"""Files of a personalized run: its parent's, and what is known of the speaker.

A personalized run is a directory like its parent's, copied, with two files more: `parent.json` (the
parent and its checksums, the recordings by hash, the scores before and after) and `personal.npz`
(the speaker's mean, the heads of the members). It needs neither its parent nor any recording.
"""

import hashlib
import io
import json
import pathlib
import shutil
from typing import Any, NamedTuple

import numpy as np

from ser_jax import lock
from ser_jax.contract import InputError, writing
from ser_jax.learn.personal_head import Head
from ser_jax.runs import calibration, run_files
from ser_jax.runs.checkpoint import WRITING

FILE, ARRAYS = 'parent.json', 'personal.npz'
_COPIED = (
    *(f'{name}.json' for name in (*run_files.FILES, run_files.INVENTORY)),
    run_files.CHECKSUMS,
    calibration.FILE,
)
_RENEW = 'personalize again (python -m ser_jax.personalize)'


class Personal(NamedTuple):
    """A speaker as a run knows it."""

    about: dict[str, Any]  # the content of parent.json
    members: list[str]
    speaker: np.ndarray | None  # [A], subtracted from derived features; None = not enrolled
    head: Head | None  # of `members`; None = not taught

    def of(self, members: list[str]) -> Head | None:
        """Return the head of some of the members, in their order."""
        if self.head is None:
            return None
        at = [self.members.index(m) for m in members]
        return Head(*(x[at] for x in self.head))


def checksums(directory: pathlib.Path) -> dict[str, str]:
    """Return the SHA-256 of a run's files and of its members' variables, by name."""
    found = {}
    for name in _COPIED[:-1]:
        if (directory / name).exists():
            found[name] = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    for about in sorted(directory.glob('best/*/about.json')):
        found[f'best/{about.parent.name}'] = json.loads(about.read_text()).get('sha256', '')
    return found


def read(directory: pathlib.Path) -> Personal | None:
    """Return what a personalized run knows of its speaker; None for a general run.

    Raises:
      InputError: a file is missing or damaged, or the models are others than were personalized.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        about = json.loads(path.read_text(encoding='utf-8'))
        content = (directory / ARRAYS).read_bytes()
        if hashlib.sha256(content).hexdigest() != about['arrays_sha256']:
            raise ValueError(f'{ARRAYS} has another checksum than written')
        with np.load(io.BytesIO(content)) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        speaker = found.pop('speaker', None)
        head = Head(**found) if found else None
        personal = Personal(about, list(about['members']), speaker, head)
        then = dict(about['parent']['sha256'])
    except (OSError, ValueError, KeyError, TypeError) as e:
        reason = ' '.join(str(e).split())[:160]
        raise InputError(f'{directory} is damaged ({path.name}: {reason}); {_RENEW}') from e
    now = checksums(directory)
    if changed := [name for name in then if now.get(name) != then[name]]:
        raise InputError(
            f'{directory / changed[0]} is another than was personalized; restore it from a copy, '
            f'or {_RENEW}'
        )
    return personal


def write(directory: pathlib.Path, parent: pathlib.Path, personal: Personal) -> None:
    """Write a personalized run: complete, or not at all.

    Raises:
      InputError: the folder exists, or cannot be written.
    """
    fresh = directory.with_name(f'.{directory.name}{WRITING}')
    with lock.held(directory, 'personalization'), writing(directory):
        if directory.exists():
            raise InputError(f'{directory} exists; give another place')
        shutil.rmtree(fresh, ignore_errors=True)  # left by a killed process
        fresh.mkdir(parents=True)
        try:
            for name in _COPIED:
                if (parent / name).exists():
                    shutil.copy2(parent / name, fresh / name)
            for member in personal.members:
                shutil.copytree(parent / 'best' / member, fresh / 'best' / member)
            content, before = _packed(personal), read(parent)
            path = before.about['parent']['path'] if before else str(parent.absolute())
            (fresh / ARRAYS).write_bytes(content)
            about = {
                **personal.about,
                'members': personal.members,
                'parent': {'path': path, 'sha256': checksums(fresh)},
                'arrays_sha256': hashlib.sha256(content).hexdigest(),
            }
            (fresh / FILE).write_text(json.dumps(about, indent=1) + '\n', encoding='utf-8')
            fresh.rename(directory)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise


def _packed(personal: Personal) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    if personal.speaker is not None:
        arrays['speaker'] = np.asarray(personal.speaker, np.float32)
    if personal.head is not None:
        arrays |= {n: np.asarray(x) for n, x in personal.head._asdict().items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def changed_since(personal: Personal, parent: pathlib.Path) -> list[str]:
    """Return the names of the parent's files that differ from those that were personalized."""
    now = checksums(parent)
    then = personal.about['parent']['sha256']
    return [name for name, sha256 in then.items() if now.get(name) != sha256]


def refuse(directory: pathlib.Path, verb: str) -> None:
    """Raise InputError if a run is personalized, for verbs that would score its general model."""
    if (directory / FILE).exists():
        raise InputError(
            f'{directory} is personalized: its scores are in {FILE}; give its parent to {verb}, '
            'the general model'
        )


def next_version(output: pathlib.Path) -> pathlib.Path:
    """Return the path of the next version in a folder: v1, v2, ..."""
    numbers = [int(p.name[1:]) for p in output.glob('v*') if p.name[1:].isdecimal()]
    return output / f'v{max(numbers, default=0) + 1}'
