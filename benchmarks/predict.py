"""Predictions for recordings: ours against ONNX Runtime and PyTorch, in one run.

    python benchmarks/predict.py [--calls=50] [--clips=256] [--rounds=7]

The network is that of configs/conv_bilstm.py, with its initial weights, on decoded clips of 4 s.
ONNX Runtime runs the PyTorch twin as torch.onnx.export writes it. There are three kinds of rows:
- the network alone, one clip: log-mel in, probabilities out;
- many clips from samples to probabilities: ours is `features.extract` and the network in batches of
  64, as in `evaluate`; the others likewise, with PyTorch's log-mel in batches of 8;
- one clip from samples to probabilities: ours is `inference.Predictor`, which `python -m
  ser_jax.predict` calls for a file, on a run trained for one epoch; the others get log-mel by
  PyTorch.
Each scores a clip once, without the shifted bands of the config. Latencies are medians of single
calls, in blocks of --calls that take turns with a pause between. Decoding and compilation are not
counted.
"""

import functools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import bench
import corpora
import networks
import numpy as np
import peers

SECONDS, BATCH = 4, 64


def main() -> None:
    args = bench.arguments(__doc__, calls=(50, 2), clips=(256, 4), files=(48, 48), rounds=(7, 1))
    bench.report('predict', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield two rows, against ONNX Runtime and PyTorch, for each of three kinds of work."""
    from ser_jax.audio import features
    from ser_jax.inference import Clip

    shape, limits = networks.shipped(), bench.limits(args.quick)
    random = np.random.default_rng(0)
    clips = [
        (0.05 * random.standard_normal(SECONDS * features.RATE_HZ)).astype(np.float32)
        for _ in range(args.clips)
    ]
    frames = np.array(features.extract(clips[:1])[0])
    flops, hear = shape.flops(len(frames)), _network(shape)
    batch = min(BATCH, args.clips)
    with tempfile.TemporaryDirectory() as scratch:
        here = pathlib.Path(scratch)
        theirs = _theirs(shape, here, len(frames), batch)
        alone = {'ser_jax': lambda: hear(frames[None])}
        alone |= {n: lambda f=f: f(frames[None]) for n, (f, _) in theirs.items()}
        yield from _rows(
            args, 'the network alone, one clip of 4 s', _blocks(alone, args.calls), limits, flops
        )
        many = {'ser_jax': lambda: _in_batches(hear, features.extract(clips), batch)}
        many |= {
            n: lambda f=f: _in_batches(f, peers.log_mels(clips, 8), batch)
            for n, (_, f) in theirs.items()
        }
        work = f'{len(clips)} clips of 4 s, samples to answers'
        yield from _rows(args, work, many, limits, len(clips) * flops, many=True)
        predictor, clip = _predictor(here, args.files), Clip(clips[0], features.RATE_HZ)
        whole = {'ser_jax': lambda: predictor.predict([clip])}
        whole |= {
            n: lambda f=f: f(np.stack(peers.log_mels(clips[:1], 1))) for n, (f, _) in theirs.items()
        }
        yield from _rows(
            args, 'one clip of 4 s, samples to answer', _blocks(whole, args.calls), limits, flops
        )


def _rows(args, work, variants, limits, flops, many: bool = False) -> Iterator[bench.Row]:
    median = bench.medians(bench.rounds(variants, args.rounds, pause_s=0.05))
    us = ('ser_jax', median.pop('ser_jax'))
    fraction, words = limits.fraction(us[1], flops), f'p50 of {args.calls * args.rounds} calls'
    for name, module, cpu, gpu in (
        ('ONNX Runtime', 'onnxruntime', None if many else 1 / 1.2, None),
        ('PyTorch', 'torch', None, 1.0 if many else None),
    ):
        if name not in median:
            yield bench.skipped('predict', f'{work} against {name}', module)
            continue
        row = bench.against(
            'predict',
            work,
            us,
            (_with_device(name), median[name]),
            bench.least(cpu, gpu),
            fraction,
            '' if many else words,
        )
        # The requirement allows 1.2 times the peer's time.
        yield row._replace(must="<= 1.2 x the peer's time") if cpu and row.must else row


def _with_device(peer: str) -> str:
    """Return a peer's name, with its device if that differs from ours."""
    if peer != 'ONNX Runtime' or not bench.on_gpu():
        return peer
    import onnxruntime

    return (
        peer
        if 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
        else f'{peer} (on the CPU)'
    )


def _blocks(variants: dict[str, Callable], calls: int) -> dict[str, Callable[[], float]]:
    """Return each variant as a block of calls that returns the median seconds of one call."""

    def block(run: Callable) -> float:
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        return statistics.median(seconds)

    return {name: functools.partial(block, run) for name, run in variants.items()}


def _in_batches(hear: Callable, frames: list[np.ndarray], batch: int) -> None:
    for at in range(0, len(frames), batch):
        chosen = frames[at : at + batch]
        hear(np.stack(chosen + chosen[:1] * (batch - len(chosen))))  # one shape compiles


def _network(shape: networks.Shape) -> Callable[[np.ndarray], np.ndarray]:
    """Return our network: log-mel [B F M] -> probabilities [B C], as numpy."""
    import jax
    import jax.numpy as jnp

    from ser_jax.contract import Inputs

    learner = networks.learner(shape)
    variables = jax.jit(learner.init)(jax.random.key(0)).variables

    @jax.jit
    def answer(variables, frames):
        size, at = frames.shape[0], jnp.zeros(frames.shape[0], jnp.int32)
        supported = jnp.ones((size, networks.CLASSES), bool)
        inputs = Inputs(frames, at + frames.shape[1], at[:, None], supported)
        return learner.apply(variables, inputs).probabilities['audio']

    return lambda frames: np.asarray(answer(variables, frames))


def _theirs(
    shape: networks.Shape, scratch: pathlib.Path, frames: int, batch: int
) -> dict[str, tuple]:
    """Return the installed peers: name -> networks for one clip and for a batch, from log-mel."""
    if not bench.has('torch'):
        return {}
    net = peers.network(shape).eval()
    hear = functools.partial(peers.answers, net)
    found = {'PyTorch': (hear, hear)}
    if bench.has('onnxruntime') and bench.has('onnxscript'):

        def session(size: int) -> Callable:
            opened = peers.onnx_session(
                peers.network(shape), str(scratch / f'{size}.onnx'), size, frames
            )
            return lambda x: _softmax(opened.run(None, {'x': x[:, None]})[0])

        found['ONNX Runtime'] = (session(1), session(batch))
        x = np.random.default_rng(1).standard_normal((1, frames, networks.BANDS)).astype(np.float32)
        if (difference := np.abs(found['ONNX Runtime'][0](x) - hear(x)).max()) > 1e-3:
            raise ValueError(
                f'ONNX Runtime differs from PyTorch by {difference:.4f}: not the same work'
            )
    return found


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _predictor(scratch: pathlib.Path, files: int):
    """Return the predictor of `python -m ser_jax.predict` for a run of one member and one epoch."""
    from ser_jax import train
    from ser_jax.inference import Predictor

    config = corpora.config(corpora.built(scratch, files))
    config.members.only, config.augment.scored_shifts = (0,), 0
    train.train(config, scratch / 'run')
    return Predictor.open(scratch / 'run')


if __name__ == '__main__':
    main()
