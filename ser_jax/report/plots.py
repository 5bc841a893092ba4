"""Figures of scores and trainings, as functions from arrays to matplotlib Figures."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ser_jax.report.axes import (
    BLUE,
    BLUES,
    GREEN,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PURPLE,
    dress,
    name_columns,
    short,
    single,
)

_THIN = 24  # members with a line of their own in a learning curve; the mean is over all
_MARKS = {'female': 'o', 'male': 's'}


def confusion_matrix(matrix, classes: Sequence[str], title: str = '') -> Figure:
    """Plot a confusion matrix: per cent of the row, as color and text, and counts.

    Args:
      matrix: [C, C] counts, rows the labels, columns the predictions; an empty row stays white.
      classes: C names.
      title: title of the figure.
    """
    matrix = np.asarray(matrix, float)
    C, total = len(classes), matrix.sum(1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros_like(matrix), where=total > 0)
    figure = Figure(
        figsize=(max(3.4, 1.2 + 0.475 * C), max(3.0, 1.15 + 0.43 * C)), layout='constrained'
    )
    axes = single(figure, title)
    axes.imshow(share, cmap=BLUES, vmin=0, vmax=1, aspect='auto')
    for i, j in itertools.product(range(C), range(C)):
        if matrix[i, j]:
            ink = 'white' if share[i, j] > 0.5 else INK
            axes.text(
                j,
                i - 0.08,
                f'{100 * share[i, j]:.0f}',
                ha='center',
                va='center',
                color=ink,
                fontsize=9,
                weight='bold' if i == j else 'normal',
            )
            axes.text(
                j, i + 0.3, f'{matrix[i, j]:g}', ha='center', va='center', color=ink, fontsize=6
            )
    name_columns(axes, classes, 40)
    axes.set_yticks(range(C), [short(c) for c in classes], parse_math=False)
    axes.set_xticks(np.arange(C + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(C + 1) - 0.5, minor=True)
    axes.grid(which='minor', color=LINE, linewidth=0.6)
    axes.tick_params(which='both', length=0)
    axes.set_xlabel('prediction')
    axes.set_ylabel('truth')
    return figure


def learning_curves(records: Sequence[dict], chance: float | None = None) -> Figure:
    """Plot training and validation loss, and validation UAR, over epochs.

    Thin lines are members, the thick line is their mean.

    Args:
      records: records of metrics.jsonl. Those of kind 'epoch' are used: member, epoch, train_loss,
        valid_loss, valid_uar (absent or None if not measured). If a (member, epoch) is repeated, as
        after a resume, the last record counts.
      chance: UAR of guessing, drawn as a dotted line.
    """
    figure = Figure(figsize=(6.8, 3.1), layout='constrained')
    left, right = figure.subplots(1, 2)
    dress(left, 'loss')
    dress(right, 'UAR on validation speakers')
    _curve(left, records, 'train_loss', BLUE, 'training', '-')
    _curve(left, records, 'valid_loss', ORANGE, 'validation', '--')
    _curve(right, records, 'valid_uar', ORANGE, 'validation', '--')
    if chance is not None:
        right.axhline(chance, color=MUTED, linewidth=0.8, linestyle=':')
        right.annotate(
            'guessing',
            (1, chance),
            xycoords=('axes fraction', 'data'),
            ha='right',
            va='bottom',
            fontsize=7,
            color=MUTED,
        )
    right.set_ylim(0, 1)
    for axes in (left, right):
        axes.set_xlabel('epoch')
        axes.grid(axis='y', color=LINE, linewidth=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if left.lines:
        left.legend(frameon=False, fontsize=8)
    return figure


def speakers(
    names: Sequence[str], uar, recall, sexes: Sequence[str], pooled: float, title: str = ''
) -> Figure:
    """Plot a row per speaker, the best on top: UAR as marker (square: male), recalls as thin ticks.

    Args:
      names, sexes: one per speaker.
      uar: [P].
      recall: [P, C], nan for a class in which the speaker has no utterance.
      pooled: UAR over all speakers.
      title: title of the figure.
    """
    uar, recall = np.asarray(uar, float), np.asarray(recall, float).reshape(len(names), -1)
    order = np.argsort(np.where(np.isnan(uar), -1, uar), kind='stable')
    figure = Figure(figsize=(5.0, max(1.6, 1.0 + 0.18 * len(names))), layout='constrained')
    axes = single(figure, title)
    for row, i in enumerate(order):
        measured = recall[i][~np.isnan(recall[i])]
        axes.plot([0, 1], [row, row], color=LINE, linewidth=0.5, zorder=0)
        axes.plot(
            measured,
            np.full(measured.size, row),
            '|',
            color=MUTED,
            markersize=6,
            markeredgewidth=0.8,
        )
        male = sexes[i] == 'male'
        axes.plot(
            uar[i], row, _MARKS.get(sexes[i], 'D'), color=GREEN if male else PURPLE, markersize=6
        )
    axes.axvline(pooled, color=INK, linewidth=0.9, linestyle='--')
    axes.annotate(
        f'all {pooled:.2f}',
        (pooled, 1),
        (0, 3),
        xycoords=('data', 'axes fraction'),
        textcoords='offset points',
        ha='center',
        va='bottom',
        fontsize=8,
        color=INK,
    )
    axes.set_yticks(
        range(len(names)), [short(names[i]) for i in order], fontsize=8, parse_math=False
    )
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel('UAR (marker); recall of each emotion (tick)')
    axes.tick_params(axis='y', length=0)
    present = [s for s in ('female', 'male') if s in sexes]
    marks = [
        axes.plot([], [], _MARKS[s], color=GREEN if s == 'male' else PURPLE, markersize=6)[0]
        for s in present
    ]
    if len(present) > 1:
        axes.legend(
            marks, present, frameon=False, fontsize=8, loc='upper left', bbox_to_anchor=(1, 1)
        )
    return figure


def forest(labels: Sequence[str], value, low, high, chance, notes: Sequence[str]) -> Figure:
    """Plot a row per score: the value with its interval and note, and a tick at its chance level.

    Args:
      labels, notes: one per row; the marker is hollow if the note contains 'inflated'.
      value, low, high, chance: [R].
    """
    value, low, high = (np.asarray(x, float) for x in (value, low, high))
    R = len(labels)
    figure = Figure(figsize=(9, max(1.4, 0.75 + 0.27 * R)), layout='constrained')
    axes = single(figure, '')
    for row in range(R):
        hollow = 'inflated' in notes[row]
        color = ORANGE if hollow else BLUE
        y = R - 1 - row
        axes.plot([0, 1], [y, y], color=LINE, linewidth=0.5, zorder=0)
        axes.plot([chance[row]] * 2, [y - 0.28, y + 0.28], color=MUTED, linewidth=1)
        axes.plot([low[row], high[row]], [y, y], color=color, linewidth=2, solid_capstyle='butt')
        axes.plot(
            value[row],
            y,
            'o',
            color=color,
            markerfacecolor='white' if hollow else color,
            markersize=6,
        )
        words = f'{value[row]:.3f}' + (f'  {notes[row]}' if notes[row] else '')
        axes.annotate(
            words,
            (1.03, y),
            va='center',
            fontsize=8,
            color=color if hollow else INK,
            annotation_clip=False,
        )
    axes.set_yticks(
        range(R), [short(x, 48) for x in reversed(labels)], fontsize=8, parse_math=False
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.6, R - 0.4)
    axes.tick_params(axis='y', length=0)
    axes.set_xlabel('UAR with 95 % interval; the grey tick is guessing')
    return figure


def _curve(axes, records: Sequence[dict], key: str, color: str, label: str, style: str) -> None:
    """Draw one quantity of all members, or nothing if no record has it."""
    by_member: dict[str, dict[int, float]] = {}
    for r in records:
        if r.get('kind') == 'epoch' and r.get(key) is not None and np.isfinite(r[key]):
            by_member.setdefault(r['member'], {})[r['epoch']] = r[key]
    if not by_member:
        return
    epochs = np.array(sorted(set().union(*by_member.values())))
    curves = np.full((len(by_member), len(epochs)), np.nan)
    for row, curve in zip(curves, by_member.values(), strict=True):
        row[np.searchsorted(epochs, list(curve))] = list(curve.values())
    if len(curves) > 1:
        for i in np.unique(np.linspace(0, len(curves) - 1, _THIN).astype(int)):
            axes.plot(epochs, curves[i], color=color, linewidth=0.5, alpha=0.35)
    known = ~np.isnan(curves)  # every epoch has a value of at least one member
    mean = np.where(known, curves, 0).sum(0) / known.sum(0)
    axes.plot(
        epochs,
        mean,
        style,
        color=color,
        linewidth=1.8,
        label=label,
        marker='o' if epochs.size == 1 else '',
    )
