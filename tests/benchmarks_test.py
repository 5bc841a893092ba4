"""The benchmarks run on tiny sizes: every stage has its rows, the table is complete.

The comparison with classical systems trains on the folds of a run, and on nothing else.
"""

import json
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from ser_jax import assemble
from ser_jax.models.encoders import whisper
from ser_jax.scoring import scores

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


@pytest.fixture
def modules(monkeypatch) -> types.SimpleNamespace:
    """Modules of the folder, which is no package."""
    monkeypatch.syspath_prepend(ROOT / 'benchmarks')
    import encoder
    import functionals

    return types.SimpleNamespace(encoder=encoder, functionals=functionals)


def test_the_operations_of_an_encoder_are_those_that_xla_counts(modules):
    """Softmax, GELU and normalization, which the formula leaves out, are a few per cent."""
    import jax
    from flax import nnx

    graph, state = nnx.split(nnx.eval_shape(lambda: whisper.Encoder(rngs=nnx.Rngs(0))))
    mel = jax.ShapeDtypeStruct((1, 400, 80), np.float32)
    length = jax.ShapeDtypeStruct((1,), np.int32)
    apply = jax.jit(lambda s, x, n: nnx.merge(graph, s)(x, n, (6,)))
    counted = apply.lower(state, mel, length).cost_analysis()['flops']
    ours = modules.encoder.encoder_flops(whisper.SIZES['whisper_base'], 200)
    assert 0.93 * counted < ours < counted


def test_classical_systems_train_and_score_on_the_folds_of_a_run(modules, config):
    """Both classifiers separate the tones; swapped labels of test sides change no prediction."""
    config.members.seeds = (0, 1)
    run, functionals = assemble.open_run(config), modules.functionals
    count = len(run.utterances)
    features = np.stack([run.utterances.read(i).mean(0, np.float64) for i in range(count)])
    builds = functionals.support_vectors, lambda: functionals.Discriminants(features.shape[1])
    tested = sorted(run.utterances.id[np.concatenate([m.test for m in run.members[:3]])])
    for build in builds:
        one = functionals.train('x', features, build, run)
        (score,) = scores.scores_by(one.predictions)
        assert score.uar.value > 0.8 and score.folds == 3 and score.seeds == 1
        assert sorted(one.predictions['id'].to_pylist()) == tested and one.parameters > 0
        member = run.members[0]
        labels = run.utterances.emotion.copy()
        run.utterances.emotion[member.test] = 'angry'
        again = functionals.train('x', features, build, run._replace(members=[member]))
        run.utterances.emotion[:] = labels
        first = one.predictions['predicted'].to_pylist()[: len(member.test)]
        assert again.predictions['predicted'].to_pylist() == first
        lines = functionals.markdown([one], [score], one.predictions, 'itself')
        assert len(lines) == 3 and lines[2].endswith('| – |') and 'itself' in lines[0]


def test_the_samples_of_a_run_are_those_of_its_utterances(modules, config):
    run = assemble.open_run(config)
    recordings = modules.functionals.samples_of(run)
    for i, samples in enumerate(recordings):
        assert len(samples) == round(run.utterances.seconds[i] * 16000)
