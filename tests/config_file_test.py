"""Faults of a config file have its line, those of overrides the nearest knob or its kind."""

import difflib
import sys
from types import SimpleNamespace

import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict, config_flags

from ser_jax import config_file
from ser_jax.config import base
from ser_jax.contract import InputError
from tests import forked
from tests.conftest import ROOT

FILE = """
from ser_jax.config import base


def get_config():
    c = base()
    {}
    c.data.corpora = ('ravdess',)
    c.model.hidden = 8
    c.model.strides = ((4, 2), (2, 2))
    return c
"""


def parsed(monkeypatch, path, *argv) -> ConfigDict:
    """The config of a command line, as `main` has it."""
    known = flags.FlagValues()
    monkeypatch.setattr(
        config_file, 'flags', SimpleNamespace(FLAGS=known, ArgumentParser=flags.ArgumentParser)
    )
    monkeypatch.setattr(sys, 'argv', ['main', f'--config={path}', *argv])
    config_flags.DEFINE_config_file('config', None, '', known, lock_config=True)
    config_file.guard(known['config'])
    try:
        known(sys.argv)
    except flags.IllegalFlagValueError as e:
        raise InputError(config_file.expected(e)) from e
    return config_file.value()[1]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'experiment.py'
    path.write_text(FILE.format('pass'))
    return path


@pytest.mark.parametrize(
    'line, expected',
    [
        ('None.shape', "line 7: AttributeError: 'NoneType' object has no attribute 'shape'"),
        ("{}['gone']", "line 7: KeyError: 'gone'"),
        ('c.optim.no_such_knob', 'line 7: AttributeError: .*no_such_knob'),
        ("c.train.epochs = 'many'", "line 7: TypeError: .*epochs.*<class 'int'>"),
        ('1 / 0', 'line 7: ZeroDivisionError'),
        ('import no_such_module', 'line 7: ModuleNotFoundError'),
        ("open('/no/such')", 'line 7: FileNotFoundError'),
        ('c = c ==', 'line 7: SyntaxError: invalid syntax'),
        (
            'c.optim.lerning_rate = 1.0',
            "no key 'optim.lerning_rate'; did you mean 'optim.learning_rate'",
        ),
        ('c.trian = 3', "no key 'trian'; did you mean 'train'"),
        ('return None', 'returns NoneType; expected'),
        ('return c.train', "returns no section 'augment'"),
        ('del c.augment', "returns no section 'augment'"),
    ],
)
def test_an_error_of_a_config_file_names_file_line_and_error(file, line, expected):
    file.write_text(FILE.format(line))
    with pytest.raises(InputError, match=rf'experiment\.py.*{expected}'):
        config_file.load(str(file))


def test_an_error_in_what_a_config_file_calls_has_the_line_of_the_call(file):
    file.write_text(FILE.format('import json; json.loads("[")'))
    with pytest.raises(InputError, match=r'experiment\.py, line 7: JSONDecodeError'):
        config_file.load(str(file))


@pytest.mark.parametrize('path', ['none.py', 'configs', 'README.md', ''])
def test_other_files_than_configs_are_refused(path):
    with pytest.raises(
        InputError, match=r'cannot be loaded; expected a Python file with get_config'
    ):
        config_file.load(path)


KNOBS = [f'{section}.{knob}' for section, knobs in base().items() for knob in knobs]
# A slip in one of band_mask and band_masks may be meant for the other.
ALONE = [k for k in KNOBS if len(difflib.get_close_matches(k, KNOBS, cutoff=0.88)) == 1]


@settings(max_examples=80)
@given(
    knob=st.sampled_from(ALONE),
    place=st.integers(0, 40),
    what=st.sampled_from(['drop', 'swap', 'double']),
)
def test_a_slip_in_a_knob_names_that_knob(knob, place, what):
    """Any letter left out, doubled or exchanged with the next, in the section or in the knob."""
    i = place % (len(knob) - 1)
    if '.' in knob[i : i + 2]:
        return
    typo = {
        'drop': knob[:i] + knob[i + 1 :],
        'swap': knob[:i] + knob[i + 1] + knob[i] + knob[i + 2 :],
        'double': knob[: i + 1] + knob[i:],
    }[what]
    if typo in KNOBS:
        return
    with pytest.raises(InputError, match=f"no key '{typo}'; did you mean '{knob}'"):
        config_file._check_key(base(), typo, 'here')


@pytest.mark.parametrize(
    'override, expected',
    [
        ('trian.epochs=3', "did you mean 'train.epochs'"),
        ('epochs=3', "did you mean 'train.epochs'"),
        ('optim.lr=3', "did you mean 'optim.learning_rate'"),
        ('train.learning_rate=3', "did you mean 'optim.learning_rate'"),
        ('model.hiden=3', "did you mean 'model.hidden'"),
        ('train.epochs.more=3', "did you mean 'train.epochs'"),
        ('train.epochs=2.5', r"expected a whole number like 80 \(int\), got '2.5'"),
        ('optim.learning_rate=fast', r"expected a number like 0.001 \(float\), got 'fast'"),
        ('train.bfloat16=perhaps', "expected true or false, got 'perhaps'"),
        ('train=3', r"expected one of its knobs, e\.g\. --config\.train\.\w+=.*got '3'"),
        ('members.seeds=a', r"expected values like 0 \(int\), got 'a' \(str\)"),
        ('members.seeds=0.5,', r'expected values like 0 \(int\), got 0.5 \(float\)'),
        ('data.corpora=5', r'expected values like ravdess \(str\), got 5 \(int\)'),
        ('data.emotions=5', r'expected words separated by commas \(str\), got 5'),
        ('model.strides=3', r'expected values like \(4, 2\),\(2, 2\) \(tuple\), got 3'),
    ],
)
def test_an_override_that_cannot_be_names_the_knob_or_the_kind(
    monkeypatch, file, override, expected
):
    with pytest.raises(
        InputError, match=rf'--config\.{override.partition("=")[0]}.*{expected}'
    ) as error:
        parsed(monkeypatch, file, f'--config.{override}')
    assert '\n' not in str(error.value)


def test_overrides_of_every_kind_are_set(monkeypatch, file):
    config = parsed(
        monkeypatch,
        file,
        '--config.train.epochs=7',
        '--config.optim.learning_rate=1',
        '--noconfig.train.tensorboard',
        '--config.members.seeds=3,4',
        '--config.data.corpora=tess, savee',
        '--config.optim.plateau=0.5,3,0',
        '--config.data.emotions=happy,sad',
        '--config.model.hidden=9',
        '--config.data.dir=/x',
    )
    assert (
        config.train.epochs == 7
        and config.optim.learning_rate == 1.0
        and not config.train.tensorboard
    )
    assert config.members.seeds == (3, 4) and config.data.corpora == ('tess', 'savee')
    assert (
        config.data.emotions == ('happy', 'sad')
        and config.model.hidden == 9
        and config.data.dir == '/x'
    )
    assert config.optim.plateau == (0.5, 3, 0)


def test_a_slip_in_a_flag_names_that_flag():
    command = [sys.executable, '-m', 'ser_jax.main', '--config=configs/fusion.py', '--workdri=x']
    done = forked.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and 'workdir' in done.stderr and len(done.stderr.splitlines()) == 1
