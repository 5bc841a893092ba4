"""Report of a set of runs as Markdown: a sentence per run, then the table of scores."""

from collections.abc import Sequence
from pathlib import Path

from ser_jax.report import sentences
from ser_jax.report.sentences import plain, system_name
from ser_jax.scoring.score import Score

COLUMNS = (
    'system',
    'corpus',
    'protocol',
    'answers of',
    'UAR [95 %]',
    'note',
    'WA',
    'macro F1',
    'ECE',
    'calibrated',
    'utterances',
    'speakers',
    'seeds',
)


def write(path, scores: Sequence[Score], robust: Sequence[str] = ()) -> None:
    """Write the report to `path`, usually `report.md`; see `page`."""
    Path(path).write_text(page(scores, robust), encoding='utf-8')


def page(scores: Sequence[Score], robust: Sequence[str] = ()) -> str:
    """Return the page as text; `robust` are sentences from `report.robustness.sentences`."""
    lines = ['# Speech emotion recognition: scores', '']
    lines += [f'- {plain(sentences.summary(s))}' for s in sentences.leading(scores)]
    lines += [f'- {plain(words)}' for words in robust]
    lines += ['', _row(COLUMNS), '|---' * len(COLUMNS) + '|']
    lines += [_row(_cells(s)) for s in scores]
    lines += [
        '',
        'UAR is the mean recall over the emotions, WA the share of correct answers, ECE the mean '
        'gap between confidence and accuracy. Intervals are 95 %, by resampling speakers.',
    ]
    return '\n'.join(lines) + '\n'


def _cells(score: Score) -> list[str]:
    calibrated = score.calibrated.ece if score.calibrated else float('nan')
    return [
        system_name(score),
        score.corpus,
        score.protocol,
        score.name,
        str(score.uar) + (' by utterance' if score.uar.by == 'utterance' else ''),
        f'**{score.note}**' if score.note else '',
        *(_three(x) for x in (score.wa.value, score.macro_f1.value, score.ece, calibrated)),
        *(str(n) for n in (score.utterances, score.speakers, score.seeds)),
    ]


def _row(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(plain(cell) for cell in cells) + ' |'


def _three(value: float) -> str:
    return '–' if value != value else f'{value:.3f}'
