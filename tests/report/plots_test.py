"""Figures show the numbers they were given, without a display, and take what real runs bring."""

import numpy as np
import pytest

from ser_jax.report import confidence_plots, html, plots
from ser_jax.report.axes import BLUE
from ser_jax.scoring.calibration import Reliability


def _texts(axes):
    return [t.get_text() for t in axes.texts]


def test_confusion_shows_per_cent_of_the_row_and_counts():
    figure = plots.confusion_matrix([[3, 1], [0, 0]], ['calm', 'sad'], 'audio')
    (axes,) = figure.axes
    assert _texts(axes) == ['75', '3', '25', '1']
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert axes.get_title(loc='left') == 'audio'


def test_learning_curves_average_members_and_take_the_last_of_a_repeated_epoch():
    def epoch(member, n, loss):
        return {
            'kind': 'epoch',
            'member': member,
            'epoch': n,
            'train_loss': loss,
            'valid_uar': None,
        }

    records = [
        epoch('a', 1, 9.0),
        epoch('a', 1, 4.0),
        epoch('b', 1, 2.0),
        epoch('a', 2, 1.0),
        epoch('b', 2, float('nan')),
    ]
    left, right = plots.learning_curves([*records, {'kind': 'note'}], chance=0.25).axes
    mean = next(line for line in left.lines if line.get_label() == 'training')
    np.testing.assert_allclose(mean.get_xydata(), [(1, 3.0), (2, 1.0)])
    assert (
        len(left.lines) == 3 and len(right.lines) == 1
    )  # two members and their mean; guessing alone


def test_many_members_stay_light():
    records = [
        {
            'kind': 'epoch',
            'member': f'm{m}',
            'epoch': e,
            'train_loss': 1.0,
            'valid_loss': 1.0,
            'valid_uar': 0.5,
        }
        for m in range(72)
        for e in range(80)
    ]
    assert len(html.svg(plots.learning_curves(records), 'l', 'curves')) < 200_000


def test_speakers_are_ordered_by_uar_and_missing_recalls_left_out():
    figure = plots.speakers(
        ['a', 'b', 'c'], [0.5, 0.9, 0.1], [[0.5, np.nan]] * 3, ['male', 'female', 'unknown'], 0.5
    )
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ['c', 'a', 'b']
    ticks = [line for line in axes.lines if line.get_marker() == '|']
    assert [len(t.get_xdata()) for t in ticks] == [1, 1, 1]


def test_forest_writes_notes_beside_values_and_draws_inflated_ones_hollow():
    (axes,) = plots.forest(
        ['a', 'b'], [0.5, 0.9], [0.4, 0.8], [0.6, 1.0], [0.1, 0.1], ['', 'inflated']
    ).axes
    assert _texts(axes) == ['0.500', '0.900  inflated']
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == 'o']
    assert faces[0] == BLUE and faces[1] == 'white'


def test_reliability_leaves_empty_bins_out():
    nan = float('nan')
    bins = Reliability(*(np.array(x) for x in ([0.3, nan, 0.9], [0.5, nan, 0.8], [10, 0, 20])))
    top, bottom = confidence_plots.reliability_diagram(bins, 'x').axes
    np.testing.assert_allclose(top.collections[-1].get_offsets(), [(0.3, 0.5), (0.9, 0.8)])
    assert [b.get_height() for b in bottom.patches] == [10, 0, 20]


def test_calibration_before_and_after_are_two_marks_in_one_figure():
    before = Reliability(np.array([0.9]), np.array([0.5]), np.array([10]))
    after = Reliability(np.array([0.6]), np.array([0.5]), np.array([10]))
    top, bottom = confidence_plots.reliability_diagram(before, 'x', after).axes
    assert [c.get_label() for c in top.collections if 'cal' in c.get_label()] == ['calibrated']
    assert {p.get_height() for p in bottom.patches} == {10}


def test_errors_rise_to_those_of_all_answers():
    (axes,) = confidence_plots.risk_coverage([0.0, 0.0, 1 / 3, 0.5], 0.1, 'x').axes
    np.testing.assert_allclose(axes.lines[0].get_xydata()[-1], [1.0, 0.5])
    assert axes.get_ylim()[1] > 0.5


@pytest.mark.parametrize('name', ['$\\frac', 'a$b$c', '情感', '<script>&', 'x' * 80])
def test_any_name_can_be_drawn(name):
    figures = (
        plots.confusion_matrix(np.eye(2), [name, 'b'], name),
        plots.forest([name], [0.5], [0.4], [0.6], [0.1], ['']),
        plots.speakers([name], [0.5], [[0.5]], ['male'], 0.5, name),
        plots.learning_curves([{'kind': 'epoch', 'member': name, 'epoch': 1, 'train_loss': 1.0}]),
    )
    for i, figure in enumerate(figures):
        text = html.svg(figure, f'f{i}', name)
        assert '<script>' not in text and text.endswith('</svg>')
