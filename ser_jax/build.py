"""Recordings to shards: `python -m ser_jax.build datasets/ravdess --manual_dir=FOLDER`.

The flags are those of `tfds build`, without TensorFlow, with four differences. Without --config
only the default config is built. --overwrite keeps the old shards until the new ones are complete.
--tolerance=SHARE is the accepted share of bad files. --name=my_voices names a corpus of your own
recordings (datasets/folder). A bare name is a folder under datasets/.
"""

import contextlib
import dataclasses
import difflib
import errno
import importlib
import importlib.util
import io
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator

from ser_jax import cli, lock
from ser_jax.contract import InputError

# Set before numpy is imported, which reads it: with many threads, librosa's small products take
# five times as long.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')


def main(argv: list[str]) -> None:
    """Build the datasets that the command line names and print their paths."""
    import tensorflow_datasets as tfds
    from absl import logging

    args = _parse(argv)
    if args.generation.beam_pipeline_options and importlib.util.find_spec('apache_beam') is None:
        raise InputError(
            "--beam_pipeline_options needs Apache Beam; pip install -e '.[tfds]', or build without the flag"
        )
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every folder that is not built yet
    cli.prepare_jax()
    tfds.disable_progress_bar()  # the builders show their own
    if args.tolerance is not None:
        os.environ['SER_JAX_TOLERANCE'] = str(args.tolerance)
    if (given := str(args.paths.data_dir or '')) != given.encode(errors='replace').decode():
        raise InputError(f'--data_dir={given!r} is no UTF-8; give another folder')
    for name in args.positional_datasets + args.datasets or ['']:
        path = script(name)
        with _called(args.name, builder_class(path), path):
            _build(args, path)


def script(name: str) -> pathlib.Path:
    """Return the builder file of a dataset given as folder, file or bare name.

    Raises:
      InputError: there is none; the message lists the known datasets.
    """
    roots = pathlib.Path('datasets'), pathlib.Path(__file__).resolve().parents[1] / 'datasets'
    for path in (pathlib.Path(name), *(root / name for root in roots if name)):
        path = path.expanduser().resolve()
        if path.is_file() and path.suffix == '.py':
            return path
        if (inside := path / f'{path.name}_dataset_builder.py').is_file():
            return inside
    known = sorted({p.parent.name for root in roots for p in root.glob('*/*_dataset_builder.py')})
    raise InputError(
        f'dataset {name!r} is not there; expected a folder with a builder, or one of: {", ".join(known)}'
    )


def _parse(argv: list[str]):
    """Parse the flags of `tfds build` and ours into its Args."""
    import simple_parsing
    from tensorflow_datasets.scripts.cli import build, cli_utils

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Args(build.Args):
        # Share of files that may be bad, 0 to 1.
        tolerance: float | None = simple_parsing.field(default=None)
        # Name of the corpus built by datasets/folder, to build several folders side by side.
        name: str | None = simple_parsing.field(default=None)

    class Parser(cli_utils.ArgumentParser):
        def error(self, message: str):
            near = [
                difflib.get_close_matches(w.split('=')[0], self._option_string_actions, 1)
                for w in message.split()
            ]
            hint = next((f'; did you mean {n[0]}?' for n in near if n), '')
            raise InputError(f'{message}{hint} (--help lists the flags)')

    parser = Parser(
        prog='python -m ser_jax.build', description=__doc__.split('\n')[0], allow_abbrev=False
    )
    parser.add_arguments(Args, dest='args')
    return parser.parse_args(argv[1:]).args


def _generation(args, cls):
    """Return the generation flags with a config of the builder, the first one by default.

    Raises:
      InputError: the builder has no such config.
    """
    generation, configs = args.generation, [c.name for c in cls.BUILDER_CONFIGS]
    if generation.config_idx is not None and not 0 <= generation.config_idx < len(configs):
        most = len(configs) - 1
        raise InputError(f'--config_idx must be 0 to {most}, got {generation.config_idx}')
    if generation.config is None and generation.config_idx is None:
        return dataclasses.replace(generation, config=configs[0])
    if generation.config is not None and generation.config not in configs:
        near = difflib.get_close_matches(generation.config, configs, 1)
        hint = f'did you mean {near[0]}? expected' if near else 'expected'
        raise InputError(
            f'--config={generation.config} is unknown to {cls.name}; {hint} one of '
            + ', '.join(configs)
        )
    return generation


def _build(args, path: pathlib.Path) -> None:
    """Build one dataset unless it is built already; print its inspection and its path."""
    from ser_jax.corpora import inspection, schema

    cls = builder_class(path)
    generation = _generation(args, cls)
    config = generation.config or cls.BUILDER_CONFIGS[generation.config_idx].name
    debug = dataclasses.replace(args.debug, overwrite=False)
    args_of_one = dataclasses.replace(
        args, positional_datasets=[str(path)], datasets=[], debug=debug,
        generation=dataclasses.replace(generation, num_processes=1),  # there is one to build
    )  # fmt: skip
    where = place(cls, args.paths.data_dir, config)
    what = f'{cls.name} ({config})'
    with _clear_errors(where, args), lock.held(where, 'build'):
        _tidy(where)
        if where.exists() and not args.debug.overwrite:
            _reuse(cls, where, config, args)
            return
        quiet = contextlib.redirect_stdout(io.StringIO())  # TFDS prints two pages of its own
        with _restored_on_failure(where, args.debug.overwrite), quiet:
            args_of_one.execute()
            builder = cls(data_dir=args.paths.data_dir, config=config)
    if not builder.is_prepared():
        return  # --download_only and the like
    if (report := where / schema.INSPECTION).exists():
        print(f'{what}:')
        print('\n'.join(inspection.lines(schema.read_json(report))))
    print(f'{what}: {builder.info.splits.total_num_examples:,} utterances in {where}')


def place(cls, data_dir: os.PathLike | None, config: str) -> pathlib.Path:
    """Return the folder of a build, as TFDS names it, without reading anything there."""
    from tensorflow_datasets.core import constants

    root = pathlib.Path(data_dir or constants.DATA_DIR).expanduser()
    return root / cls.name / config / str(cls.VERSION)


def _reuse(cls, where: pathlib.Path, config: str, args) -> None:
    """Check that a build is complete, unchanged and of the requested source; print its path.

    Raises:
      InputError: it is not.
    """
    from ser_jax.corpora import origin, schema, shards

    if (where / schema.INFO).exists():
        schema.read_json(where / schema.INFO)  # TFDS reads it in any case; raises if it is damaged
    if (where / schema.FINGERPRINT).exists():
        examples = shards.verify(where)
    elif (builder := cls(data_dir=args.paths.data_dir, config=config)).is_prepared():
        examples = builder.info.splits.total_num_examples  # other formats: no fingerprint
    else:
        raise InputError(
            f'{where} is there but holds no complete shards; remove it, or build it with --overwrite'
        )
    other = 'another --name' if cls.name == 'folder' or args.name else 'another --data_dir'
    otherwise = f'--overwrite builds it again in its place, {other} beside it'
    note = origin.compared(where, args.paths.manual_dir, otherwise)
    what = f'{cls.name} ({config})'
    print(f'{what} is already built, nothing to do; --overwrite builds it again')
    if note:
        print(f'{what}: {note}')
    print(f'{what}: {examples:,} utterances in {where}')


def _tidy(where: pathlib.Path) -> None:
    """Remove remains of killed builds, or restore the old shards; the caller holds the lock."""
    aside = _aside(where)
    if aside.exists() and not where.exists():  # killed while the new shards were written
        os.replace(aside, where)
    shutil.rmtree(aside, ignore_errors=True)
    for left in where.parent.glob(f'incomplete.*_{where.name}'):
        shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _called(name: str | None, cls, path: pathlib.Path) -> Iterator[None]:
    """Give the corpus of the user's own recordings another name during the block.

    Raises:
      InputError: the corpus is another one, or the name is invalid or taken.
    """
    if name is None:
        yield
        return
    if cls.name != 'folder':
        raise InputError(
            f'--name={name} with {cls.name}; only your own recordings, datasets/folder, can be named'
        )
    taken = {p.parent.name for p in path.parents[1].glob('*/*_dataset_builder.py')}
    if not re.fullmatch('[a-z][a-z0-9_]*', name) or name in taken:
        why = 'is a corpus of its own' if name in taken else 'is no name'
        raise InputError(
            f'--name={name} {why}; expected lower-case letters, digits and _, e.g. my_voices'
        )
    cls.name = name
    try:
        yield
    finally:
        cls.name = 'folder'


def builder_class(path: pathlib.Path):
    """Return the Builder class of a file.

    Raises:
      InputError: it cannot be imported; `tfds build` would hide the reason.
    """
    from tensorflow_datasets.core import community, utils

    module = f'{path.parent.stem}.{path.stem}'
    try:
        with utils.add_sys_path(str(path.parent.parent)):
            importlib.invalidate_caches()
            cls = community.builder_cls_from_module(module)
    except ImportError as e:
        raise InputError(
            f'{path} cannot be imported ({type(e).__name__}: {e}); install what it needs'
        ) from e
    loaded = pathlib.Path(sys.modules[module].__file__)
    if loaded != path:
        raise InputError(
            f'{path}: another module named {module} is loaded, {loaded}; rename the folder'
        )
    return cls


def _aside(where: pathlib.Path) -> pathlib.Path:
    return where.with_name(f'replaced.{where.name}')


@contextlib.contextmanager
def _restored_on_failure(where: pathlib.Path, overwrite: bool) -> Iterator[None]:
    """Set existing shards aside while new ones are built; restore them if that fails."""
    aside = _aside(where)
    if not overwrite or not where.exists():
        yield
        return
    os.replace(where, aside)
    try:
        yield
    except BaseException:
        shutil.rmtree(where, ignore_errors=True)
        os.replace(aside, where)
        raise
    shutil.rmtree(aside)


_FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG
_BARRED = errno.EACCES, errno.EPERM, errno.EROFS
_ADVICE = {
    **dict.fromkeys(_FULL, 'free some space or choose another --data_dir'),
    **dict.fromkeys(_BARRED, 'choose a --data_dir that you may write to'),
    errno.ENAMETOOLONG: 'choose a shorter --data_dir',
    errno.ENOTDIR: 'a file lies where a folder is needed: choose another --data_dir',
    errno.EIO: 'see to the disk',
}


@contextlib.contextmanager
def _clear_errors(where: pathlib.Path, args) -> Iterator[None]:
    """Turn errors of the disk into an InputError."""
    try:
        yield
    except (OSError, RuntimeError) as e:
        if not (refusal := _refusal(e, where, args)):
            raise
        raise InputError(f'{refusal}, then run the same command again') from e


def _refusal(error: Exception, where: pathlib.Path, args) -> str:
    """Describe an error of the disk and its remedy; '' for other errors."""
    # array_record raises a RuntimeError with the system's message for a failed write; TFDS has its
    # own message for a full disk.
    told = (c for c in _ADVICE if os.strerror(c) in str(error))
    code = getattr(error, 'errno', None) or next(told, None)
    if code is None and str(error).startswith('Not enough disk space'):
        return f'{where} cannot be written ({error}); {_ADVICE[errno.ENOSPC]}'
    name = getattr(error, 'filename', None)
    if code in _ADVICE:
        return f'{name or where} cannot be written ({os.strerror(code)}); {_ADVICE[code]}'
    known = [p for p in (where.parents[2], args.paths.manual_dir, args.paths.download_dir) if p]
    if name and any(str(name).startswith(str(p)) for p in known):
        return (
            f'{name} cannot be used ({os.strerror(code)}); repair that or choose another --data_dir'
        )
    return ''


if __name__ == '__main__':
    cli.run(main, absl_flags=False)  # TFDS's parser reads them
