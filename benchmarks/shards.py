"""Build seconds per hour of audio: our builder against a plain librosa loop, in one run.

    python benchmarks/shards.py [--files=1440] [--rounds=3]

Both convert the same 48 kHz wav files to 64-band log-mel at 16 kHz. The loop is
`librosa.load(sr=16000)`, `melspectrogram` and `power_to_db`, one file after another, and discards
the results; the builder also hashes, inspects, writes the shards and reads them back. Each variant
runs in a process of its own, rounds in turn; imports and one warm-up are not counted. Recordings
are generated, unless SER_JAX_CORPORA is set: then the RAVDESS files under its `native/` are used.
The limit is that of reading the files once.
"""

import argparse
import json
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

OURS = 'ser_jax builder'
VARIANTS = {
    OURS: ('ours', {}),
    'librosa loop, default threads': ('librosa', {'OPENBLAS_NUM_THREADS': ''}),
    'librosa loop, OPENBLAS_NUM_THREADS=1': ('librosa', {'OPENBLAS_NUM_THREADS': '1'}),
}


def main() -> None:
    args = bench.arguments(__doc__, _workers, files=(1440, 8), rounds=(3, 1))
    if args.worker:
        print(json.dumps({'ours': _ours, 'librosa': _librosa}[args.worker](args.folder)))
        return
    bench.report('shards', args, measure)


def _workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)


def measure(args) -> Iterator[bench.Row]:
    """Yield a row against each of librosa's loops."""
    with tempfile.TemporaryDirectory() as scratch:
        real = os.environ.get('SER_JAX_CORPORA')
        folder = pathlib.Path(real, 'native') if real else pathlib.Path(scratch)
        if not real:
            corpora.generate(folder, args.files, 48000)
        hours, files, size = _length(folder)
        print(f'{files} recordings at 48 kHz, {hours:.3f} hours, {"real" if real else "generated"}')
        variants = {n: lambda w=w, e=e: _timed(w, folder, e) for n, (w, e) in VARIANTS.items()}
        seconds = bench.rounds(variants, args.rounds, warm=False)
    for name, values in seconds.items():
        spread = f'{min(values) / hours:.1f} to {max(values) / hours:.1f}'
        print(f'{name:40} {statistics.median(values) / hours:7.1f} s per hour of audio ({spread})')
    median = bench.medians(seconds)
    us, work = (OURS, median.pop(OURS)), f'RAVDESS from {hours:.3g} h of 48 kHz wav'
    fraction = bench.limits(args.quick).fraction(us[1], moved=size)
    for peer in median.items():
        yield bench.against('shards', work, us, peer, bench.least(2.0, 2.0), fraction)


def _timed(worker: str, folder: pathlib.Path, environment: dict) -> float:
    """Return the seconds of a variant in a fresh process; '' in `environment` unsets a variable."""
    variables = {
        k: v for k, v in {**os.environ, **environment}.items() if k not in environment or v
    }
    command = [sys.executable, __file__, f'--worker={worker}', f'--folder={folder}']
    done = subprocess.run(
        command,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _wavs(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.rglob('03-*.wav'))


def _ours(folder: pathlib.Path) -> float:
    from ser_jax import cli

    cli.prepare_jax()  # as in `python -m ser_jax.build`
    seconds = []
    for _ in range(2):  # the first compiles
        with tempfile.TemporaryDirectory() as data_dir:
            begin = time.perf_counter()
            corpora.build(folder, data_dir)
            seconds.append(time.perf_counter() - begin)
    return seconds[-1]


def _librosa(folder: pathlib.Path) -> float:
    import librosa
    import numpy as np

    def log_mel(path):
        samples, rate = librosa.load(path, sr=16000)
        mel = librosa.feature.melspectrogram(
            y=samples,
            sr=rate,
            n_fft=512,
            win_length=400,
            hop_length=160,
            n_mels=64,
            fmin=50,
            fmax=8000,
        )
        return librosa.power_to_db(mel).astype(np.float16)

    paths = _wavs(folder)
    log_mel(paths[0])
    begin = time.perf_counter()
    for path in paths:
        log_mel(path)
    return time.perf_counter() - begin


def _length(folder: pathlib.Path) -> tuple[float, int, int]:
    """Return hours, files and bytes."""
    import soundfile

    paths = _wavs(folder)
    hours = sum(soundfile.info(p).duration for p in paths) / 3600
    return hours, len(paths), sum(p.stat().st_size for p in paths)


if __name__ == '__main__':
    main()
