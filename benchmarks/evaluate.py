"""Many checkpoints scored over one corpus: one `python -m ser_jax.evaluate` for all or for each.

    python benchmarks/evaluate.py [--checkpoints=50] [--files=480] [--rounds=3]

One member of configs/conv_bilstm.py is trained for an epoch on generated recordings and its
directory is copied; every copy is a run with one checkpoint, scored on its test fold, in the five
shifts of the config. "One after another" is a process per checkpoint: start, opening the corpus,
scoring, report. --rounds such processes are timed, and their median is multiplied by the number of
checkpoints. Compiled programs are cached on disk beforehand, for both.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import bench
import corpora
import networks


def main() -> None:
    args = bench.arguments(__doc__, checkpoints=(50, 3), files=(480, 48), rounds=(3, 1))
    bench.report('evaluate', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield one row."""
    from ser_jax import assemble, train

    with tempfile.TemporaryDirectory() as scratch:
        here = pathlib.Path(scratch)
        config = corpora.config(corpora.built(here, args.files), folds=5)
        config.members.only = (0,)
        run = assemble.open_run(config)
        train.train(config, here / 'one')
        for number in range(args.checkpoints):
            shutil.copytree(here / 'one', here / 'runs' / f'{number:03d}')
        single = here / 'runs' / '000'
        variants = {
            'all in one process': lambda: _evaluate(here / 'runs' / '*', here / 'all'),
            'one after another': lambda: _evaluate(single, here / 'single') * args.checkpoints,
        }
        _evaluate(here / 'one', here / 'warm')
        times = bench.rounds(variants, args.rounds, warm=False)
    median = {name: statistics.median(t) for name, t in times.items()}
    shape, passes = networks.shipped(), 1 + 2 * config.augment.scored_shifts
    frames = run.utterances.length[run.members[0].test]
    flops = args.checkpoints * passes * sum(shape.flops(int(f)) for f in frames)
    ours, peer = median.items()
    work = f'{args.checkpoints} checkpoints over {len(frames)} utterances'
    fraction = bench.limits(args.quick).fraction(ours[1], flops)
    note = f'one after another: {args.rounds} timed, times {args.checkpoints}'
    yield bench.against('evaluate', work, ours, peer, bench.least(1.0, 5.0), fraction, note)


def _evaluate(runs: pathlib.Path, output: pathlib.Path) -> float:
    """Return the seconds of one `python -m ser_jax.evaluate`."""
    command = [sys.executable, '-m', 'ser_jax.evaluate', f'--runs={runs}', f'--output={output}']
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=bench.ROOT, env=dict(os.environ), capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])
    return time.perf_counter() - began


if __name__ == '__main__':
    main()
