"""A study trained in pieces, on as many machines, is scored as the one run that it is."""

import csv
import json
import pathlib
import shutil
import sys

import pyarrow.parquet as pq
import pytest

from ser_jax import train
from ser_jax.contract import InputError
from ser_jax.inference import Clip, Predictor
from ser_jax.runs import logbook, merge
from tests import forked
from tests.conftest import small_config, tone

ROOT = pathlib.Path(__file__).parents[1]
MEMBERS = [f'fold{f}_seed{s}' for s in (0, 1) for f in range(3)]
PARTS = ((0, 4), (1, 2, 3, 5))


@pytest.fixture(scope='module')
def study(data_dir, tmp_path_factory) -> pathlib.Path:
    """The same six members trained as one run (`whole`) and as two pieces (`part_0`, `part_1`)."""
    root = tmp_path_factory.mktemp('study')
    for name, only in [('whole', ()), *((f'part_{i}', only) for i, only in enumerate(PARTS))]:
        c = small_config(data_dir)
        c.members.seeds, c.members.only = (0, 1), only
        with c.unlocked():
            c.model.name = 'fusion'
        train.train(c, root / name)
    return root


def evaluate(*flags):
    done = forked.run(
        [sys.executable, '-m', 'ser_jax.evaluate', *map(str, flags)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert 'Traceback' not in done.stderr, done.stderr
    return done


@pytest.fixture
def parts(study, tmp_path) -> pathlib.Path:
    """A copy of the pieces that a test may spoil."""
    for i in range(2):
        shutil.copytree(study / f'part_{i}', tmp_path / f'part_{i}')
    return tmp_path


def change(path: pathlib.Path, *keys, value) -> None:
    content = at = json.loads(path.read_text())
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    path.write_text(json.dumps(content))
    (path.parent / 'checksums.json').unlink(missing_ok=True)  # they would tell


def test_pieces_are_scored_as_the_run_trained_whole(study, parts):
    whole = shutil.copytree(study / 'whole', parts / 'one' / 'study')
    done = evaluate(f'--runs={whole}')
    assert done.returncode == 0, done.stderr
    joined = parts / 'two' / 'study'
    done = evaluate('--merge', f'--runs={parts}/part_*', f'--output={joined}')
    assert done.returncode == 0, done.stderr
    assert 'are missing' not in done.stdout
    a, b = (
        list(csv.DictReader((d / 'scores.csv').read_text().splitlines())) for d in (whole, joined)
    )
    assert len(a) == 6 and a[0]['members'] == '6' and a[0]['note'] == 'synthetic'
    assert [{**row, 'run': ''} for row in a] == [{**row, 'run': ''} for row in b]
    a, b = (pq.read_table(d / 'predictions.parquet').drop_columns('run') for d in (whole, joined))
    assert a.equals(b)
    for name in ('report.html', 'MODEL_CARD.md'):
        a, b = ((d / name).read_text().replace(str(d), 'RUN') for d in (whole, joined))
        assert a == b, name


def test_what_is_merged_is_a_run_like_the_one_trained_whole(study, tmp_path):
    merge.merge([study / 'part_1', study / 'part_0'], tmp_path / 'whole', log=pytest.fail)
    for name in (
        'config',
        'folds',
        'normalization',
        'vocabulary',
        'corpora',
        'environment',
        'utterances',
        'checksums',
    ):
        a, b = (
            json.loads((d / f'{name}.json').read_text())
            for d in (study / 'whole', tmp_path / 'whole')
        )
        assert a == b, name
    assert logbook.read(tmp_path / 'whole' / 'metrics.jsonl') == logbook.read(
        study / 'whole' / 'metrics.jsonl'
    )
    a, b = (
        Predictor.open(d).predict([Clip(tone(0, 1, 0), 16000, 'the tears')])[0]
        for d in (study / 'whole', tmp_path / 'whole')
    )
    assert a.probabilities.tolist() == b.probabilities.tolist()


def test_missing_members_are_named_and_may_come_later(parts):
    shutil.rmtree(parts / 'part_1' / 'best' / 'fold1_seed0')
    done = evaluate('--merge', f'--runs={parts}/*')
    assert done.returncode == 0, done.stderr
    assert '1 of 6 members are missing' in done.stdout and 'fold1_seed0' in done.stdout
    assert 'incomplete' in (parts / 'merged' / 'scores.csv').read_text()
    shutil.copytree(
        parts / 'part_0' / 'best' / 'fold0_seed0', parts / 'part_1' / 'best' / 'fold1_seed0'
    )
    done = evaluate('--merge', f'--runs={parts}/*')  # which now matches the merged folder too
    assert done.returncode == 0, done.stderr
    assert (
        'are missing' not in done.stdout
        and 'incomplete' not in (parts / 'merged' / 'scores.csv').read_text()
    )


def test_each_member_keeps_the_normalization_of_its_piece(parts):
    """Two machines may round a mean differently: a model keeps the one it was trained with."""
    mean = json.loads((parts / 'part_1' / 'normalization.json').read_text())
    mean['fold1_seed0']['mean'][0] += 1e-6
    mean['fold0_seed0']['mean'][0] += 1e-6
    (parts / 'part_1' / 'normalization.json').write_text(json.dumps(mean))
    (parts / 'part_1' / 'checksums.json').unlink()
    change(parts / 'part_1' / 'environment.json', 'machine', value='another')
    merge.merge([parts / 'part_0', parts / 'part_1'], parts / 'whole')
    found = json.loads((parts / 'whole' / 'normalization.json').read_text())
    assert (
        found['fold1_seed0'] == mean['fold1_seed0'] and found['fold0_seed0'] != mean['fold0_seed0']
    )
    environment = json.loads((parts / 'whole' / 'environment.json').read_text())
    assert environment['other_pieces'] == {str(parts / 'part_1'): {'machine': 'another'}}


@pytest.mark.parametrize(
    'file, keys, value, expected',
    [
        (
            'config',
            ('train', 'epochs'),
            4,
            r'train\.epochs is 3 and 4; pieces may differ in members.only alone',
        ),
        ('config', ('members', 'seeds'), [1], 'members.seeds is'),
        ('environment', ('fingerprints', 'synthetic'), 'x', 'other builds of synthetic'),
        ('environment', ('begins_with',), 'x', 'other pretrained weights'),
        ('folds', ('members', 'fold0_seed0', 'test'), [], 'folds differ'),
    ],
)
def test_pieces_of_different_runs_are_refused(parts, file, keys, value, expected):
    change(parts / 'part_1' / f'{file}.json', *keys, value=value)
    with pytest.raises(InputError, match=expected):
        merge.merge([parts / 'part_0', parts / 'part_1'], parts / 'whole')
    assert not (parts / 'whole').exists()


def test_a_member_held_twice_no_member_and_a_folder_in_use_are_refused(parts):
    both = [parts / 'part_0', parts / 'part_1']
    with pytest.raises(InputError, match='part_0 holds something else than merged pieces'):
        merge.merge(both[1:], parts / 'part_0')
    shutil.copytree(
        parts / 'part_0' / 'best' / 'fold0_seed0', parts / 'part_1' / 'best' / 'fold0_seed0'
    )
    done = evaluate('--merge', f'--runs={parts}/part_*')
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert 'part_0 and ' in done.stderr and 'both hold fold0_seed0' in done.stderr
    for piece in both:
        shutil.rmtree(piece / 'best')
    with pytest.raises(InputError, match='none of the 2 pieces has a finished member'):
        merge.merge(both, parts / 'whole')
    (parts / 'part_1' / 'folds.json').unlink()
    with pytest.raises(InputError, match='part_1 is not a complete run'):
        merge.merge(both, parts / 'whole')
