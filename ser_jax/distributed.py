"""Processes that train together: how they find each other, and what one does when another is gone.

JAX ends the survivors of a lost process from a thread of its own, in C++: a page of stack traces that Python can neither
catch nor replace. So the error output of a process with peers goes through a small process that says it in one line (this
file, run as a program).
"""

import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable

HEARTBEAT_S = 30  # a process that was silent for so long is lost; JAX's own 100 s are a long wait
SHUTDOWN_S = 60  # a process that ended waits so long for the others
LOST_CODE = 75  # EX_TEMPFAIL of sysexits.h: the same command may well succeed
LOST = (
    'error: another process of this training was lost; what was saved is kept: '
    'give the same command again, to every process, and it goes on from there'
)
_FATAL = b'the JAX distributed service detected fatal errors'
_PRECEDES = re.compile(
    rb'[EW]\d{4} .*\b(coordination_service|preemption_sync)\w*\.cc:'
)  # and explains itself over many lines
# How the collectives (Gloo on CPUs, NCCL on GPUs) and the barriers of JAX say that the other end is gone.
_GONE = ('connection reset', 'connection closed', 'connection refused', 'socket closed', 'broken pipe',
         'remote process exited', 'heartbeat timeout', 'tasks are unhealthy')  # fmt: skip


def initialize(coordinator: str = '', processes: int = 0, process: int = -1) -> None:
    """Makes this process one of `processes`; without `coordinator` (host:port) the cluster's own variables say which.

    Raises:
      InputError: they do not find each other.
    """
    import jax

    from ser_jax.contract import InputError

    if coordinator and not re.fullmatch(r'.+:\d+', coordinator):
        raise InputError(f'--coordinator={coordinator} names no port; expected host:port of process 0')
    _speak_plainly()
    if hasattr(jax.config, 'jax_enable_preemption_service'):  # it would take SIGTERM, and the process would stay
        jax.config.update('jax_enable_preemption_service', False)
    known = {}
    if coordinator:
        known = {'coordinator_address': coordinator, 'num_processes': processes, 'process_id': process}
        # Else JAX would ask the cluster all the same, and on SLURM take one GPU of a node instead of all.
        known['cluster_detection_method'] = 'deactivate'
    try:
        jax.distributed.initialize(**known, heartbeat_timeout_seconds=HEARTBEAT_S, shutdown_timeout_seconds=SHUTDOWN_S)
    except (TypeError, ValueError, RuntimeError, LookupError) as e:
        given = f'--coordinator={coordinator} --num_processes={processes} --process_id={process}'
        raise InputError(
            f'the processes did not find each other with {given if coordinator else "--cluster"} ({e}); '
            'see launch/README.md'
        ) from e


def leave_if_lost(error: BaseException) -> None:
    """Ends this process, one of several, at once where `error` leaves the others waiting for it or it for them.

    Returns where this process is the only one, or where the error is the user's or the disk's and is said in one line:
    every process has it, or sees this one gone.
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
    os._exit(code)  # an orderly end would wait for the others


def says_lost(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is how a collective or a barrier tells that another process is gone."""
    while error is not None:
        if any(word in str(error).lower() for word in _GONE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _speak_plainly() -> None:
    """Sends the error output of this process through `pass_on`, in a process that outlives it."""
    sys.stderr.flush()
    reader = subprocess.Popen([sys.executable, '-I', '-S', __file__], stdin=subprocess.PIPE, stdout=2)
    os.dup2(reader.stdin.fileno(), 2)
    reader.stdin.close()
    reader.returncode = 0  # nobody waits for it: it ends when this process does


def pass_on(lines: Iterable[bytes], write: Callable[[bytes], object]) -> None:
    """Writes what one process says; where it says that another is lost, `LOST` stands for all that is said of it."""
    held, lost = [], False
    for line in lines:
        if lost:  # read on: a full pipe would keep the process from ending
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
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the process, whose end is this one's
        signal.signal(ending, signal.SIG_IGN)
    pass_on(sys.stdin.buffer, lambda said: os.write(1, said))
