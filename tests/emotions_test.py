"""One vocabulary: synonyms, the order of other words, merges and valence, the mask of support."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_jax import emotions
from ser_jax.contract import InputError
from ser_jax.emotions import EMOTIONS, VALENCE, ordered, relabeling, word


@pytest.mark.parametrize(
    'text, meant',
    [
        ('Happiness', 'happy'),
        ('ANGRY', 'angry'),
        ('Pleasant_Surprise', 'surprised'),
        ('ps', 'surprised'),
        ('pleasant-surprised', 'surprised'),
        ('Suprised', 'surprised'),
        (' Fear ', 'fearful'),
        ('Frustration', 'frustration'),
    ],
)
def test_other_words_find_their_place(text, meant):
    assert word(text) == meant


@given(st.lists(st.sampled_from([*EMOTIONS, 'excited', 'bliss'])))
def test_order_is_ours_then_by_name_and_nothing_is_lost(words):
    order = ordered(words)
    assert set(order) == set(words) and len(order) == len(set(words))
    ours = [w for w in order if w in EMOTIONS]
    assert list(order) == sorted(ours, key=EMOTIONS.index) + sorted(set(words) - set(EMOTIONS))


def test_every_word_of_ours_has_a_valence_and_synonyms_lead_to_ours():
    assert set(EMOTIONS) <= set(VALENCE) and set(emotions.SYNONYMS.values()) <= set(EMOTIONS)
    assert not set(emotions.SYNONYMS) & set(EMOTIONS)
    assert VALENCE['sad'] == 'negative' and VALENCE['surprised'] == 'positive'


def test_merges_come_before_valence_and_words_without_valence_have_no_place():
    words = ('neutral', 'calm', 'sad', 'excited')
    assert relabeling('emotion', ('calm:neutral',), words) == {
        'neutral': 'neutral', 'calm': 'neutral', 'sad': 'sad', 'excited': 'excited',
    }  # fmt: skip
    assert relabeling('valence', (), words) == {
        'neutral': 'positive',
        'calm': 'positive',
        'sad': 'negative',
    }
    assert relabeling('valence', ('excited:happy',), words)['excited'] == 'positive'
    assert (
        relabeling('emotion', ('boredom:neutral',), words)['sad'] == 'sad'
    )  # ours, though this corpus lacks it


@pytest.mark.parametrize('merge', ['calm', 'calm:', ':neutral', 'clam:neutral'])
def test_a_merge_that_cannot_be_is_one_line(merge):
    with pytest.raises(InputError, match=r'expected from:to, e.g. calm:neutral, of neutral, calm'):
        relabeling('emotion', (merge,), ('calm', 'neutral'))
    with pytest.raises(InputError, match=r"data.labels='arousal' is not known"):
        relabeling('arousal', (), ('calm',))


def test_support_is_a_mask_of_corpora_and_emotions():
    mask = emotions.supported(
        [('happy', 'sad'), ('sad', 'boredom')], ('happy', 'sad', 'boredom', 'trusting')
    )
    np.testing.assert_array_equal(mask, [[1, 1, 0, 0], [0, 1, 1, 0]])
