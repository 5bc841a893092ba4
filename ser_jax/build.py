"""Recordings to shards: `python -m ser_jax.build datasets/ravdess --manual_dir=FOLDER`.

The flags are those of `tfds build`, without TensorFlow; four things differ. Without --config the default config is
built, not all of them. --overwrite keeps the old shards until the new ones are complete. --tolerance=SHARE says which
share of files may be bad. --name=my_voices is what your own recordings (datasets/folder) are called. A bare name stands
for its folder under datasets/.
"""

import contextlib
import dataclasses
import difflib
import errno
import importlib
import importlib.util
import io
import json
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator

# Read when numpy is first imported, so before it is: in many threads librosa's small products take five times as long.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

from ser_jax import door
from ser_jax.contract import InputError


def main(argv: list[str]) -> None:
    """Builds what the command line names and prints where it is."""
    import tensorflow_datasets as tfds
    from absl import logging

    args = _parse(argv)
    if args.generation.beam_pipeline_options and importlib.util.find_spec('apache_beam') is None:
        raise InputError(
            "--beam_pipeline_options needs Apache Beam; pip install -e '.[tfds]', or build without the flag"
        )
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every folder that is not built yet
    door.prepare_jax()
    tfds.disable_progress_bar()  # the builders show one line of their own
    if args.tolerance is not None:
        os.environ['SER_JAX_TOLERANCE'] = str(args.tolerance)
    for name in args.positional_datasets + args.datasets or ['']:
        path = script(name)
        with _called(args.name, builder_class(path), path):
            _build(args, path)


def script(name: str) -> pathlib.Path:
    """The builder file of a dataset given as folder, file or bare name.

    Raises:
      InputError: there is none; the message lists what there is.
    """
    roots = pathlib.Path('datasets'), pathlib.Path(__file__).resolve().parents[1] / 'datasets'
    for path in (pathlib.Path(name), *(root / name for root in roots if name)):
        path = path.expanduser().resolve()
        if path.is_file() and path.suffix == '.py':
            return path
        if (inside := path / f'{path.name}_dataset_builder.py').is_file():
            return inside
    known = sorted({p.parent.name for root in roots for p in root.glob('*/*_dataset_builder.py')})
    raise InputError(f'dataset {name!r} is not there; expected a folder with a builder, or one of: {", ".join(known)}')


def _parse(argv: list[str]):
    """The flags of `tfds build`, as its Args with ours added."""
    import simple_parsing
    from tensorflow_datasets.scripts.cli import build, cli_utils

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Args(build.Args):
        # Share of files that may be bad, 0 to 1.
        tolerance: float | None = simple_parsing.field(default=None)
        # What datasets/folder is called: several folders can be built side by side.
        name: str | None = simple_parsing.field(default=None)

    class Parser(cli_utils.ArgumentParser):
        def error(self, message: str):
            near = [difflib.get_close_matches(w.split('=')[0], self._option_string_actions, 1) for w in message.split()]
            hint = next((f'; did you mean {n[0]}?' for n in near if n), '')
            raise InputError(f'{message}{hint} (--help lists the flags)')

    parser = Parser(prog='python -m ser_jax.build', description=__doc__.split('\n')[0], allow_abbrev=False)
    parser.add_arguments(Args, dest='args')
    return parser.parse_args(argv[1:]).args


def _build(args, path: pathlib.Path) -> None:
    """Builds one dataset, or finds it built; prints its inspection and where it lies."""
    cls = builder_class(path)
    generation = args.generation
    if generation.config is None and generation.config_idx is None:
        generation = dataclasses.replace(generation, config=cls.BUILDER_CONFIGS[0].name)
    elif generation.config is not None and generation.config not in cls.builder_configs:
        near = difflib.get_close_matches(generation.config, cls.builder_configs, 1)
        hint = f'did you mean {near[0]}? expected' if near else 'expected'
        known = ', '.join(cls.builder_configs)
        raise InputError(f'--config={generation.config} is unknown to {cls.name}; {hint} one of {known}')
    config = generation.config or cls.BUILDER_CONFIGS[generation.config_idx].name
    debug = dataclasses.replace(args.debug, overwrite=False)
    args_of_one = dataclasses.replace(
        args, positional_datasets=[str(path)], datasets=[], generation=generation, debug=debug
    )
    where = pathlib.Path(cls(data_dir=args.paths.data_dir, config=config).data_dir)
    there = where.exists() and not args.debug.overwrite
    quiet = contextlib.redirect_stdout(io.StringIO())  # TFDS prints two pages about itself
    with _restored_on_failure(where, args.debug.overwrite), _clear_errors(where), quiet:
        args_of_one.execute()
    builder = cls(data_dir=args.paths.data_dir, config=config)
    if not builder.is_prepared():
        if there:
            raise InputError(f'{where} is there but holds no complete shards; remove it, or build it with --overwrite')
        return  # --download_only and the like
    what = f'{builder.name} ({config})'
    if there:
        _check(builder, where)
        print(f'{what} is already built, nothing to do; --overwrite builds it again')
    else:
        from ser_jax.data import inspection

        if (report := where / 'inspection.json').exists():
            print(f'{what}:')
            print('\n'.join(inspection.lines(json.loads(report.read_text(encoding='utf-8')))))
    print(f'{what}: {builder.info.splits.total_num_examples:,} utterances in {where}')


@contextlib.contextmanager
def _called(name: str | None, cls, path: pathlib.Path) -> Iterator[None]:
    """Gives the corpus of one's own recordings another name for a while.

    Raises:
      InputError: another corpus is to be renamed, or the name cannot be one.
    """
    if name is None:
        yield
        return
    if cls.name != 'folder':
        raise InputError(f'--name={name} with {cls.name}; only your own recordings, datasets/folder, can be named')
    taken = {p.parent.name for p in path.parents[1].glob('*/*_dataset_builder.py')}
    if not re.fullmatch('[a-z][a-z0-9_]*', name) or name in taken:
        why = 'is a corpus of its own' if name in taken else 'is no name'
        raise InputError(f'--name={name} {why}; expected lower-case letters, digits and _, e.g. my_voices')
    cls.name = name
    try:
        yield
    finally:
        cls.name = 'folder'


def builder_class(path: pathlib.Path):
    """The Builder of a file.

    Raises:
      InputError: it cannot be imported; `tfds build` would swallow the reason.
    """
    from tensorflow_datasets.core import community, utils

    module = f'{path.parent.stem}.{path.stem}'
    try:
        with utils.add_sys_path(str(path.parent.parent)):
            importlib.invalidate_caches()
            cls = community.builder_cls_from_module(module)
    except ImportError as e:
        raise InputError(f'{path} cannot be imported ({type(e).__name__}: {e}); install what it needs') from e
    loaded = pathlib.Path(sys.modules[module].__file__)
    if loaded != path:
        raise InputError(f'{path}: another module named {module} is loaded, {loaded}; rename the folder')
    return cls


@contextlib.contextmanager
def _restored_on_failure(where: pathlib.Path, overwrite: bool) -> Iterator[None]:
    """Sets existing shards aside while new ones are built, and puts them back if that fails."""
    aside = where.with_name(f'replaced.{where.name}')
    if not where.exists() and aside.exists():  # an earlier run was killed between the two
        os.replace(aside, where)
    if not overwrite or not where.exists():
        yield
        return
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(where, aside)
    try:
        yield
    except BaseException:
        shutil.rmtree(where, ignore_errors=True)
        os.replace(aside, where)
        raise
    shutil.rmtree(aside)


@contextlib.contextmanager
def _clear_errors(where: pathlib.Path) -> Iterator[None]:
    """Turns what the disk refuses into one line."""
    try:
        yield
    except (OSError, RuntimeError) as e:
        # array_record reports a failed write as a RuntimeError with the system's words.
        words = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)]
        if isinstance(e, RuntimeError) and not any(w in str(e) for w in words):
            raise
        reason = getattr(e, 'strerror', None) or next((w for w in words if w in str(e)), str(e))
        raise InputError(
            f'{getattr(e, "filename", None) or where} cannot be written ({reason}); free some space or choose another '
            '--data_dir, then run the same command again'
        ) from e


def _check(builder, where: pathlib.Path) -> None:
    """Compares existing shards with their fingerprint."""
    from ser_jax.data import stored

    if not (where / stored.FINGERPRINT).exists():
        return  # another file format: nothing to compare
    try:
        expected = json.loads((where / stored.FINGERPRINT).read_text())['fingerprint']
        found = stored.fingerprint(builder.as_data_source('train'))
    except Exception as e:  # damaged shards raise whatever their decoder does
        raise InputError(f'{where} is damaged ({type(e).__name__}: {e}); build it again with --overwrite') from e
    if found != expected:
        raise InputError(f'{where} is not what was built (fingerprint {found[:12]}, stored {expected[:12]}); '
                         'build it again with --overwrite')  # fmt: skip


if __name__ == '__main__':
    door.run(main, absl_flags=False)  # TFDS's parser reads them
