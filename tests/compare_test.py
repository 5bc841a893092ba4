"""Comparison of evaluated runs through the command: names, paths, refusals, pages, leaderboards."""

import csv
import json
import os
import pathlib
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_jax import train
from ser_jax.contract import InputError
from ser_jax.runs import evaluated
from tests import forked
from tests.conftest import small_config
from tests.report.html_test import Page
from tests.scoring.comparison_test import EMOTIONS, table

ROOT = pathlib.Path(__file__).parents[1]


def run_at(folder: pathlib.Path, name: str = '', **options) -> pathlib.Path:
    """A run's directory that was evaluated alone, as far as `compare` reads it."""
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps({'of': str(folder)}))
    pq.write_table(table(run=name or str(folder), **options), folder / evaluated.FILE)
    return folder


@pytest.fixture
def runs(tmp_path) -> pathlib.Path:
    """Two runs that differ, one like the first, and one of another protocol."""
    root = tmp_path / 'runs'
    for i, (name, skill) in enumerate({'low': 0.5, 'high': 0.75, 'like': 0.5}.items()):
        run_at(root / name, skill=skill, seed=i)
    run_at(root / 'leaky', skill=0.9, seed=7, protocol='leaky_random')
    return root


def lines_of(path: pathlib.Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def verb(*flags, cwd=ROOT):
    done = forked.run(
        [sys.executable, '-m', 'ser_jax.compare', *map(str, flags)],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert 'Traceback' not in done.stderr, done.stderr
    return done


def refused(*flags, cwd=ROOT) -> str:
    """The one line of a command that ends with exit code 2."""
    done = verb(*flags, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [x for x in done.stderr.splitlines() if x.startswith('error: ')]
    return line


def test_two_runs_are_compared_in_one_sentence(runs, tmp_path):
    done = verb('--runs', runs / 'low', runs / 'high', f'--output={tmp_path}')
    assert done.returncode == 0, done.stderr
    words = ' '.join(done.stdout.split())
    assert 'high is better than low by ' in words and ': shown' in words
    assert 'McNemar p < 0.001' in words and 'for 12 of 12 speakers' in words
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if 'page:' not in line)
    rows = lines_of(tmp_path / 'comparison.csv')
    assert [r['metric'] for r in rows] == ['uar', *['recall'] * 4, *['uar'] * 12]
    assert float(rows[0]['low']) > 0 and rows[0]['shown'] == 'True'
    assert rows[0]['a'] == str(runs / 'low') and rows[0]['utterances'] == '288'
    page = Page((tmp_path / 'comparison.html').read_text())
    text = (tmp_path / 'comparison.md').read_text()
    for place in (page.text, text):
        assert 'high is better than low by' in place and 'ravdess_11' in place
    assert len(page.ids) == len(set(page.ids)) and 'script' not in page.tags
    assert {x[1:] for x in page.links} <= set(page.ids) and not page.loads
    assert page.tags.count('svg') == 3  # scores, pairs, parts
    assert 'prefers-color-scheme: dark' in (tmp_path / 'comparison.html').read_text()


def test_flags_may_follow_the_runs_and_commas_separate_them(runs, tmp_path):
    outputs = []
    for flags in (
        (f'--runs={runs}/low,{runs}/like',),
        ('--runs', runs / 'low', runs / 'like', '--modality=audio'),
    ):
        done = verb(*flags, f'--output={tmp_path}')
        outputs.append(done.stdout)
        assert done.returncode == 0 and 'not shown' in done.stdout
    assert outputs[0] == outputs[1]


def test_results_lie_in_the_folder_that_holds_the_runs(runs):
    assert verb(f'--runs={runs}/l*k*').returncode == 2  # like and leaky
    assert not list(runs.glob('comparison.*'))
    assert verb(f'--runs={runs}/[hl]i*').returncode == 0
    assert len(list(runs.glob('comparison.*'))) == 3


def test_several_runs_are_ranked_and_a_leaky_one_apart(runs, tmp_path):
    done = verb(f'--runs={runs}/*', f'--output={tmp_path}')
    assert done.returncode == 0
    words = ' '.join(done.stdout.split())
    assert 'leaky_random has its test speakers in training' in words
    text = (tmp_path / 'comparison.md').read_text()
    assert text.count('## ravdess, speakers_k') == 1 and '## ravdess, leaky' not in text
    lines = [x.split(' | ') for x in text.splitlines() if x.startswith(('| 1 |', '| 2 |', '| 3 |'))]
    assert lines[0][1] == 'high' and [x[5] for x in lines] == ['a', 'b', 'b']
    assert text.count('- leaky') + text.count('and leaky') + text.count('leaky and') >= 3


def test_runs_of_one_name_are_told_apart(tmp_path):
    for place, skill in (('x', 0.5), ('y', 0.8)):
        run_at(tmp_path / place / 'best', skill=skill)
    done = verb('--runs', tmp_path / 'x/best', tmp_path / 'y/best', f'--output={tmp_path}/out')
    assert 'y/best is better than x/best by' in ' '.join(done.stdout.split()), done.stderr


def test_relative_and_absolute_paths_and_runs_in_different_places(runs, tmp_path):
    """Evaluated by relative names, given by absolute ones, and the reverse; each run once."""
    a = run_at(tmp_path / 'project' / 'runs' / 'a', name='runs/a', skill=0.5)
    for flags, cwd in (
        (('--runs', a, 'high'), runs),
        (('--runs', 'runs/a', runs / 'high'), tmp_path / 'project'),
        (('--runs', '../project/runs/a', '../runs/high', runs / 'high', a), runs),
    ):
        done = verb(*flags, f'--output={tmp_path}/out', cwd=cwd)
        assert done.returncode == 0, done.stderr
        assert 'high is better than a by' in ' '.join(done.stdout.split())
    assert 'at least 2 runs' in refused('--runs', a, os.path.relpath(a, runs), cwd=runs)


def test_runs_evaluated_together_are_found_in_their_common_folder(runs, tmp_path):
    whole = tmp_path / 'moved'
    names = ('low', 'high')
    for name in names:
        (whole / name).mkdir(parents=True)
        (whole / name / 'config.json').write_text(name)
    parts = [pq.read_table(runs / n / evaluated.FILE) for n in names]
    for n, (name, part) in enumerate(zip(names, parts, strict=True)):
        run = pa.array([f'elsewhere/{name}'] * part.num_rows)
        parts[n] = part.set_column(part.column_names.index('run'), 'run', run)
    pq.write_table(pa.concat_tables(parts), whole / evaluated.FILE)
    for flags in ((f'--runs={whole}/*',), ('--runs', whole / 'low', whole / 'high')):
        done = verb(*flags)
        assert 'high is better than low by' in ' '.join(done.stdout.split()), done.stderr
    done = verb(f'--runs={whole}', f'--output={tmp_path}')  # the table stands for its runs
    assert 'high is better than low by' in ' '.join(done.stdout.split()), done.stderr
    done = verb(f'--leaderboard={whole}')
    assert done.returncode == 0 and (whole / 'leaderboard.html').exists()
    rows = lines_of(whole / 'leaderboard.csv')
    assert [r['run'] for r in rows] == [str(whole / 'high'), str(whole / 'low')]


def test_the_newest_predictions_of_a_run_are_used(runs):
    old = runs / 'low' / evaluated.FILE
    pq.write_table(table(run=str(runs / 'low'), skill=0.95), runs / evaluated.FILE)
    os.utime(old, (1, 1))
    shelf = evaluated.Shelf()
    assert shelf.of_run(runs / 'low').file == runs / evaluated.FILE
    os.utime(runs / evaluated.FILE, (0, 0))
    assert evaluated.Shelf().of_run(runs / 'low').file == old


def test_predictions_of_another_run_are_not_taken_for_those_of_this_one(runs):
    shutil.copy(runs / 'high' / evaluated.FILE, runs / 'low' / evaluated.FILE)
    with pytest.raises(InputError, match=r'low was not evaluated yet.*is of .*/high'):
        evaluated.Shelf().of_run(runs / 'low')
    copied = shutil.copytree(runs / 'high', runs / 'copy')  # the same configuration
    assert 'made as' in evaluated.Shelf().of_run(copied).note


def test_a_run_evaluated_from_inside_is_found_from_anywhere(runs, monkeypatch):
    pq.write_table(table(run='.'), runs / 'low' / evaluated.FILE)
    for place in (runs / 'low', runs / 'high', ROOT):
        monkeypatch.chdir(place)
        found = evaluated.Shelf().of_run(runs / 'low')
        assert found.table['run'][0].as_py() == str(runs / 'low') and not found.note


def test_runs_without_predictions_are_named_with_the_command(runs):
    for name in ('low', 'like'):
        (runs / name / evaluated.FILE).unlink()
    line = refused('--runs', runs / 'low', runs / 'high')
    assert f'low was not evaluated yet; give python -m ser_jax.evaluate --runs={runs}/low' in line
    line = refused('--runs', runs / 'low', runs / 'like')
    assert f'2 runs were not evaluated yet; give python -m ser_jax.evaluate --runs={runs}/' in line
    assert not list(runs.glob('comparison.*'))


def test_damaged_and_foreign_tables_are_one_line_each_and_the_others_go_on(runs, tmp_path):
    whole = pq.read_table(runs / 'low' / evaluated.FILE)
    twice = pa.concat_tables([whole, whole.slice(3, 1)])
    odd = whole.set_column(0, 'run', pa.array([None] * whole.num_rows, pa.string()))
    words = pa.array(['much'] * whole.num_rows)
    bad = {
        'words': (whole.set_column(whole.num_columns - 1, 'p_sad', words), 'p_sad is no double'),
        'cut': ((runs / 'low' / evaluated.FILE).read_bytes()[:999], 'cannot be read'),
        'empty': (b'', 'cannot be read'),
        'foreign': (pa.table({'a': [1]}), 'is no table of predictions: it lacks run'),
        'twice': (twice, 'has ravdess/0-0-3 twice'),
        'nulls': (odd, 'run has empty cells'),
        'rowless': (whole.slice(0, 0), 'has no rows'),
    }
    for name, (content, _) in bad.items():
        place = run_at(runs / name) / evaluated.FILE
        if isinstance(content, bytes):
            place.write_bytes(content)
        else:
            pq.write_table(content, place)
    for flags in ((f'--runs={runs}/*',), (f'--leaderboard={runs}',)):
        done = verb(*flags, f'--output={tmp_path}')
        assert done.returncode == 1 and 'high' in done.stdout
        lines = done.stderr.strip().splitlines()
        assert len(lines) == len(bad), done.stderr
        for name, (_, message) in bad.items():
            (line,) = [x for x in lines if f'/{name}/' in x]
            assert line.startswith('left out: ') and message in line
    assert len(list(tmp_path.glob('*.html'))) == 2
    assert 'left-out' in (tmp_path / 'leaderboard.html').read_text()


def test_a_leaderboard_has_a_table_for_each_protocol(runs, tmp_path):
    run_at(runs / 'deep' / 'er' / 'loso', protocol='leave_one_speaker_out', skill=0.99)
    run_at(runs / 'trans', protocol='speakers_k, transductive all', skill=0.99)
    run_at(runs / 'trans2', protocol='speakers_k, transductive all', skill=0.98)
    done = verb(f'--leaderboard={runs}')
    assert done.returncode == 0, done.stderr
    rows = lines_of(runs / 'leaderboard.csv')
    ranks = {r['run'].split('/')[-1]: (r['protocol'], r['rank']) for r in rows}
    assert ranks['high'] == ('speakers_k', '1') and ranks['loso'][1] == ranks['leaky'][1] == '1'
    assert {ranks[n][1] for n in ('trans', 'trans2')} == {'1', '2'}
    text = (runs / 'leaderboard.md').read_text()
    first = text.split('## ravdess, speakers_k: ')[1].split('\n## ')[0]
    assert 'high' in first and 'trans' not in first and 'leaky' not in first
    done = verb(f'--leaderboard={runs}', '--protocol=speakers_k', f'--output={tmp_path}')
    rows = lines_of(tmp_path / 'leaderboard.csv')
    assert {r['protocol'] for r in rows} == {'speakers_k'} and len(rows) == 3
    verb(f'--leaderboard={runs}', '--protocol=speakers_k*', f'--output={tmp_path}')
    rows = lines_of(tmp_path / 'leaderboard.csv')
    assert len({r['protocol'] for r in rows}) == 2 and len(rows) == 5


def test_a_run_in_two_tables_is_ranked_once(runs, tmp_path):
    for name, mtime in (('old', 1), ('new', 2)):
        (runs / name).mkdir()
        parts = [table(run=str(runs / 'high'), seed=1, skill=0.75), table(run='gone', seed=4)]
        pq.write_table(pa.concat_tables(parts), runs / name / evaluated.FILE)
        os.utime(runs / name / evaluated.FILE, (mtime, mtime))
    done = verb(f'--leaderboard={runs}', f'--output={tmp_path}')
    assert done.returncode == 0, done.stderr
    rows = lines_of(tmp_path / 'leaderboard.csv')
    names = sorted(pathlib.Path(r['run']).name for r in rows)
    assert names == ['gone', 'high', 'leaky', 'like', 'low']


def test_two_protocols_in_one_table_are_refused(runs):
    line = refused(f'--leaderboard={runs}', '--protocol=speakers_k', '--protocol=leaky_random')
    assert 'scores of different protocols are not ranked in one table' in line


@pytest.mark.parametrize(
    'flags, message',
    [
        ((), 'no --runs given'),
        (('--runs={runs}/low',), 'needs at least 2 runs, got {runs}/low'),
        (('--runs={runs}/low,{runs}/absent',), 'matches 0 paths and no trained run'),
        (('--runs={runs}/low,{runs}/leaky',), 'nothing can be compared: leaky and low'),
        (('--runs={runs}/*', '--protocol=loso'), 'there are: leaky_random; speakers_k'),
        (('--runs={runs}/*', '--modality=text'), 'has no predictions of modality text'),
        (('--runs={runs}/*', '--modality=video'), 'modality'),
        (('--runs={runs}/*', '--leaderboard={runs}'), 'either --runs or --leaderboard'),
        (('--leaderboard={runs}/absent',), 'is no folder'),
        (('--leaderboard={empty}',), 'has no run and no predictions.parquet'),
        (('--runs={runs}/*', '--output={runs}/low/config.json/x'), 'cannot be written'),
    ],
)
def test_a_mistake_is_one_line(runs, tmp_path, flags, message):
    names = {'runs': runs, 'empty': tmp_path / 'empty'}
    names['empty'].mkdir()
    line = refused(*(f.format(**names) for f in flags))
    assert message.format(**names) in line.replace('low and leaky', 'leaky and low')


def test_runs_without_a_common_folder_need_an_output(runs, monkeypatch):
    monkeypatch.setattr(os.path, 'commonpath', lambda paths: '/')
    from ser_jax.runs import results

    with pytest.raises(InputError, match='no folder in common; give one as --output'):
        results.folder('', [runs / 'low', runs / 'high'], ['comparison.html'])


def test_runs_on_other_corpora_have_nothing_in_common(runs):
    run_at(runs / 'tess', corpus='tess')
    line = refused('--runs', runs / 'low', runs / 'tess')
    assert 'no two runs are tested on one corpus: low on ravdess, tess on tess' in line


def test_short_names_are_unique():
    assert evaluated.short_names(['/w/x/a', '/w/y/a', '/w/b']) == ['x/a', 'y/a', 'b']
    assert evaluated.short_names(['/w/a', '/a']) == ['w/a', '/a']
    assert evaluated.short_names(['runs/a/']) == ['a']


def test_names_from_outside_are_escaped(tmp_path):
    evil = '<script>alert("x")</script>|[red]'
    made = [
        run_at(tmp_path / n, skill=s, name=str(tmp_path / n))
        for n, s in ((evil.replace('/', '_'), 0.5), ('b', 0.8))
    ]
    done = verb('--runs', *made, f'--output={tmp_path}/out')
    assert done.returncode == 0, done.stderr
    page = Page((tmp_path / 'out' / 'comparison.html').read_text())
    assert 'script' not in page.tags and '[red]' in page.text
    for line in (tmp_path / 'out' / 'comparison.md').read_text().splitlines():
        if line.startswith('| ') and 'script' in line:
            assert '\\|[red]' in line


@pytest.mark.slow
def test_trained_and_evaluated_runs_are_compared(data_dir, tmp_path):
    """The whole way: two trainings, one evaluation of both, the comparison of their table."""
    for name, epochs in (('short', 1), ('long', 12)):
        c = small_config(data_dir)
        c.train.epochs = epochs
        train.train(c, tmp_path / 'runs' / name)
    runs = f'--runs={tmp_path}/runs/*'
    done = forked.run([sys.executable, '-m', 'ser_jax.evaluate', runs], cwd=ROOT, text=True)
    assert done.returncode == 0, done.stderr
    done = verb(runs)
    assert done.returncode == 0, done.stderr
    assert 'long is better than short by' in ' '.join(done.stdout.split())
    rows = lines_of(tmp_path / 'runs' / 'comparison.csv')
    assert rows[0]['utterances'] == '72' and rows[0]['speakers'] == '6'
    assert np.isfinite(float(rows[0]['difference']))
    assert {r['part'] for r in rows if r['metric'] == 'recall'} == set(EMOTIONS)
