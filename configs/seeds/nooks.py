"""Nooks, "Speech Sentiment Analysis with CNNs & LSTMs": ten names, four convolution blocks and a BiLSTM.

    python -m ser_jax.main --config=configs/seeds/nooks.py:own --workdir=runs/seeds/nooks_own

LAB_NOTE
"""

from ser_jax.config import base, published


def get_config(which='speakers_k'):
    """See the module's docstring."""
    own, full = published(which)
    c = base()
    c.data.corpora = ('ravdess',)
    c.data.emotions = (
        'neutral', 'sad', 'calm', 'happy', 'boredom', 'trusting', 'angry', 'fearful', 'disgust', 'surprised',
    )  # fmt: skip
    c.data.unsupported = ('boredom', 'trusting')
    c.features.source = 'log_mel_40_published' if own else 'log_mel_40'
    c.features.normalize = 'none' if own else 'train'
    c.model.name = 'cnn4_bilstm'
    c.loss.class_weights = False
    c.optim.clip = 1.0
    c.train.window_s = 5.3  # all of a recording
    c.train.epochs = 40 if full else 4 if own else 20
    if own:
        c.members.protocol = 'leaky_position'
        c.train.select = 'last'
    else:
        c.members.folds, c.members.seeds = 3, (0, 1, 2) if full else (0,)
    return c
