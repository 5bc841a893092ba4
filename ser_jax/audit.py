"""Leaks in corpora and runs: `python -m ser_jax.audit --corpora=ravdess,tess [--run=runs/x]`.

The exit code is 1 on a leak or an error. Checks of corpora: copies, labels that contradict file
names or follow speakers, classes without data, excluded files. Checks of a run: speakers,
recordings, copies or classes on the wrong side, and values fitted on more than the training side.
"""

import collections
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import rich.console
from absl import flags
from rich.markup import escape

from ser_jax import assemble, cli
from ser_jax.audio.variants import variant_of
from ser_jax.contract import InputError
from ser_jax.corpora.schema import INSPECTION, read_json
from ser_jax.data.utterances import Utterances, data_dir, open_corpora
from ser_jax.explore import near_duplicates, split_checks
from ser_jax.explore.corpus_checks import corpus_findings
from ser_jax.explore.findings import SEVERITIES, Finding, place
from ser_jax.runs import inventory, run_files
from ser_jax.runs.trained import Trained, open_begun

SHOWN = 30  # findings on screen
_COLORS = {'leak': 'bold red', 'error': 'red', 'warning': 'yellow', 'note': 'dim'}


def audit(
    corpora: list[str], run: str = '', directory: str = '', say=lambda line: None
) -> list[Finding]:
    """Return the findings on built corpora and on a run, worst first.

    Raises:
      InputError: a corpus is not built, or `run` is no run.
    """
    trained = open_begun(pathlib.Path(run), checked=False) if run else None
    opened = _opened(tuple(corpora) or tuple(trained.config.data.corpora), directory, trained)
    say(f'comparing {len(opened):,} recordings with one another')
    variants = tuple(trained.config.data.variants) if trained else ()
    recordings = opened.select(np.array([variant_of(i) not in variants for i in opened.id], bool))
    where = directory or (trained.config.data.dir if trained else '')
    pairs, findings = _near(recordings, where)
    findings += corpus_findings(recordings, _reports(opened, where), pairs)
    if trained:
        findings += _of_run(trained, opened, directory, _moved(pairs, recordings, opened))
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def _opened(names: tuple[str, ...], directory: str, trained: Trained | None) -> Utterances:
    """Open the corpora with the run's features, else from the config that is fastest to read."""
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
    return open_corpora(names, directory)  # raises for the corpus that is not built


def _near(
    recordings: Utterances, directory: str
) -> tuple[list[near_duplicates.Pair], list[Finding]]:
    """Find near duplicates among recordings; report the recordings that cannot be compared.

    If the frames do not cover whole recordings, a `log_mel` or `waveform` build of the same
    recordings is compared, if there is one.
    """
    if recordings.source in (*near_duplicates.WHOLE, 'text'):
        return near_duplicates.near_duplicates(
            recordings
        ) if recordings.source != 'text' else [], []
    source, names = _whole_builds(recordings.names, directory)
    if not names and recordings.source in near_duplicates.SPECTROGRAMS:
        what = (
            f'near duplicates were searched in {recordings.source} frames, where copies with '
            f'another '
            'start may be missed'
        )
        return near_duplicates.near_duplicates(recordings), [
            Finding('note', 'near duplicates', what, _build_one(recordings.names))
        ]
    pairs, compared = [], np.zeros(len(recordings), bool)
    if names:
        whole = open_corpora(names, directory, source)
        content = {
            place(recordings, i): recordings.source_sha256[i] for i in range(len(recordings))
        }
        whole = whole.select(
            np.array(
                [content.get(place(whole, i)) == s for i, s in enumerate(whole.source_sha256)], bool
            )
        )
        pairs = _moved(near_duplicates.near_duplicates(whole), whole, recordings)
        there = {place(whole, i) for i in range(len(whole))}
        compared = np.array([place(recordings, i) in there for i in range(len(recordings))], bool)
    if compared.all():
        return pairs, []
    lost = tuple(place(recordings, i) for i in np.flatnonzero(~compared))
    what = (
        f'{len(lost)} of {len(recordings)} recordings were not compared for near duplicates, e.g. '
        f'{lost[0]}: {recordings.source} frames cannot be, and no log_mel or waveform build '
        f'holds the '
        'same sound'
    )
    return pairs, [Finding('warning', 'near duplicates', what, _build_one(recordings.names), lost)]


def _whole_builds(names: Sequence[str], directory: str) -> tuple[str, tuple[str, ...]]:
    """Return the source of near_duplicates.WHOLE with the most built corpora, and these corpora."""
    built = {
        s: tuple(n for n in names if list((data_dir(directory) / n / s).glob('[0-9]*')))
        for s in near_duplicates.WHOLE
    }
    source = max(built, key=lambda s: len(built[s]))
    return source, built[source]


def _build_one(names: Sequence[str]) -> str:
    return f'build log_mel as well: python -m ser_jax.build datasets/{names[0]}'


def _moved(
    pairs: list[near_duplicates.Pair], of: Utterances, to: Utterances
) -> list[near_duplicates.Pair]:
    """Map pairs of utterances of `of` to the same utterances of `to`; drop those it lacks."""
    at = {place(to, i): i for i in range(len(to))}
    ends = [(at.get(place(of, p.first)), at.get(place(of, p.second)), p.agreement) for p in pairs]
    return [near_duplicates.Pair(i, j, agreement) for i, j, agreement in ends if None not in (i, j)]


def _of_run(
    trained: Trained, opened: Utterances, directory: str, pairs: list[near_duplicates.Pair]
) -> list[Finding]:
    config = trained.config
    if set(opened.names) != set(config.data.corpora):
        raise InputError(
            f'{trained.directory} was trained on {", ".join(config.data.corpora)}, not on '
            f'{", ".join(opened.names)}; '
            'leave --corpora out'
        )
    config.data.dir = directory or config.data.dir
    heard = assemble.labeled(config, opened)
    found = [*_changed_files(trained), *_another_build(trained, heard, config.data.dir)]
    found += split_checks.run_findings(
        heard, trained.protocol, trained.folds, _moved(pairs, opened, heard)
    )
    if not any(
        f.check == 'another build' for f in found
    ):  # values fitted on another build cannot agree with this one
        saved = {m: {'mean': mean, 'std': std} for m, (mean, std) in trained.normalization.items()}
        reads = assemble.reads_text(config)
        found += split_checks.fitted(
            heard, trained.folds, saved, trained.words, reads, config.features.normalize
        )
    return found


def _changed_files(trained: Trained) -> Iterator[Finding]:
    if changed := run_files.changed(trained.directory):
        what = f'{", ".join(changed)} of {trained.directory} changed since the training wrote them'
        yield Finding(
            'error',
            'changed files',
            what,
            'restore them from a copy of the run, or train it again',
            tuple(changed),
        )


def _another_build(trained: Trained, heard: Utterances, directory: str) -> Iterator[Finding]:
    """Yield the differences between the corpora as built now and as the run was trained on."""
    try:
        trained.check_build(heard.fingerprints, directory)
        return
    except InputError as e:
        yield Finding(
            'error',
            'another build',
            str(e).partition('; give')[0],
            'score it on the build it was trained on',
        )
    kept = run_files.read_inventory(trained.directory)
    if kept is None:
        what = (
            'the run, of an earlier version, kept the names of its utterances alone: their changes '
            'cannot be listed'
        )
        yield Finding('warning', 'another build', what, 'train it again')
        return
    yield from inventory.changes(kept, heard, trained.takes(heard))


def _reports(opened: Utterances, directory: str) -> dict[str, dict]:
    """Return the inspection report of the newest build of each corpus."""
    reports = {}
    for name in opened.names:
        there = sorted(
            (data_dir(directory) / name).glob(f'*/*/{INSPECTION}'), key=lambda p: p.stat().st_mtime
        )
        if there:
            reports[name] = read_json(there[-1])
    return reports


def summary(findings: list[Finding]) -> str:
    """Count the findings: `audit: 0 leaks, 1 error, 3 warnings, 5 notes`."""
    count = collections.Counter(f.severity for f in findings)
    return 'audit: ' + ', '.join(
        f'{count[s]} {s}{"" if count[s] == 1 else "s"}' for s in SEVERITIES
    )


def show(findings: list[Finding], console: rich.console.Console) -> None:
    """Print one line per finding, worst first."""
    for f in findings[:SHOWN]:
        console.print(
            f'[{_COLORS[f.severity]}]{f.severity}[/] {escape(f.check)}: {escape(f.what)}',
            soft_wrap=True,
            highlight=False,
        )
        if f.do and f.severity != 'note':
            console.print(f'        {escape(f.do)}', style='dim', soft_wrap=True, highlight=False)
    if len(findings) > SHOWN:
        console.print(
            f'and {len(findings) - SHOWN} more; --json=FILE has them all', highlight=False
        )
    console.print(summary(findings), highlight=False)


def main(argv: list[str]) -> None:
    """Print the findings; exit with code 1 on a leak or an error."""
    if len(argv) > 1:
        raise InputError(f'unexpected {argv[1]!r}; corpora are given as --corpora=ravdess,tess')
    f = flags.FLAGS
    if not f.corpora and not f.run:
        raise InputError('nothing to audit; give --corpora=ravdess,tess or --run=runs/x')
    cli.prepare_jax()
    quiet = f.json == '-'
    findings = audit(
        f.corpora, f.run, f.data_dir, lambda line: None if quiet else print(line, flush=True)
    )
    if f.json:
        content = {'summary': summary(findings), 'findings': [x._asdict() for x in findings]}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    if not quiet:
        show(findings, rich.console.Console())
    if quiet:
        print(text)
    elif f.json:  # last: the findings are on screen even if this fails
        pathlib.Path(f.json).write_text(text + '\n', encoding='utf-8')
    if any(x.severity in ('leak', 'error') for x in findings):
        sys.exit(1)


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_list('corpora', [], 'Built corpora to look at, e.g. ravdess,tess.')
    flags.DEFINE_string('run', '', 'The directory of a run whose sides are looked at as well.')
    flags.DEFINE_string(
        'data_dir',
        '',
        "Where built corpora lie; '' = as the run was trained, else as for training.",
    )
    flags.DEFINE_string(
        'json', '', "Write all findings to this file, '-' = to the screen and nothing else."
    )


if __name__ == '__main__':
    define_flags()
    cli.run(main)
