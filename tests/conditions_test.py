"""Runs scored under conditions: the same path as undistorted, a planted fragility found, words."""

import dataclasses
import pathlib
import shutil
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from ml_collections import ConfigDict

from ser_jax import assemble, train
from ser_jax.audio import conditions as table_of_conditions
from ser_jax.audio.conditions import CONDITIONS, Condition
from ser_jax.contract import InputError
from ser_jax.data import distorted
from ser_jax.data.distorted import Study
from ser_jax.evaluate import evaluate
from ser_jax.runs import conditions
from ser_jax.runs.trained import open_trained
from ser_jax.scoring import robustness, rows
from ser_jax.scoring.scores import scores_by
from tests import forked
from tests.conftest import ToneBuilder, small_config
from tests.speech_encoder_test import SIZE, whisper, write_weights

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope='module')
def runs(data_dir, tmp_path_factory) -> pathlib.Path:
    """Runs on tones without noise: two folds from log-mel shards, a short one from samples."""
    root = tmp_path_factory.mktemp('runs')
    for name in ('log_mel', 'waveform'):
        c = small_config(data_dir)
        c.features.source, c.members.only, c.train.epochs = name, (0,), 2
        if name == 'log_mel':
            c.features.trim_db, c.members.only, c.train.epochs = 30.0, (0, 1), 12
        train.train(c, root / name)
    return root


@pytest.fixture
def same(monkeypatch):
    """A condition that changes nothing."""
    condition = Condition('same', 'test', 'nothing', lambda samples, rate_hz, rng: samples)
    monkeypatch.setitem(CONDITIONS, 'same', condition)


def scored(run, names, utterances=0, **keywords):
    study = Study.of(names, utterances)
    return evaluate([open_trained(run)], study=study, **keywords)


def keyed(table, condition='clean'):
    """Probabilities by member and utterance."""
    part = rows.selected(table, condition=condition).to_pylist()
    return {(r['member'], r['id']): [v for k, v in r.items() if k.startswith('p_')] for r in part}


@pytest.mark.parametrize(
    ('name', 'count', 'tolerance'), [('log_mel', 48, 0.02), ('waveform', 24, 1e-5)]
)
def test_what_changes_nothing_is_scored_as_undistorted(runs, same, name, count, tolerance):
    """Samples of 16 bits, through the run's own front end, have the features of its shards."""
    table = scored(runs / name, ['same'])
    clean, again = keyed(table), keyed(table, 'same')
    assert clean.keys() == again.keys() and len(clean) == count
    for key, p in clean.items():
        np.testing.assert_allclose(again[key], p, atol=tolerance, err_msg=str(key))
    (effect,) = robustness.effects(table, draws=200)
    assert effect.changed.value == 0 and not effect.lost
    plain = evaluate([open_trained(runs / name)])
    assert keyed(plain) == clean


def test_a_planted_fragility_to_noise_is_found(runs):
    """The run was trained without noise, in which the pitch of a tone is lost."""
    (effect,) = robustness.effects(scored(runs / 'log_mel', ['white_0db']), draws=500)
    assert effect.clean.value > 0.5  # chance is 0.25
    assert effect.lost and effect.changed.value > 0.2


def test_a_condition_of_an_utterance_depends_on_no_other_utterance_or_condition(runs):
    """A part of the utterances with one condition, and all with several."""
    part = keyed(scored(runs / 'waveform', ['babble_5db'], 9), 'babble_5db')
    whole = scored(runs / 'waveform', ['babble_5db', 'reverb_600ms', 'telephone'])
    every = keyed(whole, 'babble_5db')
    assert len(part) == 9 < len(every)
    for key, p in part.items():
        np.testing.assert_allclose(p, every[key], atol=1e-5)
    assert robustness.effects(whole, draws=50)[0].utterances == 24


@pytest.mark.parametrize('resident_gb', [1e-9, 4.0])
def test_features_that_do_not_fit_into_memory_are_computed_when_read(runs, resident_gb, data_dir):
    trained = open_trained(runs / 'waveform')
    used = evaluated(trained)
    names = [CONDITIONS[n] for n in ('white_5db', 'speed_90')]
    study = Study(tuple(names), 3)
    sources = distorted.opened(used.names, 'waveform', study, str(data_dir), {})
    chosen = np.array([0, 5, 40])
    passes = list(distorted.passes(used, chosen, chosen[:1], sources, study, 0.0, resident_gb))
    assert len(passes) == (2 if resident_gb < 1 else 1)
    parts = [p for p in passes for _ in range(len(study.conditions) // len(passes))]
    assert all((p.flat is None) == (resident_gb < 1) for p in passes)
    for at, (condition, part) in enumerate(zip(names, parts, strict=True)):
        row = 2 + (0 if len(passes) == 2 else 3 * at)
        assert part.id[row] == f'{used.id[5]}+{condition.name}'
        assert part.speaker[row] == used.speaker[5] and part.id[0] == used.id[0]
        np.testing.assert_array_equal(part.read(0), used.read(0))
        expected = sources.distorted(used, 5, condition, 0)
        values = np.rint(np.clip(expected * 32768, -32768, 32767))
        np.testing.assert_array_equal(part.read(row), values)
        assert part.length[row] == len(values)


def evaluated(trained):
    opened = assemble.open_run(trained.config).utterances
    return opened.select(np.isin(opened.channel, ['speech']))


def test_a_part_of_the_utterances_is_balanced_and_the_same_for_each_seed(runs):
    used = evaluated(open_trained(runs / 'waveform'))
    every = np.ones(len(used), bool)
    for count in (8, 24, 30):
        chosen = conditions.balanced(used, every, count, 0)
        assert len(chosen) == len(set(chosen)) == count
        for column, most in ((used.emotion, count / 4), (used.speaker, count / 6)):
            _, each = np.unique(column[chosen].astype(str), return_counts=True)
            assert each.max() <= np.ceil(most) + 1 and each.min() >= np.floor(most) - 1
        np.testing.assert_array_equal(chosen, conditions.balanced(used, every, count, 0))
        assert set(chosen) != set(conditions.balanced(used, every, count, 1))
    assert len(conditions.balanced(used, every, 0, 0)) == len(used)
    allowed = used.speaker != 'synthetic_3'
    assert 'synthetic_3' not in used.speaker[conditions.balanced(used, allowed, 20, 0)]


def test_a_babble_has_no_voice_of_the_same_speaker(runs, data_dir):
    used = evaluated(open_trained(runs / 'waveform'))
    study = Study((CONDITIONS['babble_0db'],))
    (recordings,) = distorted.opened(used.names, 'waveform', study, str(data_dir), {}).corpora
    for speaker in set(used.speaker):
        others = recordings.others(speaker)
        assert len(others) == 5 * 12 and others == sorted(others)
        assert not [id for id in others if id.startswith(f's{speaker[-1]}_')]


def test_a_missing_build_of_samples_is_refused_before_anything_is_scored(runs, data_dir, tmp_path):
    shutil.copytree(data_dir / 'synthetic' / 'log_mel', tmp_path / 'synthetic' / 'log_mel')
    with pytest.raises(InputError) as refused:
        scored(runs / 'log_mel', ['white_0db'], data_dir=str(tmp_path))
    for words in ('--conditions distorts samples', 'is not built', '--config=waveform'):
        assert words in str(refused.value)
    assert '\n' not in str(refused.value)


def test_samples_of_other_recordings_are_refused(runs, data_dir, tmp_path):
    class Other(ToneBuilder, skip_registration=True):
        name = ToneBuilder.name

        def recordings(self, dl_manager):
            for recording in super().recordings(dl_manager):
                samples = 0.5 * recording.read()[0]
                yield dataclasses.replace(recording, read=lambda s=samples: (s, 16000))

    shutil.copytree(data_dir / 'synthetic' / 'log_mel', tmp_path / 'synthetic' / 'log_mel')
    Other(config='waveform', data_dir=tmp_path).download_and_prepare()
    with pytest.raises(InputError, match=r'from other recordings .* s\d_\w+ is another recording'):
        scored(runs / 'log_mel', ['white_0db'], data_dir=str(tmp_path))


def test_sounds_that_are_not_built_are_left_out_by_group_and_refused_by_name(runs):
    lines = []
    table = scored(runs / 'waveform', ['noise'], 8, say=lines.append)
    assert len(rows.conditions(table)) == 10
    (line,) = [line for line in lines if line.startswith('left out')]
    assert 'sounds_20db' in line and 'nonspeech' in line and 'white' not in line
    for names in (['sounds_10db'], ['sounds']):
        with pytest.raises(InputError, match=r'needs other sounds, .* ser_jax\.build datasets/non'):
            scored(runs / 'waveform', names)


def test_sounds_are_those_of_the_corpus(runs, data_dir, tmp_path):
    class Sounds(ToneBuilder, skip_registration=True):
        name = 'nonspeech'
        FIRST = 20

    shutil.copytree(data_dir / 'synthetic', tmp_path / 'synthetic')
    Sounds(config='waveform', data_dir=tmp_path).download_and_prepare()
    given = {'data_dir': str(tmp_path)}
    table = scored(runs / 'log_mel', ['sounds_0db', 'sounds_20db'], **given)
    soft, loud = robustness.effects(table, draws=200)
    assert (soft.condition, loud.condition) == ('sounds_20db', 'sounds_0db')
    assert loud.changed.value > soft.changed.value


def verb(*flags):
    return forked.run(
        [sys.executable, '-m', 'ser_jax.evaluate', *map(str, flags)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_writes_rows_scores_curves_and_a_card(runs, tmp_path):
    done = verb(
        f'--runs={runs}/*', '--conditions=white,telephone', '--condition_utterances=24',
        f'--output={tmp_path}',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / 'predictions.parquet')
    assert len(rows.conditions(table)) == 6
    for condition in rows.conditions(table):
        assert rows.selected(table, condition=condition).num_rows == 2 * 24
    assert [s.uar for s in scores_by(rows.selected(table))] == [
        s.uar
        for s in scores_by(evaluate([open_trained(runs / n) for n in ('log_mel', 'waveform')]))
    ]
    assert len((tmp_path / 'robustness.csv').read_text().splitlines()) == 1 + 2 * 6
    assert 'conditions tested' in (tmp_path / 'report.md').read_text()
    page = (tmp_path / 'report.html').read_text()
    assert 'id="robustness"' in page and 'robustness-0-curves' in page
    assert ' '.join(done.stdout.split()).count('conditions tested') == 2
    for name in ('log_mel', 'waveform'):
        card = (runs / name / 'MODEL_CARD.md').read_text()
        assert '## Robustness' in card and 'white noise at 0 dB' in card


def test_conditions_are_listed_and_mistakes_are_one_line(runs):
    done = verb('--conditions=?')
    assert done.returncode == 0
    assert all(name in done.stdout for name in table_of_conditions.CONDITIONS)
    for flags, message in [
        (('--conditions=telefone',), 'did you mean telephone?'),
        (('--conditions=all', '--condition_utterances=-1'), 'must be at least 0 (all), got -1'),
    ]:
        done = verb(f'--runs={runs}/waveform', *flags)
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 2 and len(lines) == 1 and message in lines[0], done.stderr


def test_conditions_are_trained_with_as_variants_of_the_training_side(config):
    config.features.source = 'waveform'
    config.data.variants = ('white_10db', 'opus_12kbps', 'silence_1s')
    run = assemble.open_run(config)
    ids, member = run.utterances.id, run.members[0]
    assert {i.partition('+')[2] for i in ids[member.train]} == {'', *config.data.variants}
    assert not [i for i in ids[np.concatenate([member.valid, member.test])] if '+' in i]
    at = {i: n for n, i in enumerate(ids)}
    study = Study((CONDITIONS['white_10db'],))
    sources = distorted.opened(run.utterances.names, 'waveform', study, config.data.dir, {})
    i = at['s1_sad_0']
    tested = sources.distorted(run.utterances, i, CONDITIONS['white_10db'], 0)
    values = np.rint(np.clip(tested * 32768, -32768, 32767))
    np.testing.assert_array_equal(run.utterances.read(at['s1_sad_0+white_10db']), values)


@pytest.mark.parametrize('mode', ['none', 'enrolled:2', 'all'])
def test_a_frozen_encoder_is_scored_and_speakers_are_enrolled_undistorted(
    data_dir, tmp_path, monkeypatch, same, mode
):
    monkeypatch.setitem(whisper.SIZES, 'whisper_tiny', SIZE)
    write_weights(tmp_path / 'weights' / 'whisper_tiny' / 'model.bin', 0)
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path / 'weights'))
    monkeypatch.setenv('SER_JAX_ACTIVATIONS', str(tmp_path / 'derived'))
    c = small_config(data_dir)
    c.features.source, c.features.input, c.features.normalize = 'waveform', 'whisper_mel', 'none'
    c.features.speaker_norm, c.train.epochs = mode, 1
    c.model = ConfigDict({'name': 'speech_encoder', 'encoder': 'whisper_tiny', 'layers': (1, 2)})
    train.train(c, tmp_path / 'run')
    table = scored(tmp_path / 'run', ['same', 'white_0db'], 16)
    again, noisy = keyed(table, 'same'), keyed(table, 'white_0db')
    assert len(again) == len(noisy) == 16
    for key, p in again.items():
        np.testing.assert_allclose(p, keyed(table)[key], atol=1e-5)
    assert not np.allclose([*again.values()], [*noisy.values()], atol=1e-3)
    found = {e.condition: e for e in robustness.effects(table, draws=500)}
    assert found['white_0db'].lost or mode != 'none'
    assert not found['same'].lost and found['same'].changed.value == 0
