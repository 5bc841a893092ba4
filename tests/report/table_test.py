"""Eighty columns hold a score whole: interval, note, protocol and counts."""

import dataclasses
import io

import pytest
from rich.console import Console

from ser_jax.report import table


def _print(scores, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(table.table(scores))
    return console.file.getvalue()


@pytest.mark.parametrize('width', [80, 160])
def test_nothing_is_cut(scored, width):
    text = _print(scored, width)
    assert '…' not in text and all(len(line.rstrip()) <= width for line in text.splitlines())
    for s in scored:
        assert (
            str(s.uar) in text and f'{s.wa.value:.3f}' in text and f'{s.macro_f1.value:.3f}' in text
        )
        assert f'{s.corpus}, {s.protocol}' in text
    assert text.count('6 speakers, 2 seeds') == len(scored)
    assert text.count('inflated') == 1 and text.count('synthetic\n') + text.count('synthetic ') >= 3


def test_markup_in_names_stays_text(scored):
    assert '[red]x[bold]' in _print([dataclasses.replace(scored[0], run='runs/[red]x[bold]')], 120)


def test_margins_say_protocol_interval_and_note(scored):
    lines = table.margins(scored)
    assert len(lines) == 2 and all(
        'synthetic (speakers_k)' in x and 'UAR synthetic, paired by speaker' in x for x in lines
    )
