"""Published systems, reproduced: `python -m ser_jax.reproduce [--full]`.

Each system is trained under its own protocol and speaker-independently. Every run is an ordinary
training of configs/seeds/, in a process of its own under --output; finished runs are not trained
again, interrupted ones resume. The results are one table on screen, `published.md`,
`published.json`, and the report of all runs.
"""

import json
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

import pyarrow as pa
import rich.console
from absl import flags
from ml_collections import ConfigDict

from ser_jax import cli, evaluate
from ser_jax.contract import InputError
from ser_jax.data.utterances import data_dir
from ser_jax.models import weights
from ser_jax.report import published
from ser_jax.runs import results
from ser_jax.runs.trained import open_trained
from ser_jax.scoring import scores as scoring

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'seeds'


class System(NamedTuple):
    """A published system.

    Attributes:
      name: name of its config.
      corpora: corpora it is trained on here.
      sources: builder configs it reads under its own protocol and speaker-independently.
      claim: the published result and the data it was measured on.
      budget: the published length of training.
      why: the worth of that result.
      trunk: network whose pretrained weights it begins with.
    """

    name: str
    title: str
    corpora: tuple[str, ...]
    sources: tuple[str, str]
    claim: str
    budget: str
    why: str
    trunk: str = ''
    texts: str = ''


_FOUR = ('ravdess', 'cremad', 'tess', 'savee')
SYSTEMS = (
    System(
        'stsam',
        'STSaM, happy / sad',
        ('ravdess', 'savee'),
        ('mfcc_curve', 'mfcc_curve'),
        'accuracy 0.671 (run A) and 0.726 (run B), n = 73, random split by utterance, reviews '
        'paired by label',
        '250 epochs at 1e-5 (A), 180 (B)',
        'the review beside an utterance has its label, so the text tells the answer; voices on '
        'both sides',
        texts='imdb',
    ),
    System(
        'speech_emotion_analyzer',
        'Speech-Emotion-Analyzer, sex x 5',
        ('ravdess', 'savee'),
        ('mfcc_curve', 'mfcc_curve'),
        'accuracy 0.727, n = 319, random split by utterance, test = validation; users with clean '
        'files report 0.35 to 0.50',
        '700 epochs at 1e-5',
        'SAVEE was there two or three times, so copies stood on both sides: out of reach with '
        'every file once',
    ),
    System(
        'burnwal',
        'Burnwal, 8 emotions',
        _FOUR,
        ('stats162_variants', 'stats162_variants'),
        'accuracy 0.607, n = 9,122 rows, random split of rows after augmenting',
        '50 epochs',
        '94 % of the test rows have an augmented sibling in training; voices on both sides',
    ),
    System(
        'deepemo',
        'DeepEmo shallow, 7 emotions',
        ('ravdess', 'tess', 'cremad', 'savee'),
        ('linear_spectrogram', 'log_mel_100'),
        'accuracy about 0.60, n not stated, last tenth of a class-sorted shuffle, validation = '
        'test, SAVEE mislabeled',
        'about 8 epochs',
        'validation held mostly the last classes, and most of it was trained on in epoch 1; '
        'speaker-independently the '
        'same convolutions, averaged over the picture, on mel bands; the 200 M parameters have 1 '
        'epoch in a quick run, and '
        'with 8 (own-full; n = 281, 1 seed) WA 0.580 [0.496, 0.655], level with the claim, on a '
        'quarter of its files',
    ),
    System(
        'deepemo_transfer',
        'DeepEmo transfer, 7 emotions',
        ('ravdess', 'tess', 'cremad', 'savee'),
        ('linear_spectrogram', 'linear_spectrogram'),
        'accuracy about 0.70, n not stated, the same split',
        '50 epochs',
        'as above; begins with ImageNet weights',
        trunk='inception_v3',
    ),
    System(
        'vsr',
        'VSR, negative / positive',
        _FOUR,
        ('vsr_spectrogram', 'vsr_spectrogram'),
        'validation loss 0.967, n not stated: above ln 2 = 0.693, so worse than a coin if it is '
        'in nats; no accuracy',
        'not stated (10 epochs in its script for one user)',
        'begins with ImageNet weights',
        trunk='densenet201',
    ),
    System(
        'nooks',
        'Nooks, 10 names',
        ('ravdess',),
        ('log_mel_40_published', 'log_mel_40'),
        'precision 0.87, recall 0.85, F1 0.86, n not stated; its own split allows at most 2 / 9 '
        '= 0.222',
        'not stated',
        'its split by position trains on no disgust and no surprise, and tests hardly anything '
        'else',
    ),
)


def missing(systems: list[System], root: pathlib.Path) -> list[str]:
    """Return the commands for the builds that the systems read and that do not exist."""
    commands = {}
    where = '' if root == data_dir('').absolute() else f' --data_dir={root}'
    for s in systems:
        needs = [(c, source) for source in dict.fromkeys(s.sources) for c in s.corpora]
        for corpus, source in [*needs, *([(s.texts, 'text')] if s.texts else [])]:
            if not list((root / corpus / source).glob('[0-9]*')):
                flag = '' if source == 'text' else f' --config={source}'
                commands[
                    f'python -m ser_jax.build datasets/{corpus}{flag} --manual_dir=FOLDER{where}'
                ] = None
    return list(commands)


def plan(systems: list[System], full: bool) -> list[tuple[System, str, bool]]:
    """Return (system, which, ready) in the order of the runs; ready = its weights are there."""
    budget = '-full' if full else ''
    return [
        (s, which + budget, not s.trunk or weights.find(s.trunk) is not None)
        for s in systems
        for which in ('own', 'speakers_k')
    ]


def train(
    system: System, which: str, output: pathlib.Path, root: pathlib.Path
) -> tuple[pathlib.Path, int]:
    """Train or resume one run; return its directory and its exit code, which it explains itself."""
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
    ids = [
        f'{c}/{i}'
        for c, i in zip(
            predictions['corpus'].to_pylist(), predictions['id'].to_pylist(), strict=True
        )
    ]
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
    done, failed = [], []
    for system, which, there in plan(systems, full):
        if there:  # train all before scoring: this process would occupy the accelerator
            started = time.monotonic()
            directory, code = train(system, which, output, root)
            minutes = (time.monotonic() - started) / 60
            if code:
                failed.append(f'{directory} (code {code})')
                rows[system.name][which.split('-')[0]] = {}
            else:
                done.append((system, which, directory))
            print(
                f'{system.name} {which}: {"stopped" if code else "trained"} in {minutes:.1f} min',
                flush=True,
            )
    runs, parts, opened = [], [], {}
    for system, which, directory in done:
        try:
            trained = open_trained(directory)
            opened = {
                k: v for k, v in opened.items() if k[2] == trained.config.features.source
            }  # one front end in memory
            predictions = evaluate.evaluate_run(trained, opened, data_dir=str(root))
        except InputError as e:
            failed.append(f'{directory} ({e})')
            rows[system.name][which.split('-')[0]] = {}
            continue
        of_run = {
            'scores': scoring.scores_by(pooled(predictions)),
            'training': training(trained.config),
        }
        rows[system.name][which.split('-')[0]] = of_run
        print(f'{system.name} {which}: {published.cell(of_run)}', flush=True)
        runs.append(trained)
        parts.append(predictions)
    lines = published.renewed(before, published.lines(rows.values()), [s.title for s in SYSTEMS])
    if runs:
        everything = pa.concat_tables(parts, promote_options='default')
        results.write(
            output, runs, everything, scoring.scores_by(everything), published.html(lines)
        )
    (output / 'published.md').write_text(published.markdown(lines))
    (output / 'published.json').write_text(json.dumps(lines, indent=1, allow_nan=False))
    if failed:
        raise InputError(
            f'{len(failed)} trainings stopped: {", ".join(failed)}; what they say is above. The '
            f'same command goes on with '
            f'them; where one was begun otherwise, move its folder away first. '
            f'{output / "published.md"} has the others'
        )
    return lines


def _before(path: pathlib.Path) -> list[dict[str, str]]:
    """Return the lines of an earlier table, read before anything is trained."""
    try:
        lines = json.loads(path.read_text()) if path.exists() else []
    except ValueError as e:
        raise InputError(f'{path} is damaged ({type(e).__name__}: {e}); move it away') from e
    if not isinstance(lines, list) or any(
        not isinstance(row, dict) or set(row) != set(published.COLUMNS) for row in lines
    ):
        raise InputError(f'{path} is no table of published systems; move it away')
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
        raise InputError(f'--systems names {unknown[0]!r}; known are {", ".join(known)}')
    cli.prepare_jax()
    output = pathlib.Path(f.output)
    asked = [known[n] for n in f.systems] or list(SYSTEMS)
    lines = reproduce(asked, f.full, output, data_dir(f.data_dir).absolute())
    rich.console.Console().print(published.table(lines))
    for system in asked:
        if system.trunk and weights.find(system.trunk) is None:
            print(f'{system.name} needs weights: python -m ser_jax.weights {system.trunk}')
    print(f'table: {output / "published.md"}   report: {output / "report.html"}')


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_list(
        'systems', [], f'Which; all by default: {", ".join(s.name for s in SYSTEMS)}.'
    )
    flags.DEFINE_bool(
        'full',
        False,
        'The published epochs where they are known, and three seeds speaker-independently.',
    )
    flags.DEFINE_string('output', 'runs/seeds', 'Where the runs and the table are kept.')
    flags.DEFINE_string(
        'data_dir', '', "Where built corpora lie; '' = $TFDS_DATA_DIR or ~/tensorflow_datasets."
    )


if __name__ == '__main__':
    define_flags()
    cli.run(main)
