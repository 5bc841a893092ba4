"""How every `python -m ser_jax.<verb>` begins and ends: quiet logs in, one clear line out when something is wrong."""

import logging as stdlib_logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Callable

INTERRUPTED = 130  # as a shell has it: 128 + SIGINT


def run(main: Callable, absl_flags: bool = True) -> None:
    """Run `main(argv)`; a mistake of the user becomes one line on stderr and exit code 2.

    InputError, flags that cannot be parsed and errors of the operating system are the user's;
    anything else is ours and keeps its traceback. With --debug every error has one, before its line.

    Args:
      main: receives what absl's flags leave of the command line.
      absl_flags: False where `main` parses all flags but --debug itself.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from absl import app, flags, logging

    from ser_jax.contract import InputError

    logging.set_verbosity(logging.WARNING)
    debug = '--debug' in sys.argv
    if 'debug' not in flags.FLAGS:
        flags.DEFINE_bool('debug', False, 'Show the traceback of an error, too.')
    if not debug:
        _quiet_background()
    try:
        app.run(main, flags_parser=flags.FLAGS if absl_flags else _without_debug)
    except (InputError, flags.Error, OSError, KeyboardInterrupt) as e:
        message, code = _said(e)
        if message is None:
            raise
        if debug:
            traceback.print_exc()
        if message:
            print(f'error: {" ".join(message.split())}', file=sys.stderr, flush=True)
        if not debug:
            _silence(2)  # what libraries print while the process ends, of what they were about to do
        sys.exit(code)


def _said(error: BaseException) -> tuple[str | None, int]:
    """The line and the exit code of an error; None where it is ours, '' where no line is needed."""
    from absl import flags

    from ser_jax.contract import remedy

    if isinstance(error, KeyboardInterrupt):
        return 'interrupted', INTERRUPTED
    if isinstance(error, BrokenPipeError):  # what read the output has ended
        _silence(1)
        return '', 1
    if isinstance(error, OSError):
        if error.errno is None:  # not the operating system's word
            return None, 1
        place, reason = error.filename or 'a file or connection', error.strerror or os.strerror(error.errno)
        return f'{place}: {reason}; {remedy(error.errno)}, then give the same command again', 2
    if isinstance(error, flags.Error):
        from ser_jax import config_file

        return f'{config_file.expected(error) or error}; --help lists the flags', 2
    return str(error), 2


def _without_debug(argv: list[str]) -> list[str]:
    from absl import flags

    flags.FLAGS(argv[:1])  # libraries read absl's flags
    return [word for word in argv if word != '--debug']


def _quiet_background() -> None:
    """Keep threads of Orbax and tensorstore from printing failures that an InputError reports."""
    # Of several writes that fail at once one is awaited; asyncio would print those of the others.
    stdlib_logging.getLogger('asyncio').setLevel(stdlib_logging.CRITICAL)
    stdlib_logging.getLogger('absl').addFilter(lambda record: 'orbax' not in record.pathname)
    warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
    for module, name in ((sys, 'unraisablehook'), (threading, 'excepthook')):
        setattr(module, name, _hook(getattr(module, name)))


def _hook(shown: Callable) -> Callable:
    def hook(unhandled) -> None:
        # tensorstore's answer after Orbax has given up
        if str(unhandled.exc_value) != 'Event loop is closed':
            shown(unhandled)

    return hook


def _silence(descriptor: int) -> None:
    """Send what is still written to a descriptor nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def prepare_jax() -> None:
    """Sets JAX up for a verb: compiled programs are kept between runs, large buffers are reused within one."""
    import ctypes
    import platform

    import jax

    cache = os.environ.get('JAX_COMPILATION_CACHE_DIR') or os.path.expanduser('~/.cache/ser_jax/xla')
    jax.config.update('jax_compilation_cache_dir', cache)
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
    if platform.libc_ver()[0] == 'glibc':
        # glibc gives large buffers back to the system after every step; faulting their pages in again takes up to half
        # of a training step on a CPU. M_MMAP_MAX (-4) and M_TRIM_THRESHOLD (-1) keep them, of any size, M_ARENA_MAX (-8)
        # also those of other threads, whose own arenas hold 64 MB at most.
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)
        libc.mallopt(-1, -1)
        libc.mallopt(-8, 1)
