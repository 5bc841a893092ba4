"""Base class of the TFDS builders: a subclass yields only the recordings and their metadata.

    from ser_jax.corpora import builder

    class Builder(builder.CorpusBuilder):
        def recordings(self, dl_manager):
            for audio in self.audio(dl_manager, NAME, '03-01-06-01-02-01-12.wav'):
                yield builder.Recording(id=audio.stem, ..., read=audio.read, source=audio.source)

Shards are array_record in the order of ids; the functions of `ser_jax.audio` that compute the
features also run in prediction. Beside the shards are `inspection.json` (files found, missing and
skipped, with reasons), `fingerprint.json` (a hash of the decoded content, checked by readers) and
`corpus.json` (`contract.CorpusInfo`). Never imports TensorFlow.
"""

import contextlib
import dataclasses
import functools
import inspect
import itertools
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds
from etils import epath

from ser_jax import emotions, lock
from ser_jax.contract import CorpusInfo, InputError, Recording
from ser_jax.corpora import chunks, download, inspection, inspection_report, origin, spool, threads
from ser_jax.corpora.audio_files import Audio, audio_files, file_kinds, nested_zips, readable
from ser_jax.corpora.download import Archive
from ser_jax.corpora.feature_configs import (
    FRONT_ENDS,
    LOG_MEL,
    NATIVE,
    TEXT,
    WAVEFORM,
    FeatureConfig,
    fields,
)
from ser_jax.corpora.inspection import Inspected, Skipped
from ser_jax.corpora.inspection_report import PublishedCounts
from ser_jax.corpora.schema import FACTS, FINGERPRINT, INSPECTION, fingerprint, write_json

__all__ = [
    'FRONT_ENDS', 'LOG_MEL', 'NATIVE', 'TEXT', 'WAVEFORM', 'Archive', 'Audio', 'CorpusBuilder',
    'FeatureConfig', 'InputError', 'PublishedCounts', 'Recording', 'Skipped', 'audio_files',
    'file_kinds', 'fingerprint',
]  # fmt: skip

CHUNK = 64  # recordings per extraction: enough to fill the usual length buckets


class CorpusBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """Base of every builder; a subclass defines `recordings` and the constants below."""

    VERSION = tfds.core.Version('1.1.0')
    RELEASE_NOTES: ClassVar = {
        '1.1.0': 'Rate, level, peak, clipping and silence of every recording.'
    }
    BUILDER_CONFIGS: ClassVar = [LOG_MEL, WAVEFORM, NATIVE, *FRONT_ENDS]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'give the folder that holds the recordings as --manual_dir=FOLDER'
    )

    TOLERANCE = 0.02  # maximum share of bad files: all kinds not in inspection.HARMLESS
    PUBLISHED_COUNTS: PublishedCounts | None = None  # reference for the user's copy
    ARCHIVES: tuple[Archive, ...] = ()  # downloaded if the user has no copy
    TITLE = ''  # name and makers; '' = the corpus's name
    HOMEPAGE = ''
    LICENSE = ''
    RESEARCH_ONLY = False  # the makers allow research and no (changed) copies
    EMOTIONS: tuple[str, ...] = ()  # those the actors were asked for; () = those found
    NAMESAKES = ''  # advice for different recordings of one name, in place of the general one
    fill_texts: ClassVar[Callable] = list  # or a transcripts.Filler: (items) -> list of items
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
                    f'--manual_dir={folder} holds no {self.name} recording; expected names like '
                    f'{example} (.wav, .flac, at any depth, also in zips), found '
                    f'{file_kinds(folder)}; give the folder that holds them'
                )
        archives = self.downloaded(dl_manager)
        return list(itertools.chain.from_iterable(map(audio_files, archives)))

    def downloaded(self, dl_manager: tfds.download.DownloadManager) -> list[Path]:
        """Download ARCHIVES where that is still to be done; return their paths.

        Raises:
          InputError: there are none, or a download fails.
        """
        advice = self.MANUAL_DOWNLOAD_INSTRUCTIONS
        if not self.ARCHIVES:
            raise InputError(f'{self.name} cannot be downloaded; {advice}')
        target = Path(dl_manager.download_dir) / self.name
        return [download.fetch(archive, target, advice) for archive in self.ARCHIVES]

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
        if not given.exists():
            problem = 'does not exist'
        elif not given.is_dir():
            problem = 'is no folder'
        else:
            problem = '' if any(given.iterdir()) else 'is empty'
        if problem:
            raise InputError(f'--manual_dir={given} {problem}; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}')
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
        info.initialize_from_bucket = _no_published_metadata
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

    def _inspect(self, dl_manager) -> tuple[list[Inspected], Mapping[Hashable, bytes]]:
        """Inspect the corpus before any write; return usable recordings, their features by `id`."""
        found = self.fill_texts(self.recordings(dl_manager))
        skipped = [f for f in found if isinstance(f, Skipped)]
        reason = 'a zip within a zip, which is not opened'
        skipped += [Skipped(name, 'ignored', reason) for name in self._nested]
        recordings = [chunks.normal(f) for f in found if isinstance(f, Recording)]
        recordings.sort(key=lambda r: (r.id, r.source))
        files = len(recordings) + sum(s.kind != 'ignored' for s in skipped)
        finished: Mapping[Hashable, bytes] = {}
        if self._workers is not None:
            work = functools.partial(chunks.inspect, self.builder_config.rate_hz)
            inspected = self._workers.inspect(work, recordings, self.name)
        else:
            inspected, finished = threads.inspect(
                recordings, self.builder_config, self.name, CHUNK, self.THREADS, self.data_dir
            )
        usable = [result for result in inspected if result.defect is None]
        kept, duplicates = inspection.without_duplicates(usable)
        skipped += [result.defect for result in inspected if result.defect is not None]
        skipped += duplicates
        inspection.check_tolerance(
            skipped, files, inspection.tolerance(self.TOLERANCE), self.NAMESAKES
        )
        if not kept:
            raise InputError(
                f'{self.name}: none of {files} files is usable; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}'
            )
        self._report = inspection_report.summary(kept, skipped, usable, self.PUBLISHED_COUNTS)
        self._found = emotions.ordered([result.recording.emotion for result in kept])
        if undeclared := set(self._found) - set(self.EMOTIONS or self._found):
            raise ValueError(
                f'{self.name} yields the emotions {sorted(undeclared)}, which are not in its '
                f'EMOTIONS {self.EMOTIONS}'
            )
        return kept, finished

    def _generate_examples(
        self, kept: list[Inspected], finished: Mapping[Hashable, bytes]
    ) -> Iterator[tuple[str, dict]]:
        """Yield (id, example) in order."""
        for result in kept:
            stored = spool.unpacked(finished[id(result)])
            yield result.recording.id, chunks.example(result, stored)

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
        write_json(folder / FACTS, dataclasses.asdict(facts))
        write_json(folder / INSPECTION, {'corpus': self.name, 'features': name, **self._report})
        if source := self._source or self._given_manifest():
            origin.write(folder, source)
        if self.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:  # others need TensorFlow
            source = self.as_data_source('train')
            content = {
                'fingerprint': fingerprint(source),
                'examples': len(source),
                'features': name,
            }
            write_json(folder / FINGERPRINT, content)
        print(readable('\n'.join(inspection_report.lines(self._report))))

    @contextlib.contextmanager
    def _on_beam(self, download_config) -> Iterator:
        """Set up Beam workers if the DownloadConfig requests Beam; yield the config to use."""
        if download_config.beam_options is None and download_config.beam_runner is None:
            yield download_config
            return
        from ser_jax.corpora import beam, beam_runner  # these import apache_beam

        folder = Path(self.data_dir, 'at_work')
        options, runner = beam_runner.create(download_config, folder / 'log')
        most = download_config.max_examples_per_split
        workers = beam.Workers(folder, options, runner, CHUNK, self.THREADS == 1, most)
        try:
            with workers.running() as self._workers:
                yield dataclasses.replace(download_config, beam_options=options, beam_runner=runner)
        finally:
            self._workers = None


def _no_published_metadata() -> None:
    """Do nothing, in place of TFDS's look-up of published metadata."""
