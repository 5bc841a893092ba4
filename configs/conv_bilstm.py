"""Conv+BiLSTM on RAVDESS, speaker-independent."""

from ser_jax.config import base


def get_config():
    """See the module's docstring."""
    c = base()
    c.data.corpora = ('ravdess',)
    c.data.train_only_channels = ('song',)
    c.features.trim_db = 40.0
    c.members.folds = 5
    c.members.seeds = (0, 1, 2)
    c.model.name = 'conv_bilstm'
    c.model.channels = (16, 32, 64, 64)
    c.model.kernels = (5, 3, 3, 3)
    c.model.strides = ((4, 2), (2, 2), (1, 2), (1, 2))
    c.model.hidden = 64
    c.model.dropout = 0.3
    c.augment.speed = 0.15
    c.augment.gain_db = 6.0
    c.augment.band_shift = 3
    c.augment.time_masks = 1
    c.augment.time_mask_s = 0.3
    c.augment.band_masks = 1
    c.augment.band_mask = 8
    c.loss.label_smoothing = 0.1
    c.optim.learning_rate = 2.5e-3
    c.optim.ema = 0.99
    c.train.epochs = 50
    c.train.window_s = 2.0
    return c
