"""Pretrained speech encoders by name."""

from ser_jax.contract import InputError
from ser_jax.models.encoders import wav2vec2, wavlm, whisper

Encoder = whisper.Encoder | wav2vec2.Encoder
ENCODERS: dict[str, type[whisper.Encoder] | type[wav2vec2.Encoder]] = {
    **dict.fromkeys(whisper.SIZES, whisper.Encoder),
    **dict.fromkeys(wav2vec2.SIZES, wav2vec2.Encoder),
    **dict.fromkeys(wavlm.SIZES, wavlm.Encoder),
}


def by_name(name: str):
    """Return the class of an encoder.

    Raises:
      InputError: there is no such encoder.
    """
    if name not in ENCODERS:
        raise InputError(f'model.encoder={name!r} is not known; known are {", ".join(ENCODERS)}')
    return ENCODERS[name]
