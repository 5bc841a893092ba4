"""Checkpoints of a running training (Orbax, asynchronous) and the kept variables of each member.

checkpoints/<n>/   state of the group in training after n epochs over all groups, for `resume`
best/<member>/     kept variables of a finished member, for evaluate and predict
"""

import errno
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from ser_jax.contract import InputError, os_error_code, remedy
from ser_jax.runs import arrays

WRITING = '.writing'  # suffix of incomplete files and folders
FORMAT = 1  # of the states; raised when the same names change their meaning

# Errors of tensorstore and the system that pass and are no sign of damaged files.
_PASSING = (
    'resource_exhausted',
    'resource exhausted',
    'permission_denied',
    'permission denied',
    'unavailable',
    'out of memory',
    'too many open files',
    'stale file handle',
    'input/output error',
)


class Checkpoints:
    """The newest `keep` training states in `directory`, numbered by epochs over all groups."""

    def __init__(self, directory: pathlib.Path, keep: int = 2):
        self.directory = pathlib.Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            create=True,
            enable_async_checkpointing=True,
        )
        handler = ocp.StandardCheckpointHandler()
        self._manager = ocp.CheckpointManager(
            self.directory, options=options, item_handlers=handler
        )

    def save(self, number: int, state: Any) -> None:
        """Start writing `state`; return once it is copied off the devices.

        Raises:
          InputError: the previous write failed, e.g. on a full disk; the message names the newest
            intact checkpoint.
        """
        arguments = ocp.args.StandardSave(arrays.flat(state))
        self._checked(
            lambda: self._manager.save(number, args=arguments, custom_metadata={'format': FORMAT})
        )

    def wait(self) -> None:
        """Wait until all started writes are on disk."""
        self._checked(self._manager.wait_until_finished)

    def restore(
        self,
        template: Callable[[int], Any],
        log: Callable[[str], None],
        is_lost: Callable[[Exception], bool] = lambda error: False,
    ) -> tuple[int, Any] | None:
        """Return the number and content of the newest readable state; None without checkpoints.

        A damaged checkpoint is reported through `log` and moved aside, and the one before it is
        used. States of another structure stay where they are.

        Args:
          template: number -> a state of the same shapes on the target devices.
          log: receives one line for each damaged checkpoint.
          is_lost: error -> True if it shows the end of another process, which is no sign of
            damaged files.

        Raises:
          InputError: no checkpoint can be read, one is unreadable for now, or all hold states of
            another structure (nothing is moved then).
        """
        numbers = sorted(self._manager.all_steps(), reverse=True)
        others: dict[int, str] = {}  # number -> how its structure differs
        for number in numbers:
            like = template(number)
            if differs := self._difference(number, arrays.flat(like)):
                others[number] = differs
                continue
            state, problem = self._read(number, like, is_lost)
            if _anywhere(bool(problem)):
                self._move_aside(number, problem or 'on another process', log)
                continue
            # The structure of a run is constant, so newer states that differ from it are damaged.
            for newer, differs in others.items():
                self._move_aside(newer, differs, log)
            return number, state
        if others:
            newest = max(others)
            raise InputError(
                f'checkpoint {newest} in {self.directory} is of another version of ser_jax or of '
                f'another network: {others[newest]}; nothing was changed; use the version that '
                'began the run (environment.json has it), or give another --workdir'
            )
        if numbers:
            raise InputError(
                f'none of the {len(numbers)} checkpoints in {self.directory} can be read; they '
                'were moved beside it; give another --workdir, or the same command again to train '
                'from the beginning'
            )
        return None

    def newest(self) -> str:
        """Return a message that names the newest complete checkpoint."""
        self.wait()
        numbers = self._manager.all_steps()
        return (
            f'the last good checkpoint is {self.directory / str(max(numbers))}'
            if numbers
            else 'no checkpoint was saved yet'
        )

    def close(self) -> None:
        self._checked(self._manager.close)

    def _difference(self, number: int, expected: dict[str, Any]) -> str:
        """Describe how a checkpoint's arrays differ from `expected`; '' = equal or unreadable."""
        try:
            metadata = self._manager.metadata(number)
            items = metadata.item_metadata.tree.items()
            stored = {k: (tuple(m.shape), str(np.dtype(m.dtype))) for k, m in items}
        except Exception:  # Orbax raises many types for damaged files; `_read` reports them
            return ''
        written = (metadata.custom_metadata or {}).get('format', 1)
        if written != FORMAT:
            return f'its format is {written}, expected {FORMAT}'
        return arrays.difference(stored, {k: (x.shape, str(x.dtype)) for k, x in expected.items()})

    def _read(
        self, number: int, like: Any, is_lost: Callable[[Exception], bool]
    ) -> tuple[Any, str]:
        """Return (state, '') or (None, a description of its damage).

        Raises:
          InputError: the checkpoint is unreadable for now, which is no sign of damage.
        """
        try:
            stored = self._manager.restore(number, args=ocp.args.StandardRestore(arrays.flat(like)))
        except Exception as e:  # Orbax and tensorstore raise many types for damaged files
            passes = any(word in str(e).lower() for word in _PASSING)
            if passes or isinstance(e, MemoryError) or is_lost(e):
                raise InputError(
                    f'checkpoint {number} in {self.directory} cannot be read for now '
                    f'({_first_line(e)}); it was left as it is; give the same command again when '
                    'the cause is removed, or move it away to continue from the one before'
                ) from e
            return None, _first_line(e)
        leaves = [stored[name] for name in arrays.flat(like)]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), ''

    def _move_aside(self, number: int, problem: str, log: Callable[[str], None]) -> None:
        aside = self.directory.with_name(f'damaged_checkpoint_{number}')
        log(f'checkpoint {number} is damaged ({problem}); moved to {aside}')
        if jax.process_index() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            shutil.move(self.directory / str(number), aside)
        multihost_utils.sync_global_devices(f'moved {number}')
        self._manager.reload()

    def _checked(self, write: Callable[[], Any]) -> Any:
        """Return the result of `write`; raise InputError if the operating system refused it."""
        try:
            return write()
        except Exception as e:  # Orbax and tensorstore wrap the system's errors in many types
            if (code := os_error_code(e)) is None:
                raise
            whole = [int(p.name) for p in self.directory.glob('*') if p.name.isdigit()]
            good = f'checkpoint {max(whole)} is still good' if whole else 'there is none before it'
            raise InputError(
                f'a checkpoint could not be written to {self.directory} ({os.strerror(code)}); '
                f'{good}; {remedy(code)}, then give the same command again'
            ) from e


def _anywhere(happened: bool) -> bool:
    """Return True on all processes if `happened` is True on any of them."""
    return bool(np.any(multihost_utils.process_allgather(np.array(happened))))


def _first_line(e: Exception) -> str:
    return f'{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ""}'[:200]


def save_best(directory: pathlib.Path, variables: Any, about: dict) -> None:
    """Write one member's kept variables (flat dicts), their checksum and `about`; atomic, replaces.

    Raises:
      InputError: the files cannot be written.
    """
    directory = pathlib.Path(directory).absolute()
    fresh = directory.with_name(directory.name + WRITING)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(fresh, variables._asdict(), force=True)
        if jax.process_index() == 0:
            about = {**about, 'sha256': arrays.checksum(variables._asdict())}
            (fresh / 'about.json').write_text(json.dumps(about, indent=1))
            if directory.exists():
                shutil.rmtree(directory)
            fresh.rename(directory)
    except Exception as e:  # Orbax and tensorstore wrap the system's errors in many types
        if (code := os_error_code(e)) is None:
            raise
        raise InputError(
            f'{directory} could not be written ({os.strerror(code)}); {remedy(code)}, then give '
            'the same command again'
        ) from e


def load_best(directory: pathlib.Path) -> tuple[dict, dict]:
    """Return one member's kept variables {'params': ..., 'stats': ...} (numpy) and its `about`.

    Raises:
      InputError: they do not exist, cannot be read, or are damaged: another checksum than written,
        or values that are not finite.
    """
    directory = pathlib.Path(directory).absolute()
    if not (directory / 'about.json').exists():
        raise InputError(f'there is no kept model in {directory}; its training has not finished')
    try:
        about = json.loads((directory / 'about.json').read_text())
        with ocp.StandardCheckpointer() as checkpointer:
            metadata = checkpointer.metadata(directory).item_metadata
            if metadata is None:
                raise ValueError('its metadata cannot be read')
            shapes = metadata.tree
            like = jax.tree.map(lambda m: np.zeros(m.shape, m.dtype), shapes)
            variables = checkpointer.restore(directory, like)
        found = arrays.checksum(variables)
        written = about.get('sha256', found)  # runs of the first version have no checksum
    except Exception as e:  # Orbax and tensorstore raise many types for damaged files
        code = os_error_code(e)
        if isinstance(e, MemoryError) or code not in (None, errno.ENOENT, errno.EIO):
            reason = os.strerror(code) if code else 'out of memory'
            raise InputError(
                f'{directory} cannot be read for now ({reason}); {remedy(code or errno.ENOMEM)}'
            ) from e
        raise InputError(
            _damaged(f'{directory} cannot be read ({_first_line(e)}): it is damaged')
        ) from e
    if written != found:
        raise InputError(
            _damaged(f'{directory} is damaged (its arrays have another checksum than written)')
        )
    for flat in variables.values():
        for name, x in flat.items():
            if not np.isfinite(x.astype(np.float32)).all():
                raise InputError(_damaged(f'{directory} is damaged ({name} is not finite)'))
    return variables, about


def _damaged(problem: str) -> str:
    return (
        f'{problem}; train that member again: remove this folder, then give the command of its '
        'training again'
    )
