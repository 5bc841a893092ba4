"""History as numbers and files: positive share, CSV, a report to print."""

import collections
import csv
import html
import io
from collections.abc import Sequence

from ser_jax.webapp import wording
from ser_jax.webapp.store import Verdict

_FIELDS = ('made', 'origin', 'seconds', 'emotion', 'probability', 'model', 'transcript', 'note')
_STYLE = (
    'body{font:15px/1.5 system-ui,sans-serif;max-width:46em;margin:2em auto;padding:0 1em}'
    'table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;'
    'padding:.25em .5em;text-align:left;vertical-align:top}tr{break-inside:avoid}'
)


def positive(verdicts: Sequence[Verdict]) -> list[float]:
    """Return the positive share of each answer, oldest first."""
    sides = [wording.valence(v.probabilities) for v in reversed(verdicts)]
    return [side.get('positive', 0.5) for side in sides]


def as_csv(verdicts: Sequence[Verdict]) -> str:
    """Return the history as CSV, newest first, a column for each emotion."""
    emotions: dict[str, None] = {}
    for verdict in verdicts:
        emotions |= dict.fromkeys(sorted(verdict.probabilities))
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([*_FIELDS, *(f'p_{e}' for e in emotions)])
    for verdict in verdicts:
        plain = [_cell(getattr(verdict, name)) for name in _FIELDS]
        writer.writerow([*plain, *(verdict.probabilities.get(e, '') for e in emotions)])
    return buffer.getvalue()


def _cell(value):
    """Return a value that a spreadsheet does not run as a formula."""
    formula = isinstance(value, str) and value[:1] in ('=', '+', '-', '@', '\t', '\r')
    return f"'{value}" if formula else value


def report(verdicts: Sequence[Verdict]) -> str:
    """Return the history as one HTML page for a printer."""
    count = collections.Counter(wording.adjective(v.emotion) for v in verdicts)
    totals = ', '.join(f'{name} {n}' for name, n in count.most_common())
    dates = sorted(v.made[:10] for v in verdicts)
    span = f'{dates[0]} to {dates[-1]}' if dates else 'no answers yet'
    rows = [
        f'<tr><td>{html.escape(v.made[:16].replace("T", " "))}</td>'
        f'<td>{html.escape(wording.adjective(v.emotion))}, {wording.percent(v.probability)}</td>'
        f'<td>{html.escape(wording.reading(v.probabilities))}</td>'
        f'<td>{html.escape(v.note)}</td></tr>'
        for v in reversed(verdicts)
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<title>Emotion in speech: report</title><style>{_STYLE}</style></head><body>'
        f'<h1>Emotion in speech</h1><p>{len(verdicts)} answers, {span}. {html.escape(totals)}.</p>'
        '<p>Answers of a statistical model about recordings of a voice; it is often wrong about '
        'one recording. This is no diagnosis and no basis for decisions about a person.</p>'
        '<table><thead><tr><th>Time (UTC)</th><th>Answer</th><th>Tone</th><th>Note</th></tr>'
        f'</thead><tbody>{"".join(rows)}</tbody></table></body></html>\n'
    )
