"""Scores trained runs: `python -m ser_jax.evaluate --runs='runs/*' [--corpora=…]` → one table, predictions, report.

By itself a run is scored on what its own folds hold out. With --corpora it is scored on other built corpora too, by
every member (protocol `cross_corpus`); corpora that a run was trained on are scored on its folds alone. With --merge the
runs are pieces of one (`members.only`), put together before they are scored.
"""

import glob
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import rich.console
from absl import flags

from ser_jax import assemble, door
from ser_jax.contract import InputError
from ser_jax.data.batches import Member
from ser_jax.data.emotions import answerable
from ser_jax.data.utterances import Utterances, open_corpora
from ser_jax.learn import logbook, pieces
from ser_jax.learn import scores as scoring
from ser_jax.learn.members import Group, Prediction, device_mesh, scored_at_once
from ser_jax.report import html, model_card, table
from ser_jax.trained import Trained, open_trained


def evaluate(runs: Sequence[Trained], corpora: Sequence[str] = (), data_dir: str = '', say=print) -> pa.Table:
    """The predictions of all finished members of all runs: one row per (run, member, modality, utterance).

    Raises:
      InputError: a corpus is not built, a kept model is damaged, or there is nothing to score.
    """
    opened: dict[tuple, Utterances] = {}
    return pa.concat_tables([evaluate_run(r, opened, corpora, data_dir, say) for r in runs], promote_options='default')


def evaluate_run(
    trained: Trained, opened: dict, corpora: Sequence[str] = (), data_dir: str = '', say=print
) -> pa.Table:
    """As `evaluate`, for one run; `opened` keeps corpora open from run to run."""
    config = trained.config.copy_and_resolve_references()
    config.data.dir = data_dir or config.data.dir
    if waiting := [m for m in trained.folds if m not in trained.finished]:
        say(
            f'{trained.directory}: {len(waiting)} of {len(trained.folds)} members were not trained; scored without them'
        )

    def opens(names: tuple[str, ...], versions: tuple[str, ...] = ()) -> Utterances:
        key = (names, config.data.dir, config.features.source, config.features.trim_db, versions)
        if key not in opened:
            opened[key] = open_corpora(*key[:3], config.data.resident_gb, *key[3:])
        return opened[key]

    own = assemble.labeled(config, opens(tuple(config.data.corpora), tuple(config.data.variants)))
    parts = list(_run(trained, config, _through_frozen(trained, config, own), False, say))
    for corpus in corpora:
        if corpus in config.data.corpora:
            continue
        heard = opens((corpus,)).relabel(config.data.labels, config.data.merge)
        if (known := np.isin(heard.source_sha256, own.source_sha256)).any():
            say(f'{trained.directory} may have learnt {known.sum()} recordings of {corpus}; scored without them')
            heard = heard.select(~known)
        parts.extend(_run(trained, config, heard, True, say))
    return pa.concat_tables(parts, promote_options='default')


def _through_frozen(trained: Trained, config, utterances: Utterances) -> Utterances:
    """What was computed once for training, where there is such a thing and the weights are still those; else as it is."""
    if not trained.learner.frozen_units:
        return utterances
    environment = json.loads((trained.directory / 'environment.json').read_text())
    try:
        if trained.learner.begins_with() != environment['begins_with']:
            return utterances
    except InputError:  # the file is gone: the run has all that is needed
        return utterances
    run = utterances.select(np.isin(utterances.emotion, trained.emotions) & _heard(config, utterances))
    return assemble.through_frozen(config, run, trained.learner)


def _heard(config, utterances: Utterances) -> np.ndarray:
    return np.isin(utterances.channel, [*config.data.channels, *config.data.train_only_channels])


def _run(trained: Trained, config, utterances: Utterances, crossed: bool, say) -> Iterator[pa.Table]:
    """The rows of one run on its own test folds, or (`crossed`) on a whole corpus it never heard."""
    known = np.isin(utterances.emotion, trained.emotions)
    if crossed:
        spoken = known & np.isin(utterances.channel, list(config.data.channels))
        if not spoken.any():
            say(f'{trained.directory}: {utterances.names[0]} shows none of its emotions; left out')
            return
        if left := sorted(set(utterances.emotion[~known])):
            say(
                f'{trained.directory} does not know {", ".join(left)}: {int((~known).sum())} utterances of '
                f'{utterances.names[0]} left out'
            )
    else:
        spoken = known
    utterances = utterances.select(spoken)
    protocol = 'cross_corpus' if crossed else trained.protocol
    chosen, everything = (
        answerable(by, utterances.facts, trained.emotions, trained.corpora) for by in (config.data.supported, 'run')
    )
    if (chosen != everything).any():  # the score assumes more than a stranger's recording gives
        protocol += ', corpus known'
    place = {
        f'{utterances.names[c]}/{i}': n for n, (c, i) in enumerate(zip(utterances.corpus, utterances.id, strict=True))
    }
    finished = trained.finished
    members = []
    for name in finished:
        ids = list(place) if crossed else trained.folds[name]['test']
        if missing := [i for i in ids if i not in place]:
            raise InputError(
                f'{trained.directory} tests {missing[0]} and {len(missing) - 1} more that the built corpus lacks; '
                'build the corpus the run was trained on, or give its --data_dir'
            )
        fold, seed = name.rsplit('_seed', 1)
        test = np.array([place[i] for i in ids], np.int32)
        members.append(Member(name, int(fold.removeprefix('fold')), int(seed), test[:0], test[:0], test))
    at_once = scored_at_once(len(members))
    made: dict[int, Group] = {}  # what is compiled and shared serves all members
    for i in range(0, len(members), at_once):
        some = members[i : i + at_once]
        for member, prediction in zip(some, _predict(trained, config, utterances, some, made), strict=True):
            yield _rows(trained, utterances, member, prediction, protocol)


def _predict(trained: Trained, config, utterances: Utterances, members: list[Member], made: dict) -> list[Prediction]:
    names, span = [m.name for m in members], assemble.eval_span(config, utterances)
    own, size = trained.own(names, utterances.text), len(members)
    if size not in made:
        made.clear()  # the corpus is on the devices once
        shared = assemble.shared_arrays(config, utterances, trained.emotions, span, trained.corpora)
        mesh = device_mesh(size, 1)  # scoring divides members only
        made[size] = Group(trained.learner, members, own, shared, utterances, mesh, batch_size=1, steps=1)
    group = made[size] = made[size].regroup(members, own)
    return group.predict(group.place(trained.variables(names)), [m.test for m in members], span)


def _rows(trained: Trained, utterances: Utterances, member: Member, said: Prediction, protocol: str) -> pa.Table:
    """One member's answers as rows of the table of predictions."""
    at, parts = said.utterance, []
    for modality, probabilities in said.probabilities.items():
        same = lambda value: np.full(len(at), value)
        answer = np.array(trained.emotions, object)[probabilities.argmax(1)]
        columns = {
            'run': same(str(trained.directory)),
            'config': same(assemble.title(trained.config)),
            'protocol': same(protocol),
            'member': same(member.name),
            'fold': same(np.int32(member.fold)),
            'seed': same(np.int32(member.seed)),
            'planned': same(np.int32(len(trained.folds))),
            'modality': same(modality),
            'corpus': np.array(utterances.names, object)[utterances.corpus[at]],
            'id': utterances.id[at],
            'speaker': utterances.speaker[at],
            'sex': utterances.sex[at],
            'emotion': utterances.emotion[at],
            'predicted': answer,
            'seconds': utterances.seconds[at].astype(np.float32),
        }
        columns |= {f'p_{e}': probabilities[:, c] for c, e in enumerate(trained.emotions)}
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def find_runs(patterns: Sequence[str]) -> list[pathlib.Path]:
    """The directories that the patterns name, sorted, each once.

    Raises:
      InputError: a pattern matches nothing, or nothing that was trained.
    """
    if not patterns:
        raise InputError("no --runs given; e.g. --runs='runs/*'")
    found = []
    for pattern in patterns:
        paths = sorted(pathlib.Path(p) for p in glob.glob(os.path.expanduser(pattern)))
        trained = [p for p in paths if (p / 'config.json').exists()]
        if not trained:
            raise InputError(
                f'--runs={pattern} matches {len(paths)} paths and no trained run; give the --workdir of a training'
            )
        found.extend(p for p in trained if p not in found)
    return found


def _whole(directories: Sequence[pathlib.Path]) -> pathlib.Path:
    """The directory of the run of which `directories` hold the pieces, made or renewed; beside them by default."""
    beside = os.path.commonpath([d.absolute().parent for d in directories])
    whole = pathlib.Path(flags.FLAGS.output or os.path.relpath(os.path.join(beside, 'merged')))
    pieces.join([d for d in directories if d.resolve() != whole.resolve()], whole)
    print(f'merged: {whole}')
    return whole


def main(argv: list[str]) -> None:
    """Scores, shows, writes."""
    if argv[1:]:
        raise InputError(f'unexpected argument {argv[1]!r}; runs are given as --runs=')
    directories = find_runs(flags.FLAGS.runs)
    if flags.FLAGS.merge:
        directories = [_whole(directories)]
    door.prepare_jax()
    runs, parts, broken, opened = [], [], [], {}
    for directory in directories:
        try:
            trained = open_trained(directory)
            parts.append(evaluate_run(trained, opened, flags.FLAGS.corpora, flags.FLAGS.data_dir))
            runs.append(trained)
        except InputError as e:
            if len(directories) == 1:
                raise
            broken.append(str(e))
            print(f'left out: {e}', file=sys.stderr)
    if not runs:
        raise InputError(f'none of the {len(directories)} runs can be scored')
    output = pathlib.Path(
        flags.FLAGS.output
        or (runs[0].directory if len(runs) == 1 else os.path.commonpath([r.directory for r in runs]) or '.')
    )
    predictions = pa.concat_tables(parts, promote_options='default')
    scores = scoring.scores_by(predictions)
    write(output, runs, predictions, scores)
    console = rich.console.Console()
    console.print(table.table(scores))
    for line in table.margins(scores):
        console.print(line, markup=False, highlight=False)
    print(
        f'report: {output / "report.html"}   scores: {output / "scores.csv"}   predictions: {output / "predictions.parquet"}'
    )
    print(f'next:   python -m ser_jax.predict --run={runs[0].directory} RECORDING.wav')
    if broken:
        sys.exit(1)


def write(
    output: pathlib.Path, runs: Sequence[Trained], predictions: pa.Table, scores: list, published: str = ''
) -> None:
    """Writes predictions.parquet, scores.csv and report.html to `output`, and MODEL_CARD.md to every run.

    `published`, a table of what others published, stands first in the report.
    """
    output.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(predictions, output / 'predictions.parquet')
    scoring.write_csv(scores, output / 'scores.csv')
    read = lambda run, name: json.loads((run.directory / name).read_text())
    histories = {str(r.directory): logbook.read(r.directory / 'metrics.jsonl') for r in runs}
    configs = {str(r.directory): read(r, 'config.json') for r in runs}
    environment = read(runs[0], 'environment.json')
    html.write(output / 'report.html', scores, predictions, histories, environment, configs, published)
    for r in runs:
        own = [s for s in scores if s.run == str(r.directory)]
        model_card.write(
            r.directory / 'MODEL_CARD.md',
            configs[str(r.directory)],
            own,
            read(r, 'environment.json'),
            r.corpora,
            r.emotions,
        )


def define_flags() -> None:
    """The flags of this verb; defined only when it runs, so that verbs can be imported side by side."""
    flags.DEFINE_list('runs', [], "Directories of trained runs; globs like 'runs/*' are expanded.")
    flags.DEFINE_list('corpora', [], 'Built corpora to score on as well, e.g. ravdess,synthetic.')
    flags.DEFINE_bool(
        'merge', False, 'The runs are pieces of one: put them together in --output, a run, and score that.'
    )
    flags.DEFINE_string('data_dir', '', "Where built corpora lie; '' = as each run was trained.")
    flags.DEFINE_string('output', '', "Folder for the results; '' = the run's own, or the folder that holds the runs.")


if __name__ == '__main__':
    define_flags()
    door.run(main)
