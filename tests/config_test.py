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


def test_numbers_and_words_from_a_list_are_never_free():
    """A knob that is neither a switch, a name nor a list of names has a range or choices."""
    free = {n for n, k in KNOBS.items() if n not in RANGED and not k.choices}
    assert all(
        isinstance(KNOBS[n].default, (bool, str)) or _is_words(KNOBS[n].default) for n in free
    ), free


def _is_words(value) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, str) for v in value)


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
    for word in KNOBS[name].choices:
        if name != 'optim.name':  # which goes with weight_decay
            config.check_ranges(changed(name, word))
    with pytest.raises(
        InputError, match=f"{name}='other' is not known; known are {', '.join(KNOBS[name].choices)}"
    ):
        config.check_ranges(changed(name, 'other'))


@pytest.mark.parametrize(
    'name, value, says',
    [
        ('members.seeds', (0.5,), 'expected whole numbers'),
        ('members.only', (True,), 'expected whole numbers'),
        ('augment.noise_snr_db', (20.0, 5.0), 'is in the wrong order'),
        ('augment.reverb_s', (0.3,), 'expected two numbers'),
        ('optim.plateau', (1.5, 2, 1e-7), 'expected a factor below 1'),
        ('optim.plateau', (0.5, 2), 'expected three numbers'),
        ('optim.name', 'sgd', "has no effect with optim.name='sgd'; set it to 0"),
        ('optim.name', 'adam', "has no effect with optim.name='adam'"),
        ('optim.name', 'rmsprop', "has no effect with optim.name='rmsprop'"),
        ('model.kernels', (2,), 'expected odd numbers'),
        ('model.strides', ((2, 2, 2),), 'expected two numbers'),
    ],
)
def test_values_that_contradict_are_refused(name, value, says):
    with pytest.raises(InputError, match=says):
        config.check_ranges(changed(name, value))


@pytest.mark.parametrize(
    'changes, says',
    [
        (
            {'band_masks': 1, 'band_mask': 65},
            'augment.band_mask must be at most 64 with 64 bands.*, got 65',
        ),
        ({'band_shift': 64}, 'augment.band_shift must be at most 63 with 64 bands.*, got 64'),
        (
            {'time_masks': 1, 'time_mask_s': 5.0},
            'augment.time_mask_s must be at most 0.8 .* windows of 0.8 s, got 5.0',
        ),
    ],
)
def test_masks_fit_into_what_they_mask(config, changes, says):
    config.augment.update(changes)
    with pytest.raises(InputError, match=says):
        assemble.open_run(config)


def test_an_earlier_run_keeps_its_meaning():
    """A run from before `data.supported` knew the recording's corpus."""
    stored = json.loads(config.base().to_json())
    assert config.completed(stored).data.supported == 'run'
    del stored['data']['supported']
    assert config.completed(stored).data.supported == 'corpus'
