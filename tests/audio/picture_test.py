"""Pictures show all of a recording, on one scale for all recordings."""

import jax
import numpy as np
import pytest

from ser_jax.audio import picture
from ser_jax.audio.picture import VSR_SPECTROGRAM

LOW, HIGH = VSR_SPECTROGRAM.low_db, VSR_SPECTROGRAM.high_db


def noise(samples: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize(
    ('samples', 'count'),
    [(1, 1), (88_199, 1), (88_200, 1), (88_201, 2), (176_400, 2), (200_000, 3)],
)
def test_windows_include_the_tail_and_an_exact_four_seconds(samples, count):
    described = VSR_SPECTROGRAM(noise(samples))
    assert described.shape == (count, 128, 173)
    assert (described.max((1, 2)) > LOW).all()  # the tail is heard


def test_a_window_does_not_depend_on_what_follows():
    recording = noise(150_000)
    np.testing.assert_array_equal(
        VSR_SPECTROGRAM(recording)[0], VSR_SPECTROGRAM(recording[:88_200])[0]
    )


def test_a_short_recording_lies_in_the_middle():
    columns = VSR_SPECTROGRAM(noise(22_050))[0].max(0)
    loud = np.flatnonzero(columns > LOW)
    assert abs((loud[0] + loud[-1]) / 2 - 86) <= 1


def test_the_scale_is_the_same_for_loud_and_soft():
    softer = VSR_SPECTROGRAM(0.1 * noise(88_200))
    np.testing.assert_allclose(VSR_SPECTROGRAM(noise(88_200)) - softer, 20, atol=0.01)
    assert softer.min() >= LOW
    assert VSR_SPECTROGRAM(np.full(88_200, 1e3, np.float32)).max() == HIGH


def test_picture_is_the_color_map_without_margins():
    table = picture.colors()
    assert table.shape == (256, 3)
    for share, entry in ((0.0, 0), (1.0, 255), (0.2, 51)):
        flat = picture.picture(
            np.full((128, 173), LOW + share * (HIGH - LOW), np.float32), LOW, HIGH
        )
        assert flat.shape == (224, 224, 3)
        assert flat.dtype == np.uint8
        assert (flat == table[entry]).all()
    beyond = picture.picture(np.full((128, 173), HIGH + 7, np.float32), LOW, HIGH)
    assert (beyond == table[255]).all()


def test_low_bands_are_at_the_bottom_and_early_frames_at_the_left():
    decibels = np.full((128, 173), LOW, np.float32)
    decibels[:32, :40] = HIGH
    bright = np.asarray(picture.picture(decibels, LOW, HIGH)).sum(2) > 382
    assert bright[200:, :40].all()
    assert not bright[:150].any()
    assert not bright[:, 60:].any()


def test_pictures_of_a_batch_are_pictures_apart_inside_a_compiled_step():
    batch = VSR_SPECTROGRAM(noise(200_000))
    together = jax.jit(lambda x: picture.picture(x, LOW, HIGH))(batch)
    for one, decibels in zip(together, batch, strict=True):
        apart = picture.picture(decibels, LOW, HIGH).astype(int)
        assert (
            np.abs(apart - one.astype(int)).max() <= 6
        )  # a neighboring color where rounding differs
