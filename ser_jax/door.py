"""How every `python -m ser_jax.<verb>` begins and ends: quiet logs in, one clear line out when something is wrong."""

import os
import sys
from collections.abc import Callable


def run(main: Callable) -> None:
    """Runs `main(argv)` under absl flags; what the user got wrong becomes one line on stderr and exit code 2.

    InputError, unknown flags and unknown config keys (with the nearest known one) are the user's; anything else is
    ours and keeps its traceback.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
    from absl import app, flags, logging

    from ser_jax.contract import InputError

    logging.set_verbosity(logging.WARNING)
    try:
        app.run(main, flags_parser=_parse)
    except InputError as e:
        sys.exit(_say(str(e)))
    except flags.Error as e:
        sys.exit(_say(f'{e}; --help lists the flags'))
    except KeyboardInterrupt:
        sys.exit(_say('interrupted; the same command goes on from the last checkpoint', code=130))


def _parse(argv: list[str]) -> list[str]:
    from absl import flags

    from ser_jax.contract import InputError

    try:
        return flags.FLAGS(argv)
    except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError) as e:
        # ml_collections raises these for unknown keys, wrong types and missing config files.
        message = ' '.join(str(a) for a in e.args) or repr(e)
        raise InputError(' '.join(message.split())) from e


def _say(message: str, code: int = 2) -> int:
    print(f'error: {" ".join(message.split())}', file=sys.stderr)
    return code
