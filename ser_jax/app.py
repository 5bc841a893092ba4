"""The app in the browser: `python -m ser_jax.app --run=runs/best`.

Record your voice, see the emotion and how sure the model is, teach it your voice, keep a history,
delete everything. It runs on this computer alone; see docs/app.md.
"""

import importlib.util
import os
import pathlib
import socket
import sys

from absl import flags

from ser_jax import cli
from ser_jax.contract import InputError
from ser_jax.webapp import place, store

_HOST = 'localhost'
# The same accent in light and dark; the person's browser chooses between them.
_OPTIONS = {
    'browser_gatherUsageStats': False,
    'client_showErrorDetails': 'none',
    'client_toolbarMode': 'minimal',
    'runner_magicEnabled': False,
    'server_fileWatcherType': 'none',
    'server_maxUploadSize': 100,
    'server_showEmailPrompt': False,
    'theme_light_primaryColor': '#1f6f78',
    'theme_dark_primaryColor': '#5cb8c2',
}


def check_installed() -> None:
    """Raise InputError unless the packages of the extra `app` are installed."""
    if importlib.util.find_spec('streamlit') is None:
        raise InputError("streamlit is not installed; pip install 'ser_jax[app]' installs it")


def check_port(port: int) -> None:
    """Raise InputError if another program uses the port."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(('127.0.0.1', port))
        except OSError as e:
            raise InputError(
                f'port {port} cannot be used ({e.strerror}); end the program that uses it, or give '
                'another --port'
            ) from e


def main(argv: list[str]) -> None:
    """Check what can be checked before a page is open, then serve until Ctrl-C."""
    values = flags.FLAGS
    if argv[1:]:
        raise InputError(f'unexpected argument {argv[1]!r}; the run is given as --run=')
    if not values.run:
        raise InputError('--run is missing; e.g. --run=runs/best')
    check_installed()
    run = pathlib.Path(values.run).expanduser()
    from ser_jax.runs.trained import open_trained

    open_trained(run)
    folder = pathlib.Path(values.data_dir).expanduser() if values.data_dir else None
    kept = store.Store(folder or store.default_folder())
    check_port(values.port)
    cli.prepare_jax()
    os.environ[place.RUN] = str(run.absolute())
    os.environ[place.DATA] = str(kept.folder.absolute())
    print(f'app:  http://{_HOST}:{values.port}  (Ctrl-C ends it)')
    print(f'data: {kept.folder}', flush=True)
    serve(values.port, values.browser)


def serve(port: int, browser: bool) -> None:
    """Run Streamlit in this process until it is ended."""
    from streamlit.web import bootstrap

    options = {
        **_OPTIONS,
        'server_address': _HOST,
        'server_port': port,
        'server_headless': not browser,
    }
    script = str(pathlib.Path(place.__file__).with_name('start.py'))
    sys.argv = [script]  # the pages parse no flags of this command
    bootstrap.load_config_options(options)
    bootstrap.run(script, False, [], options)


def define_flags() -> None:
    """Define the flags of this verb; only at its start, so that verbs can be imported together."""
    flags.DEFINE_string('run', None, 'The directory of a trained run.')
    flags.DEFINE_integer('port', 8501, 'Port on this computer.', lower_bound=1, upper_bound=65535)
    flags.DEFINE_string(
        'data_dir', '', "Folder of your recordings and history; '' = ~/.local/share/ser_jax."
    )
    flags.DEFINE_bool('browser', True, 'Open the page in a browser.')


if __name__ == '__main__':
    define_flags()
    cli.run(main)
