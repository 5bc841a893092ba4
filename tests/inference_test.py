"""Prediction in memory: independent of batching, rate and form; streams and the pure function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax import train
from ser_jax.audio import front_ends, wav
from ser_jax.audio.clips import LONGEST_S
from ser_jax.contract import InputError
from ser_jax.inference import Clip, Predictor
from ser_jax.stream import Stream
from tests.conftest import small_config, tone

RATE = 16000


@pytest.fixture(scope='module', params=['log_mel', 'trimmed', 'waveform', 'waveform trimmed'])
def predictor(request, data_dir, tmp_path_factory) -> Predictor:
    """A run of two members and one epoch, with windows of 2 s."""
    c = small_config(data_dir)
    c.train.epochs, c.members.folds, c.members.seeds = 1, 2, (0,)
    c.features.source = 'waveform' if 'waveform' in request.param else 'log_mel'
    c.features.trim_db = 30.0 if 'trimmed' in request.param else 0.0
    directory = tmp_path_factory.mktemp('runs') / 'x'
    train.train(c, directory)
    return Predictor.open(directory, window_s=2.0)


def recording(seconds: float, seed: int = 0) -> np.ndarray:
    """A tone between silences, of any length."""
    random = np.random.default_rng(seed)
    size = round(seconds * RATE)
    sound = np.resize(tone(seed % 4, seed % 3, 1), size)
    sound[: size // 8] = 0
    return (sound + 1e-4 * random.standard_normal(size)).astype(np.float32)


def test_an_answer_does_not_depend_on_the_other_recordings(predictor):
    clips = [Clip(recording(s, i), RATE) for i, s in enumerate((0.3, 1.0, 2.0, 2.01, 7.3))]
    together, alone = predictor.predict(clips), [predictor.predict([c])[0] for c in clips]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-6)
        np.testing.assert_allclose(a.embedding, b.embedding, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(a.spread, b.spread, atol=1e-6)
        assert [w[:2] for w in a.windows] == [w[:2] for w in b.windows]
        length = [w.end_s - w.start_s for w in a.windows]
        mean = np.average([w.probabilities for w in a.windows], 0, length)
        np.testing.assert_allclose(a.probabilities, mean, atol=1e-6)


def test_the_answer_is_the_mean_of_the_members_and_their_spread(predictor):
    clip = Clip(recording(3.0), RATE)
    each = [
        Predictor.open(predictor.trained, [m], 2.0).predict([clip])[0] for m in predictor.members
    ]
    (answer,) = predictor.predict([clip])
    probabilities = [a.probabilities for a in each]
    np.testing.assert_allclose(answer.probabilities, np.mean(probabilities, 0), atol=1e-6)
    np.testing.assert_allclose(answer.spread, np.std(probabilities, 0), atol=1e-6)
    np.testing.assert_allclose(
        answer.embedding, np.mean([a.embedding for a in each], 0), rtol=1e-4, atol=1e-5
    )
    assert answer.emotion == answer.ranked()[0][0] and answer.probability == answer.ranked()[0][1]


def test_form_rate_and_channels_of_the_samples_do_not_matter(predictor):
    samples = recording(1.5)
    (answer,) = predictor.predict([Clip(samples, RATE)])
    coded = wav.int16(samples)
    stereo = np.stack([samples, samples], 1)
    for other in (stereo, coded, stereo.astype(np.float64)):
        (same,) = predictor.predict([Clip(other, RATE)])
        np.testing.assert_allclose(same.probabilities, answer.probabilities, atol=2e-3)
    import soxr

    (high,) = predictor.predict([Clip(soxr.resample(samples, RATE, 48000), 48000)])
    np.testing.assert_allclose(high.probabilities, answer.probabilities, atol=0.02)


@pytest.mark.parametrize(
    'samples, rate_hz, message',
    [
        (np.zeros(0), RATE, 'empty'),
        (np.zeros(RATE), RATE, 'silent'),
        (np.full(RATE, np.nan), RATE, 'not finite'),
        (np.full((RATE, 2, 2), 0.1), RATE, r'shape \[T\] or \[T, channels\], got float64'),
        (np.full(RATE, 1 + 1j), RATE, 'must be numbers'),
        (np.full(RATE, 'x'), RATE, 'must be numbers'),
        (np.ones(RATE, np.int32), RATE, 'floats in .* or int16, got int32'),
        (np.full((2, RATE), 0.1), RATE, 'more channels than samples'),
        (tone(0, 0, 0), 0, 'rate_hz must be 1000 to 768000, got 0'),
        (tone(0, 0, 0) * 32768, RATE, 'integers stored as floats'),
        (np.broadcast_to(np.float32(0.1), int(LONGEST_S * 1000) + 1000), 1000, 'at most 43200 s'),
    ],
)
def test_unusable_samples_are_refused_in_one_line(predictor, samples, rate_hz, message):
    with pytest.raises(InputError, match=message) as e:
        predictor.predict([Clip(tone(0, 0, 0), RATE), Clip(samples, rate_hz, source='call 7')])
    assert str(e.value).startswith('call 7: ') and '\n' not in str(e.value)


def test_unknown_members_and_no_clips(predictor):
    with pytest.raises(InputError, match="no finished member 'fold9_seed9'; it has fold0_seed0"):
        Predictor.open(predictor.trained, ['fold9_seed9'])
    assert predictor.predict([]) == []


def test_warm_up_leaves_nothing_to_compile(predictor):
    predictor.warm_up(seconds=(1.0,), rows=(1, 4))
    compiled = predictor._apply._cache_size()
    predictor.predict([Clip(recording(1.0), RATE)] * 3)
    if not predictor.trained.config.features.trim_db:  # else the length depends on the sound
        assert predictor._apply._cache_size() == compiled


def test_the_pure_function_gives_the_same_answers(predictor):
    """One program, at any length up to a window, alone or in a padded batch; it can be exported."""
    function = jax.jit(predictor.function())
    clips = [recording(s, i) for i, s in enumerate((0.7, 1.3, 1.9))]
    answers = predictor.predict([Clip(c, RATE) for c in clips])
    padded = np.zeros((3, 2 * RATE), np.float32)
    for row, clip in enumerate(clips):
        padded[row, : len(clip)] = clip
    given = function(padded, np.array([len(c) for c in clips], np.int32))
    for row, (clip, answer) in enumerate(zip(clips, answers, strict=True)):
        # Features at a rounding boundary of float16 may differ by its last bit.
        np.testing.assert_allclose(
            given.probabilities['audio'][row], answer.probabilities, atol=2e-4
        )
        alone = function(clip[None], np.array([len(clip)], np.int32))
        np.testing.assert_allclose(alone.probabilities['audio'][0], answer.probabilities, atol=2e-4)
    shapes = jax.ShapeDtypeStruct((1, RATE), jnp.float32), jax.ShapeDtypeStruct((1,), jnp.int32)
    exported = jax.export.export(function, platforms=['cpu', 'cuda', 'tpu'])(*shapes)
    one = exported.call(clips[1][None, :RATE], np.array([RATE], np.int32))
    same = function(clips[1][None, :RATE], np.array([RATE], np.int32))
    np.testing.assert_allclose(one.embedding, same.embedding, rtol=1e-4, atol=1e-5)


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(1, 20000), min_size=1, max_size=6), seed=st.integers(0, 3))
def test_windows_of_a_stream_do_not_depend_on_its_pieces(predictor, cuts, seed):
    """Each window is the prediction for the last 1.5 s of the signal, however it arrives."""
    signal = recording(sum(cuts) / RATE, seed)
    stream, windows, at = Stream(predictor, 1.5, 0.4), [], 0
    for size in cuts:
        windows += stream.push(signal[at : at + size])
        at += size
    windows += stream.finish()
    ends = [*range(6400, len(signal) + 1, 6400)]
    ends += [len(signal)] if not ends or ends[-1] < len(signal) else []
    assert [round(w.end_s * RATE) for w in windows] == ends
    for window, end in zip(windows, ends, strict=True):
        start = max(0, end - 24000)
        assert round(window.start_s * RATE) == start
        try:
            (answer,) = predictor.predict([Clip(signal[start:end], RATE)])
        except wav.SoundError:
            assert window.problem == 'silent' and np.isnan(window.probabilities).all()
            continue
        np.testing.assert_allclose(window.probabilities, answer.probabilities, atol=1e-6)


def test_a_stream_of_silence_and_of_another_rate(predictor):
    silent = Stream(predictor, 1.0, 0.5).push(np.zeros(RATE, np.float32))
    assert [w.problem for w in silent] == ['silent', 'silent']
    fast = Stream(predictor, 1.0, 0.5, rate_hz=48000)
    windows = []
    for _ in range(10):
        windows += fast.push(np.resize(recording(1.0), (4800, 1)))
    windows += fast.finish()
    assert windows[-1].end_s == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(InputError, match=r'hop_s must be 0\.02 to window_s=1, got 2'):
        Stream(predictor, 1.0, 2.0)
    with pytest.raises(InputError, match='window_s'):
        Stream(predictor, 1e6, 2.0)


@pytest.mark.parametrize('name', [n for n in front_ends.FRONT_ENDS if n != 'stats162'])
def test_traced_features_equal_the_stored_ones(name):
    """In a padded batch of recordings shorter and longer than the excerpt of the front end."""
    front = front_ends.by_name(name)
    random = np.random.default_rng(0)
    sizes = [round(s * front.rate_hz) for s in (0.4, 3.0, 5.3)]
    samples = np.zeros((3, max(sizes) + 100), np.float32)
    for row, size in enumerate(sizes):
        samples[row, :size] = 0.1 * random.standard_normal(size)
    features, length = jax.jit(front.traced)(samples, np.array(sizes, np.int32))
    for row, size in enumerate(sizes):
        stored = front.stored(samples[row, :size]).astype(np.float32)
        if name == 'waveform':
            stored /= 32768
        assert length[row] == len(stored)
        scale = np.abs(stored).max()
        np.testing.assert_allclose(features[row, : len(stored)], stored, atol=2e-3 * scale)
    with pytest.raises(InputError, match='cannot be computed inside the step'):
        front_ends.by_name('stats162').traced(samples, sizes)
