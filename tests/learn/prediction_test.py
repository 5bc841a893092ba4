"""Windows in padded batches: spans of few shapes, never none."""

import pytest

from ser_jax.learn import prediction


@pytest.mark.parametrize(
    'longest, most, span', [(1, 1, 1), (3, 10, 3), (17, 160, 20), (160, 160, 160), (500, 160, 160)]
)
def test_a_padded_span_is_a_sixteenth_of_the_longest_window_or_more(longest, most, span):
    assert prediction.padded_span(longest, most) == span
