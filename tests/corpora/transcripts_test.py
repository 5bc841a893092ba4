"""Automatic transcripts of a corpus: only missing texts, marked, cached by content, resumed."""

import json
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ser_jax.audio import wav
from ser_jax.audio.transcription import EngineOutput, Segment, Transcript
from ser_jax.contract import InputError, Recording
from ser_jax.corpora.inspection import Skipped
from ser_jax.corpora.transcripts import Cache, Filler
from tests import forked
from tests.corpora.builder_test import build, recording, sound

ROOT = pathlib.Path(__file__).parents[2]


class Counting:
    """Stands in for an engine: the text names the loudness; counts its calls."""

    name, identity, least = 'counting', 'counting 1', 0.5
    calls = 0

    def segments(self, samples, language):
        self.calls += 1
        level = round(1e6 * float(np.abs(samples).mean()))
        return EngineOutput([Segment(0, 1, f'level {level}', 0.9)], language or 'de')


def filler(folder, engine, **given) -> Filler:
    return Filler(lambda: engine, folder=folder, **given)


def test_only_missing_texts_are_filled_and_marked(tmp_path):
    engine = Counting()
    items = [
        recording('a', sound(0)),
        recording('b', sound(1), text='as given'),
        Skipped('notes.txt', 'ignored', 'no sound (.txt)'),
        Recording('c', 'given_1', 'happy', 'H', None, 'c'),  # text alone, and empty
        recording('d', np.zeros(8000, np.float32)),
    ]
    found = filler(tmp_path, engine)(items)
    assert found[1:4] == items[1:4] and engine.calls == 1  # silence needs no engine
    assert found[0].text.startswith('level ') and found[0].language == 'de'
    assert found[0].text_origin == 'automatic: counting, 0.90'
    assert found[4].text == '' and found[4].text_origin == 'none: no speech'


def test_equal_samples_are_transcribed_once_and_settings_have_their_own_cache(tmp_path):
    engine, items = Counting(), [recording(n, sound(n == 'c')) for n in 'abc']
    first = filler(tmp_path, engine)(items)
    assert engine.calls == 2 and first[0].text == first[1].text != first[2].text
    again = filler(tmp_path, engine)(items)
    assert engine.calls == 2 and [r.text for r in again] == [r.text for r in first]
    filler(tmp_path, engine, language='en')(items)
    assert engine.calls == 4 and len(list(tmp_path.glob('*.jsonl'))) == 2


def test_no_engine_is_opened_where_no_text_is_missing(tmp_path):
    def fail():
        raise AssertionError('opened')

    items = [recording('a', sound(0), text='as given')]
    assert Filler(fail, folder=tmp_path / 'none')(items) == items
    assert not (tmp_path / 'none').exists()


def test_a_recording_that_cannot_be_decoded_is_left_to_the_inspection(tmp_path):
    (tmp_path / 'x.wav').write_bytes(b'no sound')
    broken = Recording('a', 's', 'happy', 'H', lambda: wav.read(tmp_path / 'x.wav'), 'x.wav')
    assert filler(tmp_path, Counting())([broken]) == [broken]


def test_a_torn_line_is_dropped_and_the_rest_kept(tmp_path):
    path = tmp_path / 'x.jsonl'
    first = Transcript('né', 'e', 'fr', 0.5)
    Cache(path).add('a', first)
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], b'\xff\xfe', b'[1]\n{"key": "z"}\n', b'{'):
        path.write_bytes(whole + torn)
        cache = Cache(path)
        assert cache.get('a') == first and cache.get('z') is None
        cache.add('b', first)
        assert Cache(path).get('b') == first


_KILLED = """
import os, signal, sys
from tests.corpora.transcripts_test import Counting, filler
from tests import forked
from tests.corpora.builder_test import recording, sound
class Killed(Counting):
    def segments(self, samples, language):
        if self.calls == 3: os.kill(os.getpid(), signal.SIGKILL)
        return super().segments(samples, language)
filler(sys.argv[1], Killed())([recording(str(i), sound(i)) for i in range(6)])
"""


def test_a_killed_transcription_goes_on_where_it_was(tmp_path):
    done = subprocess.run([sys.executable, '-c', _KILLED, str(tmp_path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    engine = Counting()
    found = filler(tmp_path, engine)([recording(str(i), sound(i)) for i in range(6)])
    assert engine.calls == 3 and all(r.text for r in found)


def test_a_built_corpus_has_the_texts_and_their_origin(tmp_path):
    items = [recording('a', sound(0)), recording('b', sound(1), text='as given')]
    fill = filler(tmp_path / 'cache', Counting())
    examples, folder = build(tmp_path, items, fill_texts=fill)
    texts = [e['text'].decode() for e in examples]
    assert texts[0].startswith('level ') and texts[1] == 'as given'
    report = json.loads((folder / 'inspection.json').read_text())
    assert report['transcripts'] == {'a': 'automatic: counting, 0.90'}


def test_the_command_fills_texts_refuses_odd_engines_and_names_an_old_build(tmp_path):
    """Up to the engine, which is not installed here or has no model."""
    for emotion in ('happy', 'sad'):
        (tmp_path / 'in' / 'anna' / emotion).mkdir(parents=True)
        path = tmp_path / 'in' / 'anna' / emotion / 'a.wav'
        soundfile.write(path, sound(emotion == 'sad'), 16000)
    given = ['datasets/folder', f'--manual_dir={tmp_path / "in"}', f'--data_dir={tmp_path}']

    def verb(*more):
        command = [sys.executable, '-m', 'ser_jax.build', *given, *more]
        return forked.run(command, cwd=ROOT, capture_output=True, text=True)

    done = verb('--transcribe', '--asr=whisperer')
    assert done.returncode == 2 and '--asr must be one of auto, whisper, vosk' in done.stderr
    done = verb('--transcribe', '--asr=vosk')
    assert done.returncode == 2 and 'vosk needs a model' in done.stderr, done.stderr
    assert verb().returncode == 0
    done = verb('--transcribe')
    assert done.returncode == 0 and 'no text in it is automatic; if some are missing, add' in (
        done.stdout
    )
    done = verb('--language=de')
    assert done.returncode == 2 and '--language is for --transcribe' in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot be written'):
        filler(tmp_path / 'file' / 'cache', Counting())([recording('a', sound(0))])
