"""Recordings to shards: `python -m ser_jax.build datasets/ravdess --manual_dir=FOLDER`.

The flags are those of `tfds build`, without TensorFlow, with five differences. Without --config
only the default config is built. --overwrite keeps the old shards until the new ones are complete.
--tolerance=SHARE is the accepted share of bad files. --name=my_voices names a corpus of your own
recordings (datasets/folder). --transcribe fills missing texts by speech to text, e.g.
--asr=whisper --language=de. A bare name is a folder under datasets/.
"""

import contextlib
import dataclasses
import difflib
import functools
import importlib
import importlib.util
import io
import itertools
import os
import pathlib
import re
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
            "--beam_pipeline_options needs Apache Beam: pip install -e '.[tfds]', or leave out the "
            'flag'
        )
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every folder that is not built yet
    cli.prepare_jax()
    tfds.disable_progress_bar()  # the builders show their own
    if args.tolerance is not None:
        os.environ['SER_JAX_TOLERANCE'] = str(args.tolerance)
    if (given := str(args.paths.data_dir or '')) != given.encode(errors='replace').decode():
        raise InputError(f'--data_dir={given!r} is not UTF-8; give another folder')
    for name in args.positional_datasets + args.datasets or ['']:
        path = script(name)
        cls = builder_class(path)
        with _renamed(args.name, cls, path), _transcribed(args, cls):
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
    builders = itertools.chain.from_iterable(r.glob('*/*_dataset_builder.py') for r in roots)
    known = sorted({path.parent.name for path in builders})
    raise InputError(
        f'dataset {name!r} does not exist; expected a folder with a builder, or one of: '
        + ', '.join(known)
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
        # Give recordings without text an automatic transcript.
        transcribe: bool = simple_parsing.field(default=False, action='store_true')
        # Engine of --transcribe: auto, whisper, vosk or pocketsphinx.
        asr: str = simple_parsing.field(default='auto')
        # Folder of a model of vosk or Whisper.
        asr_model: str = simple_parsing.field(default='')
        # ISO 639-1 code of the recordings' language; by default it is detected.
        language: str = simple_parsing.field(default='')

    class Parser(cli_utils.ArgumentParser):
        def error(self, message: str):
            flags = [word.split('=')[0] for word in message.split()]
            near = (difflib.get_close_matches(f, self._option_string_actions, 1) for f in flags)
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
            f'--config={generation.config} is not a config of {cls.name}; {hint} one of '
            + ', '.join(configs)
        )
    return generation


def _build(args, path: pathlib.Path) -> None:
    """Build one dataset unless it is built already; print its inspection and its path."""
    from ser_jax.corpora import disk_errors, inspection_report, replacement, schema

    cls = builder_class(path)
    generation = _generation(args, cls)
    config = generation.config or cls.BUILDER_CONFIGS[generation.config_idx].name
    debug = dataclasses.replace(args.debug, overwrite=False)
    args_of_one = dataclasses.replace(
        args, positional_datasets=[str(path)], datasets=[], debug=debug,
        generation=dataclasses.replace(generation, num_processes=1),  # there is one to build
    )  # fmt: skip
    folder = shards_folder(cls, args.paths.data_dir, config)
    title = f'{cls.name} ({config})'
    given = args.paths.manual_dir, args.paths.download_dir
    with disk_errors.clear(folder, given), lock.held(folder, 'build'):
        replacement.clean(folder)
        if folder.exists() and not args.debug.overwrite:
            _reuse(cls, folder, config, args)
            return
        quiet = contextlib.redirect_stdout(io.StringIO())  # TFDS prints two pages of its own
        with replacement.replacing(folder, args.debug.overwrite), quiet:
            args_of_one.execute()
            builder = cls(data_dir=args.paths.data_dir, config=config)
    if not builder.is_prepared():
        return  # --download_only and the like
    if (report := folder / schema.INSPECTION).exists():
        print(f'{title}:')
        print('\n'.join(inspection_report.lines(schema.read_json(report))))
    print(f'{title}: {builder.info.splits.total_num_examples:,} utterances in {folder}')


def shards_folder(cls, data_dir: os.PathLike | None, config: str) -> pathlib.Path:
    """Return the folder of a build, as TFDS names it, without reading from it."""
    from tensorflow_datasets.core import constants

    root = pathlib.Path(data_dir or constants.DATA_DIR).expanduser()
    return root / cls.name / config / str(cls.VERSION)


def _reuse(cls, folder: pathlib.Path, config: str, args) -> None:
    """Check that a build is complete, unchanged and of the requested source; print its path.

    Raises:
      InputError: it is not.
    """
    from ser_jax.corpora import origin, schema, shards

    if (folder / schema.INFO).exists():
        schema.read_json(folder / schema.INFO)  # TFDS reads it in any case; raises if damaged
    if (folder / schema.FINGERPRINT).exists():
        utterances = shards.verify(folder)
    elif (builder := cls(data_dir=args.paths.data_dir, config=config)).is_prepared():
        utterances = builder.info.splits.total_num_examples  # other formats: no fingerprint
    else:
        raise InputError(
            f'{folder} exists but holds no complete shards; remove it, or build it with --overwrite'
        )
    other = 'another --name' if cls.name == 'folder' or args.name else 'another --data_dir'
    advice = f'--overwrite builds it again in its place, {other} beside it'
    note = origin.compared(folder, args.paths.manual_dir, advice)
    title = f'{cls.name} ({config})'
    print(f'{title} is already built, nothing to do; --overwrite builds it again')
    if note:
        print(f'{title}: {note}')
    if args.transcribe and not schema.read_json(folder / schema.INSPECTION).get('transcripts'):
        print(f'{title}: no text in it is automatic; if some are missing, add --overwrite')
    print(f'{title}: {utterances:,} utterances in {folder}')


@contextlib.contextmanager
def _renamed(name: str | None, cls, path: pathlib.Path) -> Iterator[None]:
    """Give the corpus of the user's own recordings another name during the block.

    Raises:
      InputError: the corpus is another one, or the name is invalid or taken.
    """
    if name is None:
        yield
        return
    if cls.name != 'folder':
        raise InputError(
            f'--name={name} is for your own recordings (datasets/folder), not for {cls.name}; '
            'leave it out'
        )
    taken = {p.parent.name for p in path.parents[1].glob('*/*_dataset_builder.py')}
    if not re.fullmatch('[a-z][a-z0-9_]*', name) or name in taken:
        problem = 'is the name of another corpus' if name in taken else 'is no name'
        raise InputError(
            f'--name={name} {problem}; expected lower-case letters, digits and _, e.g. my_voices'
        )
    cls.name = name
    try:
        yield
    finally:
        cls.name = 'folder'


@contextlib.contextmanager
def _transcribed(args, cls) -> Iterator[None]:
    """Fill the missing texts of a corpus during the block, if asked for.

    Raises:
      InputError: the engine does not exist.
    """
    from ser_jax.audio import transcription, transcription_engines, voice_activity
    from ser_jax.corpora import transcripts
    from ser_jax.models.encoders import weight_files

    if not args.transcribe:
        if unused := [n for n in ('asr_model', 'language') if getattr(args, n)]:
            raise InputError(f'--{unused[0]} is for --transcribe; add it or leave the flag out')
        yield
        return
    if args.asr not in transcription.ENGINES:
        raise InputError(f'--asr must be one of {", ".join(transcription.ENGINES)}, got {args.asr}')
    whisper = weight_files.find('whisper_base')
    opener = functools.partial(
        transcription_engines.open_transcriber, args.asr, args.asr_model, whisper
    )
    gate = voice_activity.open_gate('auto', functools.partial(print, file=sys.stderr))
    cls.fill_texts = transcripts.Filler(opener, gate, args.language)
    try:
        yield
    finally:
        cls.fill_texts = list


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
    loaded = pathlib.Path(str(sys.modules[module].__file__))
    if loaded != path:
        raise InputError(
            f'{path}: another module {module} is already imported from {loaded}; rename the folder'
        )
    return cls


if __name__ == '__main__':
    cli.run(main, absl_flags=False)  # TFDS's parser reads them
