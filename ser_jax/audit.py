"""Looks for leaks: `python -m ser_jax.audit --corpora=ravdess,tess [--run=runs/x]`; exit code 1 where it finds any.

Of corpora: copies, labels that contradict names or follow speakers, classes without data, what was left out. Of a run, also:
voices, recordings, copies or classes on the wrong side, and what was fitted on more than the training side.
"""

import collections
import json
import pathlib
import sys

import numpy as np
import rich.console
from absl import flags
from rich.markup import escape

from ser_jax import assemble, door
from ser_jax.audio.variants import variant_of
from ser_jax.contract import InputError
from ser_jax.data import near, sides
from ser_jax.data.findings import SEVERITIES, Finding, corpus_findings
from ser_jax.data.stored import INSPECTION
from ser_jax.data.utterances import Utterances, data_dir, open_corpora
from ser_jax.trained import Trained, open_begun

SHOWN = 30  # findings on screen
_COLORS = {'leak': 'bold red', 'error': 'red', 'warning': 'yellow', 'note': 'dim'}


def audit(corpora: list[str], run: str = '', directory: str = '', say=lambda line: None) -> list[Finding]:
    """The findings on built corpora and on a run, worst first.

    Raises:
      InputError: a corpus is not built, or `run` is no run.
    """
    trained = open_begun(pathlib.Path(run)) if run else None
    opened = _opened(tuple(corpora) or tuple(trained.config.data.corpora), directory, trained)
    say(f'comparing {len(opened):,} recordings with one another')
    pairs = near.near_duplicates(opened)
    variants = tuple(trained.config.data.variants) if trained else ()
    recordings = opened.select(np.array([variant_of(i) not in variants for i in opened.id], bool))
    reports = _reports(opened, directory or (trained.config.data.dir if run else ''))
    findings = list(corpus_findings(recordings, reports, pairs))  # statistics, which alone have variants, give no pairs
    if trained:
        findings += _of_run(trained, opened, directory, pairs)
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def _opened(names: tuple[str, ...], directory: str, trained: Trained | None) -> Utterances:
    """The corpora as the run heard them, else from the config that is read fastest."""
    if trained and set(names) <= set(trained.config.data.corpora):
        c = trained.config
        return open_corpora(
            tuple(c.data.corpora),
            directory or c.data.dir,
            c.features.source,
            c.data.resident_gb,
            c.features.trim_db,
            c.data.variants,
        )
    for source in ('log_mel', 'waveform', 'text'):
        if all((data_dir(directory) / n / source).exists() for n in names):
            return open_corpora(names, directory, source)
    return open_corpora(names, directory)  # says what is not built


def _of_run(trained: Trained, opened: Utterances, directory: str, pairs: list[near.Pair]) -> list[Finding]:
    config = trained.config
    if set(opened.names) != set(config.data.corpora):
        raise InputError(
            f'{trained.directory} was trained on {", ".join(config.data.corpora)}, not on {", ".join(opened.names)}; '
            'leave --corpora out'
        )
    config.data.dir = directory or config.data.dir
    heard = assemble.labeled(config, opened)
    place = {(c, i): n for n, (c, i) in enumerate(zip(heard.corpus, heard.id, strict=True))}
    move = lambda i: place.get((opened.corpus[i], opened.id[i]))
    kept = [near.Pair(move(p.first), move(p.second), p.agreement) for p in pairs]
    found = list(
        sides.run_findings(heard, trained.protocol, trained.folds, [p for p in kept if None not in (p.first, p.second)])
    )
    saved = {m: {'mean': mean, 'std': std} for m, (mean, std) in trained.normalization.items()}
    found += sides.fitted(heard, trained.folds, saved, trained.words, assemble.reads_text(config))
    return found


def _reports(opened: Utterances, directory: str) -> dict[str, dict]:
    """What the builders found, of the newest build of each corpus."""
    reports = {}
    for name in opened.names:
        there = sorted((data_dir(directory) / name).glob(f'*/*/{INSPECTION}'), key=lambda p: p.stat().st_mtime)
        if there:
            reports[name] = json.loads(there[-1].read_text(encoding='utf-8'))
    return reports


def summary(findings: list[Finding]) -> str:
    """`audit: 0 leaks, 1 error, 3 warnings, 5 notes`."""
    count = collections.Counter(f.severity for f in findings)
    return 'audit: ' + ', '.join(f'{count[s]} {s}{"" if count[s] == 1 else "s"}' for s in SEVERITIES)


def show(findings: list[Finding], console: rich.console.Console) -> None:
    """One line a finding, worst first."""
    for f in findings[:SHOWN]:
        console.print(
            f'[{_COLORS[f.severity]}]{f.severity}[/] {escape(f.check)}: {escape(f.what)}',
            soft_wrap=True,
            highlight=False,
        )
        if f.do and f.severity != 'note':
            console.print(f'        {escape(f.do)}', style='dim', soft_wrap=True, highlight=False)
    if len(findings) > SHOWN:
        console.print(f'and {len(findings) - SHOWN} more; --json=FILE has them all', highlight=False)
    console.print(summary(findings), highlight=False)


def main(argv: list[str]) -> None:
    """Prints the findings; exit code 1 on a leak or an error."""
    if len(argv) > 1:
        raise InputError(f'unexpected {argv[1]!r}; corpora are given as --corpora=ravdess,tess')
    f = flags.FLAGS
    if not f.corpora and not f.run:
        raise InputError('nothing to audit; give --corpora=ravdess,tess or --run=runs/x')
    door.prepare_jax()
    quiet = f.json == '-'
    findings = audit(f.corpora, f.run, f.data_dir, lambda line: None if quiet else print(line, flush=True))
    if f.json:
        content = {'summary': summary(findings), 'findings': [x._asdict() for x in findings]}
        text = json.dumps(content, indent=1, ensure_ascii=False)
        print(text) if quiet else pathlib.Path(f.json).write_text(text + '\n', encoding='utf-8')
    if not quiet:
        show(findings, rich.console.Console())
    if any(x.severity in ('leak', 'error') for x in findings):
        sys.exit(1)


def define_flags() -> None:
    """The flags of this verb; defined only when it runs, so that verbs can be imported side by side."""
    flags.DEFINE_list('corpora', [], 'Built corpora to look at, e.g. ravdess,tess.')
    flags.DEFINE_string('run', '', 'The directory of a run whose sides are looked at as well.')
    flags.DEFINE_string('data_dir', '', "Where built corpora lie; '' = as the run was trained, else as for training.")
    flags.DEFINE_string('json', '', "Write all findings to this file, '-' = to the screen and nothing else.")


if __name__ == '__main__':
    define_flags()
    door.run(main)
