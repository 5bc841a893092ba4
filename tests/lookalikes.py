"""Corpora that only look like published ones: generated noise under their names."""

import pathlib
import zlib

import numpy as np
import soundfile
import tensorflow_datasets as tfds

from ser_jax.data import utterances


def noise(
    name: str, rate_hz: int, seconds: float = 0.4, level: float = 0.2, offset: float = 0.0
) -> np.ndarray:
    """Noise of its own for each name: float32 [T]."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return (level * random.uniform(-1, 1, int(seconds * rate_hz)) + offset).astype(np.float32)


def write(folder: pathlib.Path, files: dict[str, int], **kwargs) -> pathlib.Path:
    """Writes `path -> rate_hz` as wav files of noise below `folder`."""
    for name, rate_hz in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(name, rate_hz, **kwargs), rate_hz)
    return folder


def built(
    builder_class, manual_dir, data_dir, config: str = 'log_mel'
) -> tuple[utterances.Utterances, dict]:
    """(the corpus as training opens it, its inspection) of a build from `manual_dir`."""
    import json

    builder = builder_class(data_dir=data_dir, config=config)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    report = json.loads((pathlib.Path(builder.data_dir) / 'inspection.json').read_text())
    source = config if config != 'native' else 'text'
    return (
        utterances.open_corpora((builder.name,), str(data_dir), source)
        if config != 'native'
        else None
    ), report


def follows_the_convention(builder_class, folder: pathlib.Path, title: str) -> None:
    """What TFDS expects of a folder, and what readers expect of its README."""
    metadata = builder_class.get_metadata()
    readme = (folder / 'README.md').read_text()
    assert metadata.description.startswith(f'# {title}') and metadata.citation
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
    for words in (
        'python -m ser_jax.build',
        '--manual_dir=FOLDER',
        builder_class.LICENSE.split(' (')[0].split(',')[0],
    ):
        assert words in readme, words
    published = builder_class.PUBLISHED_COUNTS
    assert set(published.utterances['speech']) == set(builder_class.EMOTIONS)
