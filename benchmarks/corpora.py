"""Corpora to measure with: generated recordings under RAVDESS's names, built by the real builder."""

import contextlib
import io
import itertools
import pathlib

import numpy as np


def generate(
    folder: pathlib.Path, files: int, rate_hz: int = 16000, seconds: tuple[float, float] = (3.0, 4.5)
) -> float:
    """Writes noise of so many `seconds` under RAVDESS's names, 16 bit, actors in turn, and returns its hours.

    The real files are 48 kHz and 3 to 4.5 s; there are 1,440 of speech.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    emotions = max(2, min(8, files // 16))  # few recordings have few: every fold must be able to learn them all
    turns = itertools.zip_longest(*(_kinds(actor, emotions) for actor in range(1, 25)))
    names = [name for turn in turns for name in turn]
    if files > len(names):
        raise ValueError(f'{files} files are asked for; there are {len(names)} names')
    total = 0
    for name in names[:files]:
        samples = int(rate_hz * random.uniform(*seconds))
        soundfile.write(folder / f'{name}.wav', 0.05 * random.standard_normal(samples, np.float32), rate_hz)
        total += samples
    return total / rate_hz / 3600


def _kinds(actor: int, emotions: int) -> list[str]:
    """The names of an actor's recordings, emotions in turn; actors begin with different ones."""
    kinds = [
        [
            f'03-01-{e:02d}-{i:02d}-{s:02d}-{r:02d}-{actor:02d}'
            for i in (1, 2)[: 1 + (e > 1)]
            for s in (1, 2)
            for r in (1, 2)
        ]
        for e in range(1, emotions + 1)
    ]
    first = actor // 2 % emotions  # sexes alternate, so emotions must not
    return [n for turn in itertools.zip_longest(*kinds[first:], *kinds[:first]) for n in turn if n]


def build(folder: pathlib.Path, data_dir: pathlib.Path) -> None:
    """Builds RAVDESS's log-mel shards from the recordings in `folder`."""
    import tensorflow_datasets as tfds

    from ser_jax import build

    tfds.disable_progress_bar()
    cls = build.builder_class(build.script('ravdess'))
    with contextlib.redirect_stdout(io.StringIO()):  # a page about what was heard
        cls(data_dir=data_dir).download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))


def built(scratch: pathlib.Path, files: int, **kinds) -> pathlib.Path:
    """The data_dir of a corpus of so many generated recordings; `kinds` as in `generate`."""
    generate(scratch / 'recordings', files, **kinds)
    build(scratch / 'recordings', scratch / 'built')
    return scratch / 'built'


def config(data_dir: pathlib.Path, folds: int = 2, seeds: int = 1, epochs: int = 1):
    """configs/conv_bilstm.py as it is shipped, on a built corpus, for so many members and epochs."""
    from configs.conv_bilstm import get_config

    c = get_config()
    c.data.dir = str(data_dir)
    c.members.folds, c.members.seeds, c.train.epochs = folds, tuple(range(seeds)), epochs
    return c
