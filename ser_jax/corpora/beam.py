"""Inspection and feature extraction on Apache Beam workers, on as many machines as the runner has.

Imported only if Beam is requested. A job contains only the numbers of chunks: workers read their
input from a folder beside the unfinished shards and write their replies there, so that a corpus of
any size fits the job of every runner. That folder (in --data_dir) and the recordings must have the
same path on all workers.
"""

import contextlib
import dataclasses
import io
import logging
import os
import re
import shlex
import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.internal import pickler
from apache_beam.options import pipeline_options
from apache_beam.runners.portability import fn_api_runner
from apache_beam.transforms import environments
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_jax.contract import InputError, Recording
from ser_jax.corpora.inspection import Inspected

SEE = "see 'Preparing data on Beam' in launch/README.md"
POLL_S = 1.0  # between two updates of the progress bar

_CODER = beam.coders.PickleCoder()
_ALONE = threading.Lock()  # some runners use several threads of one process


@dataclasses.dataclass
class Workers:
    """A runner, and the folder through which its workers get their input and reply.

    Attributes:
      folder: created here, removed by `at_work`.
      options, runner: arguments of a pipeline, see `runner_of`.
      chunk: number of recordings per chunk.
      alone: one chunk at a time per process, for reads that are not thread-safe.
      most: maximum number of recordings to write; None for all.
    """

    folder: Path
    options: pipeline_options.PipelineOptions
    runner: Any
    chunk: int
    alone: bool
    most: int | None = None

    def hear(
        self, do: Callable[[list], list[Inspected]], recordings: Sequence[Recording], title: str
    ) -> list[Inspected]:
        """Inspect recordings with `do` on the workers; return results in order, without features.

        Raises:
          InputError: a recording cannot be pickled for a worker, a worker failed on it, or workers
            do not find the same files.
        """
        chunks = self._give('hear', do, recordings)
        with (
            self._watched(f'hearing {title}', len(recordings)),
            beam.Pipeline(self.runner, self.options) as pipeline,
        ):
            _ = (
                pipeline
                | 'Chunks' >> _numbers(chunks)
                | 'Hear' >> beam.Map(_hear, folder=str(self.folder))
            )
        heard = []
        for number, start in enumerate(range(0, len(recordings), self.chunk)):
            try:
                refused, found = _CODER.decode((self.folder / f'{number}.hear.reply').read_bytes())
            except FileNotFoundError as e:
                raise InputError(_unseen(self.folder)) from e
            if refused:
                raise InputError(refused)
            items = recordings[start : start + self.chunk]
            for recording, (sha256, measures, defect) in zip(items, found, strict=True):
                if defect is not None and defect.kind == 'missing' and Path(defect.source).exists():
                    raise InputError(_unseen(defect.source))
                heard.append(Inspected(recording, sha256, measures, defect=defect))
        return heard

    def examples(
        self, do: Callable[[list[Inspected]], list[dict]], kept: Sequence[Inspected]
    ) -> beam.PTransform:
        """Return a transform that yields (index in `kept`, example); `do` computes one chunk."""
        chunks = self._give('compute', do, kept[: self.most])
        compute = beam.FlatMap(_compute, folder=str(self.folder), chunk=self.chunk)
        return 'Chunks' >> _numbers(chunks) | 'Compute' >> compute

    @contextlib.contextmanager
    def at_work(self) -> Iterator['Workers']:
        """Silence the local runner, convert failures of workers to one-line errors, then clean up.

        Raises:
          InputError: a worker failed on its input, cannot import the package, or does not find the
            same files.
        """
        try:
            with (
                _quiet()
                if isinstance(self.runner, fn_api_runner.FnApiRunner)
                else contextlib.nullcontext()
            ):
                try:
                    yield self
                except InputError:
                    raise
                except Exception as e:
                    if reason := self._refused() or _known(str(e), self.folder):
                        raise InputError(reason) from e
                    raise
            if reason := self._refused():
                raise InputError(reason)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _give(self, stage: str, do: Callable, items: Sequence) -> int:
        """Write the input files of a stage and return its number of chunks."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / stage).write_bytes(pickler.dumps((do, self.alone)))
        starts = range(0, len(items), self.chunk)
        for number, start in enumerate(starts):
            try:
                content = _CODER.encode(list(items[start : start + self.chunk]))
            except Exception as e:  # pickling raises a different error for each type
                source = getattr(items[start], 'source', f'chunk {number}')
                raise InputError(
                    f'{source} and what follows cannot be sent to a Beam worker ({e}); expected a Recording.read that '
                    'can be pickled, e.g. functools.partial of a function in ser_jax; or build without Beam'
                ) from e
            (self.folder / f'{number}.{stage}').write_bytes(content)
        return len(starts)

    def _refused(self) -> str:
        """Return the error of the first chunk that could not be computed, '' if none."""
        replies = sorted(
            self.folder.glob('*.compute.reply'), key=lambda p: int(p.name.split('.')[0])
        )
        return next((refused for p in replies if (refused := _CODER.decode(p.read_bytes())[0])), '')

    @contextlib.contextmanager
    def _watched(self, title: str, total: int) -> Iterator[None]:
        """Show a progress bar of the replies while the block runs."""
        over = threading.Event()
        columns = (
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(title, total=total)

            def watch():
                while not over.wait(POLL_S):
                    done = sum(1 for _ in self.folder.glob('*.hear.reply')) * self.chunk
                    progress.update(task, completed=min(done, total))

            watching = threading.Thread(target=watch, daemon=True)
            watching.start()
            try:
                yield
                progress.update(task, completed=total)
            finally:
                over.set()
                watching.join()


def runner_of(config, log: Path) -> tuple[pipeline_options.PipelineOptions, Any]:
    """Return (options, runner) of a DownloadConfig that requests Beam.

    DirectRunner is replaced by Beam's engine in Python (FnApiRunner), since it would first download
    another one, which does not support direct_num_workers. The local workers log to `log` instead
    of the screen.

    Raises:
      InputError: an option has an invalid value, the local runner has no such option, or the config
        sets nondeterministic_order.
    """
    if config.nondeterministic_order:
        raise InputError(
            '--nondeterministic_order would mix the shards, which are in the order of ids; leave it out'
        )
    options = config.beam_options or pipeline_options.PipelineOptions(flags=[])
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            known, given = (
                options.get_all_options(),
                options.get_all_options(True, retain_unknown_options=True),
            )
    except SystemExit as e:  # Beam's parser prints four pages, the error last
        why = usage.getvalue().strip().rpartition('error: ')[2]
        raise InputError(f'--beam_pipeline_options cannot be understood: {why}; {SEE}') from e
    options = pipeline_options.PipelineOptions.from_dictionary(given)  # a copy, modified below
    options.view_as(pipeline_options.TypeOptions).pipeline_type_check = False  # as TFDS does
    standard, direct = (
        options.view_as(getattr(pipeline_options, f'{of}Options')) for of in ('Standard', 'Direct')
    )
    runner = config.beam_runner or standard.runner or 'DirectRunner'
    if isinstance(runner, str) and runner.rpartition('.')[2].lower() in (
        'directrunner',
        'fnapirunner',
    ):
        if strange := sorted(set(given) - set(known)):  # other runners have options of their own
            raise InputError(
                f'--beam_pipeline_options has {strange[0]}, which Beam does not know; {SEE}'
            )
        environment = None
        if direct.direct_running_mode == 'multi_processing':
            direct.direct_running_mode = 'in_memory'  # else Beam replaces the environment
            command = f'{sys.executable} -m apache_beam.runners.worker.sdk_worker_main 2>>{shlex.quote(str(log))}'
            environment = environments.SubprocessSDKEnvironment.from_command_string(command)
        runner = fn_api_runner.FnApiRunner(default_environment=environment)
        standard.runner = 'FnApiRunner'
    try:
        return options, beam.runners.create_runner(runner) if isinstance(runner, str) else runner
    except (ValueError, ImportError, AttributeError) as e:
        raise InputError(
            f'--beam_pipeline_options names runner={runner}, which cannot be had ({e}); {SEE}'
        ) from e


def _numbers(chunks: int) -> beam.PTransform:
    """Return a transform that distributes the numbers of chunks to workers one by one."""
    return beam.Create(range(chunks)) | beam.Reshuffle()


def _hear(number: int, folder: str) -> None:
    """Inspect a chunk on a worker and reply its hashes, measures and defects, not the samples."""
    refused, heard = _done(Path(folder), number, 'hear')
    _reply(Path(folder), number, 'hear', refused, [(h.sha256, h.measures, h.defect) for h in heard])


def _compute(number: int, folder: str, chunk: int) -> Iterator[tuple[int, dict]]:
    """Return the numbered examples of a chunk on a worker; after an error reply it, return none."""
    refused, examples = _done(Path(folder), number, 'compute')
    if refused:
        _reply(Path(folder), number, 'compute', refused, [])
    return enumerate(examples, number * chunk)


def _done(folder: Path, number: int, stage: str) -> tuple[str, list]:
    """Return ('', the stage's results for a chunk), or (error message, [])."""
    work, items = (folder / stage).read_bytes(), (folder / f'{number}.{stage}').read_bytes()
    try:
        (do, alone), items = pickler.loads(work), _CODER.decode(items)
    except (ImportError, AttributeError) as e:  # pickles name functions and classes by their module
        return (
            f'a Beam worker cannot import what the builder gives it ({e}); expected functions of ser_jax, {SEE}',
            [],
        )
    try:
        with _ALONE if alone else contextlib.nullcontext():
            return '', do(items)
    except InputError as e:
        return str(e), []


def _reply(folder: Path, number: int, stage: str, refused: str, found: list) -> None:
    """Write a reply atomically, since a runner may give the same chunk to two workers."""
    unfinished = folder / f'{number}.{stage}.{uuid.uuid4().hex}'
    unfinished.write_bytes(_CODER.encode((refused, found)))
    os.replace(unfinished, folder / f'{number}.{stage}.reply')


def _unseen(path) -> str:
    return f'Beam workers do not see {path}; recordings and --data_dir must lie where all workers see them, {SEE}'


def _known(failure: str, folder: Path) -> str:
    """Return the message for a failure caused by the user's set-up, '' for other failures."""
    if missing := re.search(
        r"No module named '(ser_jax|tensorflow_datasets|apache_beam)[\w.]*'", failure
    ):
        return f'Beam workers cannot import {missing[1]}; {SEE}'
    return _unseen(folder) if re.search(rf'No such file.*{re.escape(str(folder))}', failure) else ''


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Disable logging: Beam logs each failure with its traceback once per step of the job."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
