"""Speech-Emotion-Analyzer (MITESHPUTHRANNEU): sex x five emotions from a 216-step curve.

    python -m ser_jax.main --config=configs/seeds/speech_emotion_analyzer.py:own --workdir=runs/seeds/speech_emotion_analyzer_own

LAB_NOTE
"""

from ser_jax.config import base, published


def get_config(which='speakers_k'):
    """See the module's docstring."""
    own, full = published(which)
    c = base()
    c.data.corpora = ('ravdess', 'savee')
    c.data.labels = 'sex_emotion'
    c.data.emotions = tuple(
        f'{sex}_{e}' for sex in ('female', 'male') for e in ('angry', 'calm', 'fearful', 'happy', 'sad')
    )
    c.features.source = 'mfcc_curve'
    c.features.normalize = 'none' if own and full else 'train'
    c.model.name = 'speech_emotion_analyzer'
    c.loss.class_weights = False
    c.optim.name, c.optim.schedule, c.optim.clip = 'rmsprop', 'constant', 0.0
    c.optim.learning_rate = 1e-5 if own and full else 3e-4
    c.train.batch_size = 16
    c.train.epochs = 700 if full else 40
    c.train.select = 'last'
    if own:
        c.members.protocol, c.members.test_share = 'leaky_holdout', 0.2
    else:
        c.members.folds, c.members.seeds, c.members.valid_speakers = 3, (0, 1, 2) if full else (0,), 0
    return c
