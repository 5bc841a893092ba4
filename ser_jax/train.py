"""Training of a run: groups of members, epochs, validation, checkpoints, kept variables."""

import collections
import contextlib
import pathlib
import runpy
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from ser_jax import assemble, distributed, lock
from ser_jax.contract import InputError
from ser_jax.learn import optim
from ser_jax.learn.members import Group, device_mesh
from ser_jax.learn.prediction import Prediction, answering
from ser_jax.runs import checkpoint, logbook
from ser_jax.runs import workdir as directory
from ser_jax.scoring import metrics


class _Training(NamedTuple):
    """The parts of a training that are the same for all groups."""

    run: assemble.Run
    groups: list[list[int]]  # indices of members
    workdir: pathlib.Path
    files: dict[str, Any]  # content of the run's files, by name
    book: logbook.Logbook
    made: dict[int, Group]  # group size -> group
    say: Callable[[str], None]


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Train every member of `config`, or resume from the state in `workdir`.

    Leaves in `workdir`: config.json, environment.json, folds.json, normalization.json,
    vocabulary.json, metrics.jsonl, tensorboard/, checkpoints/ and best/<member>/. A kept model that
    was removed is trained again.

    Raises:
      InputError: the config cannot be trained, or `workdir` belongs to another config or is in use.
    """
    workdir = pathlib.Path(workdir).absolute()
    first = jax.process_index() == 0
    say = (lambda line: print(line, flush=True)) if first else (lambda line: None)
    with lock.held(workdir, 'training') if first else contextlib.nullcontext():
        try:
            _train(config, workdir, say)
        except Exception as e:
            distributed.leave_if_lost(e)
            raise


def _train(config: ConfigDict, workdir: pathlib.Path, say: Callable[[str], None]) -> None:
    """Train as in `train`, in a directory that no other process works in."""
    config = directory.settle(config, workdir)
    run = assemble.open_run(config)
    directory.decide_at_once(run)
    which = _chosen(run)
    groups = [
        which[i : i + config.members.at_once] for i in range(0, len(which), config.members.at_once)
    ]
    for group in groups:
        device_mesh(len(group), config.train.batch_size)  # raises before anything is written
    _warn(run, len(which), say)
    files, first = directory.describe(run, workdir), jax.process_index() == 0
    # A folder without config.json is no run yet: write its files before the first checkpoint.
    if first and not (workdir / 'config.json').exists():
        directory.write(files, workdir)
    book = logbook.Logbook(workdir, config.train.tensorboard, writes=first)
    try:
        training = _Training(run, groups, workdir, files, book, {}, say)
        _go_through(training, list(range(len(groups))), workdir / 'checkpoints')
        for g in _lost(training):
            say(
                f'group {g + 1} of {len(groups)} has lost a kept model; its members are trained again'
            )
            _go_through(training, [g], workdir / f'checkpoints_{g}')
        if first:
            for over in workdir.glob('checkpoints_*'):
                shutil.rmtree(over)
    finally:
        book.close()


def _go_through(training: _Training, order: list[int], directory_of_states: pathlib.Path) -> None:
    """Train the groups `order`, or resume from their checkpoints; write the kept variables."""
    run, groups, workdir, files, book, made, say = training
    epochs, first = run.config.train.epochs, jax.process_index() == 0
    checkpoints = progress = None
    try:
        checkpoints = checkpoint.Checkpoints(directory_of_states, run.config.train.keep)
        like = lambda number: _group(run, groups[order[(number - 1) // epochs]], made).init()
        restored = checkpoints.restore(like, say, distributed.shows_lost_process)
        if first:
            directory.write(files, workdir)  # only now: a refused run stays as it is
        done, state = restored or (0, None)
        if restored:
            say(
                f'going on from checkpoint {done}: epoch {(done - 1) % epochs + 1} of {epochs}, '
                f'group {order[(done - 1) // epochs] + 1} of {len(groups)}'
            )
        # The turn to resume; its kept variables are written (again) at its end.
        current = max(0, done - 1) // epochs
        turn = {run.members[k].name: t for t, g in enumerate(order) for k in groups[g]}
        book.rewind(
            lambda r: (
                turn.get(r['member'], -1) < current
                or (r['kind'] == 'epoch' and r['epoch'] <= done - turn[r['member']] * epochs)
            )
        )
        progress = logbook.Progress(len(order) * epochs * run.steps, done * run.steps, first)
        for t in range(current, len(order)):
            group = _group(run, groups[order[t]], made)
            if state is None:
                state = group.init()
            for epoch in range(done - t * epochs, epochs):
                state = _epoch(run, group, state, epoch, book, progress, checkpoints)
                done += 1
                if (epoch + 1) % run.config.train.checkpoint_every == 0 or epoch + 1 == epochs:
                    checkpoints.save(done, state)
            checkpoints.wait()  # kept variables are final only once a resume would begin here
            _keep(group, state, workdir, book)
            state = None
    finally:
        for opened in (progress, checkpoints):
            if opened:
                opened.close()


def _lost(training: _Training) -> list[int]:
    """Return the ended groups that lack a kept model; the same on every process."""
    kept = lambda k: (
        training.workdir / 'best' / training.run.members[k].name / 'about.json'
    ).exists()
    there = np.array([all(kept(k) for k in group) for group in training.groups])
    return np.flatnonzero(~multihost_utils.broadcast_one_to_all(there)).tolist()


def _warn(run: assemble.Run, members: int, say: Callable[[str], None]) -> None:
    """Report values that are valid but most likely not intended."""
    at_once, batch = run.config.members.at_once, run.config.train.batch_size
    if at_once > len(run.members):
        say(
            f'members.at_once={at_once} is more than the {len(run.members)} members of this run: all share a step'
        )
    largest = max(len(m.train if m.versions is None else m.versions) for m in run.members)
    if batch > largest:
        say(
            f'train.batch_size={batch} is more than the {largest} utterances that the largest member '
            f'trains on: one step an epoch, of which at least {batch - largest} places stay empty'
        )


def _epoch(run: assemble.Run, group: Group, state, epoch: int, book, progress, checkpoints):
    """Run one epoch of one group: train, validate, mark the best state, write the records."""
    names = [m.name for m in group.members]
    label = names[0] if len(names) == 1 else f'{len(names)} members'
    for steps, state in zip(group.dispatches, group.train_epoch(state, epoch), strict=True):
        heard = steps * group.batch_size * len(names)
        progress.advance(steps, heard, f'{label} · epoch {epoch + 1}/{run.config.train.epochs}')
    last = run.steps * run.config.train.epochs
    host = group.host(
        {
            'bad': state.bad_step,
            'sum': state.loss_sum,
            'weight': state.loss_weight,
            'best': state.best_score,
            'recent': state.recent,
            'rate': optim.used_rate(
                run.config.optim, last, (epoch + 1) * run.steps, state.optimizer
            ),
        }
    )
    for name, bad in zip(names, host['bad'], strict=True):
        if bad >= 0:
            raise InputError(
                f'the loss of {name} is not finite since step {bad} (epoch {bad // run.steps + 1}); '
                f'{checkpoints.newest()}; lower optim.learning_rate, or set optim.clip, and use a new --workdir'
            )
    train_loss = host['sum'] / np.maximum(host['weight'], 1e-9)
    scores = _validate(run, group, group.learner.candidate(state))
    uar, loss = (np.array(x) for x in zip(*scores, strict=True))
    merit = {'uar': uar, 'loss': -loss, 'last': np.full(len(names), float(epoch))}
    merit = merit[run.config.train.select].astype(np.float32)  # as in the state: ties are equal
    if run.config.train.select != 'last':  # scores of a few speakers vary between epochs
        before = np.where(np.isnan(host['recent']), merit, host['recent'])
        merit = before + (merit - before) / np.float32(run.config.train.select_over)
    rate = np.broadcast_to(host['rate'], len(names))
    # Of equal scores the later epoch is kept, because the learning rate has fallen since.
    state = group.keep(state, merit >= host['best'], merit, epoch + 1)
    for k, name in enumerate(names):
        book.write(
            {
                'kind': 'epoch',
                'member': name,
                'epoch': epoch + 1,
                'step': (epoch + 1) * run.steps,
                'train_loss': round(float(train_loss[k]), 6),
                'valid_loss': _rounded(loss[k]),
                'valid_uar': _rounded(uar[k]),
                'learning_rate': float(rate[k]),
            }
        )
    progress.note = f' · loss {train_loss.mean():.3f}' + (
        '' if np.isnan(uar).any() else f' · validation UAR {uar.mean():.3f}'
    )
    return state


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _validate(run: assemble.Run, group: Group, variables) -> list[tuple[float, float]]:
    """Return (UAR, loss) of each member on its validation speakers; nan where it has none."""
    if not len(group.members[0].valid):
        return [(float('nan'), float('nan'))] * len(group.members)
    span = assemble.scored_span(run.config, run.utterances.layout)
    said = group.predict(variables, [m.valid for m in group.members], span)
    return [score(run, prediction) for prediction in said]


def score(run: assemble.Run, prediction: Prediction) -> tuple[float, float]:
    """Return (UAR, mean negative log-likelihood) of a member's predictions."""
    probabilities = prediction.probabilities[answering(prediction.probabilities)]
    truth = np.array([run.emotions.index(e) for e in run.utterances.emotion[prediction.utterance]])
    uar = metrics.scores(metrics.confusion(truth, probabilities.argmax(1), len(run.emotions)))[
        'uar'
    ]
    return float(uar), float(
        -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)).mean()
    )


def _keep(group: Group, state, workdir: pathlib.Path, book) -> None:
    """Write the kept variables of a finished group, member by member; skip existing ones."""
    best = group.host(state.best)
    about = group.host({'score': state.best_score, 'epoch': state.best_epoch})
    for k, member in enumerate(group.members):
        record = {
            'member': member.name,
            'epoch': int(about['epoch'][k]),
            'score': _rounded(about['score'][k]),
        }
        if not (workdir / 'best' / member.name / 'about.json').exists():
            checkpoint.save_best(
                workdir / 'best' / member.name, jax.tree.map(lambda x, k=k: x[k], best), record
            )
        book.write({'kind': 'kept', **record})


def _group(run: assemble.Run, which: list[int], made: dict[int, Group]) -> Group:
    """Return the group of the members `which`; groups of one size share compiled programs."""
    members, data = [run.members[k] for k in which], run.member_data(which)
    if len(which) in made:
        made[len(which)] = made[len(which)].regroup(members, data)
    else:
        made.clear()  # at most one copy of the corpus on the devices
        config = run.config
        span = max(
            assemble.scored_span(config, run.utterances.layout), run.learner.preprocessing.span
        )
        per_dispatch = config.train.steps_per_dispatch or (
            1 if jax.default_backend() == 'cpu' else 16
        )
        made[len(which)] = Group(
            run.learner,
            members,
            data,
            run.corpus_data(span),
            run.utterances,
            device_mesh(len(which), config.train.batch_size),
            batch_size=config.train.batch_size,
            steps=run.steps,
            per_dispatch=per_dispatch,
        )
    return made[len(which)]


def _chosen(run: assemble.Run) -> list[int]:
    """Return the indices of the members to train."""
    for knob in ('seeds', 'only'):
        counts = collections.Counter(run.config.members[knob])
        if twice := [k for k, n in counts.items() if n > 1]:
            raise InputError(
                f'members.{knob} names {twice[0]} {counts[twice[0]]} times; name each once'
            )
    only = list(run.config.members.only) or list(range(len(run.members)))
    wrong = [k for k in only if not 0 <= k < len(run.members)]
    if wrong:
        raise InputError(
            f'members.only names {wrong[0]}; this run has members 0 to {len(run.members) - 1}'
        )
    return only


if __name__ == '__main__':  # the command is ser_jax.main; run it for this file too
    runpy.run_module('ser_jax.main', run_name='__main__', alter_sys=True)
