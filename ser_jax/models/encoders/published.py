"""Published files of pretrained encoders: repository, size, SHA-256, licence."""

from typing import NamedTuple

from ser_jax.contract import InputError

FILE = 'model.bin'  # of CTranslate2


class Published(NamedTuple):
    """Files of an encoder as published in a repository of the Hugging Face hub.

    Attributes:
      repository: its name.
      revision: commit or branch.
      files: name -> (size in bytes, SHA-256); none if no file but a pickle is known.
      licence: of the weights.
    """

    repository: str
    revision: str
    files: dict[str, tuple[int, str]]
    licence: str = 'MIT'

    def url(self, file: str) -> str:
        """Return the address of a file."""
        return f'https://huggingface.co/{self.repository}/resolve/{self.revision}/{file}'


WAVLM = 'licence of WavLM: see its card in the hub'
# OpenAI's weights as converted for CTranslate2, float16. The other files of `base` are used by
# faster-whisper for transcripts.
PUBLISHED = {
    'whisper_tiny': Published(
        'Systran/faster-whisper-tiny',
        'main',
        {
            FILE: (
                75_538_270,
                'dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1',
            )
        },
    ),
    'whisper_base': Published(
        'Systran/faster-whisper-base',
        'ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66',
        {
            FILE: (
                145_217_532,
                'd01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9',
            ),
            'config.json': (
                2_309,
                '56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a',
            ),
            'tokenizer.json': (
                2_203_239,
                'fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab',
            ),
            'vocabulary.txt': (
                459_861,
                '34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913',
            ),
        },
    ),
    'whisper_small': Published(
        'Systran/faster-whisper-small',
        'main',
        {
            FILE: (
                483_546_902,
                '3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671',
            )
        },
    ),
    'whisper_medium': Published(
        'Systran/faster-whisper-medium',
        'main',
        {
            FILE: (
                1_527_906_378,
                '9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae',
            )
        },
    ),
    # No .safetensors of these is known, so no size and no SHA-256 are pinned. The large wav2vec 2.0
    # is the one that was only pretrained: fine-tuning on letters takes from its last layers what
    # emotions need. Files of the fine-tuned one (960h-lv60-self) can be read too.
    'wav2vec2_base': Published('facebook/wav2vec2-base', 'main', {}, 'Apache 2.0'),
    'wav2vec2_large': Published('facebook/wav2vec2-large-lv60', 'main', {}, 'Apache 2.0'),
    'hubert_base': Published('facebook/hubert-base-ls960', 'main', {}, 'Apache 2.0'),
    'hubert_large': Published('facebook/hubert-large-ll60k', 'main', {}, 'Apache 2.0'),
    'wavlm_base': Published('microsoft/wavlm-base', 'main', {}, WAVLM),
    'wavlm_base_plus': Published('microsoft/wavlm-base-plus', 'main', {}, WAVLM),
    'wavlm_large': Published('microsoft/wavlm-large', 'main', {}, WAVLM),
}


def licence(name: str) -> str:
    """Return the licence of an encoder's published weights."""
    return PUBLISHED[name].licence if name in PUBLISHED else 'licence of its publisher'


def repositories(name: str) -> list[str]:
    """Return the repositories with an encoder's weights; the last has those of transformers."""
    found = [PUBLISHED[name].repository] if name in PUBLISHED else []
    return [*found, f'openai/{name.replace("_", "-")}'] if name.startswith('whisper_') else found


def downloadable(name: str) -> Published:
    """Return the published files of an encoder.

    Raises:
      InputError: none is pinned; the message has another way to get them.
    """
    if name in PUBLISHED and PUBLISHED[name].files:
        return PUBLISHED[name]
    if name in PUBLISHED:
        raise InputError(
            f'no .safetensors of {name} is known, and the pickle in {PUBLISHED[name].repository} '
            f'is not read; {conversion(name)}'
        )
    raise InputError(
        f'no file of {name} is pinned; download its .safetensors yourself and give --from=FILE'
    )


def conversion(name: str) -> str:
    """Return the advice to convert a pickle of PyTorch to `.safetensors`."""
    return (
        f"convert it with transformers, AutoModel.from_pretrained('{repositories(name)[-1]}')"
        f".save_pretrained('NEW'), and import it: python -m ser_jax.weights {name} --from=NEW"
    )
