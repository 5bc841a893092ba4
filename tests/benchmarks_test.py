"""The benchmarks run on tiny sizes: every stage has its rows, the table is complete."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
STAGES = (
    'features',
    'shards',
    'feed',
    'step',
    'bilstm',
    'study',
    'evaluate',
    'encoder',
    'predict',
    'start',
    'memory',
)
HEAD = '| stage | work | ours | peer | ratio | must reach | reached | fraction of the limit |'


def table(
    output: pathlib.Path, stages: str
) -> tuple[subprocess.CompletedProcess, dict, list[list[str]]]:
    """What `benchmarks/table.py --quick` did, its JSON and the cells of its Markdown."""
    command = [
        sys.executable,
        'benchmarks/table.py',
        '--quick',
        f'--stages={stages}',
        f'--output={output}',
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert sorted(p.suffix for p in output.iterdir()) == ['.json', '.md'], done.stderr
    text = next(output.glob('*.md')).read_text()
    lines = text[text.index(HEAD) :].splitlines()[2:]
    return (
        done,
        json.loads(next(output.glob('*.json')).read_text()),
        [x.strip('| ').split(' | ') for x in lines],
    )


@pytest.mark.parametrize('name', [*STAGES, 'table'])
def test_every_script_tells_what_it_compares(name):
    done = subprocess.run(
        [sys.executable, f'benchmarks/{name}.py', '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '--quick' in done.stdout and f'benchmarks/{name}.py' in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_table_has_every_stage(tmp_path):
    """Peers that are not installed are rows that say so."""
    done, found, rows = table(tmp_path, ','.join(STAGES))
    assert done.returncode == 0, done.stderr
    assert [s['stage'] for s in found['stages']] == list(STAGES)
    assert {row[0] for row in rows} == set(STAGES)
    assert found['machine'] and found['quick'] and all(len(row) == 8 for row in rows)
    for row in (r for s in found['stages'] for r in s['rows']):
        assert row['figure'] and row['reached'] is None  # tiny sizes prove nothing
        if row['peer']:
            assert (
                row['ratio'] == pytest.approx(row['peer_s'] / row['ours_s']) and row['ours_s'] > 0
            )
        elif row['ours_s'] is None:
            assert row['ratio'] is None


@pytest.mark.slow
def test_a_stage_that_fails_is_a_row_and_an_exit_code(tmp_path, monkeypatch):
    monkeypatch.setenv('JAX_PLATFORMS', 'no_such_platform')
    done, found, rows = table(tmp_path, 'bilstm')
    assert done.returncode == 1 and found['stages'][0]['failed']
    assert rows[0][0] == 'bilstm' and 'failed' in rows[0][4]


def test_an_unknown_stage_is_refused():
    done = subprocess.run(
        [sys.executable, 'benchmarks/table.py', '--stages=lunch'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and 'known are features' in done.stderr
