"""Start and end of every `python -m ser_jax.<verb>`: quiet logs, user mistakes as one line."""

import logging as stdlib_logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from functools import partial

INTERRUPTED = 130  # the shell's convention: 128 + SIGINT


def run(main: Callable, absl_flags: bool = True) -> None:
    """Run `main(argv)`; a mistake of the user becomes one line on stderr and exit code 2.

    Mistakes of the user are InputError, flags that cannot be parsed and errors of the operating
    system; any other error is a bug and keeps its traceback. With --debug every error has a
    traceback before its line.

    Args:
      main: receives the arguments that absl's flags leave.
      absl_flags: False where `main` parses all flags but --debug itself.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from absl import app, flags, logging

    from ser_jax.contract import InputError

    logging.set_verbosity(logging.WARNING)
    debug = '--debug' in sys.argv
    if 'debug' not in flags.FLAGS:
        flags.DEFINE_bool('debug', False, 'Show the traceback of an error.')
    if not debug:
        quiet_background()
    try:
        app.run(main, flags_parser=flags.FLAGS if absl_flags else _without_debug)
    except (InputError, flags.Error, OSError, KeyboardInterrupt) as e:
        message, code = _line_and_code(e)
        if message is None:
            raise
        if debug:
            traceback.print_exc()
        if message:
            print(f'error: {" ".join(message.split())}', file=sys.stderr, flush=True)
        if not debug:
            _silence(2)  # drop messages of libraries at process exit
        sys.exit(code)


def _line_and_code(error: BaseException) -> tuple[str | None, int]:
    """Return the line and the exit code of an error; None for a bug, '' where no line is needed."""
    from absl import flags

    from ser_jax.contract import remedy

    if isinstance(error, KeyboardInterrupt):
        return 'interrupted', INTERRUPTED
    if isinstance(error, BrokenPipeError):  # the reader of the output has ended
        _silence(1)
        return '', 1
    if isinstance(error, OSError):
        if error.errno is None:  # not raised by the operating system
            return None, 1
        place = error.filename or 'a file or connection'
        reason = error.strerror or os.strerror(error.errno)
        return f'{place}: {reason}; {remedy(error.errno)}, then give the same command again', 2
    if isinstance(error, flags.Error):
        from ser_jax import config_file

        known = isinstance(error, flags.IllegalFlagValueError) and config_file.expected(error)
        return f'{known or error}; --help lists the flags', 2
    return str(error), 2


def _without_debug(argv: list[str]) -> list[str]:
    from absl import flags

    flags.FLAGS(argv[:1])  # libraries read absl's flags
    return [word for word in argv if word != '--debug']


def quiet_background() -> None:
    """Keep threads of Orbax and tensorstore from printing failures that an InputError reports."""
    # If several writes fail at once, only one is awaited; asyncio would print the others' errors.
    stdlib_logging.getLogger('asyncio').setLevel(stdlib_logging.CRITICAL)
    stdlib_logging.getLogger('absl').addFilter(lambda record: 'orbax' not in record.pathname)
    warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
    # These threads raise after Orbax has given up, so only Python's hooks receive their errors.
    sys.unraisablehook = partial(_show, sys.unraisablehook)
    threading.excepthook = partial(_show, threading.excepthook)


def _show(hook: Callable, unhandled) -> None:
    """Pass an unhandled exception to `hook`, except tensorstore's after a failed write."""
    if str(unhandled.exc_value) != 'Event loop is closed':
        hook(unhandled)


def _silence(descriptor: int) -> None:
    """Redirect a file descriptor to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def prepare_jax() -> None:
    """Set up JAX for a verb: keep compiled programs between runs, reuse large buffers in a run."""
    import ctypes
    import platform

    import jax

    cache = os.environ.get('JAX_COMPILATION_CACHE_DIR') or os.path.expanduser(
        '~/.cache/ser_jax/xla'
    )
    jax.config.update('jax_compilation_cache_dir', cache)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
    if platform.libc_ver()[0] == 'glibc':
        # glibc returns large buffers to the system after every step; faulting their pages in again
        # takes up to half of a training step on a CPU. M_MMAP_MAX (-4) and M_TRIM_THRESHOLD (-1)
        # keep buffers of any size, M_ARENA_MAX (-8) also those of other threads, whose own arenas
        # hold at most 64 MB.
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)
        libc.mallopt(-1, -1)
        libc.mallopt(-8, 1)
