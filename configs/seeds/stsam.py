"""STSaM (basecoder0/STSaM_Demo): happy against sad from a 216-step curve and a text, fused by their decisions.

    python -m ser_jax.main --config=configs/seeds/stsam.py:own --workdir=runs/seeds/stsam_own
    python -m ser_jax.main --config=configs/seeds/stsam.py:speakers_k --workdir=runs/seeds/stsam_speakers_k

LAB_NOTE
"""

from ser_jax.config import base, published


def get_config(which='speakers_k'):
    """See the module's docstring."""
    own, full = published(which)
    c = base()
    c.data.corpora = ('ravdess', 'savee')
    c.data.channels = ('speech', 'song')
    c.data.emotions = ('sad', 'happy')
    c.features.source = 'mfcc_curve'
    c.features.normalize = 'none' if own and full else 'train'
    c.features.max_words = 2500  # all of a review
    c.model.name = 'stsam'
    c.loss.class_weights, c.loss.modalities = False, 0.0 if own else 0.3
    c.optim.name, c.optim.schedule, c.optim.clip = 'adam', 'constant', 0.0
    c.optim.learning_rate = (1e-5 if full else 3e-4) if own else 1e-3
    c.train.epochs = 250 if full else 30 if own else 60
    c.train.select = 'last'
    if own:
        c.data.texts = 'imdb'
        c.members.protocol, c.members.test_share, c.members.valid_share = 'leaky_label_pairing', 0.083, 0.17
    else:
        c.members.folds, c.members.seeds, c.members.valid_speakers = 3, (0, 1, 2) if full else (0,), 0
    return c
