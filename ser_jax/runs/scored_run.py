"""Scoring of a run: its members predict their test and validation sides, or other corpora."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from ser_jax import assemble
from ser_jax.contract import InputError
from ser_jax.data import derived, selection, speaker_statistics
from ser_jax.data.batches import Member
from ser_jax.data.distorted import Study
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import answerable
from ser_jax.explore import split_checks
from ser_jax.learn import arrays
from ser_jax.learn.devices import device_mesh, scored_at_once
from ser_jax.learn.members import Group
from ser_jax.learn.prediction import Prediction
from ser_jax.runs import conditions, predictions
from ser_jax.runs.tested_members import tested_members
from ser_jax.runs.trained import Trained
from ser_jax.scoring.rows import TEST, VALIDATION
from ser_jax.scoring.score import TRANSDUCTIVE


def scored(
    trained: Trained,
    opened: dict,
    corpora: Sequence[str] = (),
    data_dir: str = '',
    say=print,
    study: Study | None = None,
) -> pa.Table:
    """Return the predictions of one run, see `ser_jax.evaluate`.

    `opened` caches corpora between runs.
    """
    config = trained.config.copy_and_resolve_references()
    config.data.dir = data_dir or config.data.dir
    study = study and conditions.ready(study, config, corpora, opened, say)
    if waiting := [m for m in trained.folds if m not in trained.finished]:
        say(
            f'{trained.directory}: {len(waiting)} of {len(trained.folds)} members were not '
            'trained; scored without them'
        )

    built = selection.open_for(config, opened=opened)
    trained.check_build(built.fingerprints, config.data.dir)
    training = selection.labeled(config, built)
    trained.check_build(training.fingerprints, config.data.dir)  # including texts
    if len(training.facts) == len(trained.corpora):  # same answer classes as in training
        training = dataclasses.replace(training, facts=tuple(trained.corpora))
    if config.data.texts and config.data.texts not in trained.environment['fingerprints']:
        say(
            f'{trained.directory} has no fingerprint of {config.data.texts}: its texts may differ '
            'from those of the training'
        )

    def score(utterances: Utterances, crossed: bool, members_of=tested_members):
        features = _derived(trained, config, utterances)
        return _run(trained, config, features, crossed, say, members_of)

    parts = list(conditions.rows(trained, config, training, False, study, opened, score))
    for corpus in corpora:
        if corpus in config.data.corpora:
            continue
        other = selection.open_for(config, (corpus,), opened)
        other = other.relabel(config.data.labels, config.data.merge)
        other = _disjoint(trained, training, other, say)
        parts.extend(conditions.rows(trained, config, other, True, study, opened, score))
    return pa.concat_tables(parts, promote_options='default')


def _disjoint(trained: Trained, training: Utterances, other: Utterances, say) -> Utterances:
    """Drop the utterances of another corpus that share a recording or a speaker with `training`."""
    recordings, speakers = split_checks.shared(training, other)
    name, more = other.names[0], int((speakers & ~recordings).sum())
    start = f'{trained.directory} may be trained on'
    if recordings.any():
        say(f'{start} {recordings.sum()} recordings of {name}; scored without them')
    if more:
        say(f'{start} the speakers of {more} recordings of {name}; scored without them')
    return other.select(~(recordings | speakers))


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


def _speakers(config, utterances: Utterances, crossed: bool) -> tuple[Utterances, str]:
    """Return the utterances relative to their speakers as in training, and its note."""
    features, channels = config.features, config.data.channels
    utterances, enrolled = speaker_statistics.relative(utterances, features, channels)
    mode = features.speaker_norm
    note = '' if mode == speaker_statistics.NONE else f', {TRANSDUCTIVE} {mode}'
    return utterances.select(~enrolled) if crossed else utterances, note


def _run(
    trained: Trained,
    config,
    utterances: Utterances,
    crossed: bool,
    say,
    members_of: Callable[[Trained, Utterances, bool], list[Member]] = tested_members,
) -> Iterator[pa.Table]:
    """Yield the rows of one run on its own test sides, or (`crossed`) on a whole other corpus."""
    is_class = np.isin(utterances.emotion, trained.emotions)
    kept = is_class
    if crossed:
        kept = is_class & np.isin(utterances.channel, list(config.data.channels))
        if not kept.any():
            say(f'{trained.directory}: {utterances.names[0]} has none of its classes; left out')
            return
        if others := sorted(set(utterances.emotion[~is_class])):
            say(
                f'{trained.directory} has no class {", ".join(others)}: '
                f'{int((~is_class).sum())} utterances of {utterances.names[0]} left out'
            )
    utterances, note = _speakers(config, utterances.select(kept), crossed)
    protocol = ('cross_corpus' if crossed else trained.label) + note
    chosen, everything = (
        answerable(by, utterances.facts, trained.emotions, trained.corpora)
        for by in (config.data.supported, 'run')
    )
    if (chosen != everything).any():  # the score assumes that the corpus is known
        protocol += ', corpus known'
    members = members_of(trained, utterances, crossed)
    at_once = scored_at_once(len(members))
    made: dict[int, Group] = {}  # compiled programs and shared arrays serve all members
    for i in range(0, len(members), at_once):
        part = members[i : i + at_once]
        for side, predicted in _predict(trained, config, utterances, part, made).items():
            for member, prediction in zip(part, predicted, strict=True):
                _check_finite(trained, member, prediction)
                yield predictions.rows(trained, utterances, member, prediction, protocol, side)


def _check_finite(trained: Trained, member: Member, prediction: Prediction) -> None:
    if not all(np.isfinite(p).all() for p in prediction.probabilities.values()):
        raise InputError(
            f'the predictions of {trained.directory / "best" / member.name} are not finite: it is '
            'damaged; train that member again'
        )


def _predict(
    trained: Trained, config, utterances: Utterances, members: list[Member], made: dict
) -> dict[str, list[Prediction]]:
    """Return the predictions of each member by side; validation only where all members have it."""
    names, span = [m.name for m in members], assemble.scored_span(config, utterances.layout)
    data, size = trained.member_data(names, utterances.text), len(members)
    if size not in made:
        made.clear()  # at most one copy of the corpus on the devices
        by, emotions = config.data.supported, trained.emotions
        supported = answerable(by, utterances.facts, emotions, trained.corpora)
        mesh = device_mesh(size, 1)  # scoring shards members only
        learner = trained.learner
        if utterances.source == derived.SOURCE:
            learner = learner.on_derived(utterances.layout, 1)
        frozen = learner.frozen_variables()
        corpus = arrays.corpus_data(utterances, emotions, supported, span, frozen)
        made[size] = Group(learner, members, data, corpus, utterances, mesh, batch_size=1, steps=1)
    group = made[size] = made[size].regroup(members, data)
    variables, sides = group.place(trained.variables(names)), {TEST: [m.test for m in members]}
    if all(len(m.valid) for m in members):
        sides[VALIDATION] = [m.valid for m in members]
    return {side: group.predict(variables, indices, span) for side, indices in sides.items()}
