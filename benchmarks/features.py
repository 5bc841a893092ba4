"""Log-mel of decoded audio: `ser_jax.audio.features.extract` against librosa and PyTorch.

    python benchmarks/features.py [--hours=1] [--rounds=5]

The input is noise at 16 kHz, 3 to 4.5 s per recording, the output 64-band log-mel. librosa's
variant is `melspectrogram` and `power_to_db`, one recording after another, with one BLAS thread and
with its default; PyTorch's is the same mathematics by `torch.stft` over recordings sorted by
length, in batches of 8 and of 64, of which the faster counts; all run in turn in one process. The
results are first checked to be equal. Decoding, resampling and compilation are not counted. On a
GPU, 8.85 hours in its memory are transformed as well, by both in parts of an hour.

The limit is that of a radix-2 real FFT, the mel product, one read and one write.
"""

import math
from collections.abc import Callable, Iterator

import bench
import numpy as np
import peers

GPU_HOURS = 8.85


def main() -> None:
    args = bench.arguments(__doc__, hours=(1.0, 0.004), rounds=(5, 1))
    bench.report('features', args, measure)


def measure(args) -> Iterator[bench.Row]:
    """Yield rows against librosa with one BLAS thread, librosa's default, and PyTorch."""
    from ser_jax.audio import features

    limits = bench.limits(args.quick)
    random, recordings, left = np.random.default_rng(0), [], args.hours * 3600 * features.RATE_HZ
    while left > 0:
        samples = int(features.RATE_HZ * random.uniform(3, 4.5))
        recordings.append((0.05 * random.standard_normal(samples)).astype(np.float32))
        left -= samples
    variants = {'ser_jax': lambda: _ignore(features.extract(recordings))}
    if bench.has('torch'):
        for batch in (8, 64):
            _check(
                features.extract(recordings[:5]), peers.log_mels(recordings[:5], batch), 'PyTorch'
            )
            variants[f'PyTorch, batches of {batch}'] = lambda b=batch: _ignore(
                peers.log_mels(recordings, b)
            )
    if bench.has('librosa') and bench.has('threadpoolctl'):
        _check(features.extract(recordings[:5]), [_librosa(r) for r in recordings[:5]], 'librosa')
        variants['librosa, 1 BLAS thread'] = lambda: _each(recordings, 1)
        variants['librosa, default'] = lambda: _each(recordings, None)
    median = bench.medians(bench.rounds(variants, args.rounds, pause_s=0.02))
    us = ('ser_jax', median['ser_jax'])
    seconds = sum(len(r) for r in recordings) / features.RATE_HZ
    work, fraction = (
        f'log-mel of {seconds / 3600:.3g} h',
        limits.fraction(us[1], *_least_work(seconds)),
    )
    for name, must in (('librosa, 1 BLAS thread', bench.least(2.0)), ('librosa, default', None)):
        if name in median:
            yield bench.against('features', work, us, (name, median[name]), must, fraction)
        else:
            yield bench.skipped('features', f'{work} against {name}', 'librosa')
    torch = {name: t for name, t in median.items() if name.startswith('PyTorch')}
    if torch:
        yield bench.against('features', work, us, bench.best(torch), bench.least(1.0), fraction)
    else:
        yield bench.skipped('features', f'{work} against PyTorch', 'torch')
    if bench.on_gpu():
        yield from _resident(args, limits)


def _resident(args, limits) -> Iterator[bench.Row]:
    """Yield the rows of hours of audio in the memory of a GPU."""
    import jax
    import jax.numpy as jnp

    from ser_jax.audio.features import LOG_MEL

    hours, part = (0.01, 8) if args.quick else (GPU_HOURS, 900)
    seconds, clips = hours * 3600, math.ceil(hours * 900)
    parts = [
        jnp.zeros((min(part, clips - at), 4 * LOG_MEL.rate_hz)) + 0.01
        for at in range(0, clips, part)
    ]
    compiled = jax.jit(lambda samples: LOG_MEL(samples))
    variants: dict[str, Callable] = {
        'ser_jax': lambda: _ignore(jax.block_until_ready([compiled(p) for p in parts]))
    }
    if bench.has('torch'):
        theirs = [peers.on_device(np.array(p)) for p in parts]
        variants['PyTorch'] = lambda: _ignore([peers.log_mel(p) for p in theirs], peers.finish())
    median = bench.medians(bench.rounds(variants, args.rounds))
    us, fraction = median['ser_jax'], limits.fraction(median['ser_jax'], *_least_work(seconds))
    work = f'log-mel of {hours} h in the memory of the GPU'
    figure = f'{1000 * us:.1f} ms'
    yield bench.alone(
        'features', work, 'ser_jax', figure, '<= 20 ms on an H200', us <= 0.020, fraction
    )
    if 'PyTorch' in median:
        yield bench.against(
            'features', work, ('ser_jax', us), ('PyTorch', median['PyTorch']), None, fraction
        )


def _least_work(seconds: float) -> tuple[float, float]:
    """Return the operations and bytes that log-mel of `seconds` of audio needs."""
    from ser_jax.audio.features import LOG_MEL as of

    frames, bins = seconds / of.hop_s, of.fft // 2 + 1
    flops = frames * (2.5 * of.fft * math.log2(of.fft) + 3 * bins + 2 * bins * of.bands)
    return flops, 4 * (seconds * of.rate_hz + frames * of.bands)


def _ignore(*values) -> None:
    """Discard the values: a variant that returns None is timed from outside."""


def _librosa(samples: np.ndarray) -> np.ndarray:
    import librosa

    from ser_jax.audio.features import LOG_MEL as of

    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=of.rate_hz,
        n_fft=of.fft,
        win_length=round(of.window_s * of.rate_hz),
        hop_length=of.hop,
        n_mels=of.bands,
        fmin=of.low_hz,
        fmax=of.high_hz,
    )
    return librosa.power_to_db(mel, amin=of.floor, top_db=None).T


def _each(recordings, threads: int | None) -> None:
    import threadpoolctl

    with threadpoolctl.threadpool_limits(threads, 'blas'):
        for samples in recordings:
            _librosa(samples)


def _check(ours, theirs, name: str) -> None:
    difference = max(np.abs(a - b).max() for a, b in zip(ours, theirs, strict=True))
    if difference > 0.05:
        raise ValueError(f'{name} differs by {difference:.3f} dB: not the same work')


if __name__ == '__main__':
    main()
