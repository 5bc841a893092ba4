"""Tables of corpora have the numbers that numpy gives for the recordings they were built from."""

import numpy as np
import pytest

from ser_jax.data.utterances import open_corpora
from ser_jax.emotions import ordered
from ser_jax.explore import counts, notes, statistics
from tests.conftest import EACH, EMOTIONS, SPEAKERS, tone


@pytest.fixture(scope='module')
def corpus(data_dir):
    return open_corpora(['synthetic'], str(data_dir))


@pytest.fixture(scope='module')
def tables(corpus):
    return statistics.tables([corpus])


def samples(emotion: str) -> np.ndarray:
    """How many samples the tones of an emotion have."""
    e = EMOTIONS.index(emotion)
    return np.array([len(tone(s, e, take)) for s in range(SPEAKERS) for take in range(EACH)])


def test_counts_are_those_of_the_builder_however_they_are_divided(tables):
    assert {
        r['emotion']: (r['utterances'], r['female'], r['male'], r['song'])
        for r in tables['emotions']
    } == {e: (24, 12, 12, 6) for e in EMOTIONS}
    assert sum(r['utterances'] for r in tables['counts']) == 96
    assert {(r['sex'], r['channel'], r['utterances']) for r in tables['counts']} == {
        (sex, channel, n)
        for sex in ('female', 'male')
        for channel, n in (('speech', 9), ('song', 3))
    }
    assert [(r['speaker'], r['sex'], r['utterances']) for r in tables['speakers']] == [
        (f'synthetic_{s}', ('female', 'male')[s % 2], 16) for s in range(SPEAKERS)
    ]
    assert all(r[e] == EACH for r in tables['speakers'] for e in EMOTIONS)
    (total,) = tables['corpora']
    assert (total['utterances'], total['speakers'], total['female'], total['speech']) == (
        96,
        6,
        3,
        72,
    )
    hours = sum(samples(e).sum() for e in EMOTIONS) / 16000 / 3600
    assert total['hours'] == pytest.approx(hours, rel=1e-6)


@pytest.mark.parametrize('emotion', ['all', *EMOTIONS])
def test_quantiles_are_those_of_numpy(tables, emotion):
    expected = (
        np.concatenate([samples(e) for e in EMOTIONS]) if emotion == 'all' else samples(emotion)
    )
    rows = [r for r in tables['quantiles'] if r['emotion'] == emotion]
    at = [r['quantile'] for r in rows]
    assert at == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    for column, values in (
        ('samples_at_16_khz', expected),
        ('samples_as_recorded', expected),
        ('seconds', expected / 16000),
    ):
        np.testing.assert_allclose([r[column] for r in rows], np.quantile(values, at), rtol=1e-6)
    assert {r['rate_hz'] for r in rows} == {16000}


def test_levels_are_those_of_the_sound(tables):
    rows = {(r['emotion'], r['measure']): r for r in tables['measures']}
    tones = [tone(s, 1, take) for s in range(SPEAKERS) for take in range(EACH)]
    level = np.array([10 * np.log10(np.mean(t.astype(np.float64) ** 2)) for t in tones])
    happy = rows['happy', 'level_db']
    assert (happy['mean'], happy['min'], happy['max']) == pytest.approx(
        (level.mean(), level.min(), level.max()), abs=1e-3
    )
    assert (happy['q10'], happy['median']) == pytest.approx(
        tuple(np.quantile(level, (0.1, 0.5))), abs=1e-3
    )
    assert rows['happy', 'peak']['max'] == pytest.approx(
        max(np.abs(t).max() for t in tones), abs=1e-4
    )
    assert rows['all', 'clipped']['mean'] == 0 and rows['all', 'clipped']['recordings'] == 96


def test_words_and_sentences_of_one_emotion_alone_are_counted(corpus, tables):
    rows = {r['emotion']: r for r in tables['words']}
    # 'the sunshine of number 3': five words, one of the emotion alone, another of the speaker.
    assert rows['happy']['sentences'] == rows['happy']['sentences_only_here'] == SPEAKERS
    assert rows['happy']['distinct_words'] == 4 + SPEAKERS
    assert (
        rows['all']['words'] == 96 * 5
        and rows['all']['distinct_words'] == 3 + len(EMOTIONS) + SPEAKERS
    )
    assert any('100 % of the texts' in note for note in notes.notes(corpus))


@pytest.mark.parametrize(
    'rates, covering',
    [
        ((16000,) * 10, 16000),
        ((8000, 8000, 8000) + (48000,) * 7, 8000),
        ((8000, 8000) + (48000,) * 8, 48000),
    ],
)
def test_the_covering_rate_is_the_highest_that_enough_recordings_reach(rates, covering):
    assert statistics.covering_rate(np.array(rates)) == covering
    assert statistics.covering_rate(np.array(rates)[:0]) is None


def test_several_corpora_are_measured_alone_and_together(corpus):
    speech, song = (corpus.select(corpus.channel == c) for c in ('speech', 'song'))
    both = statistics.quantiles([speech, song])
    assert list(dict.fromkeys(r['corpus'] for r in both)) == [statistics.ALL, 'synthetic']
    together = [
        r['seconds'] for r in both if r['corpus'] == statistics.ALL and r['emotion'] == 'all'
    ]
    np.testing.assert_allclose(
        together, np.quantile(corpus.seconds.astype(float), statistics.QUANTILES), rtol=1e-6
    )
    assert counts.classes(song) == ordered(EMOTIONS)


def test_notes_name_what_gives_a_class_away(corpus):
    one_voice = (corpus.emotion != 'sad') | (corpus.speaker == 'synthetic_1')
    text = ' '.join(notes.notes(corpus.select(one_voice)))
    assert (
        'All 4 utterances of sad are of one of 6 speakers' in text
        and 'times as many utterances as sad' in text
    )
    assert 'There is no recording of sad' in ' '.join(
        notes.notes(corpus.select(corpus.emotion != 'sad'))
    )
