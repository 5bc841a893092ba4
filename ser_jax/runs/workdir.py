"""Directory of a run at the start of training: resolved config, files, checks before a resume."""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import jax
from ml_collections import ConfigDict

from ser_jax import assemble
from ser_jax.config import completed, differences
from ser_jax.contract import InputError, writing
from ser_jax.data import coverage
from ser_jax.explore.findings import place
from ser_jax.learn.devices import MOST, at_once
from ser_jax.runs import checkpoint, environment, run_files
from ser_jax.runs.inventory import inventory
from ser_jax.runs.run_files import DEFINITION

# Knobs that may change between start and resume without changing the result.
_FREE_TO_CHANGE = (
    'data.dir',
    'data.resident_gb',
    'train.keep',
    'train.steps_per_dispatch',
    'train.tensorboard',
)


def settle(config: ConfigDict, workdir: pathlib.Path) -> ConfigDict:
    """Return the resolved config, checked against the one that `workdir` was begun with.

    Raises:
      InputError: `workdir` is a file, holds other files, or was begun with another config.
    """
    config = assemble.settled(config.copy_and_resolve_references())
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f'--workdir={workdir} is a file; give a folder')
    stored = workdir / 'config.json'
    begun = _read(stored)
    if config.members.at_once == 0 and begun:
        config.members.at_once = begun['members']['at_once']
    files = list(workdir.iterdir()) if workdir.exists() else []
    if begun is None and any(p.suffix != '.writing' for p in files):
        raise InputError(
            f'--workdir={workdir} holds other files and no config.json; give an empty or new folder'
        )
    if begun is not None:
        then, now = (json.loads(c.to_json()) for c in (completed(begun), config))
        differ = {k: v for k, v in differences(then, now).items() if k not in _FREE_TO_CHANGE}
        if differ:
            k, (was, is_now) = next(iter(differ.items()))
            raise InputError(
                f'--workdir={workdir} was begun with another config: {k} was {was!r}, now '
                f'{is_now!r}'
                + (f' (and {len(differ) - 1} more)' if len(differ) > 1 else '')
                + '; give another --workdir, or the config it was begun with'
            )
    return config


def decide_at_once(run: assemble.Run) -> None:
    """Set `members.at_once` if it is 0: one per device on a CPU, else up to 64, equally divided."""
    if run.config.members.at_once:
        return
    each = jax.device_count() if jax.default_backend() == 'cpu' else MOST
    run.config.members.at_once = at_once(len(run.members), each)


def describe(run: assemble.Run, workdir: pathlib.Path) -> dict[str, Any]:
    """Return the content of a run's files by name, checked against those in `workdir`.

    Raises:
      InputError: corpora, pretrained weights or folds differ from those that `workdir` was begun
        with. A resume would score models on speakers that they were trained on.
    """
    names = [m.name for m in run.members]
    mean, std = run.normalization
    files = {
        'config': json.loads(run.config.to_json()),  # first: a folder without it is no run
        'environment': {
            **environment.describe(),
            'fingerprints': run.utterances.fingerprints,
            'begins_with': run.learner.begins_with(),
            'pretrained': run.learner.provenance,
        },
        'folds': {
            'protocol': run.config.members.protocol,
            'emotions': run.emotions,
            'members': {m.name: _sides(run, m) for m in run.members},
            DEFINITION: coverage.definition(run.coverage, run.config, run.emotions),
        },
        'normalization': {
            n: {'mean': m.tolist(), 'std': s.tolist()}
            for n, m, s in zip(names, mean, std, strict=True)
        },
        'vocabulary': dict(zip(names, run.words, strict=True)),
        'corpora': [dataclasses.asdict(f) for f in run.utterances.facts],
        run_files.INVENTORY: inventory(run.utterances),
    }
    _check_unchanged(workdir, files)
    return files


def _sides(run: assemble.Run, member: Any) -> dict[str, list[str]]:
    """Return the utterances, 'corpus/id', of each side of a member."""
    u = run.utterances
    return {
        'train': [place(u, i) for i in member.train],
        'valid': [place(u, i) for i in member.valid],
        'test': [place(u, i) for i in member.test],
    }


def write(files: dict[str, Any], workdir: pathlib.Path) -> None:
    """Write the files of `describe`; remove incomplete files that a killed start left.

    Raises:
      InputError: a file cannot be written.
    """
    with writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        for stale in [
            *workdir.glob(f'*{checkpoint.WRITING}*'),
            *workdir.glob(f'best/*{checkpoint.WRITING}*'),
        ]:
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        run_files.write(workdir, files)


def _read(path: pathlib.Path) -> Any:
    """Return the content of a run's file; None if it does not exist.

    Raises:
      InputError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as e:
        raise InputError(
            f'{path} is damaged ({e}); put a copy of it back, or give another --workdir'
        ) from e


def _check_unchanged(workdir: pathlib.Path, files: dict) -> None:
    begun = {
        name: content for name in files if (content := _read(workdir / f'{name}.json')) is not None
    }
    before = begun.get('environment', {}).get('fingerprints', {})
    changed = sorted(
        c for c, f in files['environment']['fingerprints'].items() if before.get(c, f) != f
    )
    if changed:
        raise InputError(
            f'{workdir} was begun with another build of {", ".join(changed)}; give another '
            '--workdir, or build it as it was'
        )
    weights = files['environment']['begins_with']
    if begun.get('environment', {}).get('begins_with', weights) != weights:
        raise InputError(
            f'{workdir} was begun with other pretrained weights; give another --workdir, or the '
            'file it was begun with'
        )
    for name in ('folds', 'normalization', 'vocabulary'):
        now = run_files.without_definition(json.loads(json.dumps(files[name])))
        if name in begun and run_files.without_definition(begun[name]) != now:
            raise InputError(
                f'{workdir} was begun with other {name}; give another --workdir, or the data it '
                'was begun with'
            )
