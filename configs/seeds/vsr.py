"""VSR (hamhochoisg/vsr-voice-sentimental-recognition): negative against positive from 4 s pictures, DenseNet201.

    python -m ser_jax.weights densenet201
    python -m ser_jax.main --config=configs/seeds/vsr.py:own --workdir=runs/seeds/vsr_own

LAB_NOTE
"""

from ser_jax.config import base, published


def get_config(which='speakers_k'):
    """See the module's docstring."""
    own, full = published(which)
    c = base()
    c.data.corpora = ('ravdess', 'cremad', 'tess', 'savee')
    c.data.labels = 'valence'
    c.features.source, c.features.normalize = 'vsr_spectrogram', 'none'
    c.model.name = 'transfer'
    c.model.trunk = 'densenet201'
    c.model.weights = 'imagenet'
    c.model.width = 1.0
    c.loss.class_weights = False
    c.optim.name, c.optim.schedule, c.optim.clip = 'adam', 'constant', 0.0
    c.train.epochs = 10
    c.train.select = 'last'
    if own:
        c.members.protocol, c.members.test_share = 'leaky_holdout', 0.2
    else:
        c.members.folds, c.members.seeds, c.members.valid_speakers = 3, (0, 1, 2) if full else (0,), 0
    return c
