"""Results of an evaluation: their files, and their folder, checked before anything is scored."""

import os
import pathlib
import re
import tempfile
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet

from ser_jax.contract import InputError
from ser_jax.report import html, markdown, model_card
from ser_jax.report import robustness as pages
from ser_jax.runs import calibration, merge, run_files
from ser_jax.runs.trained import Trained
from ser_jax.scoring import robustness
from ser_jax.scoring import scores as scoring
from ser_jax.scoring.robustness import Effect
from ser_jax.scoring.rows import selected

FILES = ('predictions.parquet', 'scores.csv', 'report.html', 'report.md', 'robustness.csv')


def common_folder(directories: Sequence[pathlib.Path]) -> pathlib.Path:
    """Return the folder that holds all `directories`, relative if it is in the working directory.

    Raises:
      InputError: they have no folder in common, or only the root of the file system.
    """
    absolute = [os.path.abspath(d) for d in directories]
    try:
        common = pathlib.Path(os.path.commonpath(absolute))
    except ValueError:  # on several drives
        common = pathlib.Path(pathlib.Path(absolute[0]).anchor)
    if str(common) == common.anchor:
        raise InputError(
            f'{directories[0]} and {directories[-1]} have no folder in common; give one as --output'
        )
    working = pathlib.Path.cwd()
    return common.relative_to(working) if common.is_relative_to(working) else common


def folder(
    output: str, directories: Sequence[pathlib.Path], files: Sequence[str] = FILES
) -> pathlib.Path:
    """Return the folder for the results of `directories`: `output`, else the one that holds them.

    Raises:
      InputError: the folder is not writable, or one of `files` is a folder there.
    """
    if output:
        place = pathlib.Path(output).expanduser()
    else:
        place = directories[0] if len(directories) == 1 else common_folder(directories)
    existing = place.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    blocked = next((place / f for f in files if (place / f).is_dir()), None)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
        reason = f'{blocked} is a folder' if blocked else ''
    except OSError as e:
        reason = e.strerror or str(e)
    if reason:
        raise InputError(
            f'results cannot be written to {place} ({reason}); give another folder as --output'
        )
    return place


def merged(directories: Sequence[pathlib.Path], output: str) -> pathlib.Path:
    """Merge the pieces in `directories`; return the merged run, by default beside them."""
    whole = pathlib.Path(output)
    if not output:
        whole = common_folder([d.absolute().parent for d in directories]) / 'merged'
    merge.merge([d for d in directories if d.resolve() != whole.resolve()], whole)
    print(f'merged: {whole}')
    return whole


def write(
    output: pathlib.Path,
    runs: Sequence[Trained],
    predictions: pa.Table,
    scores: list,
    published: str = '',
    log: Callable[[str], None] = print,
    effects: Sequence[Effect] = (),
) -> None:
    """Write FILES to `output`, and MODEL_CARD.md and calibration.json to every run.

    The last file is written only if there are `effects` of conditions.

    The card of a run that is not writable goes to `output`, reported through `log`. `published`, a
    table of published results (HTML), comes first in the report.

    Raises:
      InputError: a file cannot be written to `output`.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        pa.parquet.write_table(predictions, output / FILES[0])
        scoring.write_csv(scores, output / FILES[1])
        if effects:
            robustness.write_csv(effects, output / FILES[4])
        histories = {str(r.directory): run_files.history(r.directory, log) for r in runs}
        configs = {str(r.directory): run_files.read_one(r.directory, 'config') for r in runs}
        html.write(
            output / FILES[2],
            scores,
            selected(predictions),
            histories,
            runs[0].environment,
            configs,
            published,
            pages.variables(effects, configs),
        )
        markdown.write(output / FILES[3], scores, pages.sentences(effects))
        for r in runs:
            of_run = [s for s in scores if s.run == str(r.directory)]
            calibration.write(r.directory, of_run, log)
            lines = pages.card_lines([e for e in effects if e.run == str(r.directory)])
            _write_card(r, configs[str(r.directory)], of_run, output, log, lines)
    except OSError as e:
        raise InputError(
            f'results could not be written to {output} ({e.strerror or e}: '
            f'{e.filename or output}); the scores are above; give another folder as --output to '
            'keep them'
        ) from e


def _write_card(
    run: Trained,
    config: dict,
    scores: list,
    output: pathlib.Path,
    log: Callable[[str], None],
    robust: list[str],
) -> None:
    content = (config, scores, run.environment, run.corpora, run.emotions, robust)
    try:
        model_card.write(run.directory / 'MODEL_CARD.md', *content)
    except OSError as e:
        name = re.sub(r'[^\w.-]+', '_', str(run.directory)).strip('_')
        path = output / f'MODEL_CARD_{name}.md'
        model_card.write(path, *content)
        log(f'{run.directory} cannot be written ({e.strerror or e}); its model card is {path}')
