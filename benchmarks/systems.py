"""Two systems under every protocol that fits: scores, calibration, robustness -> docs/systems.md.

    python benchmarks/systems.py --output=runs/systems [--page=docs/systems.md] [--epochs=40]

It trains and scores by the commands (`ser_jax.main`, `ser_jax.evaluate`), each in a process of its
own; finished runs are not trained or scored again. Needed are built corpora (ravdess, emodb, savee,
tess; log_mel and waveform) and the weights of whisper_base; parts of corpora will do. conv_bilstm
has one seed and fewer epochs than its config, so that everything ends within an hour on two cores.
"""

import argparse
import os
import pathlib
import shlex
import subprocess
import sys
import textwrap
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ser_jax.contract import InputError  # noqa: E402
from ser_jax.report import sentences  # noqa: E402
from ser_jax.reproduce import pooled  # noqa: E402
from ser_jax.runs import environment, evaluated  # noqa: E402
from ser_jax.scoring import comparison, robustness, rows, scores  # noqa: E402
from ser_jax.scoring.candidates import candidates  # noqa: E402

FOUR = ('ravdess', 'emodb', 'savee', 'tess')
CONDITIONS = (
    'white_20db',
    'white_10db',
    'white_0db',
    'babble_10db',
    'gain_-20db',
    'clip_20db',
    'telephone',
    'rate_8khz',
    'mp3_32kbps',
    'opus_12kbps',
    'reverb_600ms',
    'speed_90',
    'silence_1s',
)
DISTORTED = 160  # utterances of a run that are distorted


class Case(NamedTuple):
    """A protocol with the corpora that it is run on and the flags that it needs.

    Attributes:
      conv: flags of conv_bilstm alone, e.g. fewer validation speakers.
      distorted: True if the runs are scored under CONDITIONS too.
      pool: True if all corpora together have one score.
    """

    protocol: str
    corpora: tuple[str, ...]
    conv: tuple[str, ...] = ()
    distorted: bool = False
    pool: bool = False

    @property
    def name(self) -> str:
        return self.protocol.replace('/', '_')


CASES = (
    Case('ravdess/emobox6', ('ravdess',), distorted=True),
    Case('ravdess/subject5', ('ravdess',)),
    Case('speakers_k', ('ravdess',)),
    Case('leaky_random', ('ravdess',)),
    Case('emodb/loso10', ('emodb',), distorted=True),
    Case('savee/loso4', ('savee',), ('--config.members.valid_speakers=1',), distorted=True),
    Case(
        'tess/cross2',
        ('tess',),
        ('--config.members.valid_speakers=0', '--config.train.select=last'),
        distorted=True,
    ),
    Case('four/si', ('ravdess', 'savee', 'tess'), pool=True),
    Case('cross_corpus/leave_one_corpus_out', FOUR),
)
SYSTEMS = ('conv_bilstm', 'best')
INTRODUCTION = """# Two systems under every protocol that fits

    python benchmarks/systems.py --epochs={epochs}

`conv_bilstm` is `configs/conv_bilstm.py` with one seed and {epochs} epochs, trained from scratch;
`best` is `configs/best.py`, discriminants on frozen Whisper base, in closed form. RAVDESS, EMO-DB,
SAVEE and TESS are parts of the corpora, so protocols of whole corpora are *partial* and their
scores do not compare with published ones. [Protocols](protocols.md) says how a score is made.
Fusion with text is left out: the sentences of these corpora are the same in all emotions.
{machine}; {minutes:.0f} min in all.

## Scores and calibration

| protocol | corpus | system | UAR [95 %] | WA | ECE | calibrated | answered, wrong | n | min |
|---|---|---|---|---:|---:|---:|---:|---:|---:|"""
LEGEND = """Intervals by speaker. ECE: mean gap between confidence and accuracy, before and after
temperature scaling. "answered, wrong": the share of recordings answered with the threshold meant
for 10 % errors, and the errors among them; temperatures and thresholds come from other speakers.
n: utterances / speakers. min: minutes of training.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--output', default='runs/systems')
    parser.add_argument('--page', default=str(ROOT / 'docs' / 'systems.md'))
    parser.add_argument('--epochs', type=int, default=40)
    args = parser.parse_args()
    output, started = pathlib.Path(args.output), time.monotonic()
    found = []
    for case in CASES:
        for system in SYSTEMS:
            directory = output / case.name / system
            train(case, system, directory, args.epochs)
            score(case, directory)
            found.append((case, system, directory))
    minutes = (time.monotonic() - started) / 60
    pathlib.Path(args.page).write_text(page(found, args.epochs, minutes), encoding='utf-8')
    print(f'{args.page} after {minutes:.0f} min')


def run(*command: str) -> None:
    """Run a verb; its output is shown."""
    print('$', shlex.join(command), flush=True)
    subprocess.run([sys.executable, '-m', *command], check=True, cwd=ROOT)


def train(case: Case, system: str, directory: pathlib.Path, epochs: int) -> None:
    """Train a system under a protocol, or resume; a finished run takes a second."""
    if (directory / 'minutes').exists():
        return
    strange = case.protocol.startswith('cross_corpus') and system == 'best'
    flags = [
        f'--config=configs/{system}.py' + (':strangers' if strange else ''),
        f'--workdir={directory.absolute()}',
        f'--config.members.protocol={case.protocol}',
        f'--config.data.corpora={",".join(case.corpora)},',
    ]
    if system == 'conv_bilstm':
        flags += ['--config.members.seeds=0,', f'--config.train.epochs={epochs}', *case.conv]
    began = time.monotonic()
    run('ser_jax.main', *flags)
    (directory / 'minutes').write_text(f'{(time.monotonic() - began) / 60:.1f}')


def score(case: Case, directory: pathlib.Path) -> None:
    if (directory / evaluated.FILE).exists():
        return
    conditions = ()
    if case.distorted:
        names = ','.join(CONDITIONS)
        conditions = (f'--conditions={names}', f'--condition_utterances={DISTORTED}')
    run('ser_jax.evaluate', f'--runs={directory.absolute()}', *conditions)


def tables(found: list) -> dict:
    """Return the predictions of each (case, system), all corpora as one where the case asks."""
    opened = {}
    for case, system, directory in found:
        table = evaluated.read(directory / evaluated.FILE)
        opened[case, system] = pooled(table) if case.pool else table
    return opened


def page(found: list, epochs: int, minutes: float) -> str:
    """Return the page as Markdown."""
    opened = tables(found)
    trained = {(c, s): (d / 'minutes').read_text() for c, s, d in found}
    lines = [INTRODUCTION.format(epochs=epochs, minutes=minutes, machine=environment.machine())]
    for (case, system), table in opened.items():
        lines += [row(system, s, trained[case, system]) for s in scores.scores_by(table)]
    lines += ['', LEGEND, '## Differences', '']
    for case in CASES:
        lines += differences(case, opened)
    return '\n'.join([*lines, '', '## Disturbed recordings', '', *disturbed(opened)]) + '\n'


def row(system: str, s, minutes: str) -> str:
    c = s.calibrated
    selected = '–'
    if c and c.selection.threshold == c.selection.threshold:
        selected = f'{100 * c.selection.answered:.0f} %'
        if c.selection.answered:
            selected += f', {100 * c.selection.error:.0f} %'
    note = f' *{s.note}*' if s.note else ''
    cells = [
        f'`{s.protocol.split(", ")[0]}`',
        sentences.plain(s.corpus),
        system,
        f'{s.uar}{note}',
        f'{s.wa.value:.3f}',
        f'{s.ece:.3f}',
        f'{c.ece:.3f}' if c else '–',
        selected,
        f'{s.utterances:,} / {s.speakers}',
        minutes,
    ]
    return '| ' + ' | '.join(cells) + ' |'


def differences(case: Case, opened: dict) -> list[str]:
    """Return a sentence for each corpus of a case: the paired difference of the two systems."""
    sides = [candidates(opened[case, system], system) for system in SYSTEMS]
    lines = []
    for a in sides[0]:
        for b in (x for x in sides[1] if x.score.corpus == a.score.corpus):
            where = f'`{case.protocol}`, {sentences.plain(a.score.corpus)}'
            try:
                found = f'{comparison.compare(a, b, by_speaker=False)}.'
            except InputError as e:
                found = str(e)
            lines += textwrap.wrap(f'- {where}: {found}', 100, subsequent_indent='  ')
    return lines


def disturbed(opened: dict) -> list[str]:
    """Return a table of losses by condition and run, with the share of answers that change."""
    chosen = {k: robustness.effects(t) for k, t in opened.items() if rows.conditions(t)}
    head = [f'{case.corpora[0]} {system}' for case, system in chosen]
    lines = [
        f'Change of UAR in points [95 %], and share of answers that change; {DISTORTED} utterances '
        'of each run,',
        'balanced by speaker and emotion. Names: [robustness.md](robustness.md).',
        '',
        '| condition | ' + ' | '.join(head) + ' |',
        '|---' * (len(head) + 1) + '|',
    ]
    for condition in CONDITIONS:
        cells = []
        for found in chosen.values():
            e = next((e for e in found if e.condition == condition), None)
            cells.append(effect(e) if e else '–')
        lines.append(f'| `{condition}` | ' + ' | '.join(cells) + ' |')
    return lines


def effect(e) -> str:
    d = e.difference
    low, high = (f'{100 * x:+.0f}' for x in (d.low, d.high))
    return f'{100 * d.value:+.0f} [{low}, {high}], {100 * e.changed.value:.0f} %'


if __name__ == '__main__':
    os.environ.setdefault('JAX_NUM_CPU_DEVICES', str(environment.cores()))
    main()
