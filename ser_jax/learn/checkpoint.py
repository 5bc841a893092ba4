"""Checkpoints: the newest states of a running training (Orbax, written in the background), and what each member kept.

checkpoints/<n>/   the state of the group in training after n epochs of all groups, for `resume`
best/<member>/     the kept variables of a finished member, for evaluate and predict
"""

import json
import logging
import pathlib
import shutil
import sys
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from ser_jax.contract import InputError

# How tensorstore and the system say that something is in the way which tells nothing of the files.
_PASSING = ('resource_exhausted', 'resource exhausted', 'permission_denied', 'permission denied', 'unavailable', 'out of memory',
            'too many open files', 'stale file handle', 'input/output error')  # fmt: skip


class Checkpoints:
    """The newest `keep` training states in `directory`, numbered by epochs over all groups."""

    def __init__(self, directory: pathlib.Path, keep: int = 2):
        self.directory = pathlib.Path(directory).absolute()
        self._options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, create=True, enable_async_checkpointing=True
        )
        _quiet_threads()
        self._manager = ocp.CheckpointManager(self.directory, options=self._options)

    def save(self, number: int, state: Any) -> None:
        """Begins to write `state`; returns once it is copied off the devices.

        Raises:
          InputError: the previous write failed, e.g. on a full disk; says which checkpoint is still good.
        """
        self._checked(lambda: self._manager.save(number, args=ocp.args.StandardSave(_plain(state))))

    def wait(self) -> None:
        """Returns when everything begun is on disk."""
        self._checked(self._manager.wait_until_finished)

    def restore(
        self,
        template: Callable[[int], Any],
        say: Callable[[str], None],
        says_lost: Callable[[Exception], bool] = lambda error: False,
    ) -> tuple[int, Any] | None:
        """The newest state that can be read and its number; None when there is none.

        A damaged one is named through `say`, moved aside and the one before it used.

        Args:
          template: number -> a state of the same shapes on the devices that shall hold it.
          says_lost: whether an error is how another process's end shows, which tells nothing of the files.

        Raises:
          InputError: there are checkpoints and none can be read, or one cannot be read for now (nothing is moved then).
        """
        numbers = sorted(self._manager.all_steps(), reverse=True)
        for number in numbers:
            like = template(number)
            plain, problem = None, ''
            try:
                plain = self._manager.restore(number, args=ocp.args.StandardRestore(_plain(like)))
            except Exception as e:  # Orbax and tensorstore raise many kinds for damaged files
                problem = _first_line(e)
                if isinstance(e, MemoryError) or says_lost(e) or any(w in str(e).lower() for w in _PASSING):
                    raise InputError(
                        f'checkpoint {number} in {self.directory} cannot be read for now ({problem}); it was left as it is: '
                        'give the same command again when that is mended, or move it away to go on from the one before'
                    ) from e
            if not _anywhere(bool(problem)):
                return number, jax.tree.unflatten(jax.tree.structure(like), [plain[k] for k in _plain(like)])
            aside = self.directory.with_name(f'damaged_checkpoint_{number}')
            say(f'checkpoint {number} is damaged ({problem or "as another process found"}); moved to {aside}')
            if jax.process_index() == 0:
                shutil.rmtree(aside, ignore_errors=True)
                shutil.move(self.directory / str(number), aside)
            multihost_utils.sync_global_devices(f'moved {number}')
            self._manager.reload()
        if numbers:
            raise InputError(
                f'none of the {len(numbers)} checkpoints in {self.directory} can be read; they were moved beside it; '
                'give another --workdir, or the same command again to train from the beginning'
            )
        return None

    def newest(self) -> str:
        """Which checkpoint is the newest that is whole, in words."""
        self.wait()
        numbers = self._manager.all_steps()
        return (
            f'the last good checkpoint is {self.directory / str(max(numbers))}'
            if numbers
            else 'no checkpoint was saved yet'
        )

    def close(self) -> None:
        self._checked(self._manager.close)

    def _checked(self, act: Callable):
        try:
            return act()
        except Exception as e:
            whole = [int(p.name) for p in self.directory.glob('*') if p.name.isdigit()]
            good = f'checkpoint {max(whole)} is still good' if whole else 'none was saved before it'
            raise InputError(
                f'a checkpoint could not be written to {self.directory} ({_first_line(e)}); {good}; '
                'make room on the disk and give the same command again'
            ) from e


def _quiet_threads() -> None:
    """Keeps the threads of Orbax and tensorstore from printing a failed write: `Checkpoints` says it once, in one line."""
    for module, hook in ((sys, 'excepthook'), (sys, 'unraisablehook'), (threading, 'excepthook')):
        shown = getattr(module, hook)
        if getattr(shown, 'quiet', False):
            continue

        def quiet(*args, shown=shown):
            error = args[1] if len(args) > 1 else args[0].exc_value
            if str(error) != 'Event loop is closed':  # what tensorstore finds once Orbax has given up a write
                shown(*args)

        quiet.quiet = True
        setattr(module, hook, quiet)
    logging.getLogger('absl').addFilter(_not_of_a_writer)


def _not_of_a_writer(record: logging.LogRecord) -> bool:
    return 'orbax' not in record.pathname


def _anywhere(happened: bool) -> bool:
    """Whether it happened to any of the processes."""
    return bool(np.any(multihost_utils.process_allgather(np.array(happened))))


def _first_line(e: Exception) -> str:
    return f'{type(e).__name__}: {str(e).strip().splitlines()[0] if str(e).strip() else ""}'[:200]


def _plain(tree: Any) -> dict[str, Any]:
    """A state as a flat dict by path: a checkpoint can be read without our classes or Optax's."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def save_best(directory: pathlib.Path, variables: Any, about: dict) -> None:
    """Writes one member's kept variables (numpy, flat dicts) and what is to be said of them; atomic, replaces."""
    directory = pathlib.Path(directory).absolute()
    fresh = directory.with_name(directory.name + '.writing')
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(fresh, variables._asdict(), force=True)
        if jax.process_index() == 0:
            (fresh / 'about.json').write_text(json.dumps(about, indent=1))
            if directory.exists():
                shutil.rmtree(directory)
            fresh.rename(directory)
    except Exception as e:
        raise InputError(
            f'{directory} could not be written ({_first_line(e)}); make room and give the same command again'
        ) from e


def load_best(directory: pathlib.Path) -> tuple[dict, dict]:
    """One member's kept variables as {'params': {...}, 'stats': {...}} (numpy) and its `about`.

    Raises:
      InputError: there is none, or it is damaged.
    """
    directory = pathlib.Path(directory).absolute()
    try:
        about = json.loads((directory / 'about.json').read_text())
        with ocp.StandardCheckpointer() as checkpointer:
            shapes = checkpointer.metadata(directory).item_metadata.tree
            like = jax.tree.map(lambda m: np.zeros(m.shape, m.dtype), shapes)
            return checkpointer.restore(directory, like), about
    except FileNotFoundError as e:
        raise InputError(f'no kept model in {directory}; its training has not finished') from e
    except Exception as e:
        raise InputError(f'{directory} cannot be read ({_first_line(e)}); train that member again') from e
