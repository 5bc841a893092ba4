"""Fixtures of all tests: a tiny corpus of tones with separable emotions, built by the builder."""

import os
import pathlib

import hypothesis
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict

from ser_jax import cli
from ser_jax.config import base
from ser_jax.contract import Recording
from ser_jax.corpora import builder

os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', os.path.expanduser('~/.cache/ser_jax/xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')

hypothesis.settings.register_profile('untimed', deadline=None)  # a busy machine fails no property
hypothesis.settings.load_profile('untimed')
flags.FLAGS.mark_as_parsed()  # Grain's workers and TFDS read absl flags

ROOT = pathlib.Path(__file__).parents[1]
EMOTIONS = ('neutral', 'happy', 'sad', 'angry')
SPEAKERS = 6
EACH = 4
WORDS = {'neutral': 'chair', 'happy': 'sunshine', 'sad': 'tears', 'angry': 'shouting'}


def tone(speaker: int, emotion: int, take: int) -> np.ndarray:
    """0.6-1.2 s at 16 kHz: a tone whose pitch is the emotion and whose timbre is the speaker."""
    random = np.random.default_rng([speaker, emotion, take])
    seconds = random.uniform(0.6, 1.2)
    t = np.arange(int(seconds * 16000)) / 16000
    pitch = (
        (200, 500, 1100, 2300)[emotion]
        * (1 + 0.02 * speaker)
        * (1 + 0.05 * np.sin(2 * np.pi * 5 * t))
    )
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    voice = (
        np.sin(phase) + 0.1 * speaker * np.sin(2 * phase) + 0.05 * random.standard_normal(len(t))
    )
    return (0.2 * voice / np.abs(voice).max()).astype(np.float32)


class ToneBuilder(builder.CorpusBuilder, skip_registration=True):
    """Stands in for the synthetic corpus: the same name, and a moment to build."""

    name = 'synthetic'
    EMOTIONS = EMOTIONS
    FIRST = 0  # the first voice: other numbers are other sounds

    def recordings(self, dl_manager):
        for s in range(SPEAKERS):
            for e, emotion in enumerate(self.EMOTIONS):
                for take in range(EACH):
                    song = take == EACH - 1
                    yield Recording(
                        id=f's{s}_{emotion}_{take}',
                        speaker=f'{self.name}_{s}',
                        emotion=emotion,
                        label=emotion,
                        read=lambda s=s + self.FIRST, e=e, take=take: (tone(s, e, take), 16000),
                        source=f'tone {s} {e} {take}',
                        sex=('female', 'male')[s % 2],
                        text=f'the {WORDS.get(emotion, emotion)} of number {s}',
                        channel='song' if song else 'speech',
                    )


@pytest.fixture(scope='session', autouse=True)
def _quiet_writes():
    """As in commands: a write that Orbax gave up may report a closed event loop in a later test."""
    cli.quiet_background()


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory) -> pathlib.Path:
    """Where the tone corpus is built, as log_mel and as waveform."""
    root = tmp_path_factory.mktemp('built')
    for config in ('log_mel', 'waveform'):
        ToneBuilder(config=config, data_dir=root).download_and_prepare()
    return root


@pytest.fixture
def config(data_dir) -> ConfigDict:
    """A small conv+BiLSTM on the tone corpus: 3 folds, seconds to train."""
    return small_config(data_dir)


def small_config(data_dir) -> ConfigDict:
    """The config of the fixture of that name."""
    c = base()
    c.data.dir = str(data_dir)
    c.members.folds = 3
    c.members.valid_speakers = 1
    c.members.at_once = 1
    c.model = ConfigDict(
        {
            'name': 'conv_bilstm',
            'channels': (4, 8),
            'kernels': (3, 3),
            'strides': ((4, 4), (2, 2)),
            'hidden': 8,
            'dropout': 0.1,
        }
    )
    c.optim.learning_rate = 5e-3
    c.train.epochs = 3
    c.train.batch_size = 8
    c.train.window_s = 0.8
    c.train.checkpoint_every = 1
    c.train.tensorboard = False
    return c
