"""Every knob has a default inside its range, and a value outside it is refused by name."""

import json
import math

import pytest

from ser_jax import assemble, config
from ser_jax.contract import InputError

KNOBS = {f'{s}.{n}': k for s, knobs in config.SECTIONS.items() for n, k in knobs.items()}
RANGED = {n: k for n, k in KNOBS.items() if {k.least, k.most, k.above} != {None} or k.entries}
MODEL = {f'model.{n}': k for n, k in config.MODEL.items()}


def changed(name: str, value):
    """The defaults with one knob set as a config file sets it."""
    c, (section, knob) = config.base(), name.split('.')
    with c.unlocked(), c.ignore_type():
        c[section][knob] = value
    return c


# Names of corpora, files and emotions; words that a room above `config` has a list of.
NAMES = {'data.corpora', 'data.dir', 'data.texts', 'members.folds_file'}
NAMES |= {'data.merge', 'data.emotions', 'data.unsupported'}
HIGHER = {
    'data.variants',
    'features.source',
    'features.input',
    'members.protocol',
    'features.speaker_norm',
    'optim.trainable',
    'optim.rates',
}


def test_numbers_and_words_from_a_list_are_never_free():
    """A knob that is neither a switch nor a name has a range or choices."""
    free = {n for n, k in KNOBS.items() if n not in RANGED and not k.choices}
    assert {n for n in free if not isinstance(KNOBS[n].default, bool)} == NAMES | HIGHER


@pytest.mark.parametrize(
    'name, known',
    [
        ('data.variants', 'noise, stretch_pitch, stretch, pitch, shift'),
        ('features.source', 'log_mel, waveform, mfcc_curve, stats162'),
        ('features.input', 'log_mel, waveform, mfcc_curve, stats162'),
        ('members.protocol', 'from_file, leaky_augmented, leaky_holdout'),
        ('model.name', 'burnwal, cnn4_bilstm, conv_bilstm, fusion'),
    ],
)
def test_words_of_a_list_in_a_higher_room_are_refused_with_the_known_ones(config, name, known):
    section, knob = name.split('.')
    if name == 'data.variants':
        config.features.source, config.data.variants = 'stats162', ('other',)
    else:
        config[section][knob] = 'other'
    with pytest.raises(InputError, match=f"{name} must be one of {known}.*, got 'other'$") as e:
        assemble.open_run(config)
    assert '\n' not in str(e.value)


def test_the_defaults_are_allowed():
    config.check_ranges(config.base())


@pytest.mark.parametrize('name', [*RANGED, *MODEL])
def test_numbers_out_of_range_are_refused(name):
    knob = (RANGED | MODEL)[name]
    like = (
        (lambda x: (x,) * (knob.entries or 1)) if isinstance(knob.default, tuple) else (lambda x: x)
    )
    wrong = [math.nan, math.inf, -math.inf]
    wrong += [] if knob.least is None else [knob.least - 1, knob.least - 1e-6]
    wrong += [] if knob.most is None else [knob.most + 1]
    wrong += [] if knob.above is None else [knob.above, knob.above - 1]
    wrong += ['a'] if isinstance(knob.default, tuple) else []
    for value in wrong:
        with pytest.raises(InputError, match=name):
            config.check_ranges(changed(name, like(value)))


@pytest.mark.parametrize('name', [n for n, k in KNOBS.items() if k.choices])
def test_unknown_words_are_refused_with_the_known_ones(name):
    like = (lambda x: (x,)) if isinstance(KNOBS[name].default, tuple) else (lambda x: x)
    for word in KNOBS[name].choices:
        if name != 'optim.name':  # which goes with weight_decay
            config.check_ranges(changed(name, like(word)))
    known = ', '.join(KNOBS[name].choices)
    with pytest.raises(InputError, match=f"{name} must be one of {known}, got 'other'"):
        config.check_ranges(changed(name, like('other')))


@pytest.mark.parametrize(
    'name, value, message',
    [
        ('members.seeds', (0.5,), 'must be whole numbers, got'),
        ('members.only', (True,), 'must be whole numbers, got'),
        ('augment.noise_snr_db', (20.0, 5.0), r'must be \(lowest, highest\), got'),
        ('augment.reverb_s', (0.3,), 'must have two numbers, got'),
        ('optim.plateau', (1.5, 2, 1e-7), 'the factor of optim.plateau must be below 1'),
        ('optim.plateau', (0.5, 2), 'must have three numbers, got'),
        ('optim.name', 'sgd', "has no effect with optim.name='sgd'; set it to 0"),
        ('optim.name', 'adam', "has no effect with optim.name='adam'"),
        ('optim.name', 'rmsprop', "has no effect with optim.name='rmsprop'"),
        ('model.kernels', (2,), 'model.kernels must be odd, .*, got 2'),
        ('model.strides', ((2, 2, 2),), 'must have two numbers per block, got'),
    ],
)
def test_values_that_contradict_are_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        config.check_ranges(changed(name, value))


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            {'band_masks': 1, 'band_mask': 65},
            'augment.band_mask must be at most 64 with 64 bands .*, got 65',
        ),
        ({'band_shift': 64}, 'augment.band_shift must be at most 63 with 64 bands .*, got 64'),
        (
            {'time_masks': 1, 'time_mask_s': 5.0},
            'augment.time_mask_s must be at most 0.8 .* windows of 0.8 s, got 5.0',
        ),
    ],
)
def test_masks_fit_into_what_they_mask(config, changes, message):
    config.augment.update(changes)
    with pytest.raises(InputError, match=message):
        assemble.open_run(config)


def test_an_earlier_run_keeps_its_meaning():
    """A run from before `data.supported` knew the recording's corpus."""
    stored = json.loads(config.base().to_json())
    assert config.completed(stored).data.supported == 'run'
    del stored['data']['supported']
    assert config.completed(stored).data.supported == 'corpus'
