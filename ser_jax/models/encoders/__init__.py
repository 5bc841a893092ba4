"""Pretrained speech encoders by name."""

from ser_jax.contract import InputError
from ser_jax.models.encoders import whisper

ENCODERS = {name: whisper.Encoder for name in whisper.SIZES}


def by_name(name: str):
    """Return the class of an encoder.

    Raises:
      InputError: there is no such encoder.
    """
    if name not in ENCODERS:
        raise InputError(f'model.encoder={name!r} is not known; known are {", ".join(ENCODERS)}')
    return ENCODERS[name]
