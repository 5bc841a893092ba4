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
from ser_jax.data import selection
from ser_jax.data.utterances import Utterances, data_dir, open_corpora
from ser_jax.explore import near_duplicates, split_checks
from ser_jax.explore.corpus_checks import corpus_findings
from ser_jax.explore.findings import SEVERITIES, Finding, place, places
from ser_jax.runs import inventory, run_files
from ser_jax.runs.trained import Trained, open_begun

SHOWN = 30  # findings on screen
_COLORS = {'leak': 'bold red', 'error': 'red', 'warning': 'yellow', 'note': 'dim'}


def audit(
    corpora: list[str], run: str = '', directory: str = '', log=lambda line: None
) -> list[Finding]:
    """Return the findings on built corpora and on a run, worst first.

    Raises:
      InputError: a corpus is not built, or `run` is no run.
    """
    trained = open_begun(pathlib.Path(run), checked=False) if run else None
    of_run = tuple(trained.config.data.corpora) if trained else ()
    opened = _opened(tuple(corpora) or of_run, directory, trained)
    log(f'comparing {len(opened):,} recordings with one another')
    variants = tuple(trained.config.data.variants) if trained else ()
    recordings = opened.select(np.array([variant_of(i) not in variants for i in opened.id], bool))
    root = directory or (trained.config.data.dir if trained else '')
    pairs, findings = _near(recordings, root)
    findings += corpus_findings(recordings, _reports(opened, root), pairs)
    if trained:
        findings += _of_run(trained, opened, directory, _moved(pairs, recordings, opened))
    return sorted(findings, key=lambda f: SEVERITIES.index(f.severity))


def _opened(names: tuple[str, ...], directory: str, trained: Trained | None) -> Utterances:
    """Open the corpora with the run's features, else from the config that is fastest to read."""
    if trained and set(names) <= set(trained.config.data.corpora):
        config = trained.config.copy_and_resolve_references()
        config.data.dir = directory or config.data.dir
        return selection.open_for(config)
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
    if recordings.source == 'text':
        return [], []
    if recordings.source in near_duplicates.WHOLE:
        return near_duplicates.near_duplicates(recordings), []
    source, names = _whole_builds(recordings.names, directory)
    if names:
        whole = _same_recordings(open_corpora(names, directory, source), recordings)
        pairs = _moved(near_duplicates.near_duplicates(whole), whole, recordings)
        compared = places(whole)
        missed = [name for name in places(recordings) if name not in compared]
        return pairs, _not_compared(recordings, missed)
    if recordings.source in near_duplicates.SPECTROGRAMS:
        what = (
            f'near duplicates were searched in {recordings.source} frames, which may miss copies '
            'with another start'
        )
        finding = Finding('note', 'near duplicates', what, _build_one(recordings.names))
        return near_duplicates.near_duplicates(recordings), [finding]
    return [], _not_compared(recordings, [*places(recordings)])


def _same_recordings(whole: Utterances, recordings: Utterances) -> Utterances:
    """Select the utterances of `whole` whose samples are those of the same one of `recordings`."""
    content = {place(recordings, i): s for i, s in enumerate(recordings.source_sha256)}
    same = [content.get(place(whole, i)) == s for i, s in enumerate(whole.source_sha256)]
    return whole.select(np.array(same, bool))


def _not_compared(recordings: Utterances, missed: list[str]) -> list[Finding]:
    """Return the finding that some recordings were not compared; [] if none was missed."""
    if not missed:
        return []
    what = (
        f'{len(missed)} of {len(recordings)} recordings were not compared for near duplicates, '
        f'e.g. {missed[0]}: {recordings.source} frames cannot be compared, and no log_mel or '
        'waveform build has the same recording'
    )
    do = _build_one(recordings.names)
    return [Finding('warning', 'near duplicates', what, do, tuple(missed))]


def _whole_builds(names: Sequence[str], directory: str) -> tuple[str, tuple[str, ...]]:
    """Return the source of near_duplicates.WHOLE with the most built corpora, and these corpora."""
    built: dict[str, tuple[str, ...]] = {}
    for source in near_duplicates.WHOLE:
        folders = {name: data_dir(directory) / name / source for name in names}
        built[source] = tuple(n for n, folder in folders.items() if list(folder.glob('[0-9]*')))
    source = max(built, key=lambda source: len(built[source]))
    return source, built[source]


def _build_one(names: Sequence[str]) -> str:
    return f'build log_mel as well: python -m ser_jax.build datasets/{names[0]}'


def _moved(
    pairs: list[near_duplicates.Pair], source: Utterances, target: Utterances
) -> list[near_duplicates.Pair]:
    """Map pairs of utterances of `source` to the same ones of `target`; drop those it lacks."""
    at = places(target)
    moved = []
    for p in pairs:
        first, second = at.get(place(source, p.first)), at.get(place(source, p.second))
        if first is not None and second is not None:
            moved.append(near_duplicates.Pair(first, second, p.agreement))
    return moved


def _of_run(
    trained: Trained, opened: Utterances, directory: str, pairs: list[near_duplicates.Pair]
) -> list[Finding]:
    config = trained.config
    if set(opened.names) != set(config.data.corpora):
        raise InputError(
            f'{trained.directory} was trained on {", ".join(config.data.corpora)}, not on '
            f'{", ".join(opened.names)}; leave --corpora out'
        )
    config.data.dir = directory or config.data.dir
    labeled = selection.labeled(config, opened)
    found = [*_changed_files(trained), *_another_build(trained, labeled, config.data.dir)]
    found += split_checks.run_findings(
        labeled, trained.protocol, trained.folds, _moved(pairs, opened, labeled)
    )
    # Values fitted on another build cannot agree with this one.
    if not any(f.check == 'another build' for f in found):
        saved = {m: {'mean': mean, 'std': std} for m, (mean, std) in trained.normalization.items()}
        reads = assemble.reads_text(config)
        found += split_checks.fitted(
            labeled, trained.folds, saved, trained.words, reads, config.features.normalize
        )
    return found


def _changed_files(trained: Trained) -> Iterator[Finding]:
    if changed := run_files.changed(trained.directory):
        what = f'{", ".join(changed)} of {trained.directory} changed since training wrote them'
        yield Finding(
            'error',
            'changed files',
            what,
            'restore them from a copy of the run, or train it again',
            tuple(changed),
        )


def _another_build(trained: Trained, labeled: Utterances, directory: str) -> Iterator[Finding]:
    """Yield the differences between the corpora as built now and as the run was trained on."""
    try:
        trained.check_build(labeled.fingerprints, directory)
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
            'the run is of an earlier version and kept the names of its utterances alone: their '
            'changes cannot be listed'
        )
        yield Finding('warning', 'another build', what, 'train it again')
        return
    yield from inventory.changes(kept, labeled, trained.takes(labeled))


def _reports(opened: Utterances, directory: str) -> dict[str, dict]:
    """Return the inspection report of the newest build of each corpus."""
    reports = {}
    for name in opened.names:
        found = sorted(
            (data_dir(directory) / name).glob(f'*/*/{INSPECTION}'), key=lambda p: p.stat().st_mtime
        )
        if found:
            reports[name] = read_json(found[-1])
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
        console.print(f'and {len(findings) - SHOWN} more; --json=FILE writes all', highlight=False)
    console.print(summary(findings), highlight=False)


def main(argv: list[str]) -> None:
    """Print the findings; exit with code 1 on a leak or an error."""
    if len(argv) > 1:
        raise InputError(
            f'unexpected argument {argv[1]!r}; corpora are given as --corpora=ravdess,tess'
        )
    f = flags.FLAGS
    if not f.corpora and not f.run:
        raise InputError('nothing to audit; give --corpora=ravdess,tess or --run=runs/x')
    cli.prepare_jax()
    quiet = f.json == '-'
    findings = audit(
        f.corpora, f.run, f.data_dir, lambda line: None if quiet else print(line, flush=True)
    )
    content = {'summary': summary(findings), 'findings': [x._asdict() for x in findings]}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    if quiet:
        print(text)
    else:
        show(findings, rich.console.Console())
        if f.json:  # last: the findings are on screen even if this fails
            pathlib.Path(f.json).write_text(text + '\n', encoding='utf-8')
    if any(x.severity in ('leak', 'error') for x in findings):
        sys.exit(1)


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_list('corpora', [], 'Built corpora to check, e.g. ravdess,tess.')
    flags.DEFINE_string('run', '', 'Directory of a run whose splits are checked as well.')
    flags.DEFINE_string(
        'data_dir',
        '',
        "Folder of the built corpora; '' = that of the run, else as for training.",
    )
    flags.DEFINE_string('json', '', "File for all findings; '-' = print them and nothing else.")


if __name__ == '__main__':
    define_flags()
    cli.run(main)
