"""Log-mel is librosa's log-mel, whatever it is batched with."""

import pathlib
import warnings

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.audio import features, mel

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'log_mel.npz'


def signals():
    """A chirp, a noise burst in silence, a click, near-silence: name -> float32 at 16 kHz."""
    random = np.random.default_rng(7)
    t = np.arange(24000) / 16000
    burst = np.zeros(16000, np.float32)
    burst[4000:6000] = 0.3 * random.standard_normal(2000)
    click = np.zeros(5000, np.float32)
    click[2500] = 1
    return {
        # With some noise: far below a frame's peak, FFTs of different libraries differ.
        'chirp': (
            0.5 * np.sin(2 * np.pi * (100 * t + 2400 * t**2)) + 1e-3 * random.standard_normal(24000)
        ).astype(np.float32),
        'burst': burst,
        'click': click,
        'quiet': (1e-4 * random.standard_normal(9000)).astype(np.float32),
    }


def by_librosa(samples):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # librosa warns of signals shorter than a window
        power = librosa.feature.melspectrogram(
            y=samples,
            sr=16000,
            n_fft=512,
            win_length=400,
            hop_length=160,
            n_mels=64,
            fmin=50,
            fmax=8000,
        )
    return 10 * np.log10(np.maximum(power.T, 1e-10))


def relative(ours, reference):
    return np.abs(ours - reference).max() / np.abs(reference).max()


def test_golden_arrays():
    golden = np.load(GOLDEN)
    for name, samples in signals().items():
        assert relative(features.extract([samples])[0], golden[name]) < 1e-4, name


@pytest.mark.parametrize('name', list(signals()))
def test_live_librosa(name):
    samples = signals()[name]
    assert relative(features.extract([samples])[0], by_librosa(samples)) < 1e-4


def test_mel_bank_is_librosas():
    for bands, low, high in ((64, 50, 8000), (40, 0, 8000), (128, 20, 7600)):
        reference = librosa.filters.mel(sr=16000, n_fft=512, n_mels=bands, fmin=low, fmax=high).T
        np.testing.assert_allclose(mel.mel_bank(16000, 512, bands, low, high), reference, atol=1e-7)


def test_bands_above_nyquist_are_refused():
    with pytest.raises(ValueError, match='Nyquist'):
        mel.mel_bank(16000, 512, 64, 50.0, 20000.0)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 70_000), min_size=1, max_size=5))
def test_frames_do_not_depend_on_company(lengths):
    random = np.random.default_rng(0)
    recordings = [random.standard_normal(n).astype(np.float32) * 0.1 for n in lengths]
    for together, samples in zip(features.extract(recordings), recordings, strict=True):
        assert together.shape == (1 + len(samples) // 160, 64)
        np.testing.assert_allclose(together, features.extract([samples])[0], atol=1e-3)


def test_int16_is_scaled():
    samples = (signals()['chirp'] * 32768).astype(np.int16)
    np.testing.assert_array_equal(
        features.extract([samples])[0], features.extract([samples / np.float32(32768)])[0]
    )


@settings(max_examples=30)
@given(before=st.integers(0, 60), after=st.integers(0, 60), below=st.sampled_from([20.0, 40.0]))
def test_room_before_and_after_the_words_is_not_heard(before, after, below):
    random = np.random.default_rng(0)
    quiet = np.full((60, 64), -30.0 - below, np.float32)
    words = random.uniform(-10, 0, (50, 64)).astype(np.float32)
    first, last = features.audible_span(
        np.concatenate([quiet[:before], words, quiet[:after]]), below
    )
    assert (first, last) == (max(0, before - 10), min(before + 50 + after, before + 60))


def test_without_a_threshold_everything_is_heard():
    assert features.audible_span(np.full((7, 64), -100.0, np.float32), 0.0) == (0, 7)
    assert features.audible_span(np.full((7, 64), -100.0, np.float32), 40.0) == (
        0,
        7,
    )  # silence alone is not cut to nothing


def test_digital_silence_is_the_floor():
    assert (features.extract([np.zeros(8000, np.float32)])[0] == -100).all()


@given(st.integers(1, 10_000_000))
def test_buckets_hold_and_waste_little(samples):
    size = features.bucket(samples)
    assert size >= samples
    assert size <= max(16000, 1.5 * samples + 1)
