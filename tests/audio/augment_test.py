"""Augmentations do what they say, to real frames, and nothing when they are off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax.audio import augment

KEY = jax.random.key(3)
LENGTH = jnp.array([40, 25, 7])


def frames(seed=0):
    x = np.random.default_rng(seed).standard_normal((3, 40, 16)).astype(np.float32)
    return jnp.asarray(x * (np.arange(40)[None, :, None] < np.asarray(LENGTH)[:, None, None]))


def test_speed_zero_cuts_and_nothing_else():
    out, length = augment.speed(KEY, frames(), LENGTH, 30, 0.0)
    np.testing.assert_array_equal(out, frames()[:, :30])
    np.testing.assert_array_equal(length, [30, 25, 7])


def test_speed_resamples_a_ramp_to_a_ramp_within_its_rates():
    ramp = jnp.broadcast_to(jnp.arange(40.0)[None, :, None], (64, 40, 2))
    out, length = augment.speed(KEY, ramp, jnp.full(64, 40), 30, 0.2)
    rate = out[:, 1, 0]
    assert (rate >= 0.8).all() and (rate <= 1.2).all() and rate.std() > 0.05
    for i in range(64):
        np.testing.assert_allclose(
            out[i, : length[i], 0], rate[i] * np.arange(length[i]), rtol=1e-4, atol=1e-4
        )
        assert length[i] == min(30, int(np.floor(39 / rate[i])) + 1)


def test_gain_is_one_offset_per_utterance():
    change = augment.gain(KEY, frames(), 6.0) - frames()
    assert np.abs(change).max() <= 6
    np.testing.assert_allclose(change, np.broadcast_to(change[:, :1, :1], change.shape), atol=1e-5)
    assert len(np.unique(np.round(change[:, 0, 0], 4))) == 3


def test_band_shift_moves_whole_bands():
    x = jnp.broadcast_to(jnp.arange(16.0), (50, 4, 16))
    shift = augment.band_shift(KEY, x, 3)[:, 0, 8] - 8
    assert set(np.asarray(shift).tolist()) == {-3, -2, -1, 0, 1, 2, 3}


@pytest.mark.parametrize('axis, size', [(1, 40), (2, 16)])
def test_masks_are_stripes_no_wider_than_asked(axis, size):
    out = np.asarray(augment.mask(KEY, jnp.ones((200, 40, 16)), 1, 5, axis))
    hidden = (out == 0).all(axis=3 - axis)
    widths = hidden.sum(1)
    assert widths.max() == 5 and widths.min() == 0
    assert (np.abs(np.diff(hidden.astype(int), axis=1)).sum(1) <= 2).all()  # one stripe each
    assert hidden.any(0).all()  # anywhere


def test_mixup_share_is_the_larger_part():
    share = augment.mixup_share(KEY, 500, 0.4)
    assert (share >= 0.5).all() and (share <= 1).all() and share.std() > 0.05


def test_noise_keeps_its_snr_and_the_padding():
    t = jnp.arange(16000) / 16000
    x = jnp.stack([jnp.sin(2 * jnp.pi * 300 * t)] * 4) * (jnp.arange(16000) < 12000)
    length = jnp.full(4, 12000)
    added = augment.noise(KEY, x, length, (10.0, 10.0), 1.0) - x
    assert (added[:, 12000:] == 0).all()
    snr = 10 * np.log10((x**2).sum(1) / (added**2).sum(1))
    np.testing.assert_allclose(snr, 10, atol=0.7)
    np.testing.assert_array_equal(augment.noise(KEY, x, length, (10.0, 10.0), 0.0), x)


def test_reverb_keeps_the_direct_sound_and_decays():
    click = jnp.zeros((4, 8000)).at[:, 100].set(1.0)
    out = np.asarray(augment.reverb(KEY, click, jnp.full(4, 8000), (0.2, 0.3), 1.0, 16000))
    np.testing.assert_allclose(out[:, 100], 1, atol=1e-3)
    assert np.abs(out[:, :100]).max() < 1e-3
    early, late = (out[:, 101:900] ** 2).sum(1), (out[:, 4000:4800] ** 2).sum(1)
    assert (early > 100 * late).all()
