"""Every knob once: its default, its unit, its meaning. A config file changes what differs and nothing else.

Setting a key that is not here is an error that names the nearest one that is.
"""

import numpy as np
from ml_collections import ConfigDict

from ser_jax.contract import InputError


def base() -> ConfigDict:
    """The defaults, on the embedded synthetic corpus; which network it is, and its knobs, a config file adds in `model`."""
    c = ConfigDict()
    c.data = _data()
    c.features = _features()
    c.members = _members()
    c.model = ConfigDict()  # `name` is a file of ser_jax/models; the rest are its constructor's arguments
    c.augment = _augment()
    c.loss = _loss()
    c.optim = _optim()
    c.train = _train()
    return c


def published(which: str) -> tuple[bool, bool]:
    """What is asked of a config of configs/seeds/: (under its own protocol, with the published budget).

    Args:
      which: 'own' or 'speakers_k', and '-full' after it for the published epochs, where they are known, and three seeds of
        speakers_k.
    """
    protocol, _, budget = which.partition('-')
    if protocol not in ('own', 'speakers_k') or budget not in ('', 'full'):
        raise ValueError(
            f'{which!r} is no variant of this config; known are own, own-full, speakers_k, speakers_k-full'
        )
    return protocol == 'own', bool(budget)


def completed(stored: dict) -> ConfigDict:
    """A config as an earlier version may have written it, with the knobs that came later as they are by default."""
    config = base()
    for section, knobs in stored.items():
        with config.unlocked():
            config[section] = ConfigDict({**config.get(section, {}), **knobs}) if isinstance(knobs, dict) else knobs
    return config


def differences(then: dict, now: dict) -> dict[str, tuple]:
    """The knobs in which two configs, as their JSON gives them, differ: 'train.epochs' -> (then, now), in order."""
    a, b = _flat(then), _flat(now)
    return {k: (a.get(k), b.get(k)) for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)}


def _flat(tree: dict, prefix: str = '') -> dict:
    out = {}
    for key, value in tree.items():
        out.update(_flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value})
    return out


def check_ranges(config: ConfigDict) -> None:
    """Refuses numbers that no experiment can have; of model.* those that have ranges, where the config gives them."""
    lengths = {k: len(config.model[k]) for k in ('channels', 'kernels', 'strides') if k in config.model}
    if len(set(lengths.values())) > 1:
        raise InputError(f'model.channels, kernels and strides have {lengths} entries; expected one of each per block')
    pairs = [('model.strides', stride) for stride in config.model.get('strides', ())]
    pairs += [(f'augment.{k}', config.augment[k]) for k in ('noise_snr_db', 'reverb_s') if config.augment[k]]
    if wrong := [(knob, value) for knob, value in pairs if np.shape(value) != (2,)]:
        raise InputError(f'{wrong[0][0]} has {wrong[0][1]}; expected two numbers')
    for knob, (least, most) in RANGES.items():
        section, name = knob.split('.')
        value = config[section].get(name, least)
        if not np.all((least <= np.array(value)) & (np.array(value) <= (float('inf') if most is None else most))):
            raise InputError(
                f'{knob}={value} cannot be; expected at least {least}' + (f' and at most {most}' if most else '')
            )
    if even := [k for k in config.model.get('kernels', ()) if k % 2 == 0]:
        raise InputError(f'model.kernels names {even[0]}; expected odd numbers, which have a middle')
    if wrong := [s for s in config.members.seeds if s < 0]:
        raise InputError(f'members.seeds names {wrong[0]}; expected numbers from 0')


def with_lists_split(config: ConfigDict) -> ConfigDict:
    """The config with lists of words as a command line gives them, `ravdess,tess`, taken apart at their commas."""
    for section in config.values():
        if isinstance(section, ConfigDict):
            for key, value in section.items():
                if isinstance(value, tuple) and value and all(isinstance(v, str) for v in value):
                    section[key] = tuple(word.strip() for v in value for word in v.split(',') if word.strip())
    return config


def _data() -> ConfigDict:
    d = ConfigDict()
    d.corpora = ('synthetic',)  # built corpora, by name
    d.dir = ''  # where `tfds build` put the shards; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets
    d.channels = ('speech',)  # vocal channels that are trained on and scored
    d.train_only_channels = ()  # further channels for the training side alone, e.g. ('song',) of the training actors
    d.labels = (
        'emotion'  # what is told apart: emotion | valence (negative, positive; sadness is negative) | sex_emotion
    )
    d.merge = ()  # emotions counted as others, e.g. ('calm:neutral',)
    d.emotions = ()  # which emotions to tell apart; () = all that the corpora hold
    d.unsupported = ()  # of data.emotions, those that may lack examples: on the head, masked wherever an answer is given
    # What an answer is chosen from: the emotions that the utterance's 'corpus' can show, as if it were known where a recording
    # comes from, or all that the corpora of the 'run' show together, as for a stranger's recording.
    d.supported = 'corpus'
    d.variants = ()  # of each recording, for the training side alone: noise | stretch | pitch | shift | stretch_pitch
    d.variants_heard = 'all'  # in every epoch: 'all' of them and the recording itself, or 'one' of these, drawn by seed
    d.texts = ''  # built corpus of texts that protocol='leaky_label_pairing' puts beside utterances by their label
    d.resident_gb = 4.0  # features above this stay on disk and stream through Grain, in the same order
    return d


def _features() -> ConfigDict:
    f = ConfigDict()
    # The builder config to read: log_mel | waveform (log-mel is then computed inside the step) | a published front end:
    # mfcc_curve | stats162 | linear_spectrogram | log_mel_100 | vsr_spectrogram | log_mel_40 | log_mel_40_published
    f.source = 'log_mel'
    f.trim_db = 0.0  # before the first and after the last frame this close to an utterance's loudest nothing is heard; 0 = all is
    # Mean and deviation per band: of the member's training side ('train'), of each 'window' heard, or as it is ('none').
    f.normalize = 'train'
    f.max_words = 32  # words of a text that are read
    return f


def _members() -> ConfigDict:
    m = ConfigDict()
    m.protocol = 'speakers_k'  # a function of ser_jax/data/folds.py
    m.folds = 5  # folds, where the protocol takes a number
    m.folds_file = ''  # protocol='from_file': JSON with the test (and valid) speakers of each fold
    m.seeds = (0,)  # members = folds x seeds
    m.test_share = 0.2  # of the utterances, protocol='leaky_holdout'
    m.valid_share = 0.0  # likewise
    m.only = ()  # indices of the members to train; () = all
    m.valid_speakers = 2  # speakers taken from the training side to choose the epoch, sexes in turn
    m.at_once = 0  # members that share one compiled step; 0 = one a device on a CPU, else up to 64, as many on each
    return m


def _augment() -> ConfigDict:
    a = ConfigDict()
    a.speed = 0.0  # frames are resampled at a rate drawn from 1 -+ this
    a.gain_db = 0.0  # an offset drawn from -+ this, in dB
    a.band_shift = 0  # bands are shifted by a whole number drawn from -+ this
    a.scored_shifts = 0  # scoring averages the answers for bands shifted by every whole number within -+ this
    a.time_masks = 0  # SpecAugment: how many time masks
    a.time_mask_s = 0.0  # their largest width
    a.band_masks = 0  # SpecAugment: how many frequency masks
    a.band_mask = 0  # their largest width, bands
    a.mixup = 0.0  # Beta(mixup, mixup) weights between two utterances of a batch; 0 = off
    a.noise_snr_db = ()  # (lowest, highest): white to pink noise is added; waveform source only
    a.noise_probability = 0.5
    a.reverb_s = ()  # (shortest, longest) decay time T60 of a synthetic room; waveform source only
    a.reverb_probability = 0.3
    return a


def _loss() -> ConfigDict:
    loss = ConfigDict()
    loss.label_smoothing = 0.0
    loss.class_weights = True  # weight classes by 1 / frequency on the training side
    loss.modalities = 0.3  # weight of the audio-only and text-only losses beside the fused one (fusion models)
    return loss


def _optim() -> ConfigDict:
    o = ConfigDict()
    o.name = 'adamw'  # adamw | adam | rmsprop (both with Keras' constants) | sgd
    o.learning_rate = 1e-3  # peak
    o.schedule = 'cosine'  # to 0 at the end | constant | plateau: falls where the training loss of an epoch does not
    o.plateau = (0.4, 2, 1e-7)  # factor, epochs without a better loss, lowest rate
    o.warmup = 0.1  # share of all steps over which it rises from 0; 'cosine' only
    o.weight_decay = 1e-2  # on matrices and kernels, not on biases and scales
    o.clip = 1.0  # global gradient norm; 0 = off
    o.ema = 0.0  # decay of the averaged parameters that are validated and kept; 0 = off
    return o


def _train() -> ConfigDict:
    t = ConfigDict()
    t.epochs = 80
    t.batch_size = 32  # utterances a step, per member
    t.window_s = 3.0  # training sees a random window of this length
    t.eval_window_s = (
        10.0  # scoring hears up to this at once; longer recordings are averaged over half-overlapping windows
    )
    t.select = (
        'uar'  # which epoch is kept: highest UAR or lowest loss on the validation speakers ('uar', 'loss') | 'last'
    )
    t.select_over = 1  # epochs over which that score is averaged (exponentially) before epochs are compared
    t.checkpoint_every = 5  # epochs
    t.keep = 2  # newest checkpoints kept
    t.steps_per_dispatch = 0  # 0 = 1 on a CPU, 16 on an accelerator
    t.bfloat16 = False  # compute in bfloat16, parameters stay float32
    t.tensorboard = True
    return t


# Knob -> (its least value, its largest or None); what lies outside can only be a slip.
RANGES = {
    'data.resident_gb': (0, None),
    'features.max_words': (1, None),
    'members.folds': (2, None),
    'members.valid_speakers': (0, None),
    'members.test_share': (0, 1),
    'members.valid_share': (0, 1),
    'members.at_once': (0, None),
    'model.channels': (1, None),
    'model.kernels': (1, None),
    'model.strides': (1, None),
    'model.hidden': (1, None),
    'model.embedding': (1, None),
    'model.fused': (1, None),
    'model.dropout': (0, 0.99),
    'model.modality_dropout': (0, 0.99),
    'augment.speed': (0, 0.9),
    'augment.mixup': (0, None),
    'augment.scored_shifts': (0, 8),
    'loss.label_smoothing': (0, 0.99),
    'optim.warmup': (0, 1),
    'optim.clip': (0, None),
    'optim.ema': (0, 0.99999),
    'train.epochs': (1, None),
    'train.batch_size': (1, None),
    'train.window_s': (0.1, None),
    'train.eval_window_s': (0.1, None),
    'train.select_over': (1, None),
    'train.checkpoint_every': (1, None),
    'train.keep': (1, None),
    'train.steps_per_dispatch': (0, None),
}
