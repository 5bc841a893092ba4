"""Peak memory of building a corpus and of training on it, by hours of audio; flat if streamed.

    python benchmarks/memory.py [--hours=1,2,4]

Generated recordings of 10 s under RAVDESS's names are built, and one member of
configs/conv_bilstm.py is trained on them for an epoch, resident (features in memory) and streamed
(from disk). Each is a process of its own, measured by the largest resident set that the system
reports (VmHWM on Linux); each compiles, which is part of its peak. `flat` is a growth of at most 10
% from the fewest hours to the most. The memory of a GPU is not counted.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import bench
import corpora

MOST = 0.10
SECONDS = (9.0, 11.0)
# True = must be flat.
KINDS = {'building': True, 'training, streamed': True, 'training, resident': False}


def main() -> None:
    args = bench.arguments(__doc__, _workers, hours=('1,2,4', '0.1,0.2'))
    if args.worker:
        _work(args.worker, args.folder)
        print(json.dumps(_peak_mb()))
        return
    bench.report('memory', args, measure)


def _workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--worker', choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)


def measure(args) -> Iterator[bench.Row]:
    """Yield a row of building, one of training streamed and one of training resident."""
    hours, peaks = [float(h) for h in args.hours.split(',')], {kind: [] for kind in KINDS}
    for length in hours:
        with tempfile.TemporaryDirectory() as scratch:
            files = round(length * 3600 / (sum(SECONDS) / 2))
            corpora.generate(pathlib.Path(scratch, 'recordings'), files, seconds=SECONDS)
            for kind, values in peaks.items():
                values.append(_measured(kind, scratch))
    for kind, values in peaks.items():
        growth = max(values) / values[0] - 1
        figure = f'{" -> ".join(f"{v:.0f}" for v in values)} MB ({100 * growth:+.0f} %)'
        must, reached = (f'flat (+{100 * MOST:g} %)', growth <= MOST) if KINDS[kind] else ('', None)
        work = f'peak of {kind}, {" -> ".join(f"{h:g}" for h in hours)} h'
        yield bench.alone('memory', work, 'ser_jax', figure, must, reached)


def _measured(kind: str, scratch: str) -> float:
    command = [sys.executable, __file__, f'--worker={kind}', f'--folder={scratch}']
    environment = {**os.environ, 'JAX_ENABLE_COMPILATION_CACHE': 'false'}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f'{kind}: {done.stderr.strip()[-300:]}')
    return json.loads(done.stdout.splitlines()[-1])


def _work(kind: str, folder: pathlib.Path) -> None:
    from ser_jax import cli

    cli.prepare_jax()
    if kind == 'building':
        corpora.build(folder / 'recordings', folder / 'built')
        return
    from ser_jax import train

    config = corpora.config(folder / 'built')
    config.members.only = (0,)
    config.data.resident_gb = 0.0 if 'streamed' in kind else 1000.0
    with tempfile.TemporaryDirectory() as workdir:
        train.train(config, pathlib.Path(workdir, 'run'))


def _peak_mb() -> float:
    """Return this process's largest resident set so far; getrusage's starts at the parent's."""
    status = pathlib.Path('/proc/self/status')
    if status.exists():
        return next(
            int(x.split()[1]) / 1024
            for x in status.read_text().splitlines()
            if x.startswith('VmHWM')
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == 'darwin' else peak / 1024


if __name__ == '__main__':
    main()
