"""Every knob of an experiment: default, range or choices, unit and meaning.

A config file sets only the knobs that differ. Setting a key that does not exist raises an error
that names the nearest one.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from ser_jax.contract import CHANNELS, InputError


class Knob(NamedTuple):
    """One setting of an experiment.

    Attributes:
      default: the value unless a config file or the command line sets another.
      least, most: inclusive range; for a tuple, of each entry.
      above: exclusive lower bound.
      choices: the allowed words; for a tuple, of each entry.
      entries: number of entries of a tuple that is not empty.
      whole: the entries of a tuple are whole numbers.
    """

    default: Any
    least: float | None = None
    most: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    entries: int | None = None
    whole: bool = False


DATA = {
    'corpora': Knob(('synthetic',)),  # built corpora, by name
    'dir': Knob(''),  # directory of the built corpora; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    'channels': Knob(('speech',), choices=CHANNELS),  # for training and scoring
    'train_only_channels': Knob((), choices=CHANNELS),  # for training only, of training speakers
    # The classes: emotions, negative against positive (sadness is negative), or sex x emotion.
    'labels': Knob('emotion', choices=('emotion', 'valence', 'sex_emotion')),
    'merge': Knob(()),  # emotions counted as others, e.g. ('calm:neutral',)
    'emotions': Knob(()),  # the classes; () = all that the corpora contain
    'unsupported': Knob(()),  # of data.emotions, those that may lack examples: never answered
    # The classes an answer is chosen from: those of all corpora of the 'run', as for a recording of
    # unknown origin, or of the utterance's own 'corpus', as if its origin were known; the protocol
    # column of the scores then has 'corpus known'.
    'supported': Knob('run', choices=('run', 'corpus')),
    # Training only: variants of waveform (`audio.variants.CHANGES`, e.g. speed_92), or of corpora
    # built as stats162_variants: noise | stretch_pitch | stretch | pitch | shift.
    'variants': Knob(()),
    'variants_heard': Knob('all', choices=('all', 'one')),  # per epoch; one = drawn by seed
    'texts': Knob(''),  # built corpus of texts, for protocol='leaky_label_pairing'
    'resident_gb': Knob(4.0, least=0),  # larger features stream from disk through Grain, same order
}
FEATURES = {
    # The builder config to read: log_mel | waveform (the step computes log-mel) | a published front
    # end: mfcc_curve | stats162 | linear_spectrogram | log_mel_100 | vsr_spectrogram | log_mel_40 |
    # log_mel_40_published
    'source': Knob('log_mel'),
    # The front end of the model, computed from waveform inside the step; '' = as stored, log_mel
    # for waveform.
    'input': Knob(''),
    # Features relative to the mean of unlabeled recordings of their speaker, for frozen encoders:
    # none | enrolled:k (k of each speaker, never scored) | all. Such scores are transductive.
    'speaker_norm': Knob('none'),
    'speaker_seed': Knob(0, least=0),  # of the choice of the enrolled recordings
    # Of k enrolled recordings the mean counts k / (k + this): a mean over few is uncertain.
    'speaker_prior': Knob(2.0, least=0),
    'trim_db': Knob(0.0, least=0),  # trim edge frames this many dB below the loudest; 0 = off
    # Mean and deviation per band: of the member's training side, of each window, or none.
    'normalize': Knob('train', choices=('train', 'window', 'none')),
    'max_words': Knob(32, least=1),  # longer texts are cut to this many words
}
MEMBERS = {
    'protocol': Knob('speakers_k'),  # a name of ser_jax/data/protocols.py; '?' lists them
    'folds': Knob(5, least=2),  # number of folds, where the protocol takes one
    'folds_file': Knob(''),  # protocol='from_file': JSON, test (and valid) entries per fold
    'seeds': Knob((0,), least=0, whole=True),  # members = folds x seeds
    'test_share': Knob(0.2, least=0, most=1),  # of the utterances, protocol='leaky_holdout'
    'valid_share': Knob(0.0, least=0, most=1),  # likewise
    'only': Knob((), least=0, whole=True),  # indices of the members to train; () = all
    'valid_speakers': Knob(2, least=0),  # of the training side, sexes in turn; choose the epoch
    'at_once': Knob(0, least=0),  # members per compiled step; 0 = one per CPU device, else up to 64
}
AUGMENT = {
    'speed': Knob(0.0, least=0, most=0.9),  # resample frames at a rate drawn from 1 -+ this
    'gain_db': Knob(0.0, least=0),  # offset drawn from -+ this, dB
    'band_shift': Knob(0, least=0),  # shift of the bands, a whole number drawn from -+ this
    'scored_shifts': Knob(0, least=0, most=8),  # scoring averages over all shifts within -+ this
    'time_masks': Knob(0, least=0),  # SpecAugment: number of time masks
    'time_mask_s': Knob(0.0, least=0),  # their largest width, s
    'band_masks': Knob(0, least=0),  # SpecAugment: number of frequency masks
    'band_mask': Knob(0, least=0),  # their largest width, bands
    'mixup': Knob(0.0, least=0),  # weights of utterance pairs from Beta(mixup, mixup); 0 = off
    'noise_snr_db': Knob((), entries=2),  # SNR range of added white to pink noise; waveform only
    'noise_probability': Knob(0.5, least=0, most=1),
    'reverb_s': Knob((), above=0, entries=2),  # T60 range of a synthetic room; waveform only
    'reverb_probability': Knob(0.3, least=0, most=1),
}
LOSS = {
    'label_smoothing': Knob(0.0, least=0, most=0.99),
    'class_weights': Knob(True),  # weight classes by 1 / frequency on the training side
    'modalities': Knob(0.3, least=0),  # weight of audio-only and text-only losses beside the fused
}
OPTIM = {
    # With Keras' constants for adam and rmsprop.
    'name': Knob('adamw', choices=('adamw', 'adam', 'rmsprop', 'sgd')),
    'learning_rate': Knob(1e-3, above=0),  # peak
    # To 0 at the end | constant | lowered whenever the training loss of an epoch does not fall.
    'schedule': Knob('cosine', choices=('cosine', 'constant', 'plateau')),
    'plateau': Knob((0.4, 2, 1e-7), above=0, entries=3),  # factor, patience in epochs, lowest rate
    'warmup': Knob(0.1, least=0, most=1),  # share of all steps with a rising rate; 'cosine' only
    'weight_decay': Knob(1e-2, least=0),  # adamw only; matrices and kernels, not biases and scales
    'clip': Knob(1.0, least=0),  # global gradient norm; 0 = off
    # The parameters that are trained, a regular expression searched in their paths (e.g. 'encoder/'
    # or 'lora'); '' = all. The others keep their first values.
    'trainable': Knob(''),
    # Learning rates of groups: entries 'pattern=factor', the first match counts.
    'rates': Knob(()),
    'ema': Knob(0.0, least=0, most=0.99999),  # decay of the validated and kept average; 0 = off
}
TRAIN = {
    'epochs': Knob(80, least=1),
    'batch_size': Knob(32, least=1),  # utterances per step and member
    'window_s': Knob(3.0, least=0.1),  # length of the random training windows, s
    'eval_window_s': Knob(10.0, least=0.1),  # longest scored window, s; beyond: half-overlapping
    # The epoch that is kept: highest UAR or lowest loss on the validation speakers, or the last.
    'select': Knob('uar', choices=('uar', 'loss', 'last')),
    'select_over': Knob(1, least=1),  # epochs of the exponential average of the compared score
    'checkpoint_every': Knob(5, least=1),  # epochs
    'keep': Knob(2, least=1),  # newest checkpoints kept
    'steps_per_dispatch': Knob(0, least=0),  # 0 = 1 on a CPU, 16 on an accelerator
    'bfloat16': Knob(False),  # compute in bfloat16, parameters stay float32
    'tensorboard': Knob(True),
}
_NUMBERS = {2: 'two', 3: 'three'}
SECTIONS = {
    'data': DATA,
    'features': FEATURES,
    'members': MEMBERS,
    'model': {},  # `name` is a file of ser_jax/models; the rest are its constructor's arguments
    'augment': AUGMENT,
    'loss': LOSS,
    'optim': OPTIM,
    'train': TRAIN,
}
# Ranges of the networks' arguments, by their common names; the defaults are in ser_jax/models.
MODEL = {
    'channels': Knob((), least=1, whole=True),
    'dense': Knob((), least=1, whole=True),
    'kernels': Knob((), least=1, whole=True),
    'strides': Knob((), least=1, whole=True),
    'hidden': Knob(0, least=1),
    'embedding': Knob(0, least=1),
    'fused': Knob(0, least=1),
    'most_words': Knob(0, least=1),
    'steps': Knob(0, least=1),
    'adapted': Knob(0, least=0),
    'rank': Knob(0, least=0),
    'dropout': Knob(0.0, least=0, most=0.99),
    'audio_dropout': Knob(0.0, least=0, most=0.99),
    'modality_dropout': Knob(0.0, least=0, most=0.99),
}


def base() -> ConfigDict:
    """Return the defaults, on the synthetic corpus; config files add the knobs of `model`."""
    sections = {}
    for section, knobs in SECTIONS.items():
        sections[section] = ConfigDict({name: knob.default for name, knob in knobs.items()})
    return ConfigDict(sections)


def published(variant: str) -> tuple[bool, bool]:
    """Return the variant of a config of configs/seeds/: (under its own protocol, published budget).

    Args:
      variant: 'own' or 'speakers_k', with '-full' appended for the published epochs, where they are
        known, and three seeds of speakers_k.
    """
    protocol, _, budget = variant.partition('-')
    if protocol not in ('own', 'speakers_k') or budget not in ('', 'full'):
        raise ValueError(
            f'{variant!r} is no variant of this config; known are own, own-full, speakers_k, '
            'speakers_k-full'
        )
    return protocol == 'own', bool(budget)


def completed(stored: dict) -> ConfigDict:
    """Return a stored config of an earlier version, with later knobs set to keep its meaning."""
    config = base()
    # The only behaviors before the knobs existed.
    config.data.supported, config.features.speaker_prior = 'corpus', 0.0
    for section, knobs in stored.items():
        with config.unlocked():
            config[section] = (
                ConfigDict({**config.get(section, {}), **knobs})
                if isinstance(knobs, dict)
                else knobs
            )
    return config


def differences(then: dict, now: dict) -> dict[str, tuple]:
    """Return the knobs that differ between two configs (JSON): 'train.epochs' -> (then, now)."""
    a, b = _flat(then), _flat(now)
    return {k: (a.get(k), b.get(k)) for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)}


def _flat(tree: dict, prefix: str = '') -> dict:
    out = {}
    for key, value in tree.items():
        out.update(
            _flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value}
        )
    return out


def check_ranges(config: ConfigDict) -> None:
    """Refuse values outside of the knobs' ranges; of model.*, check the knobs that the config sets.

    Raises:
      InputError: the first such knob, its value and its range.
    """
    for section, knobs in SECTIONS.items():
        for name, knob in (MODEL if section == 'model' else knobs).items():
            if name in config[section]:
                _check(f'{section}.{name}', config[section][name], knob)
    _check_blocks(config.model)
    for name in ('noise_snr_db', 'reverb_s'):
        if (pair := config.augment[name]) and pair[0] > pair[1]:
            raise InputError(f'augment.{name} must be (lowest, highest), got {tuple(pair)}')
    optim = config.optim
    if optim.plateau[0] >= 1:
        raise InputError(
            f'the factor of optim.plateau must be below 1, got {tuple(optim.plateau)}, which never '
            'lowers the rate'
        )
    if optim.weight_decay and optim.name != 'adamw':
        raise InputError(
            f'optim.weight_decay={optim.weight_decay} has no effect with optim.name='
            f"{optim.name!r}; set it to 0, or optim.name='adamw'"
        )


def _check_blocks(model: ConfigDict) -> None:
    """Refuse channels, kernels and strides that describe no convolution blocks."""
    lengths = {k: len(model[k]) for k in ('channels', 'kernels', 'strides') if k in model}
    if len(set(lengths.values())) > 1:
        raise InputError(
            'model.channels, kernels and strides must have one entry per block each, got '
            f'{", ".join(f"{n} {name}" for name, n in lengths.items())}'
        )
    if wrong := [stride for stride in model.get('strides', ()) if np.shape(stride) != (2,)]:
        raise InputError(f'model.strides must have two numbers per block, got {wrong[0]}')
    if even := [k for k in model.get('kernels', ()) if k % 2 == 0]:
        raise InputError(f'model.kernels must be odd, so that they have a middle, got {even[0]}')


def _check(name: str, value: Any, knob: Knob) -> None:
    if knob.choices:
        words = value if isinstance(value, (tuple, list)) else (value,)
        if wrong := [word for word in words if word not in knob.choices]:
            raise InputError(f'{name} must be one of {", ".join(knob.choices)}, got {wrong[0]!r}')
    if knob.entries and len(value) not in (
        {0, knob.entries} if knob.default == () else {knob.entries}
    ):
        raise InputError(f'{name} must have {_NUMBERS[knob.entries]} numbers, got {tuple(value)}')
    limits = [(knob.least, 'at least'), (knob.above, 'more than'), (knob.most, 'at most')]
    expected = ' and '.join(f'{word} {limit}' for limit, word in limits if limit is not None)
    if not expected and not knob.entries:
        return
    kinds = (int, np.integer) if knob.whole else (int, float, np.number)
    numbers = list(_leaves(value))
    if not all(isinstance(x, kinds) and not isinstance(x, bool) for x in numbers):
        raise InputError(f'{name} must be {"whole " if knob.whole else ""}numbers, got {value!r}')
    low = -math.inf if knob.least is None else knob.least
    high = math.inf if knob.most is None else knob.most
    inside = [
        low <= x <= high and math.isfinite(x) and (knob.above is None or x > knob.above)
        for x in numbers
    ]
    if not all(inside):
        raise InputError(f'{name} must be {expected or "finite"}, got {value}')


def _leaves(value: Any) -> Iterator:
    if isinstance(value, (tuple, list)):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield value
