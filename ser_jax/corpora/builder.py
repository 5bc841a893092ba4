"""Base class of the TFDS builders: a subclass yields only the recordings and their metadata.

    from ser_jax.data import corpus

    class Builder(corpus.CorpusBuilder):
        def recordings(self, dl_manager):
            for audio in self.audio(dl_manager, NAME, '03-01-06-01-02-01-12.wav'):
                yield corpus.Recording(id=audio.stem, ..., read=audio.read, source=audio.source)

Shards are array_record in the order of ids; the functions of `ser_jax.audio` that compute the
features also run in prediction. Beside the shards are `inspection.json` (files found, missing and
skipped, with reasons), `fingerprint.json` (a hash of the decoded content, checked by readers) and
`corpus.json` (`contract.CorpusInfo`). Never imports TensorFlow.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import inspect
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_jax import emotions, lock
from ser_jax.contract import CorpusInfo, InputError, Recording
from ser_jax.corpora import chunks, download, inspection, origin, soundness, spool
from ser_jax.corpora.audio_files import Audio, audio_files, nested_zips, readable, seen
from ser_jax.corpora.download import Archive
from ser_jax.corpora.inspection import PublishedCounts, Skipped
from ser_jax.corpora.schema import (
    FACTS,
    FINGERPRINT,
    INSPECTION,
    LOG_MEL,
    NATIVE,
    PUBLISHED,
    TEXT,
    WAVEFORM,
    FeatureConfig,
    fields,
    fingerprint,
)  # fmt: skip

__all__ = [
    'LOG_MEL', 'NATIVE', 'PUBLISHED', 'TEXT', 'WAVEFORM', 'Archive', 'Audio', 'CorpusBuilder', 'FeatureConfig', 'InputError',
    'PublishedCounts', 'Recording', 'Skipped', 'audio_files', 'fingerprint', 'seen',
]  # fmt: skip

CHUNK = 64  # recordings per extraction: enough to fill the usual length buckets


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of every builder; a subclass defines `recordings` and the constants below."""

    VERSION = tfds.core.Version('1.1.0')
    RELEASE_NOTES: ClassVar = {
        '1.1.0': 'Rate, level, peak, clipping and silence of every recording.'
    }
    BUILDER_CONFIGS: ClassVar = [LOG_MEL, WAVEFORM, NATIVE, *PUBLISHED]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'give the folder that holds the recordings as --manual_dir=FOLDER'
    )

    TOLERANCE = 0.02  # maximum share of bad files: all kinds not in inspection.HARMLESS
    PUBLISHED: PublishedCounts | None = None  # reference for the user's copy
    ARCHIVES: tuple[Archive, ...] = ()  # downloaded if the user has no copy
    TITLE = ''  # name and makers; '' = the corpus's name
    HOMEPAGE = ''
    LICENSE = ''
    RESEARCH_ONLY = False  # the makers allow research and no (changed) copies
    EMOTIONS: tuple[str, ...] = ()  # those the actors were asked for; () = those found
    NAMESAKES = ''  # advice for different recordings of one name, in place of the general one
    THREADS = min(8, os.cpu_count() or 1)  # concurrent reads; 1 if not thread-safe

    def recordings(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Iterable[Recording | Skipped]:
        """Return a Recording for each utterance, and a Skipped for each file to be reported.

        `Recording.read` may be called more than once, and from THREADS threads at a time. For Beam
        it must be picklable: a function of `ser_jax`, or a functools.partial of one.
        """
        raise NotImplementedError

    def audio(
        self, dl_manager: tfds.download.DownloadManager, name: re.Pattern, example: str
    ) -> list[Audio]:
        """Return the audio files in the user's folder (any depth, zips too), else in the downloads.

        Args:
          name: pattern of this corpus's stems; a folder without a match is refused.
          example: a file name, for messages.

        Raises:
          InputError: a given folder is missing, empty, or without a match; a download fails.
        """
        given, folder = self._given_manual_dir is not None, self.manual_dir(dl_manager)
        if folder is not None:
            found, self._nested = audio_files(folder), nested_zips(folder)
            if any(name.match(a.stem) for a in found):
                return found
            if given:
                raise InputError(
                    f'--manual_dir={folder} holds no {self.name} recording: looked for names like {example} (.wav, '
                    f'.flac, at any depth, in zips too), found {seen(folder)}; give the folder that holds them'
                )
        if not self.ARCHIVES:
            raise InputError(
                f'{self.name} cannot be downloaded; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}'
            )
        target = Path(dl_manager.download_dir) / self.name
        paths = [
            download.fetch(archive, target, self.MANUAL_DOWNLOAD_INSTRUCTIONS)
            for archive in self.ARCHIVES
        ]
        return [a for path in paths for a in audio_files(path)]

    def manual_dir(self, dl_manager: tfds.download.DownloadManager) -> Path | None:
        """Return --manual_dir (folder or zip) if given, else TFDS's folder if nonempty, else None.

        Raises:
          InputError: the given path does not exist, is neither folder nor zip, or is empty.
        """
        if self._given_manual_dir is None:
            try:
                self._source = Path(dl_manager.manual_dir)
                return self._source
            except AssertionError:  # raised by TFDS if its folder is missing or empty
                return None
        given = Path(self._given_manual_dir).expanduser()
        self._source = given
        if given.is_file() and given.suffix.lower() == '.zip':
            return given
        wrong = (
            'does not exist' if not given.exists() else 'is no folder' if not given.is_dir() else ''
        )
        if wrong or not any(given.iterdir()):
            raise InputError(
                f'--manual_dir={given} {wrong or "is empty"}; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}'
            )
        return given

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # README.md and CITATIONS.bib are beside the builder, however it was imported.
        cls.pkg_dir_path = epath.Path(inspect.getfile(cls)).parent

    def __init__(self, *, file_format=None, **kwargs):
        self._given_manual_dir, self._report, self._found, self._workers = None, None, (), None
        self._nested: list[str] = []
        self._source: Path | None = None  # set by `manual_dir`, during `recordings`
        super().__init__(file_format=file_format, **kwargs)
        if file_format is None and not Path(self.data_dir, 'dataset_info.json').exists():
            self.info.set_file_format('array_record', override=True)  # the default needs TensorFlow

    def _info(self) -> tfds.core.DatasetInfo:
        info = self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({**fields(), **self.builder_config.spec()}),
            homepage=self.HOMEPAGE,
            license=self.LICENSE,
            disable_shuffling=True,  # record order is the order of ids
        )
        # For a corpus that it does not publish, TFDS leaves an empty temporary folder each time.
        info.initialize_from_bucket = _nothing_published
        return info

    def download_and_prepare(self, **kwargs):
        """Run TFDS's method under a lock; raise InputError if another process builds the same."""
        with lock.held(self.data_dir, 'build', reenter=True):
            super().download_and_prepare(**kwargs)

    def _given_manifest(self) -> Path | None:
        """Return --manual_dir if it is a file: builders of tables read it without `manual_dir`."""
        given = Path(self._given_manual_dir or '').expanduser()
        return given if given.is_file() else None

    def _make_download_manager(self, download_dir, download_config):
        self._given_manual_dir = download_config.manual_dir
        return super()._make_download_manager(
            download_dir=download_dir, download_config=download_config
        )

    def _split_generators(self, dl_manager):
        kept, finished = self._inspect(dl_manager)
        if self._workers is not None:
            compute = functools.partial(chunks.examples, self.builder_config)
            return {'train': self._workers.examples(compute, kept)}
        return {'train': self._generate_examples(kept, finished)}

    def _inspect(self, dl_manager) -> tuple[list[inspection.Inspected], dict]:
        """Inspect the corpus before any write; return usable recordings, their features by `id`."""
        found = list(self.recordings(dl_manager))
        skipped = [f for f in found if isinstance(f, Skipped)]
        inside = 'a zip within a zip, which is not opened'
        skipped += [Skipped(name, 'ignored', inside) for name in self._nested]
        recordings = [chunks.normal(f) for f in found if isinstance(f, Recording)]
        recordings.sort(key=lambda r: (r.id, r.source))
        files = len(recordings) + sum(s.kind != 'ignored' for s in skipped)
        if self._workers is not None:
            do = functools.partial(chunks.hear, self.builder_config.rate_hz)
            heard, finished = self._workers.hear(do, recordings, self.name), {}
        else:
            heard, finished = self._hear_all(recordings)
        audible = [h for h in heard if h.defect is None]
        kept, duplicates = inspection.without_duplicates(audible)
        skipped += [*(h.defect for h in heard if h.defect is not None), *duplicates]
        inspection.check_tolerance(skipped, files, tolerance(self.TOLERANCE), self.NAMESAKES)
        if not kept:
            raise InputError(
                f'{self.name}: none of {files} files is usable; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}'
            )
        self._report = inspection.summary(kept, skipped, audible, self.PUBLISHED)
        self._found = emotions.ordered([h.recording.emotion for h in kept])
        if strange := set(self._found) - set(self.EMOTIONS or self._found):
            raise ValueError(
                f'{self.name} gives {sorted(strange)}, which its EMOTIONS {self.EMOTIONS} do not name'
            )
        return kept, finished

    def _hear_all(self, recordings: list[Recording]) -> tuple[list[inspection.Inspected], dict]:
        """Inspect the recordings on this machine; spool features to disk to bound the memory."""
        heard, finished = [], spool.Kept(self.data_dir)
        for chunk in self._hear(recordings):
            good = [h for h in chunk if h.defect is None]
            for h, stored in zip(
                good, self.builder_config.finish([h.prepared for h in good]), strict=True
            ):
                h.prepared, finished[id(h)] = None, spool.packed(stored)
                if flaw := soundness.flaw(stored):
                    h.defect = Skipped(h.recording.source, *flaw)
            heard.extend(chunk)
        return heard, finished

    def _hear(self, recordings: list[Recording]) -> Iterator[list[inspection.Inspected]]:
        """Yield chunks in order; threads inspect the next while the caller processes the last."""
        config = self.builder_config
        columns = (
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with (
            concurrent.futures.ThreadPoolExecutor(self.THREADS) as pool,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            task = progress.add_task(f'hearing {self.name}', total=len(recordings))
            ahead: list[concurrent.futures.Future] = []
            try:
                for start in range(0, len(recordings) + CHUNK, CHUNK):
                    now, chunk = ahead, recordings[start : start + CHUNK]
                    work = inspection.inspect, config.rate_hz, config.prepare
                    ahead = [pool.submit(*work, r) for r in chunk]
                    if now:
                        yield [f.result() for f in now]
                        progress.advance(task, len(now))
            finally:
                pool.shutdown(cancel_futures=True)

    def _generate_examples(
        self, kept: list[inspection.Inspected], finished
    ) -> Iterator[tuple[str, dict]]:
        """Yield (id, example) in order."""
        for h in kept:
            yield h.recording.id, chunks.example(h, spool.unpacked(finished[id(h)]))

    def _download_and_prepare(self, dl_manager, download_config):
        with spool.in_order(), self._on_beam(download_config) as download_config:
            super()._download_and_prepare(dl_manager, download_config)
        if self._report is None:  # max_examples_per_split=0 prepares nothing
            return
        name, folder = self.builder_config.name, Path(self.data_dir)
        # This is still TFDS's temporary folder: shards and metadata appear together at its rename.
        facts = CorpusInfo(
            self.name,
            self.TITLE or self.name,
            self.LICENSE,
            self.RESEARCH_ONLY,
            tuple(self.EMOTIONS or self._found),
        )
        _write_json(folder / FACTS, dataclasses.asdict(facts))
        _write_json(folder / INSPECTION, {'corpus': self.name, 'features': name, **self._report})
        if source := self._source or self._given_manifest():
            origin.write(folder, source)
        if self.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:  # others need TensorFlow
            source = self.as_data_source('train')
            content = {
                'fingerprint': fingerprint(source),
                'examples': len(source),
                'features': name,
            }
            _write_json(folder / FINGERPRINT, content)
        print(readable('\n'.join(inspection.lines(self._report))))

    @contextlib.contextmanager
    def _on_beam(self, download_config) -> Iterator:
        """Set up Beam workers if the DownloadConfig requests Beam; yield the config to use."""
        if download_config.beam_options is None and download_config.beam_runner is None:
            yield download_config
            return
        from ser_jax.corpora import beam  # imports apache_beam

        folder = Path(self.data_dir, 'at_work')
        options, runner = beam.runner_of(download_config, folder / 'log')
        most = download_config.max_examples_per_split
        try:
            with beam.Workers(
                folder, options, runner, CHUNK, self.THREADS == 1, most
            ).at_work() as self._workers:
                yield dataclasses.replace(download_config, beam_options=options, beam_runner=runner)
        finally:
            self._workers = None


def _nothing_published() -> None:
    """Do nothing, in place of TFDS's look-up of published metadata."""


def tolerance(default: float) -> float:
    """Return the maximum share of bad files: SER_JAX_TOLERANCE if set, else `default`."""
    text = os.environ.get('SER_JAX_TOLERANCE', '')
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(
            f'tolerance {text!r} is not a share; expected a number from 0 to 1, e.g. 0.02'
        )
    return value


def _write_json(path: Path, content: dict) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + '\n'
    path.write_text(readable(text), encoding='utf-8')
