"""One vocabulary, learnt on the training side, used everywhere."""

from hypothesis import given
from hypothesis import strategies as st

from ser_jax.data import text


@given(st.lists(st.text(max_size=40), max_size=8), st.integers(1, 12))
def test_ids_are_in_range_and_padding_comes_last(texts, width):
    known = text.vocabulary(texts, at_least=1)
    ids = text.encode(texts, known, width)
    assert ids.shape == (len(texts), width)
    assert ((ids >= 0) & (ids < len(known) + 2)).all()
    padding = ids == text.PADDING
    assert (padding[:, 1:] >= padding[:, :-1]).all()
    assert not (ids == text.UNKNOWN).any()  # every word was seen


def test_words_outside_the_vocabulary_are_unknown():
    known = text.vocabulary(['so happy', 'so sad'], at_least=2)
    assert known == ['so']
    assert text.encode(['So glad!'], known, 3).tolist() == [[2, 1, 0]]


def test_words():
    assert text.words("I can’t — I WON'T go, Zoë; 12 times") == [
        'i',
        "can't",
        'i',
        "won't",
        'go',
        'zoë',
        '12',
        'times',
    ]
