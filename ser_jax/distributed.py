"""Processes that train together: initialization, and exit when another process is lost.

If a process is lost, JAX ends the others from a C++ thread that prints a page of stack traces;
Python can neither catch nor replace it. The stderr of these processes therefore goes through a
child process that replaces the page by one line (this file, run as a program).
"""

import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

HEARTBEAT_S = 30  # a process without heartbeat for this long is lost; JAX's default: 100 s
SHUTDOWN_S = 60  # an ended process waits this long for the others
LOST_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later
LOST = (
    'error: another process of this training was lost; checkpoints are kept: give the same command '
    'again, to every process, to resume from the newest'
)
_FATAL = b'the JAX distributed service detected fatal errors'
# First line of JAX's messages before it ends the process; many lines of explanation follow.
_PRECEDES = re.compile(rb'[EW]\d{4} .*\b(coordination_service|preemption_sync)\w*\.cc:')
# Messages of JAX's collectives (Gloo on CPUs, NCCL on GPUs) and barriers for a lost peer.
_GONE = (
    'connection reset',
    'connection closed',
    'connection refused',
    'socket closed',
    'broken pipe',
    'remote process exited',
    'heartbeat timeout',
    'tasks are unhealthy',
)


def initialize(coordinator: str = '', processes: int = 0, process: int = -1) -> None:
    """Make this process one of `processes`; without `coordinator`, use the cluster's variables.

    `coordinator` is host:port of process 0.

    Raises:
      InputError: the processes do not find each other.
    """
    import jax

    from ser_jax.contract import InputError

    if coordinator and not re.fullmatch(r'.+:\d+', coordinator):
        raise InputError(
            f'--coordinator={coordinator} has no port; expected host:port of process 0'
        )
    _filter_stderr()
    if hasattr(jax.config, 'jax_enable_preemption_service'):  # it would catch SIGTERM
        jax.config.update('jax_enable_preemption_service', False)
    arguments: dict[str, Any] = {}
    if coordinator:
        arguments = {
            'coordinator_address': coordinator,
            'num_processes': processes,
            'process_id': process,
        }
        # Otherwise JAX would query the cluster too and, on SLURM, use one GPU of a node, not all.
        arguments['cluster_detection_method'] = 'deactivate'
    try:
        jax.distributed.initialize(
            **arguments, heartbeat_timeout_seconds=HEARTBEAT_S, shutdown_timeout_seconds=SHUTDOWN_S
        )
    except (TypeError, ValueError, RuntimeError, LookupError) as e:
        given = f'--coordinator={coordinator} --num_processes={processes} --process_id={process}'
        raise InputError(
            f'the processes did not find each other with {given if coordinator else "--cluster"} '
            f'({e}); see launch/README.md'
        ) from e


def leave_if_lost(error: BaseException) -> None:
    """End this process at once if, after `error`, processes would wait for each other.

    Return if this is the only process, or if the error is an InputError or OSError: the command
    reports it in one line, and every other process has it too or detects that this one is gone.
    """
    import jax

    from ser_jax.contract import InputError

    if jax.process_count() == 1:
        return
    if shows_lost_process(error):
        print(LOST, file=sys.stderr)
        code = LOST_CODE
    elif isinstance(error, (InputError, OSError)):
        return
    else:
        traceback.print_exception(error)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a regular exit would wait for the others


def shows_lost_process(error: BaseException | None) -> bool:
    """Return True if an error, or one of its causes, shows that another process is gone."""
    while error is not None:
        if any(word in str(error).lower() for word in _GONE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _filter_stderr() -> None:
    """Send the stderr of this process through `filter_lines` in a child that outlives it."""
    sys.stderr.flush()
    reader = subprocess.Popen(
        [sys.executable, '-I', '-S', __file__], stdin=subprocess.PIPE, stdout=2
    )
    if reader.stdin:
        os.dup2(reader.stdin.fileno(), 2)
        reader.stdin.close()
    reader.returncode = 0  # never waited for: it ends when this process does


def filter_lines(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Copy lines to `write`; from the first sign of a lost process on, write only `LOST`."""
    pending: list[bytes] = []  # from `_PRECEDES` on; dropped if the process is lost
    lost = False
    for line in lines:
        if lost:  # keep reading: a full pipe would keep the process from ending
            continue
        if lost := _FATAL in line or LOST.encode() in line:
            write(f'{LOST}\n'.encode())
        elif pending or _PRECEDES.match(line):
            pending.append(line)
        else:
            write(line)
    if not lost:
        write(b''.join(pending))


if __name__ == '__main__':
    # Signals are meant for the parent; this process ends after it.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    filter_lines(sys.stdin.buffer, partial(os.write, 1))
