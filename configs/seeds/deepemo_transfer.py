r"""DeepEmo's transfer model: a convolution from 1 to 3 channels, frozen InceptionV3, a dense layer.

    pip install -e '.[weights]'
    python -m ser_jax.weights inception_v3
    python -m ser_jax.main --config=configs/seeds/deepemo_transfer.py:own \
        --workdir=runs/seeds/deepemo_transfer_own

`own` is the published split, a random tenth; the input image is the magnitude of 1553 x 257 without
logarithm. 14,373 parameters are trained, as published; the outputs of the frozen trunk are not
cached, because the first convolution before it is trained.

Score: not measured, as it needs ImageNet weights; the code was run on random weights. Published:
accuracy about 0.70, n not stated. Once measured, UAR with its interval belongs here.
Cost: not measured; every step goes through all of InceptionV3, so on 2 cores expect hours rather
than min.
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
    c.features.source = 'linear_spectrogram'
    c.features.normalize = 'none'
    c.model.name = 'transfer'
    c.model.trunk = 'inception_v3'
    c.model.view = 'adapter'
    c.model.weights = 'imagenet'
    c.model.dense = ()
    c.model.trainable = ()
    c.loss.class_weights = False
    c.optim.name = 'adam'
    c.optim.schedule = 'constant'
    c.optim.clip = 0.0
    c.optim.weight_decay = 0.0
    c.train.epochs = 50 if full else 5
    c.train.select = 'last'
    if own:
        c.members.protocol = 'leaky_holdout'
        c.members.test_share = 0.1
    else:
        c.members.folds = 3
        c.members.seeds = (0, 1, 2) if full else (0,)
        c.members.valid_speakers = 0
    return c
