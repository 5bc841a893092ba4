"""The published front ends equal librosa's with the same parameters, at any length."""

import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.audio import excerpt
from ser_jax.audio.mel import mel_bank
from ser_jax.audio.mfcc import MFCC_CURVE, dct
from ser_jax.audio.picture import VSR_SPECTROGRAM
from ser_jax.audio.spectrogram import (
    LINEAR_SPECTROGRAM,
    LOG_MEL_40,
    LOG_MEL_40_PUBLISHED,
    LOG_MEL_100,
)
from ser_jax.audio.statistics import STATS_162
from ser_jax.contract import InputError
from tests import librosa_front_ends

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'front_ends.npz'
FRONTS = {
    f.name: f
    for f in (
        MFCC_CURVE, STATS_162, LINEAR_SPECTROGRAM, LOG_MEL_100, LOG_MEL_40, LOG_MEL_40_PUBLISHED,
        VSR_SPECTROGRAM,
    )
}  # fmt: skip
BLOCKS = (1, 13, 33, 34)  # where the parts of stats162 begin; each has a scale of its own

every_front = pytest.mark.parametrize('front', FRONTS.values(), ids=FRONTS)


def noise(samples: int, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


def assert_close(name: str, ours, reference):
    """Within 1e-4 of the reference's range; parts of stats162 of their own largest value."""
    parts = zip(np.split(ours, BLOCKS), np.split(reference, BLOCKS), strict=True)
    for a, b in parts if name == 'stats162' else [(ours, reference)]:
        scale = np.abs(b).max() if name == 'stats162' else max(np.ptp(b), np.abs(b).max() / 100)
        assert np.abs(a - b).max() <= 1e-4 * scale


@every_front
def test_golden_arrays(front):
    golden = np.load(GOLDEN)
    rate_hz, kept = librosa_front_ends.KEPT[front.name]
    assert rate_hz == front.rate_hz
    for name, samples in librosa_front_ends.signals(rate_hz).items():
        assert_close(front.name, front(samples)[kept], golden[f'{front.name}/{name}'])


@every_front
@settings(max_examples=8)
@given(samples=st.one_of(st.integers(1, 3000), st.integers(1, 300_000)))
def test_live_librosa_at_odd_lengths(front, samples):
    recording = noise(samples)
    assert_close(front.name, front(recording), getattr(librosa_front_ends, front.name)(recording))


@every_front
@pytest.mark.parametrize('samples', [0, 1, 800, 16000, 88200, 88201, 300_000])
def test_silence_and_any_length_have_the_promised_shape(front, samples):
    for recording in (np.zeros(samples, np.float32), noise(samples)):
        described = front(recording)
        assert described.dtype == np.float32
        assert np.isfinite(described).all()
        assert [s for s, wanted in zip(described.shape, front.shape, strict=True) if wanted] == [
            s for s in front.shape if s
        ]
        assert len(described) >= 1


@every_front
def test_int16_is_scaled_and_channels_are_refused(front):
    recording = (noise(40_000) * 32768).astype(np.int16)
    np.testing.assert_array_equal(front(recording), front(recording / np.float32(32768)))
    with pytest.raises(InputError, match='mono'):
        front(np.zeros((2, 40_000), np.float32))


def test_statistics_are_those_of_the_excerpt_alone():
    recording = noise(400_000)
    described = STATS_162.describe(STATS_162.excerpt(recording))
    np.testing.assert_array_equal(STATS_162(recording), described)


def test_stats162_of_silence_is_librosas():
    silence = np.zeros(60_000, np.float32)
    reference = librosa_front_ends.quietly(librosa_front_ends.stats162, silence)
    np.testing.assert_allclose(STATS_162(silence), reference, atol=1e-4)


@pytest.mark.parametrize('samples', [68_906, 30_001])
def test_stats162_describes_variants_of_other_lengths(samples):
    recording = noise(samples)
    assert_close(
        'stats162', STATS_162.describe(recording), librosa_front_ends.stats162(recording, cut=False)
    )


@pytest.mark.parametrize('front', [MFCC_CURVE, STATS_162], ids=lambda f: f.name)
def test_padding_does_not_decide_what_is_loudest(front):
    # A click before the first frame of padding is louder there than in the last real frame.
    recording = noise(round(front.start_s * front.rate_hz) + 40 * 512 + 511, level=1e-6)
    recording[-1] = 1
    assert_close(front.name, front(recording), getattr(librosa_front_ends, front.name)(recording))


def test_a_short_recording_leaves_the_rest_of_its_curve_zero():
    rest = 30_000
    curve = MFCC_CURVE(noise(22050 + rest))
    frames = 1 + rest // 512
    assert (curve[:frames] != 0).all()
    assert (curve[frames:] == 0).all()


def test_what_ends_before_the_excerpt_begins_is_heard_from_its_start():
    early = noise(20_000)
    np.testing.assert_array_equal(excerpt.cut(early, 22_050, 110_250), early)
    np.testing.assert_array_equal(
        excerpt.cut(np.concatenate([early, noise(2051)]), 22_050, 110_250), noise(2051)[-1:]
    )


def test_a_short_spectrogram_has_its_silence_in_front():
    frames = LINEAR_SPECTROGRAM(noise(16_000))
    silent = (50_000 - 16_000 - 320) // 32
    assert (frames[:silent] == 0).all()
    assert (frames[silent + 2 :].max(1) > 0).all()


def test_padding_is_told_from_sound():
    recording = noise(20_001)
    assert LOG_MEL_40(recording).shape == (101, 40)
    assert LOG_MEL_40(noise(100_000)).shape == (417, 40)
    assert LOG_MEL_40_PUBLISHED(recording).shape == (1251, 40)  # as published: not told


def test_the_published_bank_hears_a_tone_at_a_third_of_its_pitch():
    t = np.arange(250_000) / 48_000
    tone = np.sin(2 * np.pi * 3000 * t).astype(np.float32)
    right, wrong = (
        LOG_MEL_40(tone[::3]).mean(0).argmax(),
        LOG_MEL_40_PUBLISHED(tone).mean(0).argmax(),
    )
    assert right == np.abs(mel_bank(16000, 400, 40, 0.0, 8000.0)[75]).argmax()  # 75 x 40 Hz
    assert wrong == np.abs(librosa_front_ends.bank_as_published()[25]).argmax()


@pytest.mark.parametrize(
    'bank', [(22050, 2048, 128), (44100, 2048, 128), (16000, 512, 100), (16000, 400, 40)]
)
def test_no_band_is_empty(bank):
    assert (mel_bank(*bank, 0.0, bank[0] / 2).max(0) > 0).all()


@given(st.integers(1, 60), st.integers(1, 60))
def test_dct_columns_are_orthonormal(bands, coefficients):
    columns = dct(bands, min(bands, coefficients))
    np.testing.assert_allclose(columns.T @ columns, np.eye(columns.shape[1]), atol=1e-5)


@given(st.integers(0, 50), st.integers(1, 20))
def test_windows_hold_every_sample_once(samples, size):
    recording = np.arange(1, samples + 1, dtype=np.float32)
    found = excerpt.windows(recording, size)
    assert found.shape == (max(1, -(-samples // size)), size)
    np.testing.assert_array_equal(found[found > 0], recording)
