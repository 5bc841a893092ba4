"""Pretrained trunks: `python -m ser_jax.weights densenet201 [--from=FILE|URL] [--dir=FOLDER]`.

A broken download is resumed, and a file is checked against the published checksum and imported
once, to verify that every tensor has its place. --from names a mirror of Keras' file or a local
file: Keras' .h5 or timm's .safetensors. Without a name, the trunks are listed with their files of
weights.
"""

import os
import pathlib
import shutil

from absl import flags

from ser_jax import cli
from ser_jax.contract import InputError
from ser_jax.corpora import download
from ser_jax.models import backbones, weights


def get(
    name: str, source: str = '', directory: str | os.PathLike = '', log=lambda line: None
) -> pathlib.Path:
    """Fetch and verify the weights of a trunk; return the path of the file.

    Args:
      source: '' = Keras' URL; the URL of a mirror of that file; or a file.
      directory: the folder; '' = `models.weights.folder`.
      log: receives one line about the imported file.

    Raises:
      InputError: no such trunk, no network, a wrong checksum, or a file that does not fit the
        trunk.
    """
    trunk = backbones.by_name(name)
    folder = pathlib.Path(directory).expanduser() if directory else weights.folder()
    if source and '://' not in source:
        return _adopt(trunk, name, pathlib.Path(source).expanduser(), folder, log)
    published = weights.PUBLISHED[name]
    path = folder / published.name
    url = source or published.url
    if not url.split('?')[0].endswith('.h5'):
        raise InputError(
            f'{url} is not a mirror of {published.name}; download the file and give --from=FILE'
        )
    archive = download.Archive(url, published.size, published.md5)
    if archive.name != path.name and path.is_file():
        os.replace(path, folder / archive.name)  # checked like a file downloaded from the mirror
    found = download.fetch(
        archive, folder, f'or download {published.name} elsewhere and give --from=FILE'
    )
    os.replace(found, path)
    log(_account(trunk, name, path))
    return path


def _adopt(trunk, name: str, given: pathlib.Path, folder: pathlib.Path, log) -> pathlib.Path:
    """Verify a file and copy it to the folder of weights."""
    if not given.is_file():
        raise InputError(
            f'--from={given} is not a file; expected a .h5 of Keras, a .safetensors of timm, or a '
            'URL'
        )
    account = _account(trunk, name, given)
    path = folder / (
        weights.PUBLISHED[name].name
        if given.suffix == '.h5'
        else f'{weights.TIMM[name]}.safetensors'
    )
    if not (path.exists() and path.samefile(given)):
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + '.part')
        shutil.copyfile(given, part)
        os.replace(part, path)
    log(account)
    return path


def _account(trunk, name: str, path: pathlib.Path) -> str:
    """Import a file and describe its tensors."""
    backbone = trunk(style='torch' if path.suffix == '.safetensors' else 'keras')
    tensors = weights.load(backbone, path)
    numbers = sum(v[...].size for *_, v in backbone.weights())
    return f'{name}: {tensors:,} tensors, {numbers:,} parameters; all imported'


def listing(directory: str | os.PathLike = '') -> list[str]:
    """Return the lines of each trunk: its files of weights, or the command that fetches them."""
    lines = []
    for name in backbones.BACKBONES:
        present = [
            f'{"Keras" if style == "keras" else "timm"}  {path}'
            for style in ('keras', 'torch')
            if (path := weights.find(name, style, directory or None))
        ]
        flag = f' --dir={directory}' if directory else ''
        present = present or [f'missing; python -m ser_jax.weights {name}{flag}']
        lines += [f'{name:13} {line}' for line in present]
    return lines


def main(argv: list[str]) -> None:
    """Print the known trunks, or the paths of the fetched files."""
    f = flags.FLAGS
    source, directory = str(f['from'].value or ''), f.dir
    if len(argv) == 1:
        if source:
            raise InputError(
                f'--from={source} needs the name of one trunk: {", ".join(backbones.BACKBONES)}'
            )
        print('\n'.join(listing(directory)))
        return
    if source and len(argv) > 2:
        raise InputError(f'--from={source} is for one trunk, got {", ".join(argv[1:])}')
    for name in argv[1:]:
        backbones.by_name(name)
    for name in argv[1:]:
        path = get(name, source, directory, lambda line: print(line, flush=True))
        print(path)
        style = 'torch' if path.suffix == '.safetensors' else 'keras'
        if directory and weights.find(name, style) is None:
            folder = path.parent.absolute()
            print(f'models read $SER_JAX_WEIGHTS; export SER_JAX_WEIGHTS={folder}')


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_string('from', '', 'File with the weights, or URL of a mirror.')
    flags.DEFINE_string('dir', '', f"Folder of the weights; '' = {weights.FOLDER}.")


if __name__ == '__main__':
    define_flags()
    cli.run(main)
