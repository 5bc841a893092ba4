"""Merge of a run trained in pieces (`members.only`), each in a directory of its own."""

import json
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ser_jax.config import differences
from ser_jax.contract import InputError
from ser_jax.runs import logbook, run_files

_MARK = 'merged.json'  # member -> its piece; only a folder with this file is overwritten


class Piece(NamedTuple):
    """One directory's part of the run."""

    directory: pathlib.Path
    files: dict[str, Any]  # name -> content of <name>.json
    finished: list[str]  # members, in the run's order


def merge(
    directories: Sequence[pathlib.Path], whole: pathlib.Path, log: Callable[[str], None] = print
) -> None:
    """Write all finished members of the pieces to `whole` as one run; repeat it to add later ones.

    `whole` gets the files that one training of all members would leave, except checkpoints and
    TensorBoard's. The values fitted on a member's training side (normalization, vocabulary) come
    from the piece that trained it. Missing members are reported through `log`.

    Raises:
      InputError: the pieces do not belong to one run (configs that differ in more than
        members.only, other builds of the corpora, other folds), two hold the same member, none
        holds any, or `whole` holds other files.
    """
    whole = pathlib.Path(whole)
    merged_or_new = not whole.exists() or (whole / _MARK).exists()
    if not merged_or_new and (not whole.is_dir() or any(whole.iterdir())):
        raise InputError(
            f'{whole} holds something else than merged pieces; give an empty or new folder as '
            '--output'
        )
    pieces = [_open(pathlib.Path(d)) for d in directories]
    if not pieces:
        raise InputError(
            f'no pieces to merge into {whole}; give the --workdir of every piece as --runs'
        )
    for piece in pieces[1:]:
        _check_same_run(pieces[0], piece)
    holder = _holders(pieces)
    if not holder:
        raise InputError(
            f'none of the {len(pieces)} pieces has a finished member yet; let their trainings end'
        )
    members = list(pieces[0].files['folds']['members'])
    if missing := [m for m in members if m not in holder]:
        log(
            f'{len(missing)} of {len(members)} members are missing from {whole}: '
            f'{", ".join(missing)}'
        )
    _write(whole, pieces, holder, members)


def _holders(pieces: Sequence[Piece]) -> dict[str, Piece]:
    """Return the piece that holds each finished member."""
    holder: dict[str, Piece] = {}
    for piece in pieces:
        for member in piece.finished:
            if member in holder:
                raise InputError(
                    f'{holder[member].directory} and {piece.directory} both hold {member}; leave '
                    'one of them out of --runs'
                )
            holder[member] = piece
    return holder


def _open(directory: pathlib.Path) -> Piece:
    files = run_files.read(directory)
    finished = [
        m for m in files['folds']['members'] if (directory / 'best' / m / 'about.json').exists()
    ]
    return Piece(directory, files, finished)


def _check_same_run(first: Piece, other: Piece) -> None:
    both = f'{first.directory} and {other.directory} are not pieces of one run'
    differ = differences(first.files['config'], other.files['config'])
    differ.pop('members.only', None)
    if differ:
        k, (a, b) = next(iter(differ.items()))
        raise InputError(
            f'{both}: {k} is {a!r} and {b!r}'
            + (f' (and {len(differ) - 1} more)' if len(differ) > 1 else '')
            + '; pieces may differ in members.only alone'
        )
    a, b = (p.files['environment']['fingerprints'] for p in (first, other))
    if changed := sorted(c for c in a.keys() | b.keys() if a.get(c) != b.get(c)):
        raise InputError(
            f'{both}: they were trained on other builds of {", ".join(changed)}; train both on the '
            'same build'
        )
    weights = [p.files['environment'].get('begins_with') for p in (first, other)]
    if weights[0] != weights[1]:
        raise InputError(
            f'{both}: they began with other pretrained weights; train both with the same file'
        )
    a, b = (run_files.without_definition(p.files['folds']) for p in (first, other))
    if a != b:
        raise InputError(f'{both}: their folds differ; train both with the same version of ser_jax')


def _write(
    whole: pathlib.Path, pieces: list[Piece], holder: dict[str, Piece], members: list[str]
) -> None:
    (whole / 'best').mkdir(parents=True, exist_ok=True)
    run_files.replace(
        whole / _MARK, json.dumps({m: str(p.directory) for m, p in holder.items()}, indent=1)
    )
    for stale in (whole / 'best').iterdir():
        shutil.rmtree(stale)
    for member, piece in holder.items():
        fresh = whole / 'best' / f'{member}.writing'
        shutil.copytree(piece.directory / 'best' / member, fresh)
        fresh.rename(whole / 'best' / member)
    files = dict(pieces[0].files)
    files['config'] = {**files['config'], 'members': {**files['config']['members'], 'only': []}}
    for name in ('normalization', 'vocabulary'):
        files[name] = {m: holder.get(m, pieces[0]).files[name][m] for m in members}
    others = {}
    for piece in pieces[1:]:
        if other := _other(files['environment'], piece.files['environment']):
            others[str(piece.directory)] = other
    if others:
        files['environment'] = {**files['environment'], 'other_pieces': others}
    # Builds and folds are equal, so all inventories are equal.
    inventories = (run_files.read_inventory(p.directory) for p in pieces)
    if inventory := next(filter(None, inventories), None):
        files[run_files.INVENTORY] = inventory
    run_files.write(whole, files)
    records = []
    for piece in pieces:
        records += [r for r in run_files.history(piece.directory) if r['member'] in members]
    records.sort(key=lambda r: members.index(r['member']))  # stable: members keep their order
    run_files.replace(whole / 'metrics.jsonl', ''.join(map(logbook.line, records)))


def _other(first: dict, this: dict) -> dict:
    """Return the entries of a piece's environment that differ from the first one's."""
    return {k: v for k, v in this.items() if first.get(k) != v}
