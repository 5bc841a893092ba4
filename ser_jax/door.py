"""How every `python -m ser_jax.<verb>` begins and ends: quiet logs in, one clear line out when something is wrong."""

import logging as stdlib_logging
import os
import re
import sys
from collections.abc import Callable

UNLOADED = '{} cannot be loaded; expected a Python file with get_config(), e.g. configs/fusion.py'


def run(main: Callable) -> None:
    """Runs `main(argv)` under absl flags; what the user got wrong becomes one line on stderr and exit code 2.

    InputError, unknown flags and unknown config keys (with the nearest known one) are the user's; anything else is
    ours and keeps its traceback.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from absl import app, flags, logging

    from ser_jax.contract import InputError

    logging.set_verbosity(logging.WARNING)
    # Of several writes that fail at once one is awaited, and said; asyncio would print the tracebacks of the others.
    stdlib_logging.getLogger('asyncio').setLevel(stdlib_logging.CRITICAL)
    try:
        app.run(main, flags_parser=_parse)
    except InputError as e:
        sys.exit(_say(str(e)))
    except flags.Error as e:
        sys.exit(_say(f'{e}; --help lists the flags'))
    except OSError as e:
        if e.filename is None and e.errno is None:  # not the file system's word
            raise
        sys.exit(
            _say(
                f'{e.filename or "the disk"}: {e.strerror}; make room or give another place, then the same command again'
            )
        )
    except KeyboardInterrupt:
        sys.exit(_say('interrupted', code=130))


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


def _parse(argv: list[str]) -> list[str]:
    from absl import flags

    from ser_jax.contract import InputError

    try:
        return flags.FLAGS(argv)
    except (AttributeError, KeyError) as e:  # how ml_collections says that a config has no such key
        unknown, *nearest = re.findall(r"""['"](\w+)['"]""", str(e).replace('\\', '')) or [str(e)]
        near = f'; did you mean {nearest[0]!r}?' if nearest else '; ser_jax/config.py lists them all'
        raise InputError(f'the config has no key {unknown!r}{near}') from e
    except (TypeError, ValueError) as e:
        raise InputError(str(e)) from e
    except OSError as e:  # a knob is set and the config file could not be loaded
        path = re.findall(r'--?config[= ](\S+)', ' '.join(argv))[-1]
        raise InputError(UNLOADED.format(f'--config={path}')) from e


def _say(message: str, code: int = 2) -> int:
    message = re.sub(
        r'(?s)Traceback \(most recent call last\).*\n\S+: ', '', message
    )  # of a config file, around its word
    print(f'error: {" ".join(message.split())}', file=sys.stderr)
    return code
