"""Forward pass of a Whisper encoder, features to all hidden states: ours against two peers.

    python benchmarks/encoder.py [--encoder=whisper_base] [--batch=1,16] [--seconds=4] [--rounds=7]

The peers are CTranslate2, which runs faster-whisper, in float32 and int8, and PyTorch's encoder in
`transformers`, its position encodings cut to the length of the clips. All get the same random
log-mel of `seconds` and run in turn in one process. Ours and CTranslate2 have the published weights
if $SER_JAX_WEIGHTS or the default folder holds them, and their outputs are then compared; else
ours has random ones and CTranslate2 is left out. PyTorch's are random, which changes no time.
Front ends and compilation are not counted.

The operations of a clip of F frames after the convolutions, L layers and width D:
2 x 3 x (2 F x bands x D + F x D^2) for the two convolutions, L x (24 F x D^2 + 4 F^2 x D) for the
blocks; normalization, softmax and GELU count as nothing. The limit is the faster of NumPy's and
jax's product of two big float32 matrices, measured in the same run; int8 and bfloat16 may pass it.
"""

import os
from collections.abc import Callable, Iterator

import bench
import numpy as np
import peers


def main() -> None:
    args = bench.arguments(
        __doc__,
        encoder=('whisper_base', 'whisper_tiny'),
        batch=('1,16', '1'),
        seconds=(4.0, 0.4),
        rounds=(7, 1),
    )
    bench.report('encoder', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield the machine's rates, then for every batch size a row against each peer."""
    from ser_jax.models.encoders import weight_files, whisper

    size, path = whisper.SIZES[args.encoder], weight_files.find(args.encoder)
    limits = bench.limits(args.quick)
    numpys = numpy_flops_s(args.quick)
    rates = f'{limits.flops_s / 1e9:.0f} by jax, {numpys / 1e9:.0f} by NumPy'
    yield bench.alone('encoder', 'float32 product', 'limit', f'{rates} GFLOP/s')
    limits = limits._replace(flops_s=max(limits.flops_s, numpys))
    frames = 2 * max(1, round(args.seconds * 50))  # 100 a second
    for batch in bench.numbers(args.batch):
        random = np.random.default_rng(0)
        mel = random.uniform(-1, 1, (batch, frames, size.bands)).astype(np.float32)
        work = f'{args.encoder}, B {batch} x {frames / 100:g} s'
        variants = {name: ours(args.encoder, mel, path, name) for name in ('float32', 'bfloat16')}
        runs, missing = theirs(args.encoder, mel, path)
        _check(variants['float32'], runs.get('CTranslate2, float32'))
        median = bench.medians(bench.rounds(variants | runs, args.rounds, pause_s=0.02))
        flops = batch * encoder_flops(size, frames // 2)
        yield from _rows(work, batch, median, limits, flops)
        for peer, reason in missing.items():
            yield bench.alone('encoder', f'{work} against {peer}', '', f'skipped: {reason}')


def _rows(
    work: str, batch: int, median: dict[str, float], limits: bench.Limits, flops: float
) -> Iterator[bench.Row]:
    """Yield our float32 against every other variant, our bfloat16 among them."""
    us, fast = ('ser_jax, float32', median.pop('float32')), median.pop('bfloat16')
    for peer in [*median.items(), ('ser_jax, bfloat16', fast)]:
        # Of a peer: utterances a second and its fraction of the same limit.
        note = (
            f'{batch / us[1]:.1f} against {batch / peer[1]:.1f} utterances a second, peer at '
            f'{100 * limits.fraction(peer[1], flops):.0f} % of the limit'
        )
        fraction = limits.fraction(us[1], flops)
        yield bench.against('encoder', work, us, peer, None, fraction, note)


def encoder_flops(size, frames: int) -> float:
    """Return the multiplications and additions of one clip, see the module's docstring."""
    width = size.width
    stem = 2 * 3 * (2 * frames * size.bands * width + frames * width**2)
    return stem + size.layers * (24 * frames * width**2 + 4 * frames**2 * width)


def numpy_flops_s(quick: bool = False) -> float:
    """Return the operations a second of a big float32 product in NumPy, the best of five."""
    size = 256 if quick else 2048
    matrix = np.ones((size, size), np.float32)
    times = bench.rounds({'product': lambda: _ignore(matrix @ matrix)}, 2 if quick else 5)
    return 2 * size**3 / min(times['product'])


def ours(name: str, mel: np.ndarray, path, dtype: str) -> Callable[[], None]:
    """Return our encoder on features [B F bands]."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from ser_jax.models.encoders import weight_files, whisper

    encoder = whisper.Encoder(name, dtype=getattr(jnp, dtype), rngs=nnx.Rngs(0))
    if path:
        weight_files.load_file(encoder, path)
    graph, state = nnx.split(encoder)
    layers = tuple(range(whisper.SIZES[name].layers + 1))
    compiled = jax.jit(lambda s, x, n: nnx.merge(graph, s)(x, n, layers)[0])
    x, length = jnp.asarray(mel), jnp.full(len(mel), mel.shape[1])

    def run() -> None:
        run.output = jax.block_until_ready(compiled(state, x, length))[-1]

    return run


def theirs(name: str, mel: np.ndarray, path) -> tuple[dict[str, Callable], dict[str, str]]:
    """Return the peers that can run, by name, and the reasons why others cannot."""
    runs, missing = {}, {}
    if not bench.has('ctranslate2'):
        missing['CTranslate2'] = 'ctranslate2 is not installed'
    elif not path or path.name != 'model.bin':
        missing['CTranslate2'] = f'no model.bin; get it with python -m ser_jax.weights {name}'
    else:
        for kind in ('float32', 'int8'):
            runs[f'CTranslate2, {kind}'] = _ctranslate2(path, mel, kind)
    if bench.has('torch') and bench.has('transformers'):
        runs['PyTorch, transformers'] = peers.whisper(name, mel)
    else:
        lacking = 'transformers' if bench.has('torch') else 'torch'
        missing['PyTorch'] = f'{lacking} is not installed'
    return runs, missing


def _ctranslate2(path, mel: np.ndarray, kind: str) -> Callable[[], None]:
    import ctranslate2

    model = ctranslate2.models.Whisper(
        os.fspath(path.parent),
        device='cuda' if bench.on_gpu() and ctranslate2.get_cuda_device_count() else 'cpu',
        compute_type=kind,
        intra_threads=len(os.sched_getaffinity(0)),
    )
    features = np.array(mel.transpose(0, 2, 1), order='C')

    def run() -> None:
        view = ctranslate2.StorageView.from_array(features)
        run.output = np.asarray(model.encode(view, to_cpu=True))  # which waits for the result

    return run


def _check(ours: Callable, theirs: Callable | None) -> None:
    """Raise ValueError unless both give the same states after the last layer."""
    if theirs is None:
        return
    ours()
    theirs()
    expected = np.asarray(theirs.output)
    difference = np.abs(np.asarray(ours.output) - expected).max() / np.abs(expected).max()
    if not difference < 1e-3:
        raise ValueError(f'CTranslate2 differs by {difference:.1e}: not the same work')


def _ignore(*values) -> None:
    """Discard the values: a variant that returns None is timed from outside."""


if __name__ == '__main__':
    main()
