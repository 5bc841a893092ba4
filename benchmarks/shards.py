"""Build seconds per hour of audio: our builder against a plain librosa loop, from one run.

    python benchmarks/shards.py [--files=300] [--rounds=3]

Both turn the same 48 kHz wav files into 64-band log-mel at 16 kHz. The loop is `librosa.load(sr=16000)`,
`melspectrogram` and `power_to_db`, one file after another, and keeps nothing; the builder also hashes, inspects, writes
the shards and reads them back. Each variant runs in a process of its own, rounds in turn; imports and one warm-up are
not counted. Recordings are generated; with SER_JAX_CORPORA set, the RAVDESS files under its `native/` are used instead.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

VARIANTS = {
    'ser_jax builder': ('ours', {}),
    'librosa loop, default threads': ('librosa', {'OPENBLAS_NUM_THREADS': ''}),
    'librosa loop, OPENBLAS_NUM_THREADS=1': ('librosa', {'OPENBLAS_NUM_THREADS': '1'}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--files', type=int, default=300, help='generated recordings')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    parser.add_argument('--folder', type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps({'ours': _ours, 'librosa': _librosa}[args.worker](args.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        corpora = os.environ.get('SER_JAX_CORPORA')
        folder = pathlib.Path(corpora, 'native') if corpora else pathlib.Path(scratch)
        if not corpora:
            _generate(folder, args.files)
        hours, files = _length(folder)
        print(f'{_machine()}\n{files} recordings at 48 kHz, {hours:.3f} hours, {"real" if corpora else "generated"}')
        seconds = {name: [] for name in VARIANTS}
        for _ in range(args.rounds):
            for name, (worker, environment) in VARIANTS.items():
                seconds[name].append(_timed(worker, folder, environment))
    ours = statistics.median(seconds['ser_jax builder'])
    for name, values in seconds.items():
        median = statistics.median(values)
        spread = f'{min(values) / hours:.1f} to {max(values) / hours:.1f}'
        print(f'{name:40} {median / hours:7.1f} s per hour of audio ({spread}), {median / ours:5.2f} x ours')


def _timed(worker: str, folder: pathlib.Path, environment: dict) -> float:
    """Seconds of one variant in a fresh process; an empty value in `environment` unsets the variable."""
    variables = {k: v for k, v in {**os.environ, **environment}.items() if k not in environment or v}
    command = [sys.executable, __file__, f'--worker={worker}', f'--folder={folder}']
    done = subprocess.run(
        command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _wavs(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in folder.rglob('03-*.wav'))


def _ours(folder: pathlib.Path) -> float:
    import tensorflow_datasets as tfds

    from ser_jax import build

    tfds.disable_progress_bar()
    cls = build.builder_class(build.script('ravdess'))
    seconds = []
    for _ in range(2):  # the first compiles
        with tempfile.TemporaryDirectory() as data_dir:
            begin = time.perf_counter()
            cls(data_dir=data_dir).download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))
            seconds.append(time.perf_counter() - begin)
    return seconds[-1]


def _librosa(folder: pathlib.Path) -> float:
    import librosa
    import numpy as np

    def log_mel(path):
        samples, rate = librosa.load(path, sr=16000)
        mel = librosa.feature.melspectrogram(
            y=samples, sr=rate, n_fft=512, win_length=400, hop_length=160, n_mels=64, fmin=50, fmax=8000
        )
        return librosa.power_to_db(mel).astype(np.float16)

    paths = _wavs(folder)
    log_mel(paths[0])
    begin = time.perf_counter()
    for path in paths:
        log_mel(path)
    return time.perf_counter() - begin


def _generate(folder: pathlib.Path, files: int) -> None:
    """Noise of 3 to 4.5 s under RAVDESS's names, 16 bit, as long and as large as the real files."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    names = [f'03-01-{e:02d}-{i:02d}-{s:02d}-{r:02d}-{a:02d}' for a in range(1, 25) for e in range(1, 9)
             for i in (1, 2) for s in (1, 2) for r in (1, 2)]  # fmt: skip
    for name in names[:files]:
        soundfile.write(folder / f'{name}.wav', 0.05 * rng.standard_normal(int(48000 * rng.uniform(3, 4.5))), 48000)


def _length(folder: pathlib.Path) -> tuple[float, int]:
    import soundfile

    paths = _wavs(folder)
    return sum(soundfile.info(p).duration for p in paths) / 3600, len(paths)


def _machine() -> str:
    """CPU model and cores, Python, jax."""
    import jax

    model = platform.processor() or platform.machine()
    if (cpus := pathlib.Path('/proc/cpuinfo')).exists():
        models = [line.split(':')[1].strip() for line in cpus.read_text().splitlines() if line.startswith('model name')]
        model = models[0] if models else model
    return f'{model}, {os.cpu_count()} cores; Python {platform.python_version()}, jax {jax.__version__}'


if __name__ == '__main__':
    main()
