"""Robustness in the report: curves over the ratio of speech to noise, bars, a table, sentences.

Runs that were scored on the same corpus share a figure, so that a run trained with conditions
stands beside one trained without.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ser_jax.audio import conditions
from ser_jax.audio.conditions import CONDITIONS
from ser_jax.report.axes import COLORS, INK, LINE, MARKERS, MUTED, dress, short
from ser_jax.report.html import svg
from ser_jax.report.sentences import system_name
from ser_jax.scoring import robustness
from ser_jax.scoring.robustness import Effect

_MODALITIES = ('fused', 'audio')


def variables(found: Sequence[Effect], configs: Mapping[str, Mapping] | None = None) -> list[dict]:
    """Return the variables of robustness.html.jinja: a section per corpus.

    Args:
      found: from `scoring.robustness.effects`; of any runs.
      configs: config by run, from which the conditions of the training are shown.
    """
    sections = []
    for number, (corpus, effects) in enumerate(_by(found, 'corpus').items()):
        labels = _labels(effects, configs or {})
        shown = [e for e in effects if e.modality == _answering(effects, e)]
        name = f'robustness-{number}'
        sections.append(
            {
                'corpus': corpus,
                'sentences': _sentences(shown, labels),
                'curves': _drawn(curves(shown, labels), f'{name}-curves', 'UAR over noise'),
                'bars': _drawn(bars(shown, labels), f'{name}-bars', 'UAR under other conditions'),
                'rows': [
                    {'label': labels[_system(e)], 'words': conditions.words(e.condition), 'e': e}
                    for e in effects
                ],
            }
        )
    return sections


def trained_with(config: Mapping[str, Any]) -> str:
    """Return the conditions that a run was trained on; '' if there are none.

    Args:
      config: the run's config, resolved.
    """
    data, augment = config.get('data', {}), config.get('augment', {})
    words = [name for name in data.get('variants', ()) if name in CONDITIONS]
    if snr := augment.get('noise_snr_db'):
        words.append(f'noise {snr[0]:g} … {snr[1]:g} dB')
    if decay := augment.get('reverb_s'):
        words.append(f'reverberation {decay[0]:g} … {decay[1]:g} s')
    return ', '.join(words)


def card_lines(found: Sequence[Effect]) -> list[str]:
    """Return the lines of a model card about robustness, of the effects on one run; [] if none."""
    lines = []
    for effects in _systems([e for e in found if e.modality == _answering(found, e)]).values():
        first = effects[0]
        note = f' (**{first.note}**)' if first.note else ''
        lines.append(
            f'{first.corpus}, {first.protocol}, {first.modality}{note}, {first.utterances} '
            f'utterances of {first.speakers} speakers: it '
            f'{robustness.summary(effects, _words(effects))}.'
        )
        for e in effects:
            changed = f'{100 * e.changed.value:.0f} % of the answers change'
            verdict = e.verdict(conditions.words(e.condition))
            lines.append(f'{verdict[0].upper()}{verdict[1:]}; {changed}.')
    return lines


def sentences(found: Sequence[Effect]) -> list[str]:
    """Return one sentence per run, corpus and protocol, for the console."""
    shown = [e for e in found if e.modality == _answering(found, e)]
    return _sentences(shown, _labels(shown, {}), True)


def curves(found: Sequence[Effect], labels: Mapping[tuple, str]) -> Figure | None:
    """Plot UAR over the ratio of speech to noise, a panel per kind of noise, a line per run.

    The last point, 'none', is the score of the same utterances without noise.

    Args:
      found: effects on one corpus.
      labels: name of each (run, protocol).

    Returns:
      None if no noise was tested.
    """
    kinds: dict[str, list[Effect]] = {}
    for e in found:
        if _is_noise(e):
            kinds.setdefault(CONDITIONS[e.condition].stem, []).append(e)
    if not kinds:
        return None
    steps = sorted({_snr_db(e) for e in itertools.chain.from_iterable(kinds.values())})
    figure = Figure(figsize=(1.2 + 2.7 * len(kinds), 3.4), layout='constrained')
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, (kind, effects) in zip(panels, kinds.items(), strict=True):
        dress(axes, kind)
        for color, marker, (system, own) in _styled(labels, effects):
            own = sorted(own, key=_snr_db)
            at = [steps.index(_snr_db(e)) for e in own] + [len(steps)]
            points = [e.uar for e in own] + [own[-1].clean]
            low, high = [p.low for p in points], [p.high for p in points]
            axes.fill_between(at, low, high, color=color, alpha=0.15, linewidth=0)
            values = [p.value for p in points]
            axes.plot(at, values, marker, linestyle='-', color=color, label=labels[system])
        axes.set_xticks(range(len(steps) + 1), [*(f'{s:g}' for s in steps), 'none'])
        axes.set_ylim(0, 1)
        axes.grid(axis='y', color=LINE, linewidth=0.5)
        axes.set_xlabel('speech to noise, dB')
    panels[0].set_ylabel('UAR, 95 % interval')
    _legend(figure, panels[0], labels)
    return figure


def bars(found: Sequence[Effect], labels: Mapping[tuple, str]) -> Figure | None:
    """Plot a bar per run and condition other than noise: the UAR with its interval.

    A dashed line is the score of the same utterances undistorted.

    Args:
      found: effects on one corpus.
      labels: name of each (run, protocol).

    Returns:
      None if no such condition was tested.
    """
    others = [e for e in found if not _is_noise(e)]
    if not others:
        return None
    names = list(dict.fromkeys(e.condition for e in others))
    height = 0.8 / len(labels)
    inches = 1.0 + len(names) * max(0.26, 0.16 * len(labels))
    figure = Figure(figsize=(6.6, inches), layout='constrained')
    axes = figure.subplots()
    dress(axes, 'other conditions')
    order = list(labels)
    for color, _, (system, own) in _styled(labels, others):
        shift = (order.index(system) - (len(order) - 1) / 2) * height
        at = [names.index(e.condition) + shift for e in own]
        value = [e.uar.value for e in own]
        error = [[e.uar.value - e.uar.low for e in own], [e.uar.high - e.uar.value for e in own]]
        axes.barh(at, value, 0.9 * height, color=color, alpha=0.6, label=labels[system])
        axes.errorbar(value, at, xerr=error, fmt='none', ecolor=INK, elinewidth=0.9)
        axes.axvline(own[0].clean.value, color=color, linewidth=1, linestyle='--')
    axes.set_yticks(range(len(names)), [short(conditions.words(n), 34) for n in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.tick_params(axis='y', length=0)
    axes.set_xlabel('UAR with 95 % interval; dashed: undistorted')
    _legend(figure, axes, labels)
    return figure


def _legend(figure: Figure, axes: Axes, labels: Mapping[tuple, str]) -> None:
    if len(labels) > 1:
        handles, names = axes.get_legend_handles_labels()
        names = [short(n, 60) for n in names]
        style: dict[str, Any] = {'frameon': False, 'fontsize': 8, 'labelcolor': MUTED}
        figure.legend(handles, names, loc='outside lower center', **style)


def _styled(labels: Mapping[tuple, str], found: Sequence[Effect]):
    """Yield (color, marker, (system, its effects)), the same style in every figure of a corpus."""
    order = list(labels)
    for system, effects in _systems(found).items():
        at = order.index(system)
        yield COLORS[at % len(COLORS)], MARKERS[at % len(MARKERS)], (system, effects)


def _drawn(figure: Figure | None, name: str, label: str) -> str:
    return '' if figure is None else svg(figure, name, label)


def _labels(found: Sequence[Effect], configs: Mapping[str, Mapping]) -> dict[tuple, str]:
    """Return the name of each (run, protocol), with the conditions of its training."""
    protocols = {e.protocol for e in found}
    labels = {}
    for e in found:
        parts = [system_name(e)]
        if len(protocols) > 1:
            parts.append(e.protocol)
        if conditions_of := trained_with(configs.get(e.run, {})):
            parts.append(f'trained with {conditions_of}')
        labels[_system(e)] = ', '.join(parts)
    return labels


def _sentences(
    found: Sequence[Effect], labels: Mapping[tuple, str], corpus: bool = False
) -> list[str]:
    lines = []
    for system, effects in _systems(found).items():
        note = f' ({effects[0].note})' if effects[0].note else ''
        where = f' on {effects[0].corpus}' if corpus else ''
        clause = robustness.summary(effects, _words(effects))
        lines.append(f'{labels[system]}{where}{note} {clause}.')
    return lines


def _words(found: Sequence[Effect]) -> dict[str, str]:
    return {e.condition: conditions.words(e.condition) for e in found}


def _system(e: Effect) -> tuple:
    return e.run, e.protocol


def _systems(found: Sequence[Effect]) -> dict[tuple, list[Effect]]:
    groups: dict[tuple, list[Effect]] = {}
    for e in found:
        groups.setdefault(_system(e), []).append(e)
    return groups


def _by(found: Sequence[Effect], name: str) -> dict[str, list[Effect]]:
    groups: dict[str, list[Effect]] = {}
    for e in found:
        groups.setdefault(getattr(e, name), []).append(e)
    return groups


def _answering(found: Sequence[Effect], effect: Effect) -> str:
    """Return the modality of the answers of an effect's run: fused if there is one."""
    has = {e.modality for e in found if _system(e) == _system(effect)}
    return next(m for m in _MODALITIES if m in has)


def _is_noise(e: Effect) -> bool:
    return e.condition in CONDITIONS and CONDITIONS[e.condition].snr_db is not None


def _snr_db(e: Effect) -> float:
    """Return the ratio of speech to noise of a condition for which `_is_noise`."""
    value = CONDITIONS[e.condition].snr_db
    assert value is not None
    return value
