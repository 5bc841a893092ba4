"""Speaker statistics: centered voices, a choice by seed that no selection changes."""

import dataclasses

import numpy as np
import pytest

from ser_jax.contract import InputError, Layout
from ser_jax.data import speaker_statistics, utterances


@pytest.fixture
def opened(data_dir):
    """The tone corpus with two random rows of three values each."""
    one = utterances.open_corpora(('synthetic',), str(data_dir))
    random = np.random.default_rng(0)
    flat = random.standard_normal((2 * len(one), 3)).astype(np.float16)
    offset = 2 * np.arange(len(one))
    return dataclasses.replace(
        one,
        flat=flat,
        offset=offset,
        length=np.full(len(one), 2),
        read=lambda i: flat[offset[i] : offset[i] + 2],
        source='derived',
        layout=Layout(3, 1, 0.0, False),
    )


@pytest.mark.parametrize('resident', [True, False])
def test_the_mean_of_the_used_recordings_is_subtracted(opened, resident):
    used = speaker_statistics.enrolled(opened, 'enrolled:3', ('speech',), 0)
    given = opened if resident else dataclasses.replace(opened, flat=None)
    centered = speaker_statistics.centered(given, used)
    assert (centered.flat is not None) == resident
    for speaker in set(opened.speaker):
        own = np.flatnonzero(used & (opened.speaker == speaker))
        assert len(own) == 3
        mean = np.mean([centered.read(i).astype(np.float64).mean(0) for i in own], 0)
        np.testing.assert_allclose(mean, 0, atol=1e-3)
    for i in (0, 50):
        difference = opened.read(i).astype(np.float64) - centered.read(i)
        np.testing.assert_allclose(difference[0], difference[1], atol=4e-3)
        if resident:
            at = centered.offset[i]
            np.testing.assert_array_equal(centered.flat[at : at + 2], centered.read(i))


@pytest.mark.parametrize(
    'mode, prior, share', [('all', 2.0, 1), ('enrolled:8', 2.0, 0.8), ('enrolled:3', 0.0, 1)]
)
def test_a_mean_over_few_recordings_counts_less(opened, mode, prior, share):
    assert speaker_statistics.share_of_mean(mode, prior) == share
    used = np.ones(len(opened), bool)
    whole = speaker_statistics.centered(opened, used)
    part = speaker_statistics.centered(opened, used, share)
    moved = opened.read(5).astype(np.float64) - part.read(5)
    expected = share * (opened.read(5).astype(np.float64) - whole.read(5))
    np.testing.assert_allclose(moved, expected, atol=4e-3)


def test_variants_are_never_enrolled(opened):
    named = dataclasses.replace(opened, id=np.array([f'{i}+noise' for i in opened.id], object))
    assert not speaker_statistics.enrolled(named, 'all', ('speech',), 0).any()
    half = dataclasses.replace(opened, id=np.where(np.arange(len(opened)) % 2, opened.id, named.id))
    used = speaker_statistics.enrolled(half, 'enrolled:3', ('speech',), 0)
    assert used.sum() == 3 * len(set(opened.speaker)) and (np.flatnonzero(used) % 2).all()


def test_the_choice_depends_on_seed_and_speaker_alone(opened):
    first = speaker_statistics.enrolled(opened, 'enrolled:3', ('speech',), 0)
    assert not first[opened.channel == 'song'].any()
    other = speaker_statistics.enrolled(opened, 'enrolled:3', ('speech',), 1)
    assert (first != other).any()
    order = np.random.default_rng(0).permutation(len(opened))
    shuffled = dataclasses.replace(
        opened, **{n: getattr(opened, n)[order] for n in ('id', 'speaker', 'channel')}
    )
    again = speaker_statistics.enrolled(shuffled, 'enrolled:3', ('speech',), 0)
    assert set(shuffled.id[again]) == set(opened.id[first])
    some = opened.speaker != opened.speaker[0]
    fewer = speaker_statistics.enrolled(opened.select(some), 'enrolled:3', ('speech',), 0)
    np.testing.assert_array_equal(fewer, first[some])
    four = speaker_statistics.enrolled(opened, 'enrolled:4', ('speech',), 0)
    assert (first <= four).all()  # more recordings are the same and others


@pytest.mark.parametrize('mode', ['', 'enroled:3', 'enrolled:', 'enrolled:-1', 'enrolled:0', 'ALL'])
def test_unknown_modes_are_refused(mode):
    with pytest.raises(InputError, match=r"must be 'none', 'enrolled:k' .* or 'all', got"):
        speaker_statistics.enrolled_count(mode)
    known = [speaker_statistics.enrolled_count(m) for m in ('none', 'enrolled:8', 'all')]
    assert known == [0, 8, -1]
