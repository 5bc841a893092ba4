"""What every corpus shares on its way to disk: a builder only says who speaks, how, what, and where the sound is.

    from ser_jax.data import corpus

    class Builder(corpus.CorpusBuilder):
        def recordings(self, dl_manager):
            for audio in corpus.audio_files(self.manual_dir(dl_manager)):
                yield corpus.Recording(id=audio.stem, ..., read=audio.read, source=audio.source)

Shards are array_record in the order of ids; the features of a builder's config come from `ser_jax.audio`, the same
functions that predict. Beside the shards lie `inspection.json` (what was found, missing, skipped and why) and
`fingerprint.json` (a hash over the decoded content, which readers check). Never imports TensorFlow.
"""

import concurrent.futures
import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_jax.audio import features, wav
from ser_jax.contract import InputError, Recording
from ser_jax.data import inspection
from ser_jax.data.inspection import Published, Skipped
from ser_jax.data.sources import Audio, audio_files, seen

__all__ = ['Audio', 'CorpusBuilder', 'FeatureConfig', 'InputError', 'Published', 'Recording', 'Skipped', 'audio_files', 'fingerprint', 'seen']

FINGERPRINT, INSPECTION = 'fingerprint.json', 'inspection.json'
CHUNK = 256  # recordings heard and extracted together: enough to fill every length bucket
HELD_BYTES = 1 << 30  # finished features kept in memory between hearing and writing; what exceeds it is heard again


@dataclasses.dataclass(eq=False)
class FeatureConfig(tfds.core.BuilderConfig):
    """One way to store sound: what is on disk, and the two steps that compute it.

    Attributes:
      spec: returns the TFDS features that this config adds to an example.
      prepare: (decoded samples [T] or [T, channels], rate_hz) -> what is kept of one recording; runs in threads.
      finish: a list of what was prepared -> their example fields, in order; sees a whole chunk, so it can batch.
    """

    spec: Callable[[], dict] = dict
    prepare: Callable[[np.ndarray, int], Any] = lambda samples, rate_hz: samples
    finish: Callable[[list], list[dict]] = list


def _log_mel(prepared: list[np.ndarray]) -> list[dict]:
    return [{'log_mel': frames.astype(np.float16)} for frames in features.extract(prepared)]


def _native(samples: np.ndarray, rate_hz: int) -> dict:
    return {'native': wav.int16(samples.reshape(len(samples), -1)), 'rate_hz': rate_hz}


def _tensor(shape: tuple, dtype) -> tfds.features.Tensor:
    # TFDS's default encoding is six times slower; `bytes` also keeps float16 as it is.
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')


LOG_MEL = FeatureConfig(
    name='log_mel',
    description='log-mel spectrogram at 16 kHz, float16 [F, 64], dB: `ser_jax.audio.features.LOG_MEL`',
    spec=lambda: {'log_mel': _tensor((None, features.LOG_MEL.bands), np.float16)},
    prepare=lambda samples, rate_hz: wav.prepare(samples, rate_hz, features.RATE_HZ),
    finish=_log_mel,
)
WAVEFORM = FeatureConfig(
    name='waveform',
    description='samples at 16 kHz, mono, int16 [T]',
    spec=lambda: {'waveform': _tensor((None,), np.int16)},
    prepare=lambda samples, rate_hz: {'waveform': wav.int16(wav.prepare(samples, rate_hz, features.RATE_HZ))},
)
NATIVE = FeatureConfig(
    name='native',
    description='samples as recorded, int16 [T, channels], and their rate_hz',
    spec=lambda: {'native': _tensor((None, None), np.int16), 'rate_hz': tfds.features.Scalar(np.int32)},
    prepare=_native,
)


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of every builder; a corpus writes `recordings` and says what it publishes."""

    VERSION = tfds.core.Version('1.0.0')
    RELEASE_NOTES = {'1.0.0': 'First release.'}
    BUILDER_CONFIGS = [LOG_MEL, WAVEFORM, NATIVE]
    MANUAL_DOWNLOAD_INSTRUCTIONS = 'Give the folder that holds the recordings as --manual_dir=FOLDER.'

    TOLERANCE = 0.02  # share of files that may be bad (empty, silent, truncated, undecodable, of unknown name)
    PUBLISHED: Published | None = None  # what to compare a copy with
    HOMEPAGE = ''
    LICENSE = ''
    THREADS = min(8, os.cpu_count() or 1)  # recordings read at once; 1 where `Recording.read` is not thread-safe

    def recordings(self, dl_manager: tfds.download.DownloadManager) -> Iterable[Recording | Skipped]:
        """The corpus: a Recording for each utterance, and Skipped for files that a reader should hear about."""
        raise NotImplementedError

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # README.md and CITATIONS.bib lie beside the builder, however it was imported.
        cls.pkg_dir_path = epath.Path(inspect.getfile(cls)).parent

    def __init__(self, *, file_format=None, **kwargs):
        super().__init__(file_format=file_format or 'array_record', **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    'id': text(doc='unique within the corpus, stable between builds'),
                    'speaker': text(doc='unique across corpora, e.g. ravdess_07'),
                    'sex': text(doc='female | male | unknown'),
                    'emotion': text(doc='a word of ser_jax.data.emotions.EMOTIONS'),
                    'label': text(doc="the corpus's own word or code"),
                    'text': text(doc='what was said; empty where unknown'),
                    'language': text(doc='ISO 639-1'),
                    'intensity': text(doc='normal | strong | unknown'),
                    'channel': text(doc='speech | song'),
                    'seconds': tfds.features.Scalar(np.float32, doc='length of the recording as published'),
                    'source_sha256': text(doc='of the decoded samples, see ser_jax.data.inspection.sha256'),
                    **self.builder_config.spec(),
                }
            ),
            homepage=self.HOMEPAGE,
            license=self.LICENSE,
            disable_shuffling=True,  # record order is the order of ids
        )

    def manual_dir(self, dl_manager: tfds.download.DownloadManager) -> Path | None:
        """The folder given as --manual_dir, or the default one if it holds anything, or None.

        Raises:
          InputError: a folder was given and does not exist, is no folder, or is empty.
        """
        given = getattr(self, '_given_manual_dir', None)
        if given is not None:
            given = Path(given).expanduser()
            what = 'does not exist' if not given.exists() else 'is not a folder' if not given.is_dir() else ''
            if what or not any(given.iterdir()):
                raise InputError(f'--manual_dir={given} {what or "is empty"}; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}')
        try:
            return Path(dl_manager.manual_dir)
        except AssertionError:  # TFDS's way to say that its default folder is not there
            return None

    def _make_download_manager(self, download_dir, download_config):
        self._given_manual_dir = download_config.manual_dir
        return super()._make_download_manager(download_dir=download_dir, download_config=download_config)

    def _split_generators(self, dl_manager):
        return {'train': self._generate_examples(*self._inspect(dl_manager))}

    def _inspect(self, dl_manager) -> tuple[list[inspection.Heard], dict]:
        """Hears the whole corpus before anything is written; returns what to keep, and finished features by place."""
        found = list(self.recordings(dl_manager))
        skipped = [f for f in found if isinstance(f, Skipped)]
        recordings = sorted((f for f in found if isinstance(f, Recording)), key=lambda r: (r.id, r.source))
        heard, finished, held = [], {}, 0
        for chunk in self._hear(recordings):
            good = [h for h in chunk if h.defect is None]
            for h, fields in zip(good, self.builder_config.finish([h.prepared for h in good]), strict=True):
                h.prepared = None
                held += sum(np.asarray(v).nbytes for v in fields.values())
                if held <= HELD_BYTES:
                    finished[id(h)] = fields
            heard.extend(chunk)
        skipped += [h.defect for h in heard if h.defect is not None]
        files = len(recordings) + sum(s.kind == 'unknown name' for s in skipped)
        inspection.check_tolerance(skipped, files, tolerance(self.TOLERANCE))
        kept, duplicates = inspection.without_duplicates([h for h in heard if h.defect is None])
        if not kept:
            raise InputError(f'{self.name}: no usable recording among {files} files; {self.MANUAL_DOWNLOAD_INSTRUCTIONS}')
        self._report = {'corpus': self.name, **inspection.summary(kept, [*skipped, *duplicates], self.PUBLISHED)}
        return kept, finished

    def _hear(self, recordings: list[Recording]) -> Iterator[list[inspection.Heard]]:
        """Chunks of recordings in order, each heard by threads while the one before it is worked on."""
        prepare = self.builder_config.prepare
        columns = TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with (
            concurrent.futures.ThreadPoolExecutor(self.THREADS) as pool,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            task = progress.add_task(f'hearing {self.name}', total=len(recordings))
            ahead: list[concurrent.futures.Future] = []
            try:
                for start in range(0, len(recordings) + CHUNK, CHUNK):
                    now, chunk = ahead, recordings[start : start + CHUNK]
                    ahead = [pool.submit(inspection.hear, r, prepare) for r in chunk]
                    if now:
                        yield [f.result() for f in now]
                        progress.advance(task, len(now))
            finally:
                pool.shutdown(cancel_futures=True)

    def _generate_examples(self, kept: list[inspection.Heard], finished: dict) -> Iterator[tuple[str, dict]]:
        """(id, example) in order; features that did not fit in memory are computed again, chunk by chunk."""
        for start in range(0, len(kept), CHUNK):
            chunk = kept[start : start + CHUNK]
            if missing := [h for h in chunk if id(h) not in finished]:
                again = [self.builder_config.prepare(*h.recording.read()) for h in missing]
                for h, fields in zip(missing, self.builder_config.finish(again), strict=True):
                    finished[id(h)] = fields
            for h in chunk:
                r = h.recording
                yield r.id, {
                    **{name: getattr(r, name) for name in ('id', 'speaker', 'sex', 'emotion', 'label')},
                    **{name: getattr(r, name) for name in ('text', 'language', 'intensity', 'channel')},
                    'seconds': h.seconds,
                    'source_sha256': h.sha256,
                    **finished.pop(id(h)),
                }

    def _download_and_prepare(self, dl_manager, download_config):
        super()._download_and_prepare(dl_manager, download_config)
        if not hasattr(self, '_report'):  # max_examples_per_split=0 prepares nothing
            return
        folder = Path(self.data_dir)  # still the temporary one: shards and what vouches for them appear together
        _write_json(folder / INSPECTION, {**self._report, 'features': self.builder_config.name})
        if self.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:  # others cannot be read without TensorFlow
            source = self.as_data_source('train')
            content = {'fingerprint': fingerprint(source), 'examples': len(source), 'features': self.builder_config.name}
            _write_json(folder / FINGERPRINT, content)
        for line in inspection.lines(self._report):
            print(line)


def fingerprint(examples: Iterable[dict]) -> str:
    """sha256 over the decoded content of examples, in their order: the same for the same content, whatever the files.

    Every field counts by name, type, shape and bytes; text may come as str or as bytes.
    """
    total = hashlib.sha256()
    for example in examples:
        for name in sorted(example):
            value = example[name].encode() if isinstance(example[name], str) else example[name]
            if isinstance(value, bytes):
                total.update(f'{name} text {len(value)}\n'.encode() + value)
            elif np.ndim(value) == 0:  # readers differ in the type of scalars, not in their value
                total.update(f'{name} {np.asarray(value).item()!r}\n'.encode())
            else:
                array = np.asarray(value)
                total.update(f'{name} {array.dtype.str} {array.shape}\n'.encode() + array.tobytes())
    return total.hexdigest()


def tolerance(default: float) -> float:
    """The share of files that may be bad: SER_JAX_TOLERANCE if it is set, else `default`."""
    text = os.environ.get('SER_JAX_TOLERANCE', '')
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f'tolerance {text!r} is not a share; expected a number from 0 to 1, e.g. 0.02')
    return value


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
