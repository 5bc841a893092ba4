"""Builder configs: the forms in which a corpus stores audio, and the fields of every example."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from ser_jax.audio import features, front_ends, variants, wav


def _nothing(samples: np.ndarray, id: str) -> dict:
    return {}


@dataclasses.dataclass(eq=False)
class FeatureConfig(tfds.core.BuilderConfig):
    """Builder config that stores audio in one form, computed in two steps.

    Attributes:
      spec: returns the TFDS features that this config adds to an example.
      rate_hz: rate of the samples passed to `prepare`, mono and checked; None: as decoded, [T] or
        [T, channels].
      prepare: (samples, id) -> intermediate result of one recording; runs in threads.
      finish: list of intermediate results -> their example fields, in order; it gets a whole
        chunk, so it can batch.
    """

    spec: Callable[[], dict] = dict
    rate_hz: int | None = features.RATE_HZ
    prepare: Callable[[np.ndarray, str], Any] = _nothing
    finish: Callable[[list], list[dict]] = list


def _tensor(shape: tuple, dtype) -> tfds.features.Tensor:
    # TFDS's default encoding is six times slower; `bytes` also keeps float16 as it is.
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')


def _log_mel(prepared: list[np.ndarray]) -> list[dict]:
    return [{'log_mel': frames.astype(np.float16)} for frames in features.extract(prepared)]


LOG_MEL = FeatureConfig(
    name='log_mel',
    description=(
        'log-mel spectrogram at 16 kHz, float16 [F, 64], dB: `ser_jax.audio.features.LOG_MEL`'
    ),
    spec=lambda: {'log_mel': _tensor((None, features.LOG_MEL.bands), np.float16)},
    prepare=lambda samples, id: samples,
    finish=_log_mel,
)
WAVEFORM = FeatureConfig(
    name='waveform',
    description='samples at 16 kHz, mono, int16 [T]',
    spec=lambda: {'waveform': _tensor((None,), np.int16)},
    prepare=lambda samples, id: {'waveform': wav.int16(samples)},
)
NATIVE = FeatureConfig(
    name='native',
    description='samples as recorded, int16 [T, channels], at the rate of the field rate_hz',
    spec=lambda: {'native': _tensor((None, None), np.int16)},
    rate_hz=None,
    prepare=lambda samples, id: {'native': wav.int16(samples.reshape(len(samples), -1))},
)


def _front_end(front) -> FeatureConfig:
    layout = front.layout
    summary = (type(front).__doc__ or '').splitlines()[0]
    dtype = np.float32 if len(front.shape) == 1 else np.float16
    return FeatureConfig(
        name=front.name,
        description=f'{summary} [{layout.steps or "F"}, {layout.bands}], {front.rate_hz} Hz',
        spec=lambda: {front.name: _tensor((None, layout.bands), dtype)},
        rate_hz=front.rate_hz,
        prepare=lambda samples, id: {front.name: front.stored(samples)},
    )


def _with_variants(name: str) -> FeatureConfig:
    front = front_ends.by_name(name)
    layout = front.layout
    names = ', '.join(variants.STORED.names)
    return FeatureConfig(
        name=f'{name}_variants',
        description=f'as {name}, each recording followed by its variants ({names})',
        spec=lambda: {name: _tensor((None, layout.bands), np.float32)},
        rate_hz=front.rate_hz,
        prepare=lambda samples, id: {name: front_ends.versions(name, id, samples)},
    )


FRONT_ENDS = [
    *(_front_end(front) for front in front_ends.PUBLISHED),
    *(_with_variants(name) for name in front_ends.VARIED),
]
TEXT = FeatureConfig(name='text', description='nothing but the fields: a corpus of texts')


def fields() -> dict:
    """Return the TFDS features that the examples of every config have."""
    text = tfds.features.Text
    return {
        'id': text(doc='unique within the corpus, stable between builds'),
        'speaker': text(doc='unique across corpora, e.g. ravdess_07'),
        'sex': text(doc='female | male | unknown'),
        'emotion': text(
            doc="a word of ser_jax.emotions.EMOTIONS where that has one, else the corpus's own"
        ),
        'label': text(doc="the corpus's own word or code"),
        'text': text(doc='what was said; empty where unknown'),
        'language': text(doc='ISO 639-1'),
        'intensity': text(doc='normal | strong | unknown'),
        'channel': text(doc='speech | song | sound | text'),
        'seconds': tfds.features.Scalar(np.float32, doc='length of the recording as published'),
        'rate_hz': tfds.features.Scalar(
            np.int32, doc='sampling rate of the recording as published'
        ),
        'level_db': tfds.features.Scalar(
            np.float32, doc='root mean square, dB relative to full scale'
        ),
        'peak': tfds.features.Scalar(np.float32, doc='largest absolute sample, 1 = full scale'),
        'clipped': tfds.features.Scalar(
            np.int32, doc='1 where three samples in a row sit at full scale, else 0'
        ),
        'silence': tfds.features.Scalar(
            np.float32, doc='share of 10 ms stretches 40 dB or more under the loudest'
        ),
        'source_sha256': text(
            doc='hash of the decoded samples, see ser_jax.corpora.inspection.sha256'
        ),
    }
