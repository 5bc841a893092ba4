"""Pretrained weights: `python -m ser_jax.weights NAME [--from=FILE|FOLDER|URL] [--dir=FOLDER]`.

NAME is a speech encoder (whisper_base ...) or an image network (densenet201 ...). A broken download
is resumed, and a file is checked against the published checksum and imported once, to verify that
every tensor has its place. --from names a mirror or a local file: `model.bin` of CTranslate2,
`.safetensors` (also in shards), or Keras' .h5. Without a name, all are listed with their files.
"""

import os
import pathlib
import shutil

from absl import flags

from ser_jax import cli
from ser_jax.contract import InputError
from ser_jax.corpora import download
from ser_jax.models import backbones, encoders, weights
from ser_jax.models.encoders import weight_files

NAMES = (*backbones.BACKBONES, *encoders.ENCODERS)


def get(
    name: str, source: str = '', directory: str | os.PathLike = '', log=lambda line: None
) -> pathlib.Path:
    """Fetch and verify the weights of a network; return the path of the file.

    Args:
      name: one of NAMES.
      source: '' = the published URL; the URL of a mirror; or a file or folder.
      directory: the folder; '' = `models.weights.folder`.
      log: receives one line about the imported file.

    Raises:
      InputError: no such name, no network, a wrong checksum, a file that does not fit the
        network, or other weights are in its place.
    """
    if name in encoders.ENCODERS:
        return _encoder(name, source, directory, log)
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


def _encoder(name: str, source: str, directory: str | os.PathLike, log) -> pathlib.Path:
    """Fetch the files of an encoder, or copy local ones; return the path of the weights."""
    folder = pathlib.Path(directory).expanduser() if directory else weight_files.folder()
    if source and '://' not in source:
        return _adopt_encoder(name, pathlib.Path(source).expanduser(), folder / name, log)
    if name not in weight_files.PUBLISHED:
        raise InputError(
            f'no file of {name} is pinned; download its .safetensors yourself and give --from=FILE'
        )
    published = weight_files.PUBLISHED[name]
    for file, (size, checksum) in published.files.items():
        url = f'{source.rstrip("/")}/{file}' if source else published.url(file)
        advice = (
            f'or download it elsewhere and give --from=FOLDER with {", ".join(published.files)}'
        )
        download.fetch(download.Archive(url, size, checksum), folder / name, advice)
    path = folder / name / weight_files.FILE
    log(weight_files.verify(name, path))
    return path


def _adopt_encoder(name: str, given: pathlib.Path, folder: pathlib.Path, log) -> pathlib.Path:
    """Verify local files of an encoder and copy them to its folder."""
    names = (weight_files.FILE, 'model.safetensors', weight_files.SHARDS)
    present = [n for n in names if (given / n).is_file()]
    if len(present) > 1:
        raise InputError(
            f'--from={given} holds {" and ".join(present)}; give one of them, --from=FILE'
        )
    path = weight_files.weights_in(given) if given.is_dir() else given
    if path is None or not path.is_file():
        raise InputError(
            f'--from={given} must be a folder with model.bin or .safetensors, such a file, or a URL'
        )
    account = weight_files.verify(name, path)
    pinned = weight_files.PUBLISHED.get(name)
    if path.name == weight_files.FILE and pinned:
        sha256, expected = weight_files.digest(path), pinned.files[weight_files.FILE][1]
        if sha256 != expected:
            log(f'note: sha256 {sha256[:12]} is not that of the published file, {expected[:12]}')
    weights_name = path.name
    if path.suffix == '.safetensors':
        weights_name = 'model.safetensors'
    other = weight_files.weights_in(folder)
    if other and other.name != weights_name:
        raise InputError(f'{other} is used already; remove it to use {path} instead')
    folder.mkdir(parents=True, exist_ok=True)
    files = {path: weights_name} | {p: p.name for p in weight_files.parts(path) if p != path}
    if given.is_dir():  # texts that transcription reads
        files |= {p: p.name for p in given.iterdir() if p.suffix in ('.json', '.txt')}
    for file, name_there in files.items():
        target = folder / name_there
        if not (target.exists() and target.samefile(file)):
            part = target.with_name(target.name + '.part')
            shutil.copyfile(file, part)
            os.replace(part, target)
    log(account)
    return weight_files.weights_in(folder) or path


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
    """Return a line for each file of weights that is here, or the command that fetches it."""
    lines = []
    for name in backbones.BACKBONES:
        present = [
            f'{"Keras" if style == "keras" else "timm"}  {path}'
            for style in ('keras', 'torch')
            if (path := weights.find(name, style, directory or None))
        ]
        flag = f' --dir={directory}' if directory else ''
        present = present or [f'missing; python -m ser_jax.weights {name}{flag}']
        lines += [f'{name:16} {line}' for line in present]
    for name in encoders.ENCODERS:
        path = weight_files.find(name, directory)
        flag = f' --dir={directory}' if directory else ''
        lines.append(f'{name:16} {path or f"missing; python -m ser_jax.weights {name}{flag}"}')
    return lines


def main(argv: list[str]) -> None:
    """Print the known trunks, or the paths of the fetched files."""
    f = flags.FLAGS
    source, directory = str(f['from'].value or ''), f.dir
    if len(argv) == 1:
        if source:
            raise InputError(f'--from={source} needs one name: {", ".join([*NAMES])}')
        print('\n'.join(listing(directory)))
        return
    if source and len(argv) > 2:
        raise InputError(f'--from={source} is for one name, got {", ".join(argv[1:])}')
    if unknown := [name for name in argv[1:] if name not in NAMES]:
        raise InputError(f'{unknown[0]!r} is not known; known are {", ".join(NAMES)}')
    for name in argv[1:]:
        path = get(name, source, directory, lambda line: print(line, flush=True))
        print(path)
        if directory and not _is_found(name, path):
            folder = pathlib.Path(directory).expanduser().absolute()
            print(f'models read $SER_JAX_WEIGHTS; export SER_JAX_WEIGHTS={folder}')


def _is_found(name: str, path: pathlib.Path) -> bool:
    """Return True if models find the weights without $SER_JAX_WEIGHTS being changed."""
    if name in encoders.ENCODERS:
        return weight_files.find(name) is not None
    return weights.find(name, 'torch' if path.suffix == '.safetensors' else 'keras') is not None


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_string('from', '', 'File with the weights, or URL of a mirror.')
    flags.DEFINE_string('dir', '', f"Folder of the weights; '' = {weights.FOLDER}.")


if __name__ == '__main__':
    define_flags()
    cli.run(main)
