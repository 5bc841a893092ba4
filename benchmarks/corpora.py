"""Generated corpora for the benchmarks: noise under RAVDESS's names, built by the real builder."""

import contextlib
import io
import itertools
import pathlib

import numpy as np


def generate(
    folder: pathlib.Path,
    files: int,
    rate_hz: int = 16000,
    seconds: tuple[float, float] = (3.0, 4.5),
) -> float:
    """Write noise under RAVDESS's names, 16 bit, actors in turn; return its length in hours.

    `seconds` is the range of the lengths. The real files have 48 kHz and 3 to 4.5 s; 1,440 of them
    are speech.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    emotions = max(2, min(8, files // 16))  # every fold must contain all of them
    turns = itertools.zip_longest(*(_kinds(actor, emotions) for actor in range(1, 25)))
    names = list(itertools.chain.from_iterable(turns))
    if files > len(names):
        raise ValueError(f'files must be at most {len(names)}, the number of names; got {files}')
    total = 0
    for name in names[:files]:
        samples = int(rate_hz * random.uniform(*seconds))
        soundfile.write(
            folder / f'{name}.wav', 0.05 * random.standard_normal(samples, np.float32), rate_hz
        )
        total += samples
    return total / rate_hz / 3600


def _kinds(actor: int, emotions: int) -> list[str]:
    """Return the names of an actor's recordings, emotions in turn; actors start differently."""
    kinds = []
    for e in range(1, emotions + 1):
        takes = itertools.product((1, 2)[: 1 + (e > 1)], (1, 2), (1, 2))
        kinds.append([f'03-01-{e:02d}-{i:02d}-{s:02d}-{r:02d}-{actor:02d}' for i, s, r in takes])
    first = actor // 2 % emotions  # sexes alternate, so emotions must not
    turns = itertools.zip_longest(*kinds[first:], *kinds[:first])
    return [name for name in itertools.chain.from_iterable(turns) if name]


def build(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
    """Build RAVDESS's log-mel shards from the recordings in `folder`."""
    import tensorflow_datasets as tfds

    from ser_jax import build

    tfds.disable_progress_bar()
    cls = build.builder_class(build.script('ravdess'))
    with contextlib.redirect_stdout(io.StringIO()):  # the builder prints its inspection
        cls(data_dir=data_dir).download_and_prepare(
            download_config=tfds.download.DownloadConfig(manual_dir=folder)
        )


def built(scratch: pathlib.Path, files: int, **kinds) -> pathlib.Path:
    """Return the data_dir of a built corpus of `files` recordings; `kinds` as in `generate`."""
    generate(scratch / 'recordings', files, **kinds)
    build(scratch / 'recordings', scratch / 'built')
    return scratch / 'built'


def config(data_dir: pathlib.Path, folds: int = 2, seeds: int = 1, epochs: int = 1):
    """Return configs/conv_bilstm.py for a built corpus and the given folds, seeds and epochs."""
    from configs.conv_bilstm import get_config

    c = get_config()
    c.data.dir = str(data_dir)
    c.members.folds, c.members.seeds, c.train.epochs = folds, tuple(range(seeds)), epochs
    return c
