"""Scores over runs and predictions of recordings, through the commands."""

import csv
import json
import pathlib
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from ser_jax import train
from ser_jax.contract import InputError
from ser_jax.evaluate import evaluate, find_runs
from ser_jax.inference import Clip, Predictor
from ser_jax.predict import predict_file
from ser_jax.runs.trained import open_trained
from ser_jax.scoring import calibration, rows
from ser_jax.scoring.scores import scores_by, with_means
from tests import forked
from tests.conftest import EMOTIONS, small_config, tone

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope='module')
def runs(data_dir, tmp_path_factory) -> pathlib.Path:
    """A folder of two finished runs: speech alone, and speech with text."""
    root = tmp_path_factory.mktemp('runs')
    for name in ('conv_bilstm', 'fusion'):
        c = small_config(data_dir)
        c.train.epochs, c.members.seeds = 12, (0, 1)
        if name == 'conv_bilstm':
            c.features.trim_db = 30.0
        with c.unlocked():
            c.model.name = name
        if name == 'fusion':
            c.features.source, c.features.normalize = 'waveform', 'window'
            c.augment.noise_snr_db, c.augment.reverb_s = (10.0, 30.0), (0.1, 0.3)
        train.train(c, root / name)
    return root


def verb(name, *flags):
    off = ['--gate=off'] if name == 'predict' else []  # tones are no human voice
    done = forked.run(
        [sys.executable, '-m', f'ser_jax.{name}', *off, *map(str, flags)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert 'Traceback' not in done.stderr, done.stderr
    return done


def test_all_runs_are_scored_in_one_go(runs, tmp_path):
    done = verb('evaluate', f'--runs={runs}/*', f'--output={tmp_path}')
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / 'predictions.parquet')
    scores = scores_by(table)
    assert {(s.config, s.modality) for s in scores} == {
        ('conv_bilstm', 'audio'),
        ('fusion', 'fused'),
        ('fusion', 'audio'),
        ('fusion', 'text'),
    }
    for s in scores:
        assert s.synthetic and s.seeds == 2 and s.folds == 3 and not s.incomplete
        assert s.utterances == 6 * 4 * 3  # every spoken utterance once a seed, song never
    lines = list(csv.DictReader((tmp_path / 'scores.csv').read_text().splitlines()))
    assert len(lines) == 8 and all('synthetic' in line['note'] for line in lines)
    assert [line['answer'] for line in lines] == ['member', 'mean'] * 4
    assert 'recognizes' in (tmp_path / 'report.md').read_text()
    page = (tmp_path / 'report.html').read_text()
    assert 'speakers_k' in page and page.count('synthetic') > 4
    assert 'UAR' in done.stdout and 'synthetic' in done.stdout
    for name in ('conv_bilstm', 'fusion'):
        assert 'synthetic' in (runs / name / 'MODEL_CARD.md').read_text()


def test_training_learnt_something_and_probabilities_are_probabilities(runs):
    table = evaluate([open_trained(runs / 'conv_bilstm'), open_trained(runs / 'fusion')])
    for s in scores_by(table):
        assert s.uar.value > 0.4, str(s)  # chance is 0.25
    p = np.stack([table[f'p_{e}'].to_numpy() for e in EMOTIONS])
    np.testing.assert_allclose(p.sum(0), 1, atol=1e-5)
    best = np.array(EMOTIONS)[p.argmax(0)]
    assert (best == table['predicted'].to_numpy()).all()


def test_no_voice_is_scored_by_a_member_that_learnt_it(runs):
    trained = open_trained(runs / 'conv_bilstm')
    table = rows.selected(evaluate([trained]))
    for member in set(table['member'].to_pylist()):
        speakers = {
            s
            for s, m in zip(table['speaker'].to_pylist(), table['member'].to_pylist(), strict=True)
            if m == member
        }
        learnt = {
            i.split('/s')[1][0] for side in ('train', 'valid') for i in trained.folds[member][side]
        }
        assert not {s.split('_')[1] for s in speakers} & learnt


@pytest.mark.parametrize('name', ['conv_bilstm', 'fusion'])
def test_prediction_of_a_file_equals_its_evaluation(runs, tmp_path, name):
    """Training and prediction compute the same features, from log-mel and from waveform shards."""
    trained = open_trained(runs / name)
    scored = [
        r
        for r in evaluate([trained]).to_pylist()
        if r['member'] == 'fold0_seed0' and r['modality'] == 'audio'
    ][:5]
    predictor = Predictor.open(trained, ['fold0_seed0'], calibrated=False)
    for row in scored:
        s, emotion, take = row['id'].split('_')
        samples = tone(int(s[1:]), EMOTIONS.index(emotion), int(take))
        sf.write(tmp_path / 'x.wav', samples, 16000, subtype='FLOAT')
        answer = predict_file(predictor, tmp_path / 'x.wav')
        expected = [row[f'p_{e}'] for e in trained.emotions]
        np.testing.assert_allclose(answer.probabilities, expected, atol=1e-6)


def test_validation_rows_calibrate_and_are_never_scored(runs, tmp_path):
    """Of a copy: its predictions are scaled by the temperatures that `evaluate` wrote."""
    run = tmp_path / 'fusion'
    shutil.copytree(runs / 'fusion', run)
    (run / 'calibration.json').unlink(missing_ok=True)
    before = Predictor.open(run)
    assert not before.calibrated
    assert verb('evaluate', f'--runs={run}').returncode == 0
    table = pq.read_table(run / 'predictions.parquet')
    trained = open_trained(run)
    for side in ('test', 'valid'):
        part = rows.selected(table, side)
        for member in trained.finished:
            of_member = part.filter(pa.compute.equal(part['member'], member))
            names = {f'{row["corpus"]}/{row["id"]}' for row in of_member.to_pylist()}
            assert names == set(trained.folds[member][side])
    for score in with_means(table):
        assert score.utterances == 6 * 4 * 3
        if score.answer == 'member':  # of a mean too few utterances are in a fold
            assert score.calibrated.fitted_on == 'validation speakers'
    kept = json.loads((run / 'calibration.json').read_text())
    after, clip = Predictor.open(run), Clip(tone(0, 1, 0), 16000, text='')
    (raw,), (scaled,) = before.predict([clip]), after.predict([clip])
    temperature = kept['member']['audio']['temperature']
    expected = calibration.scaled(raw.probabilities, temperature)
    np.testing.assert_allclose(scaled.probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(scaled.windows[0].probabilities, expected, atol=1e-6)
    assert after.calibrated and scaled.emotion == raw.emotion
    samples = tone(0, 1, 0)[None]
    traced = after.function()(samples, np.array([samples.shape[1]]))
    np.testing.assert_allclose(traced.probabilities['audio'][0], expected, atol=1e-5)
    (run / 'calibration.json').write_text('{"mean": {"audio": {"temperature": -1}}}')
    with pytest.raises(InputError, match=r'calibration\.json is damaged'):
        Predictor.open(run)


def test_a_long_recording_has_a_track_and_its_mean_is_the_answer(runs):
    predictor = Predictor.open(runs / 'conv_bilstm', window_s=2.0, calibrated=False)
    samples = np.concatenate([tone(0, 1, 0), tone(0, 3, 1)] * 20)
    (answer,) = predictor.predict([Clip(samples, 16000)])
    windows = answer.windows
    assert len(windows) > 10
    assert windows[0].start_s == 0 and abs(windows[-1].end_s - len(samples) / 16000) < 0.05
    starts = [w.start_s for w in windows]
    assert starts == sorted(starts)
    each, length = [w.probabilities for w in windows], [w.end_s - w.start_s for w in windows]
    np.testing.assert_allclose(answer.probabilities, np.average(each, 0, length), atol=1e-6)


def test_fusion_reads_a_text_when_there_is_one(runs):
    predictor = Predictor.open(runs / 'fusion', ['fold0_seed0'])
    texts = ('', 'the tears of number 0', '  ')
    without, spoken, blank = predictor.predict([Clip(tone(0, 1, 0), 16000, t) for t in texts])
    assert not np.allclose(without.probabilities, spoken.probabilities)
    np.testing.assert_array_equal(without.probabilities, blank.probabilities)
    assert set(without.modalities) == {'audio'}
    assert set(spoken.modalities) == {'audio', 'text', 'fused'}
    np.testing.assert_array_equal(spoken.probabilities, spoken.modalities['fused'])


@pytest.fixture(scope='module')
def recordings(tmp_path_factory) -> pathlib.Path:
    """Stereo 48 kHz, mp3, ogg, 8-bit, minutes, milliseconds, silence, empty, no sound at all."""
    root = tmp_path_factory.mktemp('recordings')
    long = np.concatenate([tone(1, 2, i) for i in range(4)] * 60)
    wide = np.repeat(tone(0, 1, 0), 3)
    sf.write(root / 'stereo48.wav', np.stack([wide, wide], 1), 48000, subtype='PCM_24')
    sf.write(root / 'voice.mp3', tone(0, 0, 1), 16000)
    sf.write(root / 'voice.ogg', tone(0, 0, 1), 16000)
    sf.write(root / 'voice.flac', tone(0, 0, 1), 16000)
    sf.write(root / 'old.wav', tone(0, 0, 1)[::2], 8000, subtype='PCM_U8')
    sf.write(root / 'long.flac', long, 16000)
    sf.write(root / 'blink.wav', tone(0, 0, 1)[:50], 16000)
    sf.write(root / 'silence.wav', np.zeros(16000, np.float32), 16000)
    (root / 'empty.wav').write_bytes(b'')
    (root / 'letter.wav').write_text('Dear reader, this is no sound. ' * 20)
    (root / 'notes.txt').write_text('ignored: not a recording by its name')
    return root


def test_whatever_users_have_is_heard_or_named(runs, recordings, tmp_path):
    done = verb(
        'predict',
        f'--run={runs / "conv_bilstm"}',
        f'--output={tmp_path / "answers.json"}',
        recordings,
    )
    assert done.returncode == 1  # three have no answer, each with a line
    errors = [line for line in done.stderr.splitlines() if line.startswith('error:')]
    assert len(errors) == 4 and '3 of 10' in errors[-1]
    for name in ('silence.wav', 'empty.wav', 'letter.wav'):
        assert any(name in e for e in errors), name
    answers = {
        pathlib.Path(a['file']).name: a for a in json.loads((tmp_path / 'answers.json').read_text())
    }
    assert sorted(answers) == [
        'blink.wav',
        'long.flac',
        'old.wav',
        'stereo48.wav',
        'voice.flac',
        'voice.mp3',
        'voice.ogg',
    ]
    for a in answers.values():
        assert abs(sum(a['probabilities'].values()) - 1) < 0.01
        assert a['emotion'] == max(a['probabilities'], key=a['probabilities'].get)
    assert len(answers['long.flac']['windows']) > 20
    assert 'stereo48.wav: ' in done.stdout and ' %' in done.stdout
    top = next(line for line in done.stdout.splitlines() if 'voice.flac' in line)
    assert top.count('%') == 3


def test_csv_has_a_line_per_recording_and_window(runs, recordings, tmp_path):
    done = verb(
        'predict',
        f'--run={runs / "conv_bilstm"}',
        f'--output={tmp_path / "a.csv"}',
        recordings / 'long.flac',
        recordings / 'voice.mp3',
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / 'a.csv').read_text().splitlines()))
    assert [pathlib.Path(r['file']).name for r in rows].count('voice.mp3') == 1
    assert [pathlib.Path(r['file']).name for r in rows].count('long.flac') > 20


@pytest.mark.parametrize(
    'flags, message',
    [
        (('--run=nowhere', 'x.wav'), 'does not exist'),
        ((), '--run is missing'),
        (('--run={run}',), 'name files or folders'),
        (('--run={run}', 'missing.wav'), 'missing.wav does not exist'),
        (('--run={run}', '{empty}'), 'holds no recording'),
        (('--run={run}', '--member=fold9_seed9', '{sound}'), 'has no finished member'),
        (('--run={run}', '--text=hello', '{sound}'), 'reads no text'),
        (('--run={run}', '--output=answers.xlsx', '{sound}'), 'must end in .json or .csv'),
        (('--rum={run}',), 'run'),
    ],
)
def test_a_mistake_for_predict_is_one_line(runs, recordings, tmp_path, flags, message):
    names = {'run': runs / 'conv_bilstm', 'empty': tmp_path, 'sound': recordings / 'voice.flac'}
    done = verb('predict', *(f.format(**names) for f in flags))
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: ') and message in lines[0], done.stderr


def test_a_mistake_for_evaluate_is_one_line(runs, tmp_path):
    for flags, message in [
        ((), 'no --runs given'),
        ((f'--runs={tmp_path}/*',), 'no trained run'),
        ((f'--runs={runs}/conv_bilstm', '--corpora=ravdess'), "corpus 'ravdess'"),
        ((f'--runs={runs}/conv_bilstm', f'--data_dir={tmp_path}'), 'is not built'),
    ]:
        done = verb('evaluate', *flags, f'--output={tmp_path}')
        assert done.returncode == 2
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1 and message in lines[0], done.stderr


def test_unfinished_members_are_left_out_and_reported(runs, tmp_path):
    copy = shutil.copytree(runs / 'conv_bilstm', tmp_path / 'half')
    for seed in (0, 1):  # a whole fold
        shutil.rmtree(copy / 'best' / f'fold1_seed{seed}')
    lines = []
    score = scores_by(evaluate([open_trained(copy)], say=lines.append))[0]
    assert score.incomplete and score.members == 4 and 'incomplete' in score.note
    assert any('2 of 6 members were not trained' in s for s in lines)


def test_one_broken_run_does_not_stop_the_others(runs, tmp_path):
    for name in ('a', 'b'):
        shutil.copytree(runs / 'conv_bilstm', tmp_path / 'runs' / name)
    shutil.rmtree(tmp_path / 'runs' / 'b' / 'best')
    done = verb('evaluate', f'--runs={tmp_path}/runs/*', f'--output={tmp_path}')
    assert (
        done.returncode == 1 and 'left out' in done.stderr and 'no finished member' in done.stderr
    )
    assert {s.run for s in scores_by(pq.read_table(tmp_path / 'predictions.parquet'))} == {
        str(tmp_path / 'runs' / 'a')
    }


def test_a_damaged_kept_model_is_named(runs, tmp_path):
    copy = shutil.copytree(runs / 'conv_bilstm', tmp_path / 'damaged')
    for path in (copy / 'best' / 'fold0_seed0').rglob('*'):
        if path.is_file() and path.name != 'about.json':
            path.write_bytes(b'')
    with pytest.raises(InputError, match='fold0_seed0 cannot be read'):
        evaluate([open_trained(copy)])


def test_find_runs_expands_and_sorts(runs):
    assert [p.name for p in find_runs([f'{runs}/*'])] == ['conv_bilstm', 'fusion']


def test_a_run_of_an_earlier_version_is_opened_with_the_knobs_it_did_not_know(runs, tmp_path):
    copy = shutil.copytree(runs / 'conv_bilstm', tmp_path / 'old')
    stored = json.loads((copy / 'config.json').read_text())
    for knob in ('variants', 'variants_heard', 'supported', 'unsupported'):
        del stored['data'][knob]
    (copy / 'config.json').write_text(json.dumps(stored))
    for later in ('checksums', 'utterances'):
        (copy / f'{later}.json').unlink()
    before, after = (evaluate([open_trained(d)]) for d in (runs / 'conv_bilstm', copy))
    assert before.drop(['run']).equals(after.drop(['run']))
