"""Sentences name the top class and are never surer than the probability."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ser_jax.emotions import EMOTIONS
from ser_jax.scoring.intervals import Difference, Interval
from ser_jax.webapp import texts, wording

WEIGHTS = st.lists(st.floats(0.001, 1), min_size=2, max_size=len(EMOTIONS))
LEAST = {'Very probably': 0.9, 'Probably': 0.7, 'Perhaps': 0.5, 'Not sure': 0.0}


def answer(weights):
    p = np.array(weights) ** 3
    return [float(x) for x in p / p.sum()], EMOTIONS[: len(weights)]


@given(WEIGHTS, st.booleans())
def test_the_headline_names_the_top_class_at_its_strength(weights, calibrated):
    p, emotions = answer(weights)
    said = wording.verdict(p, emotions, 'voice', calibrated)
    top = max(p)
    named = [e for e in emotions if p[emotions.index(e)] == top]
    assert any(wording.adjective(e) in said.headline.split(';')[0] for e in named)
    strength = next(s for s in LEAST if said.headline.startswith(s))
    assert top >= LEAST[strength]
    assert not any(least <= top for s, least in LEAST.items() if least > LEAST[strength])


@given(WEIGHTS, st.booleans())
def test_nothing_is_ever_certain(weights, calibrated):
    p, emotions = answer(weights)
    said = wording.verdict(p, emotions, '', calibrated)
    text = f'{said.headline} {said.detail}'.lower()
    assert not any(w in text for w in ('certain', 'definitely', 'of course', '100 %'))
    assert ('not calibrated' in text) is not calibrated


@given(st.floats(0, 1))
def test_percentages_are_never_above_the_probability_or_certain(p):
    shown = int(wording.percent(p).split()[0])
    assert 1 <= shown <= 99 and shown <= max(1, 100 * p + 1e-6)


@given(WEIGHTS)
def test_the_second_class_is_named_exactly_if_it_is_near(weights):
    p, emotions = answer(weights)
    first, second = sorted(p, reverse=True)[:2]
    headline = wording.verdict(p, emotions).headline
    assert ('is not far' in headline) is (first - second < 0.2)


@given(WEIGHTS)
def test_positive_and_negative_add_up(weights):
    p, emotions = answer(weights)
    sides = wording.valence(dict(zip(emotions, p, strict=True)))
    assert abs(sum(sides.values()) - 1) < 1e-9


def test_a_voice_that_is_none_gets_no_emotion():
    said = wording.verdict([0.9, 0.1], ['happy', 'sad'], 'unknown')
    assert said.headline == 'This is not a human voice'
    assert 'happy' not in f'{said.headline}{said.detail}'
    doubtful = wording.verdict([0.9, 0.1], ['happy', 'sad'], 'uncertain')
    assert doubtful.headline.startswith('Perhaps not a human voice. If it is: very probably happy')


def test_disagreeing_models_are_mentioned():
    near, far = ([0.01, 0.01], [0.2, 0.2])
    assert 'disagree' not in wording.verdict([0.8, 0.2], ['a', 'b'], spread=near).detail
    assert 'by 20 points' in wording.verdict([0.8, 0.2], ['a', 'b'], spread=far).detail


def test_a_change_within_its_uncertainty_is_no_improvement():
    before, after = Interval(0.4, 0.3, 0.5, 'utterance'), Interval(0.5, 0.4, 0.6, 'utterance')
    unsure = Difference(0.1, -0.05, 0.2, 0.2, 'utterance', 20)
    sure = Difference(0.1, 0.05, 0.2, 0.01, 'utterance', 20)
    assert wording.change(before, after, unsure, True).headline.startswith('Perhaps')
    assert wording.change(before, after, sure, True).headline.startswith('Better')
    kept = wording.change(before, after, sure, False)
    assert 'not kept' in kept.headline and '40 % before [30, 50]' in kept.detail


def test_texts_have_sources_sentences_and_the_law():
    for side in texts.SUGGESTIONS.values():
        assert all(s.source and s.url.startswith('https://') for s in side)
    assert {e for e in EMOTIONS if e != 'trusting'} <= set(texts.SENTENCES)
    assert any('Article 5(1)(f)' in limit for limit in texts.NOT_FOR)
    everything = ' '.join([*texts.NOT_FOR, texts.HELP]).lower()
    assert 'no diagnosis' in everything and 'doctor' in everything and 'faces' in everything
