"""States of another structure are not damaged; changes of a kept model are noticed or harmless."""

import errno
import hashlib
import pathlib
import shutil

import jax
import numpy as np
import pytest

from ser_jax.contract import InputError
from ser_jax.learn.state import Variables
from ser_jax.runs import arrays, checkpoint
from tests.conftest import small_config
from tests.learn.members_test import group_of


def content(directory: pathlib.Path) -> dict[str, str]:
    """SHA-256 of every file of a directory, by its path."""
    files = [p for p in directory.rglob('*') if p.is_file()]
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def saved(directory: pathlib.Path, *states) -> checkpoint.Checkpoints:
    """Checkpoints 1, 2, ... of `states`, on disk."""
    checkpoints = checkpoint.Checkpoints(directory)
    for number, state in enumerate(states, 1):
        checkpoints.save(number, state)
    checkpoints.wait()
    return checkpoints


def state(seed: int, **more) -> dict:
    random = np.random.default_rng(seed)
    return {
        'kernel': random.standard_normal((3, 4)).astype(np.float32),
        'step': np.int32(seed),
        **more,
    }


def bare(like: dict) -> dict:
    return {k: np.zeros_like(x) for k, x in like.items()}


@pytest.mark.parametrize(
    'knob, value, names',
    [
        ('model.channels', (4, 12), r'is float32 \(1, \S.*\), expected float32 \(1, .* more'),
        ('optim.ema', 0.9, r"it lacks \.average\.params\['classify/bias'\] and \d+ more"),
        ('optim.name', 'sgd', r'it has \.optimizer.* more'),
    ],
)
def test_a_state_of_another_structure_is_refused_by_name_and_nothing_is_moved(
    data_dir, tmp_path, knob, value, names
):
    config = small_config(data_dir)
    begun = group_of(config, [0]).init()
    checkpoints = saved(tmp_path / 'checkpoints', begun, begun)
    section, name = knob.split('.')
    config[section][name], config.optim.weight_decay = value, 0.0
    other = group_of(config, [0])
    before, lines = content(tmp_path), []
    with pytest.raises(
        InputError, match=rf'checkpoint 2 in .*{names}.*nothing was changed.*--workdir'
    ) as error:
        checkpoints.restore(lambda number: other.init(), lines.append)
    assert '\n' not in str(error.value) and not lines
    assert content(tmp_path) == before
    number, restored = checkpoints.restore(lambda number: begun, lines.append)
    checkpoints.close()
    assert number == 2 and not lines
    for a, b in zip(jax.tree.leaves(begun), jax.tree.leaves(restored), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_state_of_a_later_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, 'FORMAT', checkpoint.FORMAT + 1)
    saved(tmp_path / 'checkpoints', state(1)).close()
    monkeypatch.undo()
    before = content(tmp_path)
    checkpoints = checkpoint.Checkpoints(tmp_path / 'checkpoints')
    with pytest.raises(InputError, match='its format is 2, expected 1'):
        checkpoints.restore(lambda number: bare(state(1)), print)
    checkpoints.close()
    assert content(tmp_path) == before


def test_a_state_without_a_format_is_the_first(tmp_path):
    """As the first version wrote them."""
    checkpoints = checkpoint.Checkpoints(tmp_path / 'checkpoints')
    plain = checkpoint.ocp.args.StandardSave(arrays.flat(state(1)))
    checkpoints._manager.save(1, args=plain)
    checkpoints.wait()
    number, restored = checkpoints.restore(lambda number: bare(state(1)), print)
    checkpoints.close()
    assert number == 1
    np.testing.assert_array_equal(restored['kernel'], state(1)['kernel'])


@pytest.mark.parametrize('how', ['names', 'cut'])
def test_a_damaged_newest_state_is_moved_aside_and_the_one_before_used(tmp_path, how):
    """Also if the damage changes a name: the one before it has the expected structure."""
    saved(tmp_path / 'checkpoints', state(1), state(2)).close()
    for path in (tmp_path / 'checkpoints' / '2').rglob('*'):
        if how == 'names' and path.name == '_METADATA':
            path.write_text(path.read_text().replace('kernel', 'kerneo'))
        if how == 'cut' and path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    checkpoints, lines = checkpoint.Checkpoints(tmp_path / 'checkpoints'), []
    number, restored = checkpoints.restore(lambda number: bare(state(1)), lines.append)
    checkpoints.close()
    assert number == 1 and len(lines) == 1 and lines[0].startswith('checkpoint 2 is damaged (')
    np.testing.assert_array_equal(restored['kernel'], state(1)['kernel'])
    assert (tmp_path / 'damaged_checkpoint_2').is_dir() and not (
        tmp_path / 'checkpoints' / '2'
    ).exists()


@pytest.mark.parametrize(
    'code, advice',
    [
        (errno.ENOSPC, 'make room'),
        (errno.EDQUOT, 'make room'),
        (errno.EROFS, 'permissions'),
        (errno.EACCES, 'permissions'),
        (errno.ENAMETOOLONG, 'a shorter path'),
        (errno.EMFILE, 'ulimit -n'),
    ],
)
def test_a_failed_write_has_its_cause_and_its_remedy(tmp_path, monkeypatch, code, advice):
    """As Python raises it, and as tensorstore has it in words."""
    good = saved(tmp_path / 'checkpoints', state(1))
    word = checkpoint.os.strerror(code)
    for error in (
        OSError(code, word),
        ValueError(f"Error writing local file: {word} [os_error_code='{code}']"),
    ):

        def fail(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(good._manager, 'save', fail)
            with pytest.raises(
                InputError, match=rf'{word}\); checkpoint 1 is still good; .*{advice}'
            ):
                good.save(2, state(2))
            patch.setattr(checkpoint.ocp.StandardCheckpointer, 'save', fail)
            with pytest.raises(InputError, match=rf'm could not be written \({word}\); .*{advice}'):
                checkpoint.save_best(tmp_path / 'm', kept_variables(), {})
    good.close()


def test_an_error_of_ours_while_writing_stays_as_it_is(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path / 'checkpoints')
    with pytest.raises(TypeError):
        checkpoints._checked(lambda: len(3))
    checkpoints.close()


def kept_variables() -> Variables:
    random = np.random.default_rng(0)

    def normal(*shape):
        return random.standard_normal(shape).astype(np.float32)

    return Variables(
        {'trunk/kernel': normal(3, 4), 'trunk/bias': normal(4)}, {'norm/mean': normal(4)}
    )


def same(a: dict, b: dict) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(x, y) and x.dtype == y.dtype
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('flips', [60, pytest.param(1500, marks=pytest.mark.slow)])
def test_any_byte_flipped_in_a_kept_model_is_noticed_or_harmless(tmp_path, flips):
    directory, random = tmp_path / 'best' / 'fold0_seed0', np.random.default_rng(flips)
    checkpoint.save_best(directory, kept_variables(), {'epoch': 3})
    expected, about = checkpoint.load_best(directory)
    assert same(expected, kept_variables()._asdict()) and about['epoch'] == 3
    files = sorted(p for p in directory.rglob('*') if p.is_file() and p.stat().st_size)
    noticed = 0
    for turn in range(flips):
        path = files[turn % len(files)]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            assert same(checkpoint.load_best(directory)[0], expected), path
        except InputError as e:
            assert '\n' not in str(e) and 'fold0_seed0' in str(e)
            noticed += 1
        path.write_bytes(whole)
    assert noticed > flips / 10


def test_other_numbers_in_a_whole_file_are_noticed(tmp_path):
    """The checksum is of the arrays, so another model in the folder is noticed too."""
    checkpoint.save_best(tmp_path / 'a', kept_variables(), {})
    other = jax.tree.map(lambda x: x * 2, kept_variables())
    checkpoint.save_best(tmp_path / 'b', other, {})
    shutil.copy(tmp_path / 'b' / 'about.json', tmp_path / 'a' / 'about.json')
    with pytest.raises(
        InputError, match=r'a is damaged \(its arrays have another checksum .* remove this folder'
    ):
        checkpoint.load_best(tmp_path / 'a')


def test_without_a_checksum_only_what_is_not_finite_is_refused(tmp_path):
    """As the first version kept models."""
    for name, variables in (('good', kept_variables()), ('bad', kept_variables())):
        if name == 'bad':
            variables.params['trunk/bias'][1] = np.nan
        checkpoint.save_best(tmp_path / name, variables, {})
        (tmp_path / name / 'about.json').write_text('{"epoch": 3}')
    assert same(checkpoint.load_best(tmp_path / 'good')[0], kept_variables()._asdict())
    with pytest.raises(InputError, match=r'bad is damaged \(trunk/bias is not finite\)'):
        checkpoint.load_best(tmp_path / 'bad')
    with pytest.raises(InputError, match='no kept model'):
        checkpoint.load_best(tmp_path / 'none')
