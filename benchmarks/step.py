"""Seconds of one training step: ours against the same network in PyTorch, in one run.

    pip install -e .[bench]
    python benchmarks/step.py [--networks=conv_bilstm,benchmark] [--batch=32,256] [--frames=301]
        [--steps=20] [--rounds=5]

Both train with AdamW, gradient clipping and dropout on random log-mel of full length: the network
of configs/conv_bilstm.py on the 2 s windows it is shipped with, and the benchmark network on 304
frames; --frames sets other windows for both. Ours is the step of one member in `main`, with cutting
windows, augmentation, normalization and averaged parameters, 16 steps per dispatch on a GPU;
feed.py measures the rest of `main`'s loop. PyTorch's is the bare network on a batch that is ready:
both memory layouts, each eager and compiled (--compiled=0: never), on a GPU also with CUDA graphs;
a failed compilation is left out with its reason. On a GPU both also compute in bfloat16. --steps is
the number per round at batch 32; larger batches take fewer. Compilation and one warm-up are not
counted. If glibc returns freed buffers to the system, page faults take a third of the time on both
sides; it is configured not to, on both sides. The limit is that of the network alone, three times
its forward pass.
"""

import json
from collections.abc import Callable, Iterator

import bench
import networks
import numpy as np
import peers


def main() -> None:
    args = bench.arguments(
        __doc__,
        networks=('conv_bilstm,benchmark', 'conv_bilstm,benchmark'),
        batch=('32,256', '2'),
        frames=(0, 48),
        steps=(20, 1),
        rounds=(5, 1),
        compiled=(1, 0),
    )
    bench.report('step', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield rows against PyTorch's best and its default for every network, batch and precision."""
    limits = bench.limits(args.quick)
    for name in args.networks.split(','):
        shape = networks.named(name, args.frames)
        for batch in bench.numbers(args.batch):
            for bfloat16 in (False, True) if bench.on_gpu() else (False,):
                yield from _one(args, shape, batch, bfloat16, limits)


def _one(
    args, shape: networks.Shape, batch: int, bfloat16: bool, limits: bench.Limits
) -> Iterator[bench.Row]:
    mine = 'ser_jax bf16' if bfloat16 else 'ser_jax'
    work = f'{shape.name}, B {batch} x {shape.frames} frames' + (', bf16' if bfloat16 else '')
    steps = max(1, args.steps * 32 // max(batch, 32))
    if bench.on_gpu():
        steps = -(-steps // 16) * 16
    variants: dict[str, Callable[[int], None]] = {mine: ours(shape, batch, bfloat16)}
    left = ''
    if bench.has('torch'):
        for name, run in peers.trainers(shape, batch, bfloat16, bool(args.compiled)).items():
            try:
                run(1)
                variants[name] = run
            except Exception as e:  # compilers raise many types
                if 'compiled' not in name:
                    raise
                left = f'{type(e).__name__}: {(str(e).strip() or "?").splitlines()[0][:100]}'
                print(f'{work}: {name} left out, {left}')
    times = bench.rounds(
        {name: lambda run=run: run(steps) for name, run in variants.items()}, args.rounds
    )
    median = {name: t / steps for name, t in bench.medians(times).items()}
    for name, t in median.items():
        print(f'{work}: {name:32s} {1000 * t:8.1f} ms/step {batch / t:7.0f} utterances/s')
    us = (mine, median.pop(mine))
    # The limit is measured in float32.
    fraction = None if bfloat16 else limits.fraction(us[1], 3 * batch * shape.flops())
    if not median:
        yield bench.skipped('step', work, 'torch')
        return
    best = bench.best(median)
    print(json.dumps({'ms_per_step': {n: round(1000 * t, 2) for n, t in [us, *median.items()]},
                      'ratio': round(best[1] / us[1], 3)}))  # fmt: skip
    note = f'a compiled variant left out: {left}' if left else ''
    gpu = 1.5 if batch <= 32 else 1.0
    yield bench.against(
        'step', work, us, (f'best: {best[0]}', best[1]), bench.least(0.9, gpu), fraction, note
    )
    default = next(iter(median.items()))
    yield bench.against('step', work, us, default, bench.least(1.0), fraction)


def ours(shape: networks.Shape, batch: int, bfloat16: bool = False) -> Callable[[int], None]:
    """Return a function steps -> None that runs that many of our training steps."""
    import jax
    import jax.numpy as jnp

    from ser_jax.learn.arrays import Batch, CorpusData, MemberData

    learner = networks.learner(shape, bfloat16)
    random, n, length = np.random.default_rng(0), 64, 2 * shape.frames
    zeros = np.zeros(n, np.int32)
    flat = random.standard_normal((n * length + learner.preprocessing.span, networks.BANDS)).astype(
        np.float16
    )
    shared = CorpusData(
        flat,
        np.arange(n, dtype=np.int32) * length,
        zeros + length,
        np.arange(n, dtype=np.int32) % networks.CLASSES,
        zeros,
        np.ones((1, networks.CLASSES), bool),
    )
    member_data = MemberData(
        jax.random.key(0),
        np.zeros(networks.BANDS, np.float32),
        np.ones(networks.BANDS, np.float32),
        np.ones(networks.CLASSES, np.float32),
        np.zeros((n, 1), np.int32),
    )
    shared, member_data = jax.device_put(shared), jax.device_put(member_data)
    together = 16 if bench.on_gpu() else 1  # as in main: a loop on a GPU, single steps on a CPU

    def updates(state, rows):
        if together == 1:
            return learner.update(state, member_data, shared, jax.tree.map(lambda x: x[0], rows))
        return jax.lax.scan(
            lambda s, row: (learner.update(s, member_data, shared, row), None), state, rows
        )[0]

    update = jax.jit(updates, donate_argnums=0)
    state = jax.jit(learner.init)(jax.random.key(0))

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(-(-steps // together)):
            row = Batch(
                random.integers(0, n, (together, batch), np.int32),
                random.integers(0, shape.frames // 2, (together, batch), np.int32),
                jnp.ones((together, batch)),
            )
            state = update(state, row)
        jax.block_until_ready(state.step)

    return run


if __name__ == '__main__':
    main()
