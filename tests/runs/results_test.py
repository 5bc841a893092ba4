"""The place of results is settled before scoring; the table is shown whatever happens to files."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from ser_jax import train
from ser_jax.contract import InputError
from ser_jax.evaluate import find_runs
from ser_jax.runs import results
from tests.conftest import small_config

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def runs(data_dir, tmp_path_factory) -> pathlib.Path:
    """A folder with two copies of a finished run."""
    config = small_config(data_dir)
    config.train.epochs, config.members.only = 1, (0,)
    root = tmp_path_factory.mktemp('results') / 'runs'
    train.train(config, root / 'a')
    shutil.copytree(root / 'a', root / 'b')
    return root


def evaluate(*flags, cwd=ROOT, code='') -> subprocess.CompletedProcess:
    """The command; `code` runs first in its process."""
    program = f'{code}\nimport runpy; runpy.run_module("ser_jax.evaluate", run_name="__main__")'
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program, *map(str, flags)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
    )
    assert 'Traceback' not in done.stderr, done.stderr
    return done


def test_relative_and_absolute_runs_go_together(runs):
    done = evaluate(f'--runs=runs/a,{runs}/b,./runs/a,{runs}/*', cwd=runs.parent)
    assert done.returncode == 0, done.stderr
    assert 'report: runs/report.html' in done.stdout
    assert len((runs / 'scores.csv').read_text().splitlines()) == 3  # each run once


def test_runs_without_a_common_folder_are_refused_before_scoring(tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r'/a/x and /b/y have no folder in common; give one as --output'
    ):
        results.folder('', [pathlib.Path('/a/x'), pathlib.Path('/b/y')])
    assert results.folder(str(tmp_path), [pathlib.Path('/a/x'), pathlib.Path('/b/y')]) == tmp_path
    monkeypatch.setattr(
        os.path, 'commonpath', lambda paths: (_ for _ in ()).throw(ValueError('on several drives'))
    )
    with pytest.raises(InputError, match='have no folder in common'):
        results.folder('', [pathlib.Path('x'), pathlib.Path('y')])


def test_a_folder_that_cannot_be_written_is_refused_before_scoring_and_nothing_is_left(tmp_path):
    (tmp_path / 'file').write_text('x')
    (tmp_path / 'taken' / 'report.html').mkdir(parents=True)
    for output in ('file', 'file/below', 'taken'):
        with pytest.raises(
            InputError,
            match=rf'results cannot be written to \S*{output} \(.*give another folder as --output',
        ):
            results.folder(str(tmp_path / output), [tmp_path])
    assert results.folder(str(tmp_path / 'new' / 'one'), [tmp_path]) == tmp_path / 'new' / 'one'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'taken']


def test_an_unwritable_output_stops_the_command_before_it_scores(runs, tmp_path):
    (tmp_path / 'file').write_text('x')
    done = evaluate(f'--runs={runs}/a', f'--output={tmp_path}/file/x')
    assert done.returncode == 2 and not done.stdout
    assert (
        done.stderr.startswith('error: results cannot be written to')
        and len(done.stderr.splitlines()) == 1
    )


def test_the_table_is_shown_though_nothing_can_be_written_any_more(runs, tmp_path):
    code = (
        'import pyarrow.parquet as p\ndef full(*a): raise OSError(28, "No space left", str(a[1]))\n'
    )
    code += 'p.write_table = full'
    done = evaluate(f'--runs={runs}/a', f'--output={tmp_path}/out', code=code)
    assert done.returncode == 2 and 'UAR' in done.stdout and 'utterances' in done.stdout
    assert done.stderr.startswith(
        f'error: results could not be written to {tmp_path}/out (No space left'
    )
    assert len(done.stderr.splitlines()) == 1


def test_the_card_of_a_run_that_cannot_be_written_goes_to_the_output(runs, tmp_path, monkeypatch):
    for name in ('a', 'b'):
        shutil.copytree(runs / name, tmp_path / name)
    (tmp_path / 'a' / 'MODEL_CARD.md').unlink(missing_ok=True)
    (tmp_path / 'a' / 'MODEL_CARD.md').mkdir()  # whoever runs this may write anywhere
    done = evaluate(f'--runs={tmp_path}/a,{tmp_path}/b', f'--output={tmp_path}/out')
    assert done.returncode == 0, done.stderr
    (card,) = (tmp_path / 'out').glob('MODEL_CARD_*.md')
    assert (
        f'its model card is {card}' in done.stdout and (tmp_path / 'b' / 'MODEL_CARD.md').is_file()
    )


def test_runs_with_brackets_in_their_names_are_found(runs, tmp_path):
    copy = shutil.copytree(runs / 'a', tmp_path / 'x[1]')
    assert find_runs([str(copy)]) == [copy]
