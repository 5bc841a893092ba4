"""DeepEmo's transfer model: a convolution from one channel to three, a frozen InceptionV3, one dense layer.

    python -m ser_jax.weights inception_v3
    python -m ser_jax.main --config=configs/seeds/deepemo_transfer.py:own --workdir=runs/seeds/deepemo_transfer_own

LAB_NOTE
"""

from ser_jax.config import base, published


def get_config(which='speakers_k'):
    """See the module's docstring."""
    own, full = published(which)
    c = base()
    c.data.corpora = ('ravdess', 'tess', 'cremad', 'savee')
    c.data.channels = ('speech', 'song')
    c.data.emotions = ('angry', 'disgust', 'fearful', 'happy', 'neutral', 'sad', 'surprised')
    c.data.resident_gb = 1.0
    c.features.source, c.features.normalize = 'linear_spectrogram', 'none'
    c.model.name = 'transfer'
    c.model.trunk = 'inception_v3'
    c.model.view = 'adapter'
    c.model.weights = 'imagenet'
    c.model.dense = ()
    c.model.trainable = ()
    c.loss.class_weights = False
    c.optim.name, c.optim.schedule, c.optim.clip = 'adam', 'constant', 0.0
    c.train.epochs = 50 if full else 5
    c.train.select = 'last'
    if own:
        c.members.protocol, c.members.test_share = 'leaky_holdout', 0.1
    else:
        c.members.folds, c.members.seeds, c.members.valid_speakers = 3, (0, 1, 2) if full else (0,), 0
    return c
