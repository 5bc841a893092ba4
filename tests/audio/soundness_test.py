"""Sounds that cannot be stored are named at the step where they fail; overshoots pass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_jax.audio import soundness, wav
from ser_jax.corpora import inspection
from ser_jax.corpora.builder import CorpusBuilder
from tests.corpora.builder_test import build, recording, skipped, sound

FAST = ('log_mel', 'waveform', 'native', 'mfcc_curve')
CONFIGS = [
    pytest.param(c.name, marks=() if c.name in FAST else pytest.mark.slow)
    for c in CorpusBuilder.BUILDER_CONFIGS
]


def spike(value: float) -> np.ndarray:
    samples = sound(0)
    samples[4000] = value
    return samples


def tone(hz: float, rate_hz: int) -> np.ndarray:
    t = np.arange(rate_hz) / rate_hz
    return (0.3 * np.hanning(rate_hz) * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def opposite(difference: float, dtype_step: float = 0.0) -> np.ndarray:
    left, right = sound(1), -sound(1) * np.float32(1 - difference)
    if dtype_step:
        right = np.rint(right / dtype_step).astype(np.float32) * np.float32(dtype_step)
    return np.stack([left, right], 1)


# name -> (samples, rate, kind, what the reason holds)
BAD = {
    'spike': (spike(1e30), 16000, 'not finite', '1e\\+30'),
    'inf': (spike(np.inf), 16000, 'not finite', ''),
    'integers': (sound(2) * 32768, 16000, 'out of range', 'integers stored as floats'),
    'small_integers': (np.rint(3 * tone(5, 16000) * 4), 16000, 'out of range', 'reach 4,'),
    'opposite': (opposite(0), 16000, 'silent', 'after mixing down'),
    'nearly_opposite': (opposite(0.01, 1 / 128), 16000, 'silent', 'cancel'),
    'opposite_48k': (np.repeat(opposite(0), 3, 0), 48000, 'silent', 'after mixing down'),
}


@pytest.mark.parametrize('config', CONFIGS)
def test_what_cannot_be_stored_is_named_in_every_config(config, tmp_path):
    recordings = [recording(name, samples, rate) for name, (samples, rate, _, _) in BAD.items()]
    good = [recording(f'good{i}', sound(10 + i, 4.0)) for i in range(2)]
    examples, folder = build(tmp_path, [*recordings, *good], config, TOLERANCE=0.9)
    assert [e['id'] for e in examples] == [b'good0', b'good1']
    assert skipped(folder) == {f'{name}.wav': kind for name, (_, _, kind, _) in BAD.items()}
    for e in examples:
        field = np.asarray(e[config.removesuffix('_variants')], np.float32)
        assert np.isfinite(field).all() and field.min() < field.max()


@pytest.mark.parametrize('name', BAD)
def test_reasons_name_the_step(name):
    samples, rate, kind, reason = BAD[name]
    with pytest.raises(wav.SoundError, match=f'x.wav: .*{reason}') as e:
        soundness.checked(samples, rate, 16000, 'x.wav')
    assert e.value.kind == kind and '\n' not in str(e.value)


def test_a_tone_that_resampling_removes_is_silent():
    assert len(soundness.checked(tone(18000, 48000), 48000, 48000, 'x'))
    with pytest.raises(wav.SoundError, match='silent at 16000 Hz'):
        soundness.checked(tone(18000, 48000), 48000, 16000, 'x')


@given(st.floats(1.0, 3.9), st.sampled_from([8000, 16000, 44100, 48000]), st.integers(0, 9))
def test_overshoots_of_coding_and_resampling_pass(peak, rate, seed):
    samples = sound(seed, 0.2, rate)
    samples *= np.float32(peak) / np.abs(samples).max()
    stored = soundness.checked(samples, rate, 16000, 'x')
    np.testing.assert_array_equal(stored, wav.prepare(samples, rate, 16000))


@given(st.floats(0, 0.9), st.integers(0, 9))
def test_one_dead_or_weaker_channel_passes(share, seed):
    samples = np.stack([sound(seed), sound(seed) * np.float32(-share)], 1)
    assert len(soundness.checked(samples, 16000, 16000, 'x')) == len(samples)
    assert soundness.checked(samples, 16000, None, 'x') is samples


def test_features_that_are_not_finite_are_named_and_left_out(tmp_path, monkeypatch):
    def finish(prepared):
        fields = [{'log_mel': np.ones((5, 64), np.float16) * np.arange(64, dtype=np.float16)}
                  for _ in prepared]  # fmt: skip
        fields[0]['log_mel'][2, 3] = np.nan
        fields[1]['log_mel'][:] = -100
        return fields

    config = next(c for c in CorpusBuilder.BUILDER_CONFIGS if c.name == 'log_mel')
    monkeypatch.setattr(config, 'finish', finish)
    recordings = [recording(f'u{i}', sound(i)) for i in range(4)]
    examples, folder = build(tmp_path, recordings, TOLERANCE=0.9)
    assert [e['id'] for e in examples] == [b'u2', b'u3']
    assert skipped(folder) == {'u0.wav': 'not finite', 'u1.wav': 'silent'}


def test_features_are_judged_wherever_their_chunk_is_computed(monkeypatch):
    from ser_jax.contract import InputError
    from ser_jax.corpora import chunks

    config = next(c for c in CorpusBuilder.BUILDER_CONFIGS if c.name == 'log_mel')
    [result] = chunks.inspect(config.rate_hz, [recording('u0', sound(0))])
    assert result.defect is None and len(chunks.examples(config, [result])) == 1
    monkeypatch.setattr(config, 'finish', lambda p: [{'log_mel': np.full((2, 64), np.inf)}])
    with pytest.raises(InputError, match=r'^u0\.wav: log_mel is not finite'):
        chunks.examples(config, [result])
    [result] = chunks.inspect(config.rate_hz, [recording('u1', opposite(0))])
    assert result.defect == inspection.Skipped('u1.wav', 'silent', 'silent after mixing down')
