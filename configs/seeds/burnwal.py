"""S. Burnwal's Kaggle notebook "speech-emotion-recognition": 162 statistics, three rows a recording, a 1-D CNN.

    python -m ser_jax.main --config=configs/seeds/burnwal.py:own --workdir=runs/seeds/burnwal_own

LAB_NOTE
"""

from ser_jax.config import base, published


def get_config(which='speakers_k'):
    """See the module's docstring."""
    own, full = published(which)
    c = base()
    c.data.corpora = ('ravdess', 'cremad', 'tess', 'savee')
    c.data.variants = ('noise', 'stretch_pitch')
    c.features.source = 'stats162'
    c.model.name = 'burnwal'
    c.loss.class_weights = False
    c.optim.name, c.optim.schedule, c.optim.clip = 'adam', 'plateau', 0.0
    c.train.batch_size = 64
    c.train.epochs = 50 if full or own else 12
    c.train.select = 'last'
    if own:
        c.members.protocol, c.members.test_share = 'leaky_augmented', 0.25
    else:
        c.members.folds, c.members.seeds, c.members.valid_speakers = 3, (0, 1, 2) if full else (0,), 0
    return c
