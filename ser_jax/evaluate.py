"""Scores of runs: `python -m ser_jax.evaluate --runs='runs/*' [--corpora=…]` → table and report.

By default a run is scored on the test sides of its own folds. With --corpora every member is scored
on other built corpora too (protocol `cross_corpus`); corpora that a run was trained on are scored
on its folds only. With --merge the runs are pieces of one (`members.only`), merged before scoring.
"""

import sys
from collections.abc import Sequence

import pyarrow as pa
import rich.console
from absl import flags

from ser_jax import cli
from ser_jax.audio.conditions import listing
from ser_jax.contract import InputError
from ser_jax.data.distorted import Study
from ser_jax.data.utterances import Utterances
from ser_jax.report import table as score_table
from ser_jax.report.robustness import sentences
from ser_jax.runs import explanations, parent, results
from ser_jax.runs.scored_run import scored
from ser_jax.runs.trained import Trained, find_runs, open_trained
from ser_jax.scoring import robustness
from ser_jax.scoring import scores as scoring


def evaluate(
    runs: Sequence[Trained],
    corpora: Sequence[str] = (),
    data_dir: str = '',
    say=print,
    study: Study | None = None,
) -> pa.Table:
    """Return the predictions of all finished members, a row per (run, member, modality, utterance).

    They are of the test sides and, for calibration, of the validation sides (column `side`).

    Raises:
      InputError: a corpus is not built or is another build than the run's, a kept model is damaged,
        or there is nothing to score.
    """
    opened: dict[tuple, Utterances] = {}
    return pa.concat_tables(
        [scored(r, opened, corpora, data_dir, say, study) for r in runs],
        promote_options='default',
    )


def main(argv: list[str]) -> None:
    """Score the runs, print the table, write the results."""
    if argv[1:]:
        raise InputError(f'unexpected argument {argv[1]!r}; runs are given as --runs=')
    if '?' in flags.FLAGS.conditions:
        print(listing())
        return
    study = Study.of(flags.FLAGS.conditions, flags.FLAGS.condition_utterances)
    directories = find_runs(flags.FLAGS.runs)
    if flags.FLAGS.merge:
        directories = [results.merged(directories, flags.FLAGS.output)]
    output = results.folder(flags.FLAGS.output, directories)
    cli.prepare_jax()
    runs, parts, broken = [], [], 0
    opened: dict[tuple, Utterances] = {}
    for directory in directories:
        try:
            parent.refuse(directory, 'evaluate')
            trained = open_trained(directory)
            given = flags.FLAGS.corpora, flags.FLAGS.data_dir
            parts.append(scored(trained, opened, *given, study=study))
            runs.append(trained)
        except InputError as e:
            if len(directories) == 1:
                raise
            broken += 1
            print(f'left out: {e}', file=sys.stderr)
    if not runs:
        raise InputError(f'none of the {len(directories)} runs can be scored')
    table = pa.concat_tables(parts, promote_options='default')
    scores, effects = scoring.with_means(table), robustness.effects(table)
    console = rich.console.Console()
    console.print(score_table.table(scores))
    for line in score_table.margins(scores):
        console.print(line, markup=False, highlight=False)
    for line in sentences(effects):
        console.print(line, markup=False, highlight=False)
    results.write(output, runs, table, scores, effects=effects)
    print(
        f'report: {output / "report.html"}   scores: {output / "scores.csv"}   '
        f'predictions: {output / "predictions.parquet"}'
    )
    if flags.FLAGS.explain:
        explanations.write(output, runs, table, opened, flags.FLAGS.explain, flags.FLAGS.data_dir)
    print(f'next:   python -m ser_jax.predict --run={runs[0].directory} RECORDING.wav')
    if broken:
        sys.exit(1)


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_list('runs', [], "Directories of trained runs; globs like 'runs/*' are expanded.")
    flags.DEFINE_list('corpora', [], 'Built corpora to score on as well, e.g. ravdess,synthetic.')
    flags.DEFINE_list(
        'conditions',
        [],
        "Conditions to score under as well, e.g. noise,telephone or all; '?' lists them.",
    )
    flags.DEFINE_integer(
        'condition_utterances', 200, 'Utterances of a corpus scored under conditions; 0 = all.'
    )
    flags.DEFINE_bool(
        'merge',
        False,
        'The runs are pieces of one: put them together in --output, a run, and score that.',
    )
    flags.DEFINE_integer(
        'explain', 0, 'Answers of each run to explain in explanations.html; 0 = none.', 0, 1000
    )
    flags.DEFINE_string('data_dir', '', "Where built corpora lie; '' = as each run was trained.")
    flags.DEFINE_string(
        'output',
        '',
        "Folder for the results; '' = the run's own, or the folder that holds the runs.",
    )


if __name__ == '__main__':
    define_flags()
    cli.run(main)
