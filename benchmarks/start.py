"""Seconds from the start of `python -m ser_jax.main` to the end of its first epoch, second run.

    python benchmarks/start.py [--files=96] [--rounds=5]

configs/conv_bilstm.py starts on a small built corpus of generated recordings: Python, imports,
opening the corpus, compiled programs read from disk, and one epoch of a few steps with its
validation, whose line in metrics.jsonl is the first that is visible from outside. The first step
itself is therefore a little earlier. The first start, which compiles, is shown and not counted. The
process is stopped once the line exists.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import bench
import corpora

MOST_S = 12.0
LIMIT_S = 300.0


def main() -> None:
    args = bench.arguments(__doc__, files=(96, 48), rounds=(5, 1))
    bench.report('start', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield a row of the start with compiled programs, and one of the first start."""
    with tempfile.TemporaryDirectory() as scratch:
        here = pathlib.Path(scratch)
        data_dir = corpora.built(here, args.files)
        seconds = [
            _start(here / f'run{number}', data_dir, here / 'xla')
            for number in range(args.rounds + 1)
        ]
    median, must = statistics.median(seconds[1:]), f'<= {MOST_S:g} s on 2 cores'
    what = f'main to its first epoch on {args.files} recordings'
    yield bench.alone(
        'start', f'{what}, again', 'ser_jax', f'{median:.1f} s', must, median <= MOST_S
    )
    yield bench.alone('start', f'{what}, first time', 'ser_jax', f'{seconds[0]:.1f} s')


def _start(workdir: pathlib.Path, data_dir: pathlib.Path, cache: pathlib.Path) -> float:
    command = [
        sys.executable,
        '-m',
        'ser_jax.main',
        '--config=configs/conv_bilstm.py',
        f'--workdir={workdir}',
        f'--config.data.dir={data_dir}',
        '--config.members.folds=2',
        '--config.members.seeds=0,',
    ]
    environment = {**os.environ, 'JAX_COMPILATION_CACHE_DIR': str(cache)}
    line, log = workdir / 'metrics.jsonl', workdir.with_suffix('.log')
    began = time.perf_counter()
    with log.open('w') as output:
        process = subprocess.Popen(
            command, cwd=bench.ROOT, env=environment, stdout=output, stderr=output
        )
        try:
            while not (line.exists() and line.stat().st_size):
                passed = time.perf_counter() - began
                if process.poll() is not None or passed > LIMIT_S:
                    raise RuntimeError(
                        f'no first epoch after {passed:.0f} s: {log.read_text().strip()[-300:]}'
                    )
                time.sleep(0.02)
            return time.perf_counter() - began
        finally:
            process.kill()
            process.wait()


if __name__ == '__main__':
    main()
