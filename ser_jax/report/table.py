"""Console table of scores, each with its protocol, interval, counts and note."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ser_jax.report.sentences import system_name
from ser_jax.scoring.score import Score


def table(scores: Sequence[Score]) -> Table:
    """Return a rich table of scores, with the note (inflated, synthetic) right below the UAR.

    Each score has two lines, so that it fits in 80 columns; only the first column folds.
    """
    result = Table(box=None, pad_edge=False)
    result.add_column('system', overflow='fold')
    result.add_column('UAR [95 % interval]', no_wrap=True)
    result.add_column('WA', no_wrap=True)
    result.add_column('F1', no_wrap=True)
    result.add_column('tested on', no_wrap=True)
    for s in scores:
        uar = Text(str(s.uar))
        uar.stylize('bold', 0, 5)
        uar.append(f'\n{s.note}', 'bold yellow' if s.inflated or s.incomplete else 'cyan')
        if s.uar.by != 'speaker':
            uar.append(f' by {s.uar.by}', 'dim')
        name = Text(system_name(s))  # Text, since a [bracket] in a name is no markup
        name.append(f'\n{s.corpus}, {s.protocol}, {s.name}', 'dim')
        tested = (
            f'{_count(s.utterances, "utterance")}\n{_count(s.speakers, "speaker")}, '
            f'{_count(s.seeds, "seed")}'
        )
        result.add_row(name, uar, f'{s.wa.value:.3f}', f'{s.macro_f1.value:.3f}', tested)
    return result


def margins(scores: Sequence[Score]) -> list[str]:
    """Return a sentence per paired comparison of a fused score with another modality of its run."""
    sentences = []
    for s in scores:
        note = f' {s.note}' if s.note else ''
        sentences += [
            f'{system_name(s)} on {s.corpus} ({s.protocol}): {s.name} - {modality} = '
            f'{m.value:+.3f} [{m.low:+.3f}, {m.high:+.3f}] UAR{note}, paired by {m.by}'
            for modality, m in s.margins.items()
        ]
    return sentences


def _count(n: int, word: str) -> str:
    return f'{n:,} {word}{"" if n == 1 else "s"}'
