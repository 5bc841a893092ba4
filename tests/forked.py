"""`python -m ser_jax.X` in processes that begin with the imports done: forks of one that waits.

Importing JAX and TFDS takes most of the time of a short command. Everything else is as in a process
of its own: arguments, environment, working directory, output, exit code, the end by a signal.
"""

import atexit
import json
import os
import pathlib
import subprocess
import sys
import tempfile

_SERVER = """
import gc, json, os, runpy, sys
import jax, tensorflow_datasets, ser_jax.assemble, ser_jax.cli
import ser_jax.explore.split_checks, ser_jax.explore.exemplars, ser_jax.report.html
import ser_jax.report.exploration, ser_jax.report.model_card, ser_jax.runs.trained
import ser_jax.runs.logbook, ser_jax.runs.checkpoint, ser_jax.corpora.user_folder
gc.freeze()
while line := sys.stdin.readline():
    job = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
for number, (path, mode) in enumerate(zip(job['files'], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY))):
    file = os.open(path, mode)
    os.dup2(file, number)
    os.close(file)
os.chdir(job['cwd'])
os.environ.clear()
os.environ.update(job['env'])
sys.argv = job['argv']
runpy.run_module(job['module'], run_name='__main__', alter_sys=True)
"""
_waiting: list[subprocess.Popen] = []


def run(command, *, cwd, env=None, capture_output=True, text=False, check=False, timeout=None):
    """Return what `subprocess.run` returns, faster if the command is a module of ser_jax."""
    command = [os.fsdecode(word) for word in command]
    environment = {**os.environ} if env is None else {**env}
    module = command[2] if command[:2] == [sys.executable, '-m'] else ''
    if not module.startswith('ser_jax.') or timeout or _early(environment) != _early(os.environ):
        return subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=text, check=check, timeout=timeout
        )
    with tempfile.TemporaryDirectory() as place:
        out, err = (pathlib.Path(place, name) for name in ('out', 'err'))
        job = {
            'module': module, 'argv': [module, *command[3:]], 'cwd': os.fspath(cwd),
            'env': environment,
            'files': [os.devnull, str(out), str(err)],
        }  # fmt: skip
        for file in (out, err):
            file.touch()
        server = _server()
        server.stdin.write(json.dumps(job) + '\n')
        server.stdin.flush()
        server.stdout.readline()
        code = int(server.stdout.readline())
        read = pathlib.Path.read_text if text else pathlib.Path.read_bytes
        done = subprocess.CompletedProcess(command, code, read(out), read(err))
    if check:
        done.check_returncode()
    return done


def _early(environment) -> dict[str, str]:
    """Return the variables that the imports read."""
    return {
        k: v for k, v in environment.items() if k.startswith(('PYTHON', 'JAX_', 'TFDS_', 'LD_'))
    }


def _server() -> subprocess.Popen:
    """Return the waiting process; it ends with this one, also when that is killed."""
    if not _waiting or _waiting[0].poll() is not None:
        _waiting[:] = [
            subprocess.Popen(
                [sys.executable, '-c', _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True, cwd=pathlib.Path(__file__).parents[1],
            )
        ]  # fmt: skip
        atexit.register(_waiting[0].communicate)
    return _waiting[0]
