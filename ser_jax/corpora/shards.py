"""Built corpora on disk: find them by name, open them, check their fingerprints."""

import dataclasses
import difflib
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ser_jax.audio import front_ends
from ser_jax.contract import CorpusInfo, InputError
from ser_jax.corpora import schema

# Builders of a checkout, i.e. the corpora that can be built.
DATASETS = pathlib.Path(__file__).resolve().parents[2] / 'datasets'
# Builder configs of every corpus of recordings.
_USUAL = {
    'native',
    'text',
    *front_ends.STORED,
    *(f'{name}_variants' for name in front_ends.VARIED),
}
AGAIN = 'build it again with --overwrite'
_FACTS = [f.name for f in dataclasses.fields(CorpusInfo)]


class Opened(NamedTuple):
    """A built corpus.

    Attributes:
      title: its name in messages.
      data: its examples.
      values: index -> the source field of an example, in a third of the time that decoding the
        whole example takes.
      bytes: size of its shards.
      fingerprint: as stored.
      facts: description of the corpus.
    """

    title: str
    data: Sequence[dict]
    values: Callable[[int], object]
    bytes: int
    fingerprint: str
    facts: CorpusInfo


def opened(name: str, root: pathlib.Path, source: str, built: str = '') -> Opened:
    """Open the newest version of a built corpus.

    Args:
      name: a corpus, or `corpus/config`.
      source: the field to read.
      built: the builder config that stores `source`; '': the one of the same name.

    Raises:
      InputError: the corpus is not built (the message has the command that builds it), or damaged
        (the message names the file).
    """
    import tensorflow_datasets as tfds

    corpus, _, config = name.partition('/')
    config = config or built or source
    folders = (root / corpus / config).glob('*.*.*')
    found = [p for p in folders if re.fullmatch(r'\d+\.\d+\.\d+', p.name)]
    if not found:
        raise InputError(_not_built(name, root, source, config))
    folder = max(found, key=lambda p: [int(n) for n in p.name.split('.')])
    fingerprint = schema.read_json(folder / schema.FINGERPRINT, ['fingerprint'])['fingerprint']
    facts = schema.read_json(folder / schema.FACTS, _FACTS)
    builder, data = whole(folder)
    if source not in ('text', *builder.info.features):
        raise InputError(
            f'corpus {name!r} holds no {source}; expected {corpus}, or another features.source'
        )
    features = {k: f for k, f in builder.info.features.items() if k == source}
    alone = tfds.features.FeaturesDict(features)
    return Opened(
        title=f'corpus {name!r} in {folder}',
        data=data,
        values=lambda index: alone.deserialize_example_np(data.data_source[index])[source],
        bytes=builder.info.dataset_size,
        fingerprint=str(fingerprint),
        facts=CorpusInfo(**{**{k: facts[k] for k in _FACTS}, 'emotions': tuple(facts['emotions'])}),
    )


def whole(folder: pathlib.Path) -> tuple:
    """Return (builder, examples) of the folder of a build, after a check of its JSON files.

    Raises:
      InputError: a file is missing, truncated or corrupt (the message names it).
    """
    import tensorflow_datasets as tfds

    for name in (schema.INFO, 'features.json'):
        schema.read_json(folder / name)
    try:
        builder = tfds.builder_from_directory(folder)
        return builder, builder.as_data_source('train')
    except MemoryError:
        raise
    except Exception as e:  # TFDS and array_record raise many types for a damaged directory
        raise InputError(f'{folder} is damaged ({type(e).__name__}: {e}); {AGAIN}') from e


def examples(data: Sequence[dict], title: str) -> Iterator[dict]:
    """Iterate over the examples of a build in order.

    Raises:
      InputError: a record is damaged.
    """
    for index in range(len(data)):
        try:
            example = data[index]
        except MemoryError:
            raise
        except Exception as e:  # each decoder raises another type for a damaged record
            raise InputError(f'{title} is damaged ({type(e).__name__}: {e}); {AGAIN}') from e
        yield example


def compare(fingerprint: str, stored: str, title: str) -> None:
    """Raise InputError if the fingerprint of the content read differs from the stored one."""
    if fingerprint != stored:
        raise InputError(
            f'{title} is not what was built (fingerprint {fingerprint[:12]}, stored '
            f'{stored[:12]}); {AGAIN}'
        )


def verify(folder: pathlib.Path) -> int:
    """Read a build from end to end and return the number of its examples.

    Raises:
      InputError: the build is damaged, or its content does not match its fingerprint.
    """
    for name in (schema.INSPECTION, schema.FACTS):
        schema.read_json(folder / name)
    expected = schema.read_json(folder / schema.FINGERPRINT, ['fingerprint'])['fingerprint']
    data = whole(folder)[1]
    fingerprint = schema.fingerprint(examples(data, str(folder)))
    compare(fingerprint, str(expected), str(folder))
    return len(data)


def _not_built(name: str, root: pathlib.Path, source: str, config: str) -> str:
    """Return the message for a corpus that is not built, with the command that builds it."""
    corpus = name.partition('/')[0]
    known = {p.parent.name for p in DATASETS.glob('*/*_dataset_builder.py')}
    names = sorted({p.name for p in root.glob('*') if p.is_dir()} | known - {corpus})
    near = [] if corpus in known else difflib.get_close_matches(corpus, names, 1)
    hint = ''.join(f'; did you mean {n}?' for n in near)
    configs = sorted({p.parents[1].name for p in root.glob(f'{corpus}/*/*/{schema.FACTS}')})
    if source == 'text' and configs:
        built = ', '.join(f'{corpus}/{c}' for c in configs)
        hint = f'; built configs are {built}'
    target = next((n for n in (corpus, *near) if n in known), None)
    flags = '' if target == 'synthetic' else ' --manual_dir=WHERE_THE_RECORDINGS_ARE'
    if target is None and config in _USUAL:  # the user's own recordings, under a name
        target, flags = 'folder', f' --name={near[0] if near else corpus}{flags}'
    # log_mel is the default config; a corpus of texts builds its own by default.
    flags += '' if config in ('log_mel', 'text') else f' --config={config}'
    default = pathlib.Path(os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()
    flags += f' --data_dir={root}' if root != default else ''
    builder = f'datasets/{target}' if target else 'WHERE_ITS_BUILDER_IS'
    return (
        f'corpus {name!r} ({source}) is not built in {root}{hint}; build it with: python -m '
        f'ser_jax.build {builder}{flags}'
    )
