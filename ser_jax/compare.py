"""Comparison of runs: `python -m ser_jax.compare --runs A B …` → ranking, differences, pages.

Reads the predictions that `evaluate` left; scores nothing itself. Runs are compared by pairs of the
same test utterances and speakers. `--leaderboard FOLDER` ranks all evaluated runs below a folder,
each protocol for itself.
"""

import fnmatch
import pathlib
import shlex
import sys
from collections.abc import Iterator, Sequence

import rich.console
from absl import flags
from rich.table import Table

from ser_jax import cli
from ser_jax.contract import InputError, writing
from ser_jax.report import comparison as pages
from ser_jax.report import comparison_tables as tables
from ser_jax.runs import evaluated, results
from ser_jax.runs.evaluated import Evaluated, Shelf, Unevaluated
from ser_jax.scoring.candidates import Candidate, candidates
from ser_jax.scoring.rankings import Study, study

_LINES = 6  # comparisons and refusals on the console, if there are no more


def compare(
    found: Sequence[Evaluated],
    kind: str = pages.COMPARISON,
    protocol: str = '',
    modality: str = '',
    answer: str = 'member',
    condition: str = 'clean',
) -> tuple[list[Candidate], Study, list[InputError]]:
    """Return candidates from evaluated runs, their rankings and comparisons, and problems of runs.

    Args:
      protocol: a protocol or a pattern such as 'speakers_k*'; '' = all.
      modality, answer, condition: as in `scoring.candidates.candidates`.

    Raises:
      InputError: no run was scored under the protocol, or there is nothing to compare.
    """
    chosen: list[Candidate] = []
    problems: list[InputError] = []
    names = evaluated.short_names([e.place for e in found])
    for name, e in zip(names, found, strict=True):
        try:
            chosen += candidates(e.table, name, modality, answer, condition)
        except InputError as problem:
            problems.append(problem)
    if protocol:
        known = sorted({c.score.protocol for c in chosen})
        chosen = [c for c in chosen if fnmatch.fnmatchcase(c.score.protocol, protocol)]
        if not chosen:
            raise InputError(
                f'no run was scored under --protocol={protocol}; there are: {"; ".join(known)}'
            )
    if not chosen:
        raise problems[0] if problems else InputError('no run is left to compare')
    result = study(chosen, across=kind == pages.COMPARISON)
    if kind == pages.COMPARISON and not result.compared:
        raise InputError(f'nothing can be compared: {_why(chosen, result, problems)}')
    return chosen, result, problems


def _why(chosen: Sequence[Candidate], result: Study, problems: Sequence[InputError]) -> str:
    if result.refused:
        more = f' (and {len(result.refused) - 1} more)' if len(result.refused) > 1 else ''
        return tables.refusals(result)[0] + more
    if problems:
        return str(problems[0])
    tested = dict.fromkeys(f'{c.name} on {c.score.corpus}' for c in chosen)
    return f'no two runs are tested on one corpus: {", ".join(tested)}'


def _lines(kind: str, result: Study) -> Iterator[Table | str]:
    """Yield the tables and sentences for the console."""
    for ranking in result.rankings:
        if len(ranking) > 1:
            yield tables.ranking_table(ranking)
            yield ''
    if kind == pages.LEADERBOARD:
        if alone := [r[0] for r in result.rankings if len(r) == 1]:
            yield tables.alone_table(alone)
        return
    refusals = tables.refusals(result)
    for c in result.compared if len(result.compared) <= _LINES else ():
        yield f'{c}'
        yield f'  {tables.basis(c)}'
        if c.speakers:
            yield f'  {tables.speakers(c)}'
    if len(result.compared) == 1:
        yield tables.class_table(result.compared[0])
    elif len(result.compared) > _LINES:
        yield f'{len(result.compared)} pairs are on the page'
    if len(refusals) > _LINES:
        yield f'{len(refusals)} pairs cannot be compared; the page has the reasons'
    for line in refusals if len(refusals) <= _LINES else ():
        yield f'not compared: {line}'


def _enough(found: Sequence[Evaluated], problems: Sequence[InputError]) -> None:
    """Refuse to compare fewer than two runs, with one command for those not evaluated.

    Raises:
      InputError: as above.
    """
    if len(found) > 1:
        return
    waiting = [p.place for p in problems if isinstance(p, Unevaluated)]
    if len(waiting) > 1:
        runs = shlex.quote(','.join(waiting))
        raise InputError(
            f'{len(waiting)} runs were not evaluated yet; give '
            f'python -m ser_jax.evaluate --runs={runs}'
        )
    if problems:
        raise problems[0]
    name = found[0].place if found else 'none'
    raise InputError(f'a comparison needs at least 2 runs, got {name}; give more as --runs=A,B')


def _find(argv: Sequence[str]) -> tuple[str, list[Evaluated], list[InputError], pathlib.Path]:
    """Return the kind of page, the runs, the problems, and the folder for the results.

    Raises:
      InputError: a mistake in the flags, fewer than two runs, or a folder that cannot be written.
    """
    F, shelf = flags.FLAGS, Shelf()
    if len(F.protocol) > 1:
        raise InputError(
            'scores of different protocols are not ranked in one table; give one --protocol (a '
            "pattern like 'speakers_k*' gives a table for each protocol), or none for all"
        )
    if F.leaderboard:
        if F.runs or argv[1:]:
            raise InputError('give either --runs or --leaderboard, not both')
        kind, folder = pages.LEADERBOARD, pathlib.Path(F.leaderboard).expanduser()
        output = results.folder(F.output, [folder], pages.files(kind))
        found, problems = evaluated.below(folder, shelf)
        if not found:
            raise problems[0]
        return kind, found, problems, output
    kind = pages.COMPARISON
    found, problems = evaluated.find([*F.runs, *argv[1:]], shelf)
    _enough(found, problems)
    places = [pathlib.Path(e.place) if evaluated.is_run(pathlib.Path(e.place)) else e.file.parent
              for e in found]  # fmt: skip
    return kind, found, problems, results.folder(F.output, places, pages.files(kind))


def main(argv: list[str]) -> None:
    """Compare or rank the runs, print the tables, write the pages."""
    kind, found, problems, output = _find(argv)
    F = flags.FLAGS
    protocol = F.protocol[0] if F.protocol else ''
    chosen, result, more = compare(found, kind, protocol, F.modality, F.answer, F.condition)
    problems = [*problems, *more]
    console = rich.console.Console()
    for line in _lines(kind, result):
        console.print(line, markup=False, highlight=False)
    for e in found:
        if e.note:
            print(e.note)
    for problem in problems:
        print(f'left out: {problem}', file=sys.stderr)
    command = shlex.join(['python', '-m', 'ser_jax.compare', *sys.argv[1:]])
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
        pages.write(output, kind, chosen, result, list(map(str, problems)), command)
    html, markdown, csv = (output / name for name in pages.files(kind))
    print(f'page: {html}   table: {csv}   text: {markdown}')
    if problems:
        sys.exit(1)


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.FLAGS.set_gnu_getopt(True)  # --runs A B --modality=audio
    flags.DEFINE_list(
        'runs',
        [],
        "Evaluated runs, the first as A: directories, globs like 'runs/*', tables of predictions.",
    )
    flags.DEFINE_string('leaderboard', '', 'Folder: rank all evaluated runs below it.')
    flags.DEFINE_multi_string(
        'protocol', [], "Protocol to which the comparison is limited, or a pattern: 'speakers_k*'."
    )
    flags.DEFINE_enum(
        'modality',
        '',
        ['', 'fused', 'audio', 'text'],
        "Modality; '' = fused if a run has it, else audio.",
    )
    flags.DEFINE_enum(
        'answer',
        'member',
        ['member', 'mean'],
        'Scored answers: single members, averaged over seeds; or the mean of the members.',
    )
    flags.DEFINE_string('condition', 'clean', 'Condition of the recordings, e.g. white_10db.')
    flags.DEFINE_string('output', '', "Folder for the pages; '' = the folder that holds the runs.")


if __name__ == '__main__':
    define_flags()
    cli.run(main)
