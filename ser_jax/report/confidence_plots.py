"""Figures of confidence: accuracy over confidence, and errors over the share of answers given."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ser_jax.report.axes import BLUE, INK, MUTED, ORANGE, dress, single
from ser_jax.scoring.calibration import Reliability


def reliability_diagram(
    bins: Reliability, title: str = '', calibrated: Reliability | None = None
) -> Figure:
    """Plot accuracy over confidence, with the diagonal of perfect calibration, and counts below.

    Args:
      bins: of the predictions as they are, filled markers.
      title: title of the figure.
      calibrated: after temperature scaling, hollow markers; None = not measured.
    """
    figure = Figure(figsize=(3.35, 3.1), layout='constrained')
    top, bottom = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    dress(top, title)
    dress(bottom, '')
    top.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle='--')
    _markers(top, bins, BLUE, BLUE, 'as it is')
    if calibrated is not None:
        _markers(top, calibrated, ORANGE, 'none', 'calibrated')
        top.legend(frameon=False, fontsize=7, loc='upper left')
    top.set_ylim(0, 1)
    top.set_ylabel('accuracy')
    count = np.asarray(bins.count, float)
    places = (np.arange(len(count)) + 0.5) / len(count)
    bottom.bar(places, count, width=0.9 / len(count), color=BLUE)
    if calibrated is not None:
        size = 0.9 / len(count)
        bottom.bar(places, calibrated.count, width=size, facecolor='none', edgecolor=ORANGE)
    bottom.set_ylabel('answers')
    bottom.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=2))
    bottom.set_xlim(0, 1)
    bottom.set_xlabel('confidence')
    bottom.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=' %'))
    return figure


def _markers(axes: Axes, bins: Reliability, color: str, face: str, label: str) -> None:
    count = np.asarray(bins.count, float)
    known = count > 0
    confidence, accuracy = (np.asarray(x, float)[known] for x in (bins.confidence, bins.accuracy))
    if face != 'none':
        axes.vlines(confidence, confidence, accuracy, color=MUTED, linewidth=0.8)
    size = 6 + 60 * count[known] / max(1.0, count.max(initial=0))
    axes.scatter(
        confidence, accuracy, size, facecolor=face, edgecolor=color, label=label, zorder=2,
        clip_on=False,
    )  # fmt: skip


def risk_coverage(risk, allowed: float, title: str = '') -> Figure:
    """Plot the share of errors over the share of recordings answered, most confident first.

    Args:
      risk: [N], share of errors among the n most confident answers, n = 1 ... N.
      allowed: share of errors that the threshold of the run is chosen for, a dotted line.
      title: title of the figure.
    """
    risk = np.asarray(risk, float)
    figure = Figure(figsize=(3.35, 2.5), layout='constrained')
    axes = single(figure, title)
    share = np.arange(1, len(risk) + 1) / max(1, len(risk))
    axes.plot(share, risk, color=BLUE, linewidth=1.6)
    axes.axhline(allowed, color=INK, linewidth=0.8, linestyle=':')
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(0.3, float(risk.max(initial=0)) * 1.05))
    axes.set_xlabel('recordings answered')
    axes.set_ylabel('errors')
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=' %'))
    return figure
