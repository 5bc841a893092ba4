"""A run that knows a speaker: better for it, the same in a fresh process, its parent untouched."""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ser_jax import personal, train
from ser_jax.contract import InputError
from ser_jax.corpora import personal_folder
from ser_jax.explore import same_recording
from ser_jax.inference import Clip, Predictor
from ser_jax.personal import Spoken, personalize
from ser_jax.runs import parent, teaching
from tests.conftest import EMOTIONS, small_config, tone
from tests.speech_encoder_test import config, tiny, weights  # noqa: F401

RATE, STRANGER, KNOWN = 16000, 20, 2


@pytest.fixture(scope='module')
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    """Two members and a few epochs, on six speakers of tones."""
    c = small_config(data_dir)
    c.members.folds, c.train.epochs = 2, 6
    directory = tmp_path_factory.mktemp('runs') / 'general'
    train.train(c, directory)
    return directory


def syllables(samples: np.ndarray, take: int) -> np.ndarray:
    """A tone cut by pauses that differ from take to take: else two takes are near copies."""
    random = np.random.default_rng(take)
    loud = np.repeat(random.uniform(0.02, 1, 12), -(-len(samples) // 12))[: len(samples)]
    return (samples * loud).astype(np.float32)


def spoken(speaker: int, takes) -> list[Spoken]:
    """Recordings of a speaker: those of speaker 20 have other pitches and a strong overtone."""
    found = []
    for e, emotion in enumerate(EMOTIONS):
        for take in takes:
            samples = syllables(tone(speaker, e, take), 10 * take + e)
            clip = Clip(samples, RATE, source=f'{emotion}/{take}.wav')
            found.append(Spoken(clip, emotion))
    return found


def contents(directory: pathlib.Path) -> dict[str, str]:
    files = sorted(p for p in directory.rglob('*') if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def accuracy(predictor: Predictor, some: list[Spoken]) -> float:
    answers = predictor.predict([s.clip for s in some])
    return float(np.mean([a.emotion == s.emotion for a, s in zip(answers, some, strict=True)]))


@pytest.fixture(scope='module')
def made(run, tmp_path_factory):
    """The run, taught three takes of a stranger; and the state of its files before."""
    before, shares = contents(run), []
    output = tmp_path_factory.mktemp('mine')
    result = personalize(run, spoken(STRANGER, range(100, 103)), output, 'x', (), shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
    return result, before


def test_teaching_repairs_a_strange_voice_and_leaves_the_parent_alone(run, made):
    result, before = made
    taught = result.taught
    assert taught.kept and taught.after.value > taught.before.value + 0.2
    assert taught.before.low <= taught.before.value <= taught.before.high
    assert taught.gain.value == pytest.approx(taught.after.value - taught.before.value)
    assert contents(run) == before
    unseen = spoken(STRANGER, range(200, 204))
    general, mine = Predictor.open(run), Predictor.open(result.directory)
    assert accuracy(mine, unseen) > accuracy(general, unseen) + 0.2
    # What was held out is near to what comes later.
    assert abs(accuracy(mine, unseen) - taught.after.value) < 0.3


def test_a_personalized_run_holds_its_general_model(run, made):
    clips = [s.clip for s in spoken(STRANGER, range(200, 202))]
    general = Predictor.open(made[0].directory, general=True).predict(clips)
    for a, b in zip(general, Predictor.open(run).predict(clips), strict=True):
        np.testing.assert_array_equal(a.probabilities, b.probabilities)
    one = Predictor.open(made[0].directory, ['fold1_seed0'])
    each = [Predictor.open(made[0].directory, [m]) for m in one.trained.finished]
    mean = np.mean([p.predict(clips[:1])[0].probabilities for p in each], 0)
    (answer,) = Predictor.open(made[0].directory).predict(clips[:1])
    np.testing.assert_allclose(answer.probabilities, mean, atol=1e-6)


def test_a_fresh_process_gives_the_same_answers_without_parent_and_corpus(made, tmp_path):
    moved = tmp_path / 'moved'
    shutil.copytree(made[0].directory, moved)
    path = tmp_path / 'x.wav'
    soundfile.write(path, tone(STRANGER, 1, 300), RATE, subtype='FLOAT')
    command = [sys.executable, '-m', 'ser_jax.predict', '--gate=off', f'--run={moved}', str(path)]
    done = subprocess.run(
        [*command, '--gate=off', f'--output={tmp_path / "out.json"}'],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (given,) = json.loads((tmp_path / 'out.json').read_text())
    samples, _ = soundfile.read(path, dtype='float32')
    (answer,) = Predictor.open(made[0].directory).predict([Clip(samples, RATE)])
    found = [given['probabilities'][e] for e in answer.emotions]
    np.testing.assert_allclose(found, answer.probabilities, atol=1e-4)


def test_without_a_shift_nothing_is_lost(run, tmp_path):
    made = personalize(run, spoken(KNOWN, range(100, 104)), tmp_path, 'x')
    taught, unseen = made.taught, spoken(KNOWN, range(200, 205))
    assert taught.after.value >= taught.before.value - 0.1
    mine = Predictor.open(made.directory or run)
    assert accuracy(mine, unseen) >= accuracy(Predictor.open(run), unseen) - 0.1


def test_labels_that_teach_nothing_are_not_kept(run, tmp_path):
    random = np.random.default_rng(0)
    some = spoken(KNOWN, range(100, 104))
    names = random.permutation([s.emotion for s in some])
    wrong = [s._replace(emotion=str(e)) for s, e in zip(some, names, strict=True)]
    made = personalize(run, wrong, tmp_path / 'mine', 'x')
    assert not made.taught.kept and made.directory is None and not (tmp_path / 'mine').exists()


def test_versions_are_numbered_and_deterministic(run, tmp_path):
    some = spoken(STRANGER, range(100, 103))
    one, two = (personalize(run, some, tmp_path, 'x') for _ in range(2))
    assert [one.directory.name, two.directory.name] == ['v1', 'v2']
    a, b = ((made.directory / parent.ARRAYS).read_bytes() for made in (one, two))
    assert hashlib.sha256(a).digest() == hashlib.sha256(b).digest()
    again = personalize(two.directory, some, tmp_path / 'again', 'x')  # begins with the general one
    for x, y in zip(again.taught.head, one.taught.head, strict=True):
        np.testing.assert_array_equal(x, y)
    about = parent.read(again.directory).about
    assert about['parent']['path'] == str(run) and about['speaker'] == 'x'


def test_a_stopped_or_killed_write_leaves_no_version(run, tmp_path, monkeypatch):
    some = spoken(STRANGER, range(100, 103))

    def stop(personal):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(parent, '_packed', stop)
        with pytest.raises(KeyboardInterrupt):
            personalize(run, some, tmp_path, 'x')
    assert list(tmp_path.iterdir()) == []
    half = tmp_path / '.v1.writing'  # left by kill -9
    half.mkdir()
    (half / 'config.json').write_text('half')
    assert personalize(run, some, tmp_path, 'x').directory == tmp_path / 'v1'
    assert [p.name for p in tmp_path.iterdir()] == ['v1']


@pytest.mark.parametrize('file', [parent.ARRAYS, parent.FILE, 'config.json', 'best'])
def test_damage_is_refused_in_one_line(made, tmp_path, file):
    copy = tmp_path / 'v1'
    shutil.copytree(made[0].directory, copy)
    if file == 'best':
        about = copy / 'best' / 'fold0_seed0' / 'about.json'
        about.write_text(json.dumps({**json.loads(about.read_text()), 'sha256': 'other'}))
    else:
        content = (copy / file).read_bytes()
        (copy / file).write_bytes(content[:-40] + b' ' * 30)
    with pytest.raises(InputError) as e:
        Predictor.open(copy)
    assert str(copy) in str(e.value) and '\n' not in str(e.value)


def test_a_changed_parent_is_noticed(run, made, tmp_path):
    known = parent.read(made[0].directory)
    assert parent.changed_since(known, run) == []
    other = tmp_path / 'other'
    shutil.copytree(run, other)
    (other / 'environment.json').write_text('{}')
    assert parent.changed_since(known, other) == ['environment.json']


def test_a_personalized_run_is_not_scored_as_another(made):
    with pytest.raises(InputError, match=r'is personalized: .* give its parent to evaluate'):
        parent.refuse(made[0].directory, 'evaluate')


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda some: [], 'no recording is given'),
        (lambda some: [s._replace(emotion='hapy') for s in some], r"'hapy' .* did you mean happy"),
        (lambda some: [s._replace(emotion='joy') for s in some], 'too few labelled recordings'),
        (lambda some: [s._replace(emotion='') for s in some], 'label some'),
        (lambda some: some[::3], r'too few labelled recordings \(1 neutral, 1 happy'),
        (lambda some: [*some, some[0]._replace(emotion='sad')], 'one recording with two labels'),
        (
            lambda some: [*some, Spoken(Clip(np.zeros(RATE), RATE, source='quiet.wav'), 'sad')],
            'quiet.wav.*silent',
        ),
        (
            lambda some: [*some, Spoken(Clip(tone(1, 0, 0), RATE, source='a.wav'), 'sad')],
            r'a\.wav is synthetic/s1_neutral_0, .* trained on',
        ),
    ],
)
def test_mistakes_are_refused_in_one_line(run, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as e:
        personalize(run, change(spoken(STRANGER, range(100, 103))), tmp_path / 'mine', 'x')
    assert '\n' not in str(e.value) and not (tmp_path / 'mine').exists()


def test_copies_of_a_recording_are_held_out_together():
    first, second, third = (tone(3, e, 100) for e in (0, 1, 2))
    louder, later = 0.3 * first, np.concatenate([np.zeros(1600, np.float32), second])
    given = [first, second, louder, third, later]
    group = same_recording.groups(given, list('abcde'))
    assert group.tolist() == [0, 1, 0, 3, 1]
    folds = teaching.split(np.array([0, 1, 0, 2, 1]), group)
    assert folds[0] == folds[2] and folds[1] == folds[4] and len(set(folds)) == 3


def test_the_same_samples_count_once(run):
    some = spoken(STRANGER, [100, 101])
    twice = [*(s._replace(emotion='') for s in some[:2]), *some]
    recordings = personal.checked(Predictor.open(run), twice)
    assert len(recordings.clips) == len(some) and (recordings.label >= 0).all()


def write(path: pathlib.Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)


def test_labels_come_from_folders_or_from_a_manifest(tmp_path):
    for name in ('Anger/a.wav', 'happy/b.wav', 'c.wav', 'unlabeled/d.wav', 'Wut/e.wav'):
        write(tmp_path / name, tone(1, 1, 1))
    (tmp_path / 'emotions.json').write_text('{"Wut": "angry"}')
    found = {f.audio.stem: f.emotion for f in personal_folder.recordings(tmp_path)}
    assert found == {'a': 'angry', 'b': 'happy', 'c': '', 'd': '', 'e': 'angry'}
    (tmp_path / 'manifest.csv').write_text('path,emotion\nAnger/a.wav,sad\n')
    found = {f.audio.stem: f.emotion for f in personal_folder.recordings(tmp_path)}
    assert found == {'a': 'sad', 'b': '', 'c': '', 'd': '', 'e': ''}
    (tmp_path / 'manifest.csv').write_text('path,emotion\nAnger/z.wav,sad\nAnger/a.wav,sad\n')
    with pytest.raises(InputError, match='no such file'):
        personal_folder.recordings(tmp_path)
    (tmp_path / 'manifest.csv').unlink()
    write(tmp_path / 'happy' / 'deep' / 'f.wav', tone(1, 1, 1))
    with pytest.raises(InputError, match='folder of a folder'):
        personal_folder.recordings(tmp_path)
    with pytest.raises(InputError, match='is no folder'):
        personal_folder.recordings(tmp_path / 'nowhere')


def test_the_command_from_a_folder_to_a_version(run, tmp_path):
    for s in spoken(STRANGER, range(100, 103)):
        write(tmp_path / 'anna' / s.clip.source, s.clip.samples)
    command = [sys.executable, '-m', 'ser_jax.personalize', f'--run={run}']
    command += [f'--recordings={tmp_path / "anna"}', f'--output={tmp_path / "mine"}']
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert 'general model     UAR' in done.stdout and 'version: ' in done.stdout
    about = parent.read(tmp_path / 'mine' / 'v1').about
    assert about['speaker'] == 'anna' and about['taught']['kept']
    assert len(about['recordings']) == 12
    done = subprocess.run(command[:-1], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and pathlib.Path(f'{run}-anna/v1').exists()
    done = subprocess.run(command[:-2], capture_output=True, text=True)
    assert done.returncode == 2 and '--recordings is missing' in done.stderr


def test_enrollment_is_kept_with_the_run(config, tmp_path):  # noqa: F811
    """Without a label the statistics of the speaker are kept; with labels both."""
    config.features.speaker_norm = 'enrolled:2'
    config.members.folds = 2
    train.train(config, tmp_path / 'run')
    some = spoken(STRANGER, range(100, 103))
    unlabeled = [s._replace(emotion='') for s in some]
    made = personalize(tmp_path / 'run', unlabeled, tmp_path / 'mine', 'x')
    assert made.enrolled == 12 and made.taught is None
    enrolled = Predictor.open(tmp_path / 'run')
    enrolled.enroll([s.clip for s in some])
    clips = [s.clip for s in spoken(STRANGER, [200])]
    opened = Predictor.open(made.directory).predict(clips)
    for a, b in zip(opened, enrolled.predict(clips), strict=True):
        np.testing.assert_array_equal(a.probabilities, b.probabilities)
    both = personalize(tmp_path / 'run', some, tmp_path / 'mine', 'x')
    assert both.enrolled == 12 and both.taught.loss[1] < both.taught.loss[0]
    assert both.directory.name == 'v2' and dataclasses.is_dataclass(opened[0])
