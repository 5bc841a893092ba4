"""Scores of runs: `python -m ser_jax.evaluate --runs='runs/*' [--corpora=…]` → table and report.

By default a run is scored on the test sides of its own folds. With --corpora every member is scored
on other built corpora too (protocol `cross_corpus`); corpora that a run was trained on are scored
on its folds only. With --merge the runs are pieces of one (`members.only`), merged before scoring.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import rich.console
from absl import flags

from ser_jax import assemble, cli
from ser_jax.contract import InputError
from ser_jax.data import derived, protocols, selection
from ser_jax.data.batches import Member
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import answerable
from ser_jax.explore import split_checks
from ser_jax.learn import arrays
from ser_jax.learn.members import Group, device_mesh, scored_at_once
from ser_jax.learn.prediction import Prediction
from ser_jax.report import table
from ser_jax.runs import merge, results
from ser_jax.runs.trained import Trained, find_runs, open_trained
from ser_jax.scoring import scores as scoring


def evaluate(
    runs: Sequence[Trained], corpora: Sequence[str] = (), data_dir: str = '', say=print
) -> pa.Table:
    """Return the predictions of all finished members, a row per (run, member, modality, utterance).

    Raises:
      InputError: a corpus is not built or is another build than the run's, a kept model is damaged,
        or there is nothing to score.
    """
    opened: dict[tuple, Utterances] = {}
    return pa.concat_tables(
        [evaluate_run(r, opened, corpora, data_dir, say) for r in runs], promote_options='default'
    )


def evaluate_run(
    trained: Trained, opened: dict, corpora: Sequence[str] = (), data_dir: str = '', say=print
) -> pa.Table:
    """Return the predictions of one run, like `evaluate`; `opened` caches corpora between runs."""
    config = trained.config.copy_and_resolve_references()
    config.data.dir = data_dir or config.data.dir
    if waiting := [m for m in trained.folds if m not in trained.finished]:
        say(
            f'{trained.directory}: {len(waiting)} of {len(trained.folds)} members were not trained; scored without them'
        )

    built = selection.open_for(config, opened=opened)
    trained.check_build(built.fingerprints, config.data.dir)
    own = selection.labeled(config, built)
    trained.check_build(own.fingerprints, config.data.dir)  # including texts
    if len(own.facts) == len(trained.corpora):  # same answer classes as in training
        own = dataclasses.replace(own, facts=tuple(trained.corpora))
    if config.data.texts and config.data.texts not in trained.environment['fingerprints']:
        say(
            f'{trained.directory} keeps no fingerprint of {config.data.texts}: its texts may be others '
            'than those trained on'
        )
    parts = list(_run(trained, config, _derived(trained, config, own), False, say))
    for corpus in corpora:
        if corpus in config.data.corpora:
            continue
        other = selection.open_for(config, (corpus,), opened)
        other = other.relabel(config.data.labels, config.data.merge)
        other = _unknown(trained, own, other, say)
        parts.extend(_run(trained, config, _derived(trained, config, other), True, say))
    return pa.concat_tables(parts, promote_options='default')


def _unknown(trained: Trained, own: Utterances, other: Utterances, say) -> Utterances:
    """Drop the utterances of another corpus that share a recording or a speaker with `own`."""
    known, heard = split_checks.shared(own, other)
    name, others = other.names[0], int((heard & ~known).sum())
    run = trained.directory
    if known.any():
        say(f'{run} may have learnt {known.sum()} recordings of {name}; scored without them')
    if others:
        what = f'the speakers of {others} recordings of {name}'
        say(f'{run} may have learnt {what}; scored without them')
    return other.select(~(known | heard))


def _derived(trained: Trained, config, utterances: Utterances) -> Utterances:
    """Return the cached outputs of the frozen layers for the utterances that the run can score.

    A run that holds all parameters reads the stored features if its initial weights are missing or
    were replaced.

    Raises:
      InputError: the weights of the frozen encoder are missing or not those of the training.
    """
    learner = trained.learner
    if not learner.derives:
        return utterances
    if learner.has_frozen:
        trained.check_weights()
    else:
        try:
            if learner.begins_with() != trained.environment.get('begins_with'):
                return utterances
        except InputError:
            return utterances
    return assemble.derived_for(config, utterances.select(trained.takes(utterances)), learner)


def _run(
    trained: Trained, config, utterances: Utterances, crossed: bool, say
) -> Iterator[pa.Table]:
    """Yield the rows of one run on its own test sides, or (`crossed`) on a whole other corpus."""
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
        answerable(by, utterances.facts, trained.emotions, trained.corpora)
        for by in (config.data.supported, 'run')
    )
    if (chosen != everything).any():  # the score assumes that the corpus is known
        protocol += ', corpus known'
    members = _members(trained, utterances, crossed)
    at_once = scored_at_once(len(members))
    made: dict[int, Group] = {}  # compiled programs and shared arrays serve all members
    for i in range(0, len(members), at_once):
        some = members[i : i + at_once]
        for member, prediction in zip(
            some, _predict(trained, config, utterances, some, made), strict=True
        ):
            if not all(np.isfinite(p).all() for p in prediction.probabilities.values()):
                raise InputError(
                    f'{trained.directory / "best" / member.name} gives answers that are no '
                    'numbers: it is damaged; train that member again'
                )
            yield _rows(trained, utterances, member, prediction, protocol)


def _members(trained: Trained, utterances: Utterances, crossed: bool) -> list[Member]:
    """Return the finished members, each with its test side or, `crossed`, all utterances as test.

    Raises:
      InputError: an utterance is missing, or a member was trained on a speaker it is tested on.
    """
    place = {
        f'{utterances.names[c]}/{i}': n
        for n, (c, i) in enumerate(zip(utterances.corpus, utterances.id, strict=True))
    }
    members = []
    for name in trained.finished:
        ids = list(place) if crossed else trained.folds[name]['test']
        if missing := [i for i in ids if i not in place]:
            raise InputError(
                f'{trained.directory} tests {missing[0]} and {len(missing) - 1} more that the built corpus lacks; '
                'build the corpus the run was trained on, or give its --data_dir'
            )
        fold, seed = name.rsplit('_seed', 1)
        test = np.array([place[i] for i in ids], np.int32)
        if not crossed:
            _check_sides(trained, name, utterances.speaker[test], place, utterances.speaker)
        members.append(
            Member(name, int(fold.removeprefix('fold')), int(seed), test[:0], test[:0], test)
        )
    return members


def _check_sides(
    trained: Trained, member: str, tested: np.ndarray, place: dict[str, int], speaker: np.ndarray
) -> None:
    """Refuse a member trained on a speaker it is tested on, unless its protocol names the leak."""
    if protocols.is_leaky(trained.protocol):
        return
    learnt = {
        speaker[place[i]]
        for side in ('train', 'valid')
        for i in trained.folds[member][side]
        if i in place
    }
    if both := sorted(learnt & set(tested)):
        raise InputError(
            f'{trained.directory / "folds.json"}: {member} was trained on {both[0]} and is '
            f'tested on the same speaker, though its protocol {trained.protocol} is none that leaks; '
            'train it again'
        )


def _predict(
    trained: Trained, config, utterances: Utterances, members: list[Member], made: dict
) -> list[Prediction]:
    names, span = [m.name for m in members], assemble.scored_span(config, utterances.layout)
    data, size = trained.member_data(names, utterances.text), len(members)
    if size not in made:
        made.clear()  # at most one copy of the corpus on the devices
        by, emotions = config.data.supported, trained.emotions
        supported = answerable(by, utterances.facts, emotions, trained.corpora)
        corpus = arrays.corpus_data(utterances, emotions, supported, span)
        mesh = device_mesh(size, 1)  # scoring shards members only
        learner = trained.learner
        if utterances.source == derived.SOURCE:
            learner = learner.on_derived(utterances.layout, 1)
        made[size] = Group(learner, members, data, corpus, utterances, mesh, batch_size=1, steps=1)
    group = made[size] = made[size].regroup(members, data)
    return group.predict(group.place(trained.variables(names)), [m.test for m in members], span)


def _rows(
    trained: Trained, utterances: Utterances, member: Member, said: Prediction, protocol: str
) -> pa.Table:
    """Return one member's predictions as rows of the table."""
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


def _whole(directories: Sequence[pathlib.Path]) -> pathlib.Path:
    """Merge the pieces in `directories`; return the merged run, by default beside them."""
    given = flags.FLAGS.output
    whole = (
        pathlib.Path(given)
        if given
        else results.common_folder([d.absolute().parent for d in directories]) / 'merged'
    )
    merge.merge([d for d in directories if d.resolve() != whole.resolve()], whole)
    print(f'merged: {whole}')
    return whole


def main(argv: list[str]) -> None:
    """Score the runs, print the table, write the results."""
    if argv[1:]:
        raise InputError(f'unexpected argument {argv[1]!r}; runs are given as --runs=')
    directories = find_runs(flags.FLAGS.runs)
    if flags.FLAGS.merge:
        directories = [_whole(directories)]
    output = results.folder(flags.FLAGS.output, directories)
    cli.prepare_jax()
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
    predictions = pa.concat_tables(parts, promote_options='default')
    scores = scoring.scores_by(predictions)
    console = rich.console.Console()
    console.print(table.table(scores))
    for line in table.margins(scores):
        console.print(line, markup=False, highlight=False)
    results.write(output, runs, predictions, scores)
    print(
        f'report: {output / "report.html"}   scores: {output / "scores.csv"}   predictions: {output / "predictions.parquet"}'
    )
    print(f'next:   python -m ser_jax.predict --run={runs[0].directory} RECORDING.wav')
    if broken:
        sys.exit(1)


def define_flags() -> None:
    """Define the flags of this verb; only when it runs, so that verbs can be imported together."""
    flags.DEFINE_list('runs', [], "Directories of trained runs; globs like 'runs/*' are expanded.")
    flags.DEFINE_list('corpora', [], 'Built corpora to score on as well, e.g. ravdess,synthetic.')
    flags.DEFINE_bool(
        'merge',
        False,
        'The runs are pieces of one: put them together in --output, a run, and score that.',
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
