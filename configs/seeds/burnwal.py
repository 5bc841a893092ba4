"""S. Burnwal's "speech-emotion-recognition" (Kaggle): 162 statistics, 3 rows a recording, 1-D CNN.

    python -m ser_jax.main --config=configs/seeds/burnwal.py:own --workdir=runs/seeds/burnwal_own

Each recording gives three training rows: as it is, with noise, and stretched and shifted in pitch.
`own` splits those rows at random (`leaky_augmented`), so that 94 % of the test rows have a copy in
training; `speakers_k` uses copies in training only. 557,288 parameters, as published. `-full`: 50
epochs for both.

Score (20 of RAVDESS's 24 actors and parts of CREMA-D, TESS and SAVEE: 34 speakers, 2,282
recordings; 1 seed). `own`, 50 epochs, n = 1,712 rows: accuracy 0.693, 95 % interval by speaker
[0.614, 0.758], UAR 0.694 inflated; published 0.607, n = 9,122. `speakers_k`, 12 epochs, 3 folds, n
= 2,282: UAR 0.365 [0.323, 0.401]. With a known corpus for each recording
(`--config.data.supported=corpus`), it would be 0.396.
Effect of a 16 kHz source: the 162 statistics move by 0.175 (RAVDESS) and 0.055 (SAVEE) of their
spread.
Cost: `own` 6 min, `speakers_k` 4 min (2 cores of an AMD EPYC, jax 0.10.2).
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
    c.optim.name = 'adam'
    c.optim.schedule = 'plateau'
    c.optim.clip = 0.0
    c.optim.weight_decay = 0.0
    c.train.batch_size = 64
    c.train.epochs = 50 if full or own else 12
    c.train.select = 'last'
    if own:
        c.members.protocol = 'leaky_augmented'
        c.members.test_share = 0.25
    else:
        c.members.folds = 3
        c.members.seeds = (0, 1, 2) if full else (0,)
        c.members.valid_speakers = 0
    return c
