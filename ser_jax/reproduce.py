"""Published systems, reproduced: `python -m ser_jax.reproduce [--full]`.

Each system is trained under its own protocol and speaker-independently. Every run is an ordinary
training of configs/seeds/, in a process of its own under --output; finished runs are not trained
again, interrupted ones resume. The results are one table on screen, `published.md`,
`published.json`, and the report of all runs.
"""

import itertools
import json
import pathlib
import subprocess
import sys
import time

import pyarrow as pa
import rich.console
from absl import flags
from ml_collections import ConfigDict

from ser_jax import cli
from ser_jax.contract import InputError
from ser_jax.data.utterances import Utterances, data_dir
from ser_jax.models import weights
from ser_jax.report import published
from ser_jax.report.systems import SYSTEMS, System
from ser_jax.runs import results
from ser_jax.runs.scored_run import scored
from ser_jax.runs.trained import Trained, open_trained
from ser_jax.scoring import scores as scoring

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'seeds'


def missing(systems: list[System], root: pathlib.Path) -> list[str]:
    """Return the commands for the builds that the systems read and that do not exist."""
    commands: dict[str, None] = {}
    flag = '' if root == data_dir('').absolute() else f' --data_dir={root}'
    for corpus, source in itertools.chain.from_iterable(map(_builds, systems)):
        if not list((root / corpus / source).glob('[0-9]*')):
            config = '' if source == 'text' else f' --config={source}'
            command = f'python -m ser_jax.build datasets/{corpus}{config} --manual_dir=FOLDER{flag}'
            commands[command] = None
    return list(commands)


def _builds(system: System) -> list[tuple[str, str]]:
    """Return the (corpus, builder config) pairs that a system reads."""
    builds = []
    for source in dict.fromkeys(system.sources):
        builds += [(corpus, source) for corpus in system.corpora]
    return [*builds, (system.texts, 'text')] if system.texts else builds


def plan(systems: list[System], full: bool) -> list[tuple[System, str, bool]]:
    """Return (system, which, ready) in the order of the runs; ready = its weights are present."""
    budget = '-full' if full else ''
    runs = []
    for s in systems:
        ready = not s.trunk or weights.find(s.trunk) is not None
        runs += [(s, which + budget, ready) for which in ('own', 'speakers_k')]
    return runs


def train(
    system: System, which: str, output: pathlib.Path, root: pathlib.Path
) -> tuple[pathlib.Path, int]:
    """Train or resume one run; return its directory and its exit code. Its stderr is shown."""
    directory = output / f'{system.name}_{which.replace("-", "_")}'
    command = [
        sys.executable,
        '-m',
        'ser_jax.main',
        f'--config={CONFIGS / system.name}.py:{which}',
        f'--workdir={directory}',
        f'--config.data.dir={root}',
    ]
    return directory, subprocess.run(command, stdout=subprocess.DEVNULL).returncode


def pooled(predictions: pa.Table) -> pa.Table:
    """Return the predictions of one run with all its corpora as one, so that it has one score."""
    corpora = list(dict.fromkeys(predictions['corpus'].to_pylist()))
    if len(corpora) == 1:
        return predictions
    columns = predictions['corpus'].to_pylist(), predictions['id'].to_pylist()
    ids = [f'{corpus}/{id}' for corpus, id in zip(*columns, strict=True)]
    everywhere = pa.array(['+'.join(corpora)] * len(ids))
    predictions = predictions.set_column(predictions.column_names.index('id'), 'id', pa.array(ids))
    return predictions.set_column(predictions.column_names.index('corpus'), 'corpus', everywhere)


def reproduce(
    systems: list[System], full: bool, output: pathlib.Path, root: pathlib.Path
) -> list[dict[str, str]]:
    """Train and score the systems that are ready; write the table and the report to `output`.

    Returns:
      One row per system, as `report.published.lines` makes them; other systems keep their row.

    Raises:
      InputError: builds are missing (with the commands), or a training failed (raised once all
        others are scored).
    """
    ready = [s for s in systems if not s.trunk or weights.find(s.trunk) is not None]
    if commands := missing(ready, root):
        raise InputError(
            f'{len(commands)} builds are missing; build them with: {"; ".join(commands)}'
        )
    output.mkdir(parents=True, exist_ok=True)
    before = _before(output / 'published.json')
    rows: dict[str, dict] = {s.name: {'system': s} for s in systems}
    # All are trained before any is scored: scoring would occupy the accelerator.
    done, failed = _train_all(plan(systems, full), output, root, rows)
    runs, parts = _score_all(done, root, rows, failed)
    lines = published.renewed(before, published.lines(rows.values()), [s.title for s in SYSTEMS])
    if runs:
        predictions = pa.concat_tables(parts, promote_options='default')
        scores = scoring.scores_by(predictions)
        results.write(output, runs, predictions, scores, published.html(lines))
    (output / 'published.md').write_text(published.markdown(lines))
    (output / 'published.json').write_text(json.dumps(lines, indent=1, allow_nan=False))
    if failed:
        raise InputError(
            f'{len(failed)} trainings stopped: {", ".join(failed)}; their errors are above. Give '
            'the same command again to resume them; if one was begun with another config, move '
            f'its folder away first. {output / "published.md"} has the others'
        )
    return lines


def _train_all(
    runs: list[tuple[System, str, bool]],
    output: pathlib.Path,
    root: pathlib.Path,
    rows: dict[str, dict],
) -> tuple[list[tuple[System, str, pathlib.Path]], list[str]]:
    """Train the runs that are ready; return those that ended well, and the failed ones as text."""
    done, failed = [], []
    for system, which, ready in runs:
        if not ready:
            continue
        started = time.monotonic()
        directory, code = train(system, which, output, root)
        minutes = (time.monotonic() - started) / 60
        if code:
            failed.append(f'{directory} (code {code})')
            rows[system.name][which.split('-')[0]] = {}
        else:
            done.append((system, which, directory))
        verb = 'stopped' if code else 'trained'
        print(f'{system.name} {which}: {verb} in {minutes:.1f} min', flush=True)
    return done, failed


def _score_all(
    done: list[tuple[System, str, pathlib.Path]],
    root: pathlib.Path,
    rows: dict[str, dict],
    failed: list[str],
) -> tuple[list[Trained], list[pa.Table]]:
    """Score runs into `rows`; return them with their predictions, append others to `failed`."""
    runs, parts = [], []
    opened: dict[tuple, Utterances] = {}
    for system, which, directory in done:
        try:
            trained = open_trained(directory)
            source = trained.config.features.source
            opened = {k: v for k, v in opened.items() if k[2] == source}  # one source in memory
            predictions = scored(trained, opened, data_dir=str(root))
        except InputError as e:
            failed.append(f'{directory} ({e})')
            rows[system.name][which.split('-')[0]] = {}
            continue
        row = {
            'scores': scoring.scores_by(pooled(predictions)),
            'training': training(trained.config),
        }
        rows[system.name][which.split('-')[0]] = row
        print(f'{system.name} {which}: {published.cell(row)}', flush=True)
        runs.append(trained)
        parts.append(predictions)
    return runs, parts


def _before(path: pathlib.Path) -> list[dict[str, str]]:
    """Return the lines of an earlier table, read before anything is trained."""
    try:
        lines = json.loads(path.read_text()) if path.exists() else []
    except ValueError as e:
        raise InputError(f'{path} is damaged ({type(e).__name__}: {e}); move it away') from e
    if not isinstance(lines, list) or any(
        not isinstance(row, dict) or set(row) != set(published.COLUMNS) for row in lines
    ):
        raise InputError(f'{path} is not a table of published systems; move it away')
    return lines


def training(config: ConfigDict) -> str:
    """Describe the epochs, the optimizer and the feature scale, in which systems differ."""
    scale = {'none': 'features as they are'}.get(config.features.normalize, 'features normalized')
    return (
        f'{config.train.epochs} epochs, {config.optim.name} {config.optim.learning_rate:g}, {scale}'
    )


def main(argv: list[str]) -> None:
    """Train and score the systems, print the table."""
    f = flags.FLAGS
    if argv[1:]:
        raise InputError(f'unexpected argument {argv[1]!r}; systems are given as --systems=')
    known = {s.name: s for s in SYSTEMS}
    if unknown := [n for n in f.systems if n not in known]:
        raise InputError(f'--systems has {unknown[0]!r}; known are {", ".join(known)}')
    cli.prepare_jax()
    output = pathlib.Path(f.output)
    selected = [known[n] for n in f.systems] or list(SYSTEMS)
    lines = reproduce(selected, f.full, output, data_dir(f.data_dir).absolute())
    rich.console.Console().print(published.table(lines))
    for system in selected:
        if system.trunk and weights.find(system.trunk) is None:
            print(f'{system.name} needs weights: python -m ser_jax.weights {system.trunk}')
    print(f'table: {output / "published.md"}   report: {output / "report.html"}')


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_list(
        'systems',
        [],
        f'Systems to reproduce; default: all of {", ".join(s.name for s in SYSTEMS)}.',
    )
    flags.DEFINE_bool(
        'full',
        False,
        'Train for the published epochs if known; three seeds for the speaker-independent runs.',
    )
    flags.DEFINE_string('output', 'runs/seeds', 'Folder of the runs and the table.')
    flags.DEFINE_string(
        'data_dir', '', "Folder of the built corpora; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets."
    )


if __name__ == '__main__':
    define_flags()
    cli.run(main)
