"""Conv+BiLSTM on RAVDESS, speaker-independent."""

from ser_jax.config import base


def get_config():
    """See the module's docstring."""
    c = base()
    c.data.corpora = ('ravdess',)
    c.data.train_only_channels = ('song',)
    c.model.name = 'conv_bilstm'
    return c
