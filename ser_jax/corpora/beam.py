"""Inspection and feature extraction on Apache Beam workers, on as many machines as the runner has.

Imported only if Beam is requested. A job contains only the numbers of chunks: workers read their
input from a folder beside the unfinished shards and write their replies there, so that a corpus of
any size fits the job of every runner. That folder (in --data_dir) and the recordings must have the
same path on all workers.
"""

import contextlib
import dataclasses
import logging
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.internal import pickler
from apache_beam.options import pipeline_options
from apache_beam.runners.portability import fn_api_runner

from ser_jax.contract import InputError, Recording
from ser_jax.corpora import threads
from ser_jax.corpora.beam_runner import SEE
from ser_jax.corpora.inspection import Inspected

POLL_S = 1.0  # between two updates of the progress bar

_CODER = beam.coders.PickleCoder()
_ALONE = threading.Lock()  # some runners use several threads of one process


@dataclasses.dataclass
class Workers:
    """A runner, and the folder through which its workers get their input and reply.

    Attributes:
      folder: created here, removed by `running`.
      options, runner: arguments of a pipeline, see `beam_runner.create`.
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

    def inspect(
        self, work: Callable[[list], list[Inspected]], recordings: Sequence[Recording], title: str
    ) -> list[Inspected]:
        """Inspect recordings with `work` on the workers; return results in order, no features.

        Raises:
          InputError: a recording cannot be pickled for a worker, a worker failed on it, or workers
            do not find the same files.
        """
        chunks = self._write_input('inspect', work, recordings)
        with (
            self._progress(f'inspecting {title}', len(recordings)),
            beam.Pipeline(self.runner, self.options) as pipeline,
        ):
            _ = (
                pipeline
                | 'Chunks' >> _numbers(chunks)
                | 'Inspect' >> beam.Map(_inspect, folder=str(self.folder))
            )
        inspected = []
        for number, start in enumerate(range(0, len(recordings), self.chunk)):
            try:
                reply = (self.folder / f'{number}.inspect.reply').read_bytes()
            except FileNotFoundError as e:
                raise InputError(_missing(self.folder)) from e
            error, found = _CODER.decode(reply)
            if error:
                raise InputError(error)
            items = recordings[start : start + self.chunk]
            for recording, (sha256, measures, defect) in zip(items, found, strict=True):
                if defect is not None and defect.kind == 'missing' and Path(defect.source).exists():
                    raise InputError(_missing(defect.source))
                inspected.append(Inspected(recording, sha256, measures, defect=defect))
        return inspected

    def examples(
        self, work: Callable[[list[Inspected]], list[dict]], kept: Sequence[Inspected]
    ) -> beam.PTransform:
        """Return a transform that yields (index in `kept`, example); `work` computes one chunk."""
        chunks = self._write_input('compute', work, kept[: self.most])
        compute = beam.FlatMap(_compute, folder=str(self.folder), chunk=self.chunk)
        return 'Chunks' >> _numbers(chunks) | 'Compute' >> compute

    @contextlib.contextmanager
    def running(self) -> Iterator['Workers']:
        """Silence the local runner, convert failures of workers to one-line errors, then clean up.

        Raises:
          InputError: a worker failed on its input, cannot import the package, or does not find the
            same files.
        """
        try:
            is_local = isinstance(self.runner, fn_api_runner.FnApiRunner)
            with _quiet() if is_local else contextlib.nullcontext():
                try:
                    yield self
                except InputError:
                    raise
                except Exception as e:
                    if reason := self._first_error() or _setup_error(str(e), self.folder):
                        raise InputError(reason) from e
                    raise
            if reason := self._first_error():
                raise InputError(reason)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write_input(self, stage: str, work: Callable, items: Sequence) -> int:
        """Write the input files of a stage and return its number of chunks."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / stage).write_bytes(pickler.dumps((work, self.alone)))
        starts = range(0, len(items), self.chunk)
        for number, start in enumerate(starts):
            try:
                content = _CODER.encode(list(items[start : start + self.chunk]))
            except Exception as e:  # pickling raises a different error for each type
                source = getattr(items[start], 'source', f'chunk {number}')
                raise InputError(
                    f'{source} and the recordings after it cannot be sent to a Beam worker ({e}); '
                    'expected a Recording.read that can be pickled, e.g. functools.partial of a '
                    'function in ser_jax; or build without Beam'
                ) from e
            (self.folder / f'{number}.{stage}').write_bytes(content)
        return len(starts)

    def _first_error(self) -> str:
        """Return the error of the first chunk that could not be computed, '' if none."""
        replies = sorted(
            self.folder.glob('*.compute.reply'), key=lambda p: int(p.name.split('.')[0])
        )
        errors = (_CODER.decode(path.read_bytes())[0] for path in replies)
        return next(filter(None, errors), '')

    @contextlib.contextmanager
    def _progress(self, title: str, total: int) -> Iterator[None]:
        """Show a progress bar of the replies while the block runs."""
        over = threading.Event()
        with threads.progress_bar() as progress:
            task = progress.add_task(title, total=total)

            def watch() -> None:
                while not over.wait(POLL_S):
                    done = sum(1 for _ in self.folder.glob('*.inspect.reply')) * self.chunk
                    progress.update(task, completed=min(done, total))

            watching = threading.Thread(target=watch, daemon=True)
            watching.start()
            try:
                yield
                progress.update(task, completed=total)
            finally:
                over.set()
                watching.join()


def _numbers(chunks: int) -> beam.PTransform:
    """Return a transform that distributes the numbers of chunks to workers one by one."""
    return beam.Create(range(chunks)) | beam.Reshuffle()


def _inspect(number: int, folder: str) -> None:
    """Inspect a chunk on a worker and reply its hashes, measures and defects, not the samples."""
    error, inspected = _done(Path(folder), number, 'inspect')
    found = [(result.sha256, result.measures, result.defect) for result in inspected]
    _reply(Path(folder), number, 'inspect', error, found)


def _compute(number: int, folder: str, chunk: int) -> Iterator[tuple[int, dict]]:
    """Return the numbered examples of a chunk on a worker; after an error reply it, return none."""
    error, examples = _done(Path(folder), number, 'compute')
    if error:
        _reply(Path(folder), number, 'compute', error, [])
    return enumerate(examples, number * chunk)


def _done(folder: Path, number: int, stage: str) -> tuple[str, list]:
    """Return ('', the stage's results for a chunk), or (error message, [])."""
    pickled, encoded = (folder / stage).read_bytes(), (folder / f'{number}.{stage}').read_bytes()
    try:
        (work, alone), items = pickler.loads(pickled), _CODER.decode(encoded)
    except (ImportError, AttributeError) as e:  # pickles name functions and classes by their module
        error = f'a Beam worker cannot import the functions of the builder ({e})'
        return f'{error}; expected functions of ser_jax, {SEE}', []
    try:
        with _ALONE if alone else contextlib.nullcontext():
            return '', work(items)
    except InputError as e:
        return str(e), []


def _reply(folder: Path, number: int, stage: str, error: str, found: list) -> None:
    """Write a reply atomically, since a runner may give the same chunk to two workers."""
    unfinished = folder / f'{number}.{stage}.{uuid.uuid4().hex}'
    unfinished.write_bytes(_CODER.encode((error, found)))
    os.replace(unfinished, folder / f'{number}.{stage}.reply')


def _missing(path) -> str:
    """Return the message for a path that exists here and not on a worker."""
    return (
        f'Beam workers do not find {path}; recordings and --data_dir must be on a disk that all '
        f'workers share, {SEE}'
    )


def _setup_error(failure: str, folder: Path) -> str:
    """Return the message for a failure caused by the user's set-up, '' for other failures."""
    package = '(ser_jax|tensorflow_datasets|apache_beam)'
    if absent := re.search(rf"No module named '{package}[\w.]*'", failure):
        return f'Beam workers cannot import {absent[1]}; {SEE}'
    if re.search(rf'No such file.*{re.escape(str(folder))}', failure):
        return _missing(folder)
    return ''


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Disable logging: Beam logs each failure with its traceback once per step of the job."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
