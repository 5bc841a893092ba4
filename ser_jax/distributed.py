"""Processes that train together: initialization, and exit when another process is lost.

JAX ends the survivors of a lost process from a C++ thread, with a page of stack traces that Python
can neither catch nor replace. The stderr of a process with peers therefore goes through a small
process that prints one line instead (this file, run as a program).
"""

import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable

HEARTBEAT_S = 30  # a process without heartbeat for this long is lost; JAX's default: 100 s
SHUTDOWN_S = 60  # an ended process waits this long for the others
LOST_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later
LOST = (
    'error: another process of this training was lost; what was saved is kept: give the same '
    'command again, to every process, and it goes on from there'
)
_FATAL = b'the JAX distributed service detected fatal errors'
_PRECEDES = re.compile(
    rb'[EW]\d{4} .*\b(coordination_service|preemption_sync)\w*\.cc:'
)  # followed by many lines of explanation
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
            f'--coordinator={coordinator} names no port; expected host:port of process 0'
        )
    _speak_plainly()
    if hasattr(jax.config, 'jax_enable_preemption_service'):  # it would catch SIGTERM
        jax.config.update('jax_enable_preemption_service', False)
    known = {}
    if coordinator:
        known = {
            'coordinator_address': coordinator,
            'num_processes': processes,
            'process_id': process,
        }
        # Otherwise JAX would query the cluster too and, on SLURM, use one GPU of a node, not all.
        known['cluster_detection_method'] = 'deactivate'
    try:
        jax.distributed.initialize(
            **known, heartbeat_timeout_seconds=HEARTBEAT_S, shutdown_timeout_seconds=SHUTDOWN_S
        )
    except (TypeError, ValueError, RuntimeError, LookupError) as e:
        given = f'--coordinator={coordinator} --num_processes={processes} --process_id={process}'
        raise InputError(
            f'the processes did not find each other with {given if coordinator else "--cluster"} '
            f'({e}); see launch/README.md'
        ) from e


def leave_if_lost(error: BaseException) -> None:
    """End this process at once if, after `error`, processes would wait for each other.

    Return if this is the only process, or if the error is the user's or the disk's: it is reported
    in one line, and every other process has it too, or detects that this one is gone.
    """
    import jax

    from ser_jax.contract import InputError

    if jax.process_count() == 1:
        return
    if says_lost(error):
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


def says_lost(error: BaseException | None) -> bool:
    """Return True if an error, or one of its causes, shows that another process is gone."""
    while error is not None:
        if any(word in str(error).lower() for word in _GONE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _speak_plainly() -> None:
    """Send the stderr of this process through `pass_on`, in a process that outlives it."""
    sys.stderr.flush()
    reader = subprocess.Popen(
        [sys.executable, '-I', '-S', __file__], stdin=subprocess.PIPE, stdout=2
    )
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    reader.returncode = 0  # never waited for: it ends when this process does


def pass_on(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Copy lines to `write`; from the first sign of a lost process on, write only `LOST`."""
    held, lost = [], False
    for line in lines:
        if lost:  # keep reading: a full pipe would keep the process from ending
            continue
        if lost := _FATAL in line or LOST.encode() in line:
            write(f'{LOST}\n'.encode())
        elif held or _PRECEDES.match(line):
            held.append(line)
        else:
            write(line)
    if not lost:
        write(b''.join(held))


if __name__ == '__main__':
    # Signals are meant for the parent; this process ends after it.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    pass_on(sys.stdin.buffer, lambda said: os.write(1, said))
