"""Conditions do what their names say, keep the speech in its place, and are the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_jax.audio import conditions, distortions, variants
from ser_jax.audio.conditions import CONDITIONS, chosen
from ser_jax.contract import InputError

RATE_HZ = 16_000
every_condition = pytest.mark.parametrize('name', CONDITIONS)


def speech(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """Half a second of a gliding tone with noise between pauses: not speech, but as uneven."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    loud = 0.3 * np.clip(1.2 * np.sin(np.pi * t / seconds), 0.2, 1) ** 2
    voice = np.sin(2 * np.pi * (220 + 60 * np.sin(3 * t + seed)) * t) + 0.1 * rng.standard_normal(
        t.size
    )
    return (loud * voice / np.abs(voice).max()).astype(np.float32)


OTHERS = [speech(0.7, seed) for seed in range(1, 7)]


def made(name: str, samples, rate_hz: int = RATE_HZ, id: str = 'a', seed: int = 0) -> np.ndarray:
    rng = variants.generator(id, name, seed)
    condition = CONDITIONS[name]
    return condition(samples, rate_hz, rng, OTHERS[: condition.others])


def db(power: float) -> float:
    return 10 * np.log10(power)


def band_power(samples, low_hz: float, high_hz: float) -> float:
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return float((np.abs(np.fft.rfft(samples)) ** 2)[(hz >= low_hz) & (hz < high_hz)].sum())


def lag(samples, reference) -> int:
    """The shift at which two signals fit best, in samples."""
    middle = reference[6000:10_000]
    fits = [samples[6000 + k : 10_000 + k] @ middle for k in range(-1200, 1201)]
    return int(np.argmax(fits)) - 1200


@every_condition
@pytest.mark.parametrize('size', [0, 1, 777, 16_001])
@pytest.mark.parametrize('rate_hz', [RATE_HZ, 22_050])
def test_any_length_and_rate_is_distorted_and_silence_stays_silent(name, size, rate_hz):
    before = speech(2)[:size]
    kept = before.copy()
    after = made(name, before, rate_hz)
    np.testing.assert_array_equal(before, kept)
    assert after.dtype == np.float32 and np.isfinite(after).all()
    assert np.abs(after).max(initial=0) <= max(1, 1.2 * np.abs(before).max(initial=0))
    expected = {'silence_1s': size + rate_hz, 'speed_90': -(-size * 100 // 90)}
    expected |= {'speed_110': -(-size * 100 // 110)}
    assert len(after) == expected.get(name, size)
    assert not made(name, np.zeros(size, np.float32), rate_hz).any()


@every_condition
def test_a_condition_is_decided_by_id_seed_and_name_alone(name):
    first = made(name, speech())
    made(name, speech(0.4, 9), id='b')  # whatever else is made
    np.testing.assert_array_equal(made(name, speech()), first)
    is_random = CONDITIONS[name].group in ('noise', 'room')
    for other in ({'id': 'b'}, {'seed': 1}):
        assert np.array_equal(made(name, speech(), **other), first) != is_random


@given(
    st.sampled_from([c.name for c in CONDITIONS.values() if c.group == 'noise']),
    st.integers(0, 1000),
    st.floats(0.001, 0.2),
)
def test_noise_has_its_ratio_to_the_active_speech(name, seed, level):
    samples = level * speech(1.0, seed)
    noise = made(name, samples, seed=seed).astype(float) - samples
    ratio = distortions.active_power(samples, RATE_HZ) / np.mean(noise**2)
    assert db(ratio) == pytest.approx(CONDITIONS[name].snr_db, abs=0.05)


def test_a_mixture_beyond_full_scale_keeps_its_ratio():
    samples = speech() / np.abs(speech()).max()
    mixed = made('white_0db', samples).astype(float)
    assert np.abs(mixed).max() == pytest.approx(1, abs=1e-6)
    scale = mixed @ samples / (samples @ samples)
    ratio = scale**2 * distortions.active_power(samples, RATE_HZ)
    ratio /= np.mean((mixed - scale * samples) ** 2)
    assert scale < 0.8 and db(ratio) == pytest.approx(0, abs=0.2)


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.01, 3))
def test_the_speech_level_does_not_depend_on_pauses_around_it(before, after, factor):
    frame, samples = RATE_HZ // 50, speech()
    padded = np.pad(samples, (before * frame, after * frame))
    power = distortions.active_power(samples, RATE_HZ)
    assert distortions.active_power(padded, RATE_HZ) == pytest.approx(power)
    assert distortions.active_power(factor * samples, RATE_HZ) == pytest.approx(factor**2 * power)
    quiet = np.concatenate([samples, 1e-3 * samples])
    assert distortions.active_power(quiet, RATE_HZ) == pytest.approx(power)


def test_white_noise_is_white():
    noise = made('white_0db', 0.01 * speech()) - 0.01 * speech()
    low, high = band_power(noise, 0, 4000), band_power(noise, 4000, 8000)
    assert db(low / high) == pytest.approx(0, abs=0.3)


def test_babble_has_all_talkers_at_equal_levels():
    loud = [10 ** (i / 4) * other for i, other in enumerate(OTHERS)]
    rng = variants.generator('a', 'babble_0db', 0)
    condition = CONDITIONS['babble_0db']
    np.testing.assert_allclose(
        condition(speech(), RATE_HZ, rng, loud), made('babble_0db', speech()), atol=1e-6
    )


def test_the_zeros_at_the_ends_of_a_sound_do_not_dilute_it():
    sound, samples = speech(0.05, 3), 0.1 * speech()
    padded = [np.pad(sound, (0, 80_000))]
    for condition in ('sounds_10db', 'sounds_0db'):
        rngs = [variants.generator('a', condition, 0) for _ in range(2)]
        change = CONDITIONS[condition]
        after = change(samples, RATE_HZ, rngs[0], padded)
        np.testing.assert_array_equal(
            after, change(samples, RATE_HZ, rngs[1], [np.trim_zeros(sound)])
        )
    burst = np.concatenate([[0.5], np.zeros(300_000), [0.5]]).astype(np.float32)
    assert not np.array_equal(made_with(burst, samples), samples)  # though most of it is silent


def made_with(sound, samples):
    rng = variants.generator('a', 'sounds_0db', 0)
    return CONDITIONS['sounds_0db'](samples, RATE_HZ, rng, [sound])


@given(st.floats(0.001, 1))
def test_gain_is_limited_by_full_scale(peak):
    samples = (peak * speech() / np.abs(speech()).max()).astype(np.float32)
    louder, softer = made('gain_20db', samples), made('gain_-20db', samples)
    np.testing.assert_allclose(louder, samples * min(10, 1 / np.abs(samples).max()), rtol=1e-5)
    np.testing.assert_allclose(softer, samples / 10, rtol=1e-5)


@pytest.mark.parametrize(('name', 'below_db'), [('clip_10db', 10), ('clip_20db', 20)])
def test_clipping_limits_the_peak_and_nothing_else(name, below_db):
    samples, after = speech(), made(name, speech())
    most = np.abs(samples).max() * 10 ** (-below_db / 20)
    assert np.abs(after).max() == pytest.approx(most, rel=1e-6)
    below = np.abs(samples) <= most
    np.testing.assert_array_equal(after[below], samples[below])
    assert 0.1 < np.mean(~below) < 1


@pytest.mark.parametrize(
    ('name', 'low_hz', 'high_hz'), [('telephone', 350, 3000), ('rate_8khz', 20, 3500)]
)
def test_a_band_keeps_its_inside_and_removes_its_outside(name, low_hz, high_hz):
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    after = made(name, noise)
    inside = band_power(after, low_hz, high_hz) / band_power(noise, low_hz, high_hz)
    assert db(inside) == pytest.approx(0, abs=0.2)
    assert db(band_power(after, 4400, 8000) / band_power(noise, 4400, 8000)) < -25
    if name == 'telephone':
        assert db(band_power(after, 0, 150) / band_power(noise, 0, 150)) < -40
    assert lag(after, noise) == 0


@pytest.mark.parametrize('name', ['mp3_32kbps', 'mp3_16kbps', 'opus_12kbps', 'opus_6kbps'])
def test_codecs_keep_the_speech_in_its_place_and_lose_more_at_lower_rates(name):
    after = made(name, speech())
    assert lag(after, speech()) in (-1, 0, 1)
    assert np.corrcoef(after, speech())[0, 1] > 0.5
    assert not np.array_equal(after, speech())
    if name in ('mp3_32kbps', 'opus_12kbps'):
        lower = made({'mp3_32kbps': 'mp3_16kbps', 'opus_12kbps': 'opus_6kbps'}[name], speech())
        errors = [np.mean((x - speech()) ** 2) for x in (after, lower)]
        assert errors[0] < errors[1]


@pytest.mark.parametrize('decay_ms', [300, 600, 1200])
def test_a_room_decays_by_60_db_in_its_time_and_is_as_strong_as_the_direct_sound(decay_ms):
    click = np.zeros(2 * RATE_HZ, np.float32)
    click[0] = 0.1
    after = made(f'reverb_{decay_ms}ms', click).astype(float)
    assert after[0] == pytest.approx(0.1, rel=1e-5)
    tail = after[1:]
    assert db(np.sum(tail**2) / 0.1**2) == pytest.approx(0, abs=0.2)
    tenth = round(decay_ms * RATE_HZ / 10_000)
    powers = [np.mean(tail[i * tenth : (i + 1) * tenth] ** 2) for i in (0, 9)]
    assert db(powers[0] / powers[1]) == pytest.approx(54, abs=2)  # 0.9 of T60


def test_leading_silence_is_digital_and_the_rest_is_unchanged():
    after = made('silence_1s', speech())
    assert not after[:RATE_HZ].any()
    np.testing.assert_array_equal(after[RATE_HZ:], speech())


def test_groups_names_and_all_are_chosen_once_in_the_order_of_the_table():
    assert chosen(['all']) == tuple(CONDITIONS.values())
    assert [c.name for c in chosen(['telephone', 'white_0db', 'band'])] == [
        'white_0db', 'telephone', 'rate_8khz',
    ]  # fmt: skip
    assert [c.name for c in chosen(['opus'])] == ['opus_12kbps', 'opus_6kbps']
    assert {c.group for c in chosen(['noise'])} == {'noise'} and chosen([]) == ()
    for name in CONDITIONS:
        assert name in conditions.listing()
        assert CONDITIONS[name].words in conditions.listing()


@pytest.mark.parametrize(
    ('name', 'near'), [('whte_10db', 'white_10db'), ('nois', 'noise'), ('opsu', 'opus')]
)
def test_an_unknown_condition_is_refused_with_the_nearest(name, near):
    with pytest.raises(InputError, match=f"has '{name}', which is none; did you mean {near}?"):
        chosen(['telephone', name])
    with pytest.raises(InputError, match=r'which is none \(--conditions=\? lists'):
        chosen(['xyzzy'])


def test_conditions_that_need_no_other_recording_are_variants():
    alone = {name for name, c in CONDITIONS.items() if not c.others}
    assert alone == {*conditions.ALONE} and alone <= {*variants.CHANGES}
    for name in CONDITIONS:
        assert variants.source_of(f'x+y+{name}') == 'x+y'
        assert variants.variant_of(f'x+y+{name}') == name
    np.testing.assert_array_equal(
        variants.CHANGES['white_5db'](speech(), RATE_HZ, variants.generator('a', 'white_5db', 0)),
        made('white_5db', speech()),
    )
