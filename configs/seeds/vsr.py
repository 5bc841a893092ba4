"""VSR (hamhochoisg/vsr-voice-sentimental-recognition): negative / positive, 4 s images, DenseNet.

    pip install -e '.[weights]'
    python -m ser_jax.weights densenet201
    python -m ser_jax.main --config=configs/seeds/vsr.py:own --workdir=runs/seeds/vsr_own

Windows of 4 s, the tail included, as images of 128 mels; anger, disgust, fear and sadness are
negative, the rest positive. The trunk is DenseNet201. 774,914 parameters are trained, as published;
the outputs of the layers before them are computed once per window and cached on disk.
`--config.model.weights=none --config.model.width=0.25` trains a narrower trunk from scratch
instead, under its own name.

Score: not measured, as it needs ImageNet weights; the code was run on random weights (SAVEE).
Published: validation loss 0.967, n not stated, above ln 2. Once measured, UAR, AUC and calibration
with their interval belong here.
Effect of a 16 kHz source: the images move by 0.036 (RAVDESS) and 0.012 (SAVEE) of their spread.
Cost: not measured in full; 517 frozen windows take 1.5 min, once (2 cores of an AMD EPYC, jax
0.10.2).
"""

from ser_jax.config import base, published


def get_config(which='speakers_k'):
    """See the module's docstring."""
    own, full = published(which)
    c = base()
    c.data.corpora = ('ravdess', 'cremad', 'tess', 'savee')
    c.data.labels = 'valence'
    c.features.source = 'vsr_spectrogram'
    c.features.normalize = 'none'
    c.model.name = 'transfer'
    c.model.trunk = 'densenet201'
    c.model.weights = 'imagenet'
    c.model.width = 1.0
    c.loss.class_weights = False
    c.optim.name = 'adam'
    c.optim.schedule = 'constant'
    c.optim.clip = 0.0
    c.optim.weight_decay = 0.0
    c.train.epochs = 10
    c.train.select = 'last'
    if own:
        c.members.protocol = 'leaky_holdout'
        c.members.test_share = 0.2
    else:
        c.members.folds = 3
        c.members.seeds = (0, 1, 2) if full else (0,)
        c.members.valid_speakers = 0
    return c
