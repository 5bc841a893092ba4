"""Variants are the same in every build, change what they say, and are known by their source."""

import zlib

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_jax.audio import variants
from ser_jax.audio.statistics import STATS_162
from ser_jax.audio.variants import CHANGES, Variants
from ser_jax.contract import InputError

RATE_HZ = 22050
every_change = pytest.mark.parametrize('name', CHANGES)


def tone(hz: float = 400.0, samples: int = 22_051) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(samples) / RATE_HZ)).astype(np.float32)


def made(name: str, samples, source: str = 'a', seed: int = 0) -> np.ndarray:
    return CHANGES[name](samples, RATE_HZ, variants.generator(source, name, seed))


def peak_hz(samples) -> float:
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * RATE_HZ / len(middle)


@every_change
@pytest.mark.parametrize('samples', [0, 1, 777, 22_051])
def test_any_length_can_be_varied_and_silence_stays_silent(name, samples):
    before = tone(samples=samples)
    kept = before.copy()
    after = made(name, before)
    np.testing.assert_array_equal(before, kept)
    assert after.dtype == np.float32
    assert np.isfinite(after).all()
    rate = {'stretch': 0.8, 'stretch_pitch': 0.8, 'fast': 1.2}.get(name, 1)
    if name == 'silence_1s':
        assert len(after) == samples + RATE_HZ
    elif name.startswith('speed_'):
        assert len(after) == -(-100 * samples // int(name.removeprefix('speed_')))
    else:
        assert len(after) == round(samples / rate)
    assert not made(name, np.zeros(samples, np.float32)).any()


@pytest.mark.parametrize(
    ('name', 'semitones'),
    [
        ('pitch', 0.7),
        ('stretch_pitch', 0.7),
        ('low', -4),
        ('high', 4),
        ('stretch', 0),
        ('fast', 0),
        ('speed_92', 12 * np.log2(0.92)),
        ('speed_108', 12 * np.log2(1.08)),
    ],
)
def test_pitch_moves_by_its_semitones(name, semitones):
    assert 12 * np.log2(peak_hz(made(name, tone())) / peak_hz(tone())) == pytest.approx(
        semitones, abs=0.15
    )


def test_tempo_and_pitch_are_librosas():
    samples = tone() + 0.01 * np.random.default_rng(0).standard_normal(22_051).astype(np.float32)
    slow = librosa.effects.time_stretch(samples, rate=0.8)
    np.testing.assert_array_equal(made('stretch', samples), slow)
    both = librosa.effects.pitch_shift(slow, sr=RATE_HZ, n_steps=0.7)
    np.testing.assert_array_equal(made('stretch_pitch', samples), both)


@pytest.mark.parametrize(('name', 'most'), [('noise', 0.035), ('strong_noise', 0.05)])
def test_noise_is_a_uniform_share_of_the_peak(name, most):
    added = [
        np.std(made(name, tone(), source) - tone()) / tone().max()
        for source in map(str, range(200))
    ]
    assert max(added) < 1.05 * most
    assert np.mean(added) == pytest.approx(most / 2, rel=0.15)


def test_shift_rolls_by_up_to_5000_samples():
    samples = np.arange(22_051, dtype=np.float32)
    by = [int(made('shift', samples, source).argmin()) for source in map(str, range(100))]
    by = [b if b <= 5000 else b - 22_051 for b in by]
    assert min(by) >= -5000
    assert len(set(by)) > 90
    assert min(by) < -4000
    assert max(by) > 4000
    np.testing.assert_array_equal(np.sort(made('shift', samples)), samples)


def test_a_variant_is_decided_by_source_name_and_seed():
    def same(a, b):
        return np.array_equal(made('noise', tone(), *a), made('noise', tone(), *b))

    assert same(('a', 0), ('a', 0))
    assert not same(('a', 0), ('b', 0))
    assert not same(('a', 0), ('a', 1))
    drawn = variants.generator('a', 'noise', 3).uniform()
    assert drawn == np.random.default_rng([3, zlib.crc32(b'a+noise')]).uniform()


def test_a_variant_does_not_depend_on_its_company():
    few, many = Variants(('noise',)), Variants(('shift', 'noise', 'pitch'))

    def samples_by_variant(described):
        return {v: x for _, v, x in described('a', tone(), RATE_HZ)}

    np.testing.assert_array_equal(
        samples_by_variant(few)['noise'], samples_by_variant(many)['noise']
    )
    np.testing.assert_array_equal(samples_by_variant(many)[''], tone())


@given(st.text(min_size=1), st.lists(st.sampled_from(sorted(CHANGES)), unique=True))
def test_ids_lead_back_to_their_source(source, names):
    described = Variants(tuple(names))
    if variants.variant_of(source):  # looks like a variant already
        return
    assert [variants.source_of(i) for i in described.ids(source)] == [source] * (1 + len(names))
    assert [variants.variant_of(i) for i in described.ids(source)] == ['', *names]


def test_ids_of_a_recording_come_in_order():
    described = Variants()
    assert described.ids('x') == ['x', 'x+noise', 'x+stretch_pitch']
    assert [i for i, _, _ in described('x', tone(), RATE_HZ)] == described.ids('x')
    assert variants.source_of('take+two') == 'take+two'


def test_an_unknown_variant_is_named():
    with pytest.raises(InputError, match="'echo' is not known; known are noise"):
        list(Variants(('noise', 'echo'))('a', tone(), RATE_HZ))


def test_variants_of_an_excerpt_are_described_with_one_shape():
    recording = np.tile(tone(), 4)
    samples = STATS_162.excerpt(recording)
    rows = [STATS_162.describe(x) for _, _, x in Variants()('a', samples, RATE_HZ)]
    assert np.stack(rows).shape == (3, 162)
    np.testing.assert_array_equal(rows[0], STATS_162(recording))
    assert all(not np.allclose(rows[0], row, rtol=1e-2) for row in rows[1:])
