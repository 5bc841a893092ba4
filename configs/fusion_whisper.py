"""Speech and text fused: whitened states of frozen Whisper base beside the text encoder.

    python -m ser_jax.weights whisper_base
    python -m ser_jax.build datasets/synthetic --config=waveform
    python -m ser_jax.main --config=configs/fusion_whisper.py --workdir=runs/fusion_whisper
    python -m ser_jax.evaluate --runs=runs/fusion_whisper

As configs/fusion.py on the embedded synthetic corpus, no human speech: no number here applies to
people. Averages over time of every layer of the encoder replace the convolutional trunk.
"""

from ml_collections import ConfigDict

from ser_jax.config import base


def get_config() -> ConfigDict:
    """See the module's docstring."""
    c = base()
    c.data.corpora = ('synthetic',)
    c.features.source = 'waveform'
    c.features.input = 'whisper_mel'
    c.features.normalize = 'none'
    c.members.folds = 4
    c.members.valid_speakers = 2
    c.members.only = (0,)
    c.model = ConfigDict({'name': 'fusion_encoder', 'encoder': 'whisper_base', 'layers': ()})
    c.model.embedding = 64
    c.model.fused = 128
    c.model.dropout = 0.5
    c.model.modality_dropout = 0.2
    c.loss.label_smoothing = 0.1
    c.optim.learning_rate = 1e-3
    c.optim.ema = 0.98
    c.train.epochs = 30
    c.train.eval_window_s = 30.0
    return c
