"""Forward and backward of one bidirectional LSTM: ours, PyTorch's and, on a GPU, jax's cuDNN LSTM.

    python benchmarks/bilstm.py [--hidden=64,128,256,512] [--steps=76,300] [--batch=32]
        [--inputs=256] [--rounds=7]

All compute the gradients of the weights and of the inputs for the same random sequences of full
length; ours applies its mask by length nevertheless. PyTorch's is nn.LSTM, which is cuDNN's on a
GPU, there with TF32 allowed as in jax; jax's is `jax.experimental.rnn`, on a GPU only. On a GPU the
LSTMs of eight members at once (`vmap`) are also compared with PyTorch's, run one after another.
Compilation is not counted.
"""

from collections.abc import Callable, Iterator

import bench
import networks
import peers

MEMBERS = 8


def main() -> None:
    args = bench.arguments(
        __doc__,
        hidden=('64,128,256,512', '16'),
        steps=('76,300', '8'),
        batch=(32, 2),
        inputs=(256, 16),
        rounds=(7, 1),
    )
    bench.report('bilstm', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield a row for every width and length, and on a GPU one of eight members."""
    limits = bench.limits(args.quick)
    for hidden in bench.numbers(args.hidden):
        for steps in bench.numbers(args.steps):
            size = (args.batch, steps, args.inputs, hidden)
            work = f'H {hidden}, F {steps}, B {args.batch}, {args.inputs} inputs'
            flops = 3 * args.batch * networks.lstm_flops(steps, args.inputs, hidden)
            variants = {'ser_jax': ours(*size)}
            if bench.has('torch'):
                variants['PyTorch'] = peers.bilstm(*size)
            if bench.on_gpu():
                try:
                    theirs = cudnn(*size)
                    theirs()
                    variants['jax.experimental.rnn'] = theirs
                except Exception as e:  # cuDNN raises many types
                    print(
                        f'{work}: jax.experimental.rnn left out, {type(e).__name__}: {str(e)[:200]}'
                    )
            yield from _rows(work, variants, args.rounds, limits, flops, bench.least(0.9, 0.8))
            if bench.on_gpu() and bench.has('torch'):
                yield from _members(work, size, args.rounds, limits, MEMBERS * flops)


def _rows(work, variants, rounds, limits, flops, least) -> Iterator[bench.Row]:
    median = bench.medians(bench.rounds(variants, rounds, pause_s=0.02))
    us = ('ser_jax', median.pop('ser_jax'))
    for peer in median.items():
        yield bench.against('bilstm', work, us, peer, least, limits.fraction(us[1], flops))
    if 'PyTorch' not in median:
        yield bench.skipped('bilstm', work, 'torch')


def _members(work, size, rounds, limits, flops) -> Iterator[bench.Row]:
    """Yield the rows of eight members at once against eight of PyTorch's one after another."""
    theirs = [peers.bilstm(*size) for _ in range(MEMBERS)]

    def one_after_another() -> None:
        for run in theirs:
            run()

    variants = {'ser_jax': ours(*size, members=MEMBERS), 'PyTorch': one_after_another}
    yield from _rows(
        f'{MEMBERS} members at once, {work}', variants, rounds, limits, flops, bench.least(gpu=1.0)
    )


def ours(batch: int, steps: int, inputs: int, hidden: int, members: int = 0) -> Callable[[], None]:
    """Return forward and backward of our BiLSTM, vectorized over `members` if there are any."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from ser_jax.models.lstm import BiLSTM

    graph, state = nnx.split(BiLSTM(inputs, hidden, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    stack = (members,) if members else ()
    x = jax.random.normal(jax.random.key(0), (*stack, batch, steps, inputs))
    wanted = jax.random.normal(jax.random.key(1), (*stack, batch, steps, 2 * hidden))
    length = jnp.full(batch, steps)

    def loss(state, x, wanted):
        return (nnx.merge(graph, state)(x, length) * wanted).sum()

    gradient = jax.grad(loss, (0, 1))
    if members:
        state = jax.tree.map(lambda p: jnp.stack([p] * members), state)
        gradient = jax.vmap(gradient)
    compiled = jax.jit(gradient)

    def run() -> None:
        jax.block_until_ready(compiled(state, x, wanted))

    return run


def cudnn(batch: int, steps: int, inputs: int, hidden: int) -> Callable[[], None]:
    """Return forward and backward of jax.experimental.rnn."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import rnn

    weights = rnn.init_lstm_weight(jax.random.key(2), inputs, hidden, 1, True)
    x = jax.random.normal(jax.random.key(0), (batch, steps, inputs))
    wanted = jax.random.normal(jax.random.key(1), (batch, steps, 2 * hidden))
    zeros, length = jnp.zeros((2, batch, hidden)), jnp.full(batch, steps, jnp.int32)

    def loss(weights, x):
        out, _, _ = rnn.lstm(x, zeros, zeros, weights, length, inputs, hidden, 1, 0.0, True)
        return (out * wanted).sum()

    compiled = jax.jit(jax.grad(loss, (0, 1)))

    def run() -> None:
        jax.block_until_ready(compiled(weights, x))

    return run


if __name__ == '__main__':
    main()
