r"""STSaM (basecoder0/STSaM_Demo): happy / sad from a 216-step curve and a text, fused by decisions.

    python -m ser_jax.main --config=configs/seeds/stsam.py:own --workdir=runs/seeds/stsam_own
    python -m ser_jax.main --config=configs/seeds/stsam.py:speakers_k \
        --workdir=runs/seeds/stsam_speakers_k

`own` pairs each utterance with an IMDb review of its label (`leaky_label_pairing`): the text then
carries the answer, and speakers are on both sides. `speakers_k` uses the spoken text, which in
these corpora is independent of the emotion. 462,571 parameters, as published
(`--config.model.reader=rnn` encodes the text by two recurrent layers instead). `own-full` is the
published budget, 250 epochs at 1e-5 without normalization, which trains little in a quick run;
otherwise features are normalized and the rate is 3e-4, over 30 epochs (`own`), 60 (`speakers_k`)
and 250 (`speakers_k-full`). At 1e-3 the training loss of `speakers_k` does not fall. The answer of
a branch alone is the output of the last layer with the other branch neutral.

Score (20 of RAVDESS's 24 actors, speech and song; 3 of SAVEE's 4 speakers; 1 seed). `own`, n = 59:
accuracy 0.797, 95 % interval by speaker [0.696, 0.897], UAR 0.781 inflated, text alone 0.630, audio
alone 0.755; published 0.671 and 0.726, n = 73. `speakers_k`, 3 folds, n = 713: UAR 0.697 [0.645,
0.753], audio alone 0.697, text alone 0.500 (chance 0.5).
A 44.1 kHz front end on 16 kHz recordings: against their native originals the curve moves by 0.042
(RAVDESS) and 0.006 (SAVEE) of its spread.
Cost: `own` 1 min, `speakers_k` 3 min (2 cores of an AMD EPYC, jax 0.10.2).
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
    c.model.reader = 'mlp'
    c.loss.class_weights = False
    c.loss.modalities = 0.0
    c.optim.name = 'adam'
    c.optim.schedule = 'constant'
    c.optim.clip = 0.0
    c.optim.weight_decay = 0.0
    c.optim.learning_rate = 1e-5 if own and full else 3e-4
    c.train.epochs = 250 if full else 30 if own else 60
    c.train.select = 'last'
    if own:
        c.data.texts = 'imdb'
        c.members.protocol = 'leaky_label_pairing'
        c.members.test_share = 0.083
        c.members.valid_share = 0.17
    else:
        c.members.folds = 3
        c.members.seeds = (0, 1, 2) if full else (0,)
        c.members.valid_speakers = 0
    return c
