"""A study, folds x seeds of configs/conv_bilstm.py: `train.train` against PyTorch.

    python benchmarks/study.py [--folds=5] [--seeds=5] [--epochs=2] [--files=960] [--rounds=2]

Both make the same number of steps on as many utterances and score the same validation utterances
after every epoch, as often as the config requires (shifted bands). Ours is all of `main` except the
start of Python and the first import of jax: opening the corpus, feed, augmentation, EMA,
checkpoints, logs. On a CPU as many members train side by side as it has cores, each on a virtual
device (JAX_NUM_CPU_DEVICES is set to the number of cores, unless it is set). PyTorch's is the bare
network with its batches ready, in its better memory layout, one member after another. Recordings
are generated, and only a few of 80 epochs are trained, so that one-time costs of a member weigh
more than in a whole study. Everything runs once beforehand, so programs are compiled. Seconds are
per member.
"""

import contextlib
import functools
import io
import os
import pathlib
import tempfile
from collections.abc import Iterator

import bench
import corpora
import networks
import peers

from ser_jax.runs import environment


def main() -> None:
    args = bench.arguments(
        __doc__, folds=(5, 2), seeds=(5, 1), epochs=(2, 1), files=(960, 96), rounds=(2, 1)
    )
    os.environ.setdefault('JAX_NUM_CPU_DEVICES', str(environment.cores()))  # read on import of jax
    bench.report('study', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield one row: seconds per member."""
    import jax

    from ser_jax import assemble, train

    with tempfile.TemporaryDirectory() as scratch:
        config = corpora.config(
            corpora.built(pathlib.Path(scratch), args.files), args.folds, args.seeds, args.epochs
        )
        run = assemble.open_run(config)
        passes, members = 1 + 2 * config.augment.scored_shifts, len(run.members)
        scored = max(len(m.valid) for m in run.members)
        frames = int(run.utterances.length.max())
        work = (
            f'{args.folds} folds x {args.seeds} seeds of conv_bilstm, {args.epochs} epochs of '
            f'{run.steps} steps, '
            f'{passes} x {scored} utterances scored'
        )

        def ours() -> None:
            with (
                tempfile.TemporaryDirectory() as workdir,
                contextlib.redirect_stdout(io.StringIO()),
            ):
                train.train(config, pathlib.Path(workdir, 'run'))

        variants = {'ser_jax': ours}
        if bench.has('torch'):
            shape, batch = networks.shipped(), config.train.batch_size
            for layout in peers.LAYOUTS:
                variants[f'PyTorch, {layout}'] = functools.partial(
                    _members,
                    members,
                    shape,
                    batch,
                    layout,
                    args.epochs,
                    run.steps,
                    scored,
                    frames,
                    passes,
                )
        times = bench.medians(bench.rounds(variants, args.rounds))
    median = {name: t / members for name, t in times.items()}
    us = (
        'ser_jax' + (f' on {jax.device_count()} devices' if jax.device_count() > 1 else ''),
        median.pop('ser_jax'),
    )
    shape = networks.shipped()
    trained = args.epochs * run.steps * config.train.batch_size
    flops = 3 * trained * shape.flops() + args.epochs * passes * scored * shape.flops(frames)
    fraction = bench.limits(args.quick).fraction(us[1], flops)
    if not median:
        yield bench.skipped('study', work, 'torch')
        return
    yield bench.against(
        'study', work, us, bench.best(median), bench.least(1.0, 10.0), fraction, 'a member'
    )


def _members(members, shape, batch, layout, epochs, steps, scored, frames, passes) -> None:
    """Train `members` in PyTorch: epochs of `steps`, then scoring of validation utterances."""
    for _ in range(members):
        train = peers.trainer(shape, batch, layout)
        batches = -(-scored // 64)  # of about equal size, as ours
        score = peers.scorer(train.network, -(-scored // batches), frames)
        for _ in range(epochs):
            train(steps)
            for _ in range(passes * batches):
                score()
        peers.finish()


if __name__ == '__main__':
    main()
