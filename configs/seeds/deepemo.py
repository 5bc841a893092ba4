"""DeepEmo (wolfgangjblack/DeepEmo), its shallow CNN: seven emotions from a spectrogram of 1553 frames.

    python -m ser_jax.main --config=configs/seeds/deepemo.py:own --workdir=runs/seeds/deepemo_own
    python -m ser_jax.main --config=configs/seeds/deepemo.py:speakers_k --workdir=runs/seeds/deepemo_speakers_k

LAB_NOTE
"""

from ser_jax.config import base, published


def get_config(which='speakers_k'):
    """See the module's docstring."""
    own, full = published(which)
    c = base()
    c.data.corpora = ('ravdess', 'tess', 'cremad', 'savee')
    c.data.supported = 'run'
    c.data.channels = ('speech', 'song')
    c.data.emotions = ('angry', 'disgust', 'fearful', 'happy', 'neutral', 'sad', 'surprised')
    c.model.name = 'shallow_cnn'
    c.loss.class_weights = False
    c.optim.name, c.optim.schedule, c.optim.clip = 'adam', 'constant', 0.0
    c.train.select = 'last'
    if own:
        c.data.resident_gb = 1.0  # 2 GB of spectrograms stay on disk: the network takes 200 million parameters' memory
        c.features.source, c.features.normalize = 'linear_spectrogram', 'none'
        c.model.pooled = False
        c.train.epochs = 8 if full else 1
        c.members.protocol, c.members.test_share = 'leaky_holdout', 0.1
    else:
        c.features.source = 'log_mel_100'
        c.model.pooled = True
        c.train.batch_size = 32 if full else 8
        c.train.epochs = 20 if full else 2
        c.members.folds, c.members.seeds, c.members.valid_speakers = 3, (0, 1, 2) if full else (0,), 0
    return c
