"""Figures of corpora show the numbers they were given, and draw whatever classes are called."""

import warnings

import numpy as np
import pytest

from ser_jax.report import counts, spreads
from ser_jax.report.figures import Figures


def test_bars_are_stacked_to_the_sum_which_is_written():
    (axes,) = counts.by_class(
        ['calm', 'sad'], [{'female': [3, 0], 'male': [1, 1200]}], ['by sex']
    ).axes
    assert [(b.get_x(), b.get_width()) for b in axes.patches] == [(0, 3), (0, 0), (3, 1), (0, 1200)]
    assert [t.get_text() for t in axes.texts] == ['4', '1,200']
    assert [t.get_text() for t in axes.get_yticklabels()] == ['calm', 'sad']


def test_quantile_lines_and_extremes_are_those_of_the_values():
    values = np.random.default_rng(0).gamma(2, size=400)
    left, right = spreads.quantile_lines({'sad': values}, 'length (s)').axes
    x, y = left.lines[0].get_data()
    np.testing.assert_allclose(y, np.quantile(values, x))
    bar, mark = right.lines
    assert (
        tuple(bar.get_xdata()) == (values.min(), values.max())
        and mark.get_xdata()[0] == values.mean()
    )


def test_rates_step_between_rates_that_occur():
    left, _ = spreads.quantile_lines(
        {'sad': np.array([16.0, 16.0, 48.0])}, 'rate (kHz)', step=True
    ).axes
    assert set(left.lines[0].get_ydata()) == {16.0, 48.0}


def test_speakers_stand_by_sex_and_name():
    figure = counts.by_speaker(
        ['b', 'a', 'c'], ['male', 'male', 'female'], ['sad'], [[1], [2], [0]]
    )
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ['c', 'a', 'b']
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 2, 1]])


@pytest.mark.parametrize('name', ['$\\frac', '情感', '<script>&', 'x' * 80, '../up'])
def test_any_name_can_be_drawn_and_saved(tmp_path, name):
    figures = Figures(tmp_path / 'figures')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for i, figure in enumerate((
            counts.by_class([name], [{name: [1]}], ['']),
            counts.by_speaker([name], ['unknown'], [name], [[1]]),
            spreads.quantile_lines({name: np.ones(1)}, 's'),
            spreads.ranges([name], {'clipped': [0.0], 'level': [None]}),
            spreads.shares({name: np.ones(2)}, 's'),
            counts.bars([name], {'words': [0]}),
        )):  # fmt: skip
            text = figures(f'{name}{i}', name, figure)
            assert '<script>' not in text and text.endswith('</svg>')
    assert len(list((tmp_path / 'figures').glob('*.png'))) == 6  # none of them elsewhere
