"""Frozen encoder of Whisper base and a shrinkage discriminant in closed form.

    python -m ser_jax.weights whisper_base
    python -m ser_jax.build datasets/ravdess --config=waveform --manual_dir=FOLDER
    python -m ser_jax.main --config=configs/whisper.py --workdir=runs/whisper

A recording is computed once; a member is fitted in a second.
"""

from ml_collections import ConfigDict

from ser_jax.config import base


def get_config() -> ConfigDict:
    """Return the config."""
    c = base()
    c.data.corpora = ('ravdess',)
    c.features.source = 'waveform'
    c.features.input = 'whisper_mel'
    c.features.normalize = 'none'
    c.model = ConfigDict(
        {'name': 'speech_encoder', 'encoder': 'whisper_base', 'layers': (2, 3, 4, 5, 6)}
    )
    c.members.seeds = (0,)
    c.train.epochs = 1
    c.train.eval_window_s = 30.0
    c.train.select = 'last'
    c.members.valid_speakers = 0
    return c
