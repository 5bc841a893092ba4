"""HTML report of a set of runs: one self-contained page without scripts or external resources.

This module computes no scores: it renders `ser_jax.scoring.scores.Score`s. jinja2 escapes every
external name (runs, speakers, ids, environment).
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from ser_jax.report import confidence_plots, plots, sentences
from ser_jax.report.sentences import system_name
from ser_jax.scoring.score import Score
from ser_jax.scoring.temperatures import ERROR

_FONTS = "'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_MISTAKES = 6  # confident mistakes listed per system


def write(
    path,
    scores: Sequence[Score],
    predictions: pa.Table,
    histories: Mapping[str, Sequence[dict]] | None = None,
    environment: Mapping[str, Any] | None = None,
    configs: Mapping[str, Mapping] | None = None,
    published: str = '',
    robust: Sequence[Mapping] = (),
) -> None:
    """Write the report to `path`, usually `report.html`; its folder must exist.

    Args:
      scores: result of `ser_jax.scoring.scores.scores_by(predictions)`.
      predictions: table that the scores were computed from; source of the confident mistakes.
      histories: records of metrics.jsonl by run (see `plots.learning_curves`).
      environment: content of environment.json; nested mappings become dotted names.
      configs: resolved config by run.
      published: table of published systems, from `report.published.html`.
      robust: sections about conditions, from `report.robustness.variables`.
    """
    histories, environment, configs = histories or {}, environment or {}, configs or {}
    names = [system_name(s) for s in scores]
    figure = plots.forest(
        [f'{n} · {s.corpus} · {s.name}' for n, s in zip(names, scores, strict=True)],
        [s.uar.value for s in scores], [s.uar.low for s in scores], [s.uar.high for s in scores],
        [s.chance for s in scores], [s.note for s in scores],
    )  # fmt: skip
    page = template('report.html.jinja').render(
        scores=list(zip(names, scores, strict=True)),
        summaries=[sentences.summary(s) for s in sentences.leading(scores)],
        forest=svg(figure, 'forest', 'UAR of all systems with 95 % intervals') if scores else '',
        systems=list(_systems(scores, predictions, histories)),
        inflated=any(s.inflated for s in scores),
        synthetic=any(s.synthetic for s in scores),
        incomplete=any(s.incomplete for s in scores),
        few=any(s.speakers < 10 for s in scores),
        environment=flat(environment),
        published=published,
        robustness=robust,
        configs={run: flat(config) for run, config in configs.items()},
    )
    Path(path).write_text(page, encoding='utf-8')


def flat(tree: Mapping, prefix: str = '') -> list[tuple[str, str]]:
    """Return nested mappings as [('a.b', 'value')]."""
    rows = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += flat(value, f'{prefix}{key}.')
        elif isinstance(value, (list, tuple)):
            rows.append((f'{prefix}{key}', ', '.join(map(str, value))))
        else:
            rows.append((f'{prefix}{key}', str(value)))
    return rows


def svg(figure: Figure, name: str, label: str) -> Markup:
    """Return the figure as an inline SVG element.

    Text stays text, ids are prefixed with `name`, coordinates have two decimals.

    Args:
      figure: figure to render.
      name: unique on the page; letters, digits and `-`.
      label: description for screen readers.
    """
    sink = io.StringIO()
    with (
        matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name}),
        warnings.catch_warnings(),
    ):
        # The browser has the letters that matplotlib's font lacks.
        warnings.filterwarnings('ignore', r'Glyph \d+')
        figure.savefig(
            sink,
            format='svg',
            metadata={'Date': None, 'Creator': None, 'Format': None, 'Type': None},
        )
    text = re.sub(r'<metadata>.*?</metadata>', '', sink.getvalue(), flags=re.S)
    text = text[text.index('<svg') :]
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else '', text)
    text = re.sub(r'(url\(|href=")#', rf'\1#{name}-', text)
    text = re.sub(r'<[^>]*>', lambda tag: re.sub(r'(\d\.\d\d)\d+', r'\1', tag[0]), text)
    text = re.sub(r' transform="rotate\(-0 [^"]*"|font-family: [^;"]*; ?|\n *(?=<)|<g/>', '', text)
    root = f'<svg role="img" aria-label="{escape(label)}" font-family="{_FONTS}" '
    return Markup(text.strip().replace('\n', ' ').replace('<svg ', root, 1))


def _systems(scores, predictions: pa.Table, histories: Mapping) -> Iterator[dict]:
    """Yield the template variables of each section: one per run, corpus and protocol."""
    groups: dict[tuple, list] = {}
    for s in scores:
        groups.setdefault((s.run, s.corpus, s.protocol), []).append(s)
    shown = set()  # runs whose learning curves were drawn: once per run
    for number, group in enumerate(groups.values()):
        first, anchor, curves = group[0], f'system-{number}', ''
        if first.run not in shown and any(
            r.get('kind') == 'epoch' for r in histories.get(first.run, ())
        ):
            shown.add(first.run)
            figure = plots.learning_curves(histories[first.run], chance=first.chance)
            curves = svg(figure, f'{anchor}-curves', 'Learning curves')
        yield {
            'first': first,
            'name': system_name(first),
            'anchor': anchor,
            'modalities': [_modality(s, f'{anchor}-{i}', group) for i, s in enumerate(group)],
            'speakers': _speakers(first, f'{anchor}-speakers'),
            'curves': curves,
            'mistakes': _mistakes(predictions, first),
        }


def _modality(score: Score, anchor: str, group: Sequence[Score]) -> dict:
    """Return a score with its confusion matrix and, if it has probabilities, its calibration.

    Where single members and their mean are scored, the first figure is that of the mean alone.
    """
    averaged = any(s.answer == 'mean' and s.modality == score.modality for s in group)
    leads = score.answer == 'mean' or not averaged
    title = f'{score.name}, UAR {score.uar.value:.3f} {score.note}'.strip()
    bins, after = score.reliability, score.calibrated
    confusion = reliability = risk = Markup()
    if leads:
        figure = plots.confusion_matrix(score.confusion, score.classes, f'confusion, {title}')
        confusion = svg(figure, f'{anchor}-confusion', f'Confusion: {title}')
    if bins.count.sum():
        figure = confidence_plots.reliability_diagram(
            bins, f'calibration, {score.name}', after.reliability if after else None
        )
        reliability = svg(figure, f'{anchor}-calibration', f'Calibration: {title}')
    if after and leads:
        figure = confidence_plots.risk_coverage(after.risk, ERROR, f'errors, {score.name}')
        risk = svg(figure, f'{anchor}-risk', f'Errors by share of answers: {title}')
    return {
        'score': score,
        'confusion': confusion,
        'reliability': reliability,
        'risk': risk,
    }


def _speakers(score, anchor: str) -> Markup:
    names, sexes, _, uar, recall = zip(*score.by_speaker, strict=True)
    title = f'speakers, {score.modality} {score.note}'.strip()
    return svg(
        plots.speakers(names, uar, recall, sexes, score.uar.value, title),
        anchor,
        'UAR and recall by speaker',
    )


def _mistakes(predictions: pa.Table, score) -> list[dict]:
    """Return the utterances that every seed misclassified, the most confident first.

    Each has id, speaker, emotion (label), predictions (emotions), confidence (mean over seeds) and
    seconds; at most `_MISTAKES` are returned.
    """
    same = [
        pc.equal(predictions[k], getattr(score, k))
        for k in ('run', 'corpus', 'protocol', 'modality')
    ]
    rows = predictions.filter(pc.and_(pc.and_(same[0], same[1]), pc.and_(same[2], same[3])))
    columns = [c for c in rows.column_names if c.startswith('p_')]
    if not columns or not rows.num_rows:
        return []
    confidence = np.nan_to_num(np.array([rows[c].to_numpy() for c in columns], float)).max(0)
    fields = ('id', 'speaker', 'emotion', 'predicted', 'seconds')
    found: dict[str, dict] = {}
    for values in zip(*(rows[f].to_pylist() for f in fields), confidence, strict=True):
        row = dict(zip((*fields, 'confidence'), values, strict=True))
        entry = found.setdefault(
            row['id'], {**row, 'predictions': [], 'correct': False, 'confidences': []}
        )
        entry['correct'] |= row['emotion'] == row['predicted']
        entry['confidences'].append(row['confidence'])
        if row['predicted'] not in entry['predictions']:
            entry['predictions'].append(row['predicted'])
    mistakes = [
        {**entry, 'confidence': float(np.mean(entry['confidences']))}
        for entry in found.values()
        if not entry['correct']
    ]
    return sorted(mistakes, key=lambda mistake: -mistake['confidence'])[:_MISTAKES]


def templates(**options: Any) -> jinja2.Environment:
    """Return the environment of the templates in this folder; an unknown variable is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


def template(name: str) -> jinja2.Template:
    """Return a page template of this folder with its filters; it escapes its variables."""
    environment = templates(autoescape=True)
    environment.filters['three'] = lambda x: '–' if x is None or np.isnan(x) else f'{x:.3f}'
    environment.filters['signed'] = lambda x: (
        '–' if x is None or np.isnan(x) else f'{x:+.3f}'.replace('-', '−')
    )
    environment.filters['breakable'] = lambda text: escape(text).replace('_', Markup('_<wbr>'))
    environment.filters['count'] = lambda x: f'{x:,}'
    return environment.get_template(name)
