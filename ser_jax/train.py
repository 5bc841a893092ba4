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
from ser_jax.learn.devices import device_mesh
from ser_jax.learn.members import Group
from ser_jax.runs import checkpoint, logbook, training_epoch
from ser_jax.runs import workdir as directory


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
    selected, size = _selected(run), run.config.members.at_once
    groups = [selected[i : i + size] for i in range(0, len(selected), size)]
    for group in groups:
        device_mesh(len(group), config.train.batch_size)  # raises before anything is written
    _warn(run, say)
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
                f'group {g + 1} of {len(groups)} has lost a kept model; its members are trained '
                'again'
            )
            _go_through(training, [g], workdir / f'checkpoints_{g}')
        if first:
            for leftover in workdir.glob('checkpoints_*'):
                shutil.rmtree(leftover)
    finally:
        book.close()


def _go_through(training: _Training, order: list[int], directory_of_states: pathlib.Path) -> None:
    """Train the groups `order`, or resume from their checkpoints; write the kept variables."""
    run, groups, workdir, files, book, made, say = training
    epochs, first = run.config.train.epochs, jax.process_index() == 0
    checkpoints = progress = None
    try:
        checkpoints = checkpoint.Checkpoints(directory_of_states, run.config.train.keep)
        restored = checkpoints.restore(
            lambda number: _group(run, groups[order[(number - 1) // epochs]], made).init(),
            say,
            distributed.shows_lost_process,
        )
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
        _rewind(training, order, done)
        progress = logbook.Progress(len(order) * epochs * run.steps, done * run.steps, first)
        for t in range(current, len(order)):
            group = _group(run, groups[order[t]], made)
            if state is None:
                state = group.init()
            for epoch in range(done - t * epochs, epochs):
                state = training_epoch.train_epoch(
                    run, group, state, epoch, book, progress, checkpoints
                )
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


def _rewind(training: _Training, order: list[int], done: int) -> None:
    """Remove the records of epochs after checkpoint `done` from the logbook."""
    epochs = training.run.config.train.epochs
    turn: dict[str, int] = {}  # of each member, in `order`
    for t, g in enumerate(order):
        turn |= {training.run.members[k].name: t for k in training.groups[g]}
    current = max(0, done - 1) // epochs

    def is_past(record: dict) -> bool:
        member = record['member']
        if turn.get(member, -1) < current:
            return True
        return record['kind'] == 'epoch' and record['epoch'] <= done - turn[member] * epochs

    training.book.rewind(is_past)


def _lost(training: _Training) -> list[int]:
    """Return the ended groups that lack a kept model; the same on every process."""
    best = training.workdir / 'best'
    complete = []
    for group in training.groups:
        names = [training.run.members[k].name for k in group]
        complete.append(all((best / name / 'about.json').exists() for name in names))
    on_all = multihost_utils.broadcast_one_to_all(np.array(complete))
    return np.flatnonzero(~on_all).tolist()


def _warn(run: assemble.Run, say: Callable[[str], None]) -> None:
    """Report values that are valid but most likely not intended."""
    for line in run.coverage.lines(run.config.members.protocol):
        say(line)
    at_once, batch = run.config.members.at_once, run.config.train.batch_size
    if at_once > len(run.members):
        say(
            f'members.at_once={at_once} is more than the {len(run.members)} members of this run: '
            'all share a step'
        )
    largest = max(m.epoch_size for m in run.members)
    if batch > largest:
        say(
            f'train.batch_size={batch} is more than the {largest} utterances of the largest '
            f'training side: one step per epoch, with at least {batch - largest} empty slots'
        )


def _keep(group: Group, state, workdir: pathlib.Path, book) -> None:
    """Write the kept variables of a finished group, member by member; skip existing ones."""
    best = group.host(state.best)
    about = group.host({'score': state.best_score, 'epoch': state.best_epoch})
    for k, member in enumerate(group.members):
        record = {
            'member': member.name,
            'epoch': int(about['epoch'][k]),
            'score': training_epoch.rounded(about['score'][k]),
        }
        if not (workdir / 'best' / member.name / 'about.json').exists():
            checkpoint.save_best(
                workdir / 'best' / member.name, jax.tree.map(lambda x, k=k: x[k], best), record
            )
        book.write({'kind': 'kept', **record})


def _group(run: assemble.Run, selected: list[int], made: dict[int, Group]) -> Group:
    """Return the group of the members `selected`; groups of one size share compiled programs."""
    size = len(selected)
    members, data = [run.members[k] for k in selected], run.member_data(selected)
    if size in made:
        made[size] = made[size].regroup(members, data)
    else:
        made.clear()  # at most one copy of the corpus on the devices
        config = run.config
        span = max(
            assemble.scored_span(config, run.utterances.layout), run.learner.preprocessing.span
        )
        per_dispatch = config.train.steps_per_dispatch or (
            1 if jax.default_backend() == 'cpu' else 16
        )
        made[size] = Group(
            run.learner,
            members,
            data,
            run.corpus_data(span),
            run.utterances,
            device_mesh(size, config.train.batch_size),
            batch_size=config.train.batch_size,
            steps=run.steps,
            per_dispatch=per_dispatch,
        )
    return made[size]


def _selected(run: assemble.Run) -> list[int]:
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
            f'members.only must be within 0 to {len(run.members) - 1}, the members of this run, '
            f'got {wrong[0]}'
        )
    return only


if __name__ == '__main__':  # the command is ser_jax.main; run it for this file too
    runpy.run_module('ser_jax.main', run_name='__main__', alter_sys=True)
