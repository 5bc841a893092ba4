"""Pages of comparisons and leaderboards: HTML, Markdown and CSV with the same content."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ser_jax.report import comparison_figures, comparison_tables, html, plots, sentences
from ser_jax.report.comparison_tables import above, basis, ranking_title, signed
from ser_jax.scoring.candidates import Candidate
from ser_jax.scoring.comparison import Comparison, probability
from ser_jax.scoring.intervals import Difference
from ser_jax.scoring.rankings import Place, Study

COMPARISON, LEADERBOARD = 'comparison', 'leaderboard'
_MOST = 30  # rows of a figure, and pairs with details


def files(kind: str) -> tuple[str, str, str]:
    """Return the names of the files that `write` makes."""
    return f'{kind}.html', f'{kind}.md', f'{kind}.csv'


def write(
    output: Path,
    kind: str,
    candidates: Sequence[Candidate],
    study: Study,
    left_out: Sequence[str] = (),
    command: str = '',
) -> None:
    """Write the page of a comparison or a leaderboard to the folder `output`, which must exist.

    Args:
      kind: COMPARISON or LEADERBOARD; a leaderboard has no other pairs than those of its rankings,
        and also has candidates that no other is ranked with.
      left_out: sentences about runs that were left out.
      command: the command that makes the page.
    """
    board = kind == LEADERBOARD
    rankings = [r for r in study.rankings if len(r) > 1]
    alone = [r[0] for r in study.rankings if len(r) == 1] if board else []
    compared = [] if board else study.compared
    variables = {
        'title': 'Leaderboard' if board else 'Comparison of runs',
        'leaderboard': board,
        'candidates': [_candidate(c) for c in candidates],
        'rankings': [_ranking(r, i) for i, r in enumerate(rankings)],
        'alone': [_alone(place) for place in alone],
        'alone_title': comparison_tables.ALONE,
        'pairs': [_pair(c, i) for i, c in enumerate(compared)],
        'refused': comparison_tables.refusals(study),
        'left_out': list(left_out),
        'few': any(c.score.speakers < 10 for c in candidates),
        'command': command,
        'figure': _figure(compared) if compared else '',
    }
    page = html.template('comparison.html.jinja').render(variables)
    markdown = html.templates(
        autoescape=False, keep_trailing_newline=True, finalize=sentences.plain
    )
    text = markdown.get_template('comparison.md.jinja').render(variables)
    rows: list[dict[str, Any]] = []
    for ranking in study.rankings if board else ():
        rows += comparison_tables.ranking_fields(ranking)
    for c in compared:
        rows += comparison_tables.pair_fields(c)
    names = files(kind)
    (output / names[0]).write_text(page, encoding='utf-8')
    (output / names[1]).write_text(text, encoding='utf-8')
    comparison_tables.write_csv(output / names[2], rows)


def _candidate(c: Candidate) -> dict[str, Any]:
    s = c.score
    return {
        'name': c.name,
        'run': s.run,
        'config': s.config,
        'corpus': s.corpus,
        'protocol': s.protocol,
        'modality': s.modality,
        'uar': str(s.uar),
        'note': s.note,
        'wa': f'{s.wa.value:.3f}',
        'f1': f'{s.macro_f1.value:.3f}',
        'utterances': f'{s.utterances:,}',
        'speakers': s.speakers,
        'seeds': s.seeds,
    }


def _alone(place: Place) -> dict[str, Any]:
    return {**_candidate(place.candidate), 'test': ranking_title([place])}


def _ranking(ranking: Sequence[Place], number: int) -> dict[str, Any]:
    rows = []
    for place in ranking:
        of_place = {'rank': place.rank, 'groups': place.groups, 'above': above(place)}
        holm = probability(place.above.holm) if place.above else comparison_tables.NONE
        rows.append({**_candidate(place.candidate), **of_place, 'holm': holm})
    scores = [place.candidate.score for place in ranking]
    uars = [s.uar for s in scores]
    figure = plots.forest(
        [f'{place.rank}  {place.candidate.name}' for place in ranking],
        [u.value for u in uars], [u.low for u in uars], [u.high for u in uars],
        [s.chance for s in scores], [s.note for s in scores],
    )  # fmt: skip
    title = ranking_title(ranking)
    return {
        'title': title,
        'anchor': f'ranking-{number}',
        'rows': rows,
        'classes': ', '.join(ranking[0].candidate.classes),
        'pairs': len(ranking) * (len(ranking) - 1) // 2,
        'figure': html.svg(figure, f'ranking-{number}-uar', title) if len(ranking) > 1 else '',
    }


def _pair(c: Comparison, number: int) -> dict[str, Any]:
    parts = [('Class', list(map(_part, c.recall, c.recall.values())))]
    if c.speakers:
        parts.append(('Speaker', list(map(_part, c.speakers, c.speakers.values()))))
    title = f'{c.b.name} − {c.a.name}'
    return {
        'title': title,
        'anchor': f'pair-{number}',
        'sentence': str(c),
        'basis': basis(c),
        'corpus': c.a.score.corpus,
        'difference': signed(c.uar),
        'p': probability(c.uar.p),
        'holm': probability(c.holm) if c.pairs > 1 else comparison_tables.NONE,
        'verdict': 'shown' if c.shown else 'not shown',
        'mcnemar': _mcnemar(c),
        'utterances': f'{c.utterances:,}',
        'shares': ' and '.join(f'{100 * share:.0f} %' for share in c.share),
        'marks': '; '.join(c.marks),
        'parts': parts,
        'speakers': comparison_tables.speakers(c),
        'figure': _parts_figure(c, number) if number < _MOST else '',
    }


def _mcnemar(c: Comparison) -> str:
    if not (c.a.right and c.b.right):
        return comparison_tables.NONE
    return f'{probability(c.mcnemar)} ({c.only_b} against {c.only_a})'


def _part(name: str, d: Difference) -> dict[str, str]:
    verdict = 'shown' if d.excludes_zero else 'not shown'
    return {'name': name, 'difference': signed(d), 'verdict': verdict}


def _figure(compared: Sequence[Comparison]) -> Markup:
    """Return the figure of all pairs, of which the first are drawn if they are many."""
    drawn = compared[:_MOST]
    figure = comparison_figures.differences(
        [f'{c.b.name} − {c.a.name}, {c.a.score.corpus}' for c in drawn],
        [c.uar for c in drawn],
        [c.shown for c in drawn],
        'UAR',
    )
    return html.svg(figure, 'pairs', 'Differences of UAR with 95 % intervals')


def _parts_figure(c: Comparison, number: int) -> Markup:
    parts = {**c.recall, **c.speakers} if len(c.speakers) <= _MOST else c.recall
    figure = comparison_figures.differences(
        list(parts),
        list(parts.values()),
        [d.excludes_zero for d in parts.values()],
        f'{c.b.name} − {c.a.name}',
    )
    return html.svg(figure, f'pair-{number}-parts', 'Differences per class and speaker')
