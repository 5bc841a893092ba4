"""Waiting time of the training loop for its batches, resident and streamed.

    python benchmarks/feed.py [--files=1440] [--epochs=1] [--rounds=3]

The loop of `main` (`learn.members.Group.train_epoch`, one member of configs/conv_bilstm.py) trains
on a built corpus of generated recordings, once with the features in memory and once from disk
through Grain. The waiting time is that between requesting a batch and receiving it: planning the
epoch, starting Grain's threads and every batch; the transfer to the device counts as part of the
step. It must stay under 2 % of the loop's time. The same loop over batches that are ready is timed
for comparison. Validation, checkpoints and compilation are not counted.
"""

import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator

import bench
import corpora

MOST = 0.02


def main() -> None:
    args = bench.arguments(__doc__, files=(1440, 48), epochs=(1, 1), rounds=(3, 1))
    bench.report('feed', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield two rows each, resident and streamed: share of waiting, ratio to ready batches."""
    with tempfile.TemporaryDirectory() as scratch:
        config = corpora.config(corpora.built(pathlib.Path(scratch), args.files), folds=5)
        for kind, resident_gb in (('resident', 4.0), ('streamed', 0.0)):
            config.data.resident_gb = resident_gb
            yield from _rows(args, kind, config)


def _rows(args, kind: str, config) -> Iterator[bench.Row]:
    import jax

    group = _group(config)
    state, shares = group.init(), []

    def train(ready: bool) -> float:
        nonlocal state
        group.ready = ready
        group.waited, began = 0.0, time.perf_counter()
        for epoch in range(args.epochs):
            group.asked = time.perf_counter()
            for state in group.train_epoch(state, epoch):
                jax.block_until_ready(state.step)
        passed = time.perf_counter() - began
        if not ready:
            shares.append(group.waited / passed)
        return passed / args.epochs / group.steps

    times = bench.rounds(
        {'as fed': lambda: train(False), 'ready': lambda: train(True)}, args.rounds
    )
    median, share = bench.medians(times), statistics.median(shares[1:])  # the first round compiled
    work = f'{group.steps * args.epochs} steps of conv_bilstm, {kind}'
    must = f'< {100 * MOST:g} % of the time'
    yield bench.alone(
        'feed', work, 'ser_jax', f'waits {100 * share:.2f} % of the time', must, share < MOST
    )
    us, peer = ('as fed', median['as fed']), ('batches ready', median['ready'])
    yield bench.against('feed', f'one of {work}', us, peer, note='1 = the feed costs nothing')


def _group(config):
    """Return the group that `train` makes for the first member, with measured waiting time."""
    import jax

    from ser_jax import assemble
    from ser_jax.learn.devices import device_mesh
    from ser_jax.learn.members import Group

    class Timed(Group):
        waited = asked = 0.0
        ready = False

        def _rows(self, plan, span):
            if self.ready:  # rows of an earlier epoch
                yield from self.kept
                return
            self.kept, rows = [], super()._rows(plan, span)
            while (row := next(rows, None)) is not None:
                self.waited += time.perf_counter() - self.asked
                self.kept.append(row)
                yield row
                self.asked = time.perf_counter()

    run = assemble.open_run(config)
    return Timed(
        run.learner,
        run.members[:1],
        run.member_data([0]),
        run.corpus_data(run.learner.preprocessing.span),
        run.utterances,
        device_mesh(1, config.train.batch_size),
        batch_size=config.train.batch_size,
        steps=run.steps,
        per_dispatch=config.train.steps_per_dispatch
        or (1 if jax.default_backend() == 'cpu' else 16),
    )


if __name__ == '__main__':
    main()
