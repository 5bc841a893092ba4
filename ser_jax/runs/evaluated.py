"""Predictions that `evaluate` left behind, found for each run and checked before use.

They lie in the run's directory, or, if several runs were evaluated together, in a folder above it.
"""

import os
import pathlib
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from ser_jax.contract import InputError
from ser_jax.runs.trained import find_runs
from ser_jax.scoring.scores import COLUMNS

FILE = 'predictions.parquet'
_NUMBERS = ('fold', 'seed')
_ROW = ('run', 'corpus', 'protocol', 'modality', 'member', 'id')


class Evaluated(NamedTuple):
    """A run with its predictions.

    Attributes:
      place: the run's directory; for a table without its runs, the name of the run in it.
      file: the table's path.
      table: the run's rows; the column `run` is `place`.
      note: '' unless the rows were written for a folder of another name.
    """

    place: str
    file: pathlib.Path
    table: pa.Table
    note: str = ''


class Unevaluated(InputError):
    """A run without predictions; `place` is its directory."""

    def __init__(self, directory: pathlib.Path, found: Iterable[str] = ()):
        self.place = str(directory)
        others = f' ({FILE} there is of {", ".join(sorted(found))})' if found else ''
        super().__init__(
            f'{directory} was not evaluated yet{others}; give '
            f'python -m ser_jax.evaluate --runs={shlex.quote(str(directory))}'
        )


def read(path: pathlib.Path) -> pa.Table:
    """Return a table of predictions.

    Raises:
      InputError: the file is damaged, has other columns or no rows, or has a row twice.
    """
    remedy = 'evaluate its runs again'
    try:
        table = pa.parquet.read_table(path)
    except (OSError, pa.ArrowException) as e:
        reason = ' '.join(str(e).split()).split('. ')[0]
        raise InputError(f'{path} cannot be read ({reason}); {remedy}') from e
    if missing := [c for c in COLUMNS if c not in table.column_names]:
        raise InputError(
            f'{path} is no table of predictions: it lacks {", ".join(missing)}; {remedy}'
        )
    kinds = dict.fromkeys(COLUMNS, pa.string()) | dict.fromkeys(_NUMBERS, pa.int32())
    kinds |= {c: pa.float64() for c in table.column_names if c.startswith('p_')}
    try:
        for name, kind in kinds.items():
            column = table[name].cast(kind)
            table = table.set_column(table.column_names.index(name), name, column)
    except pa.ArrowException as e:
        raise InputError(f'{path} is no table of predictions: {name} is no {kind}; {remedy}') from e
    if empty := [c for c in COLUMNS if table[c].null_count]:
        raise InputError(f'{path} is damaged: {empty[0]} has empty cells; {remedy}')
    if not table.num_rows:
        raise InputError(f'{path} has no rows; {remedy}')
    keys = [*_ROW, *(c for c in ('side', 'condition') if c in table.column_names)]
    counted = table.group_by(keys).aggregate([([], 'count_all')])
    if pc.max(counted['count_all']).as_py() > 1:
        row = counted.filter(pc.greater(counted['count_all'], 1)).slice(0, 1).to_pylist()[0]
        raise InputError(f'{path} has {row["corpus"]}/{row["id"]} twice; {remedy}')
    return table


class Shelf:
    """Tables of predictions, each read once.

    Attributes:
      used: names of runs by file that were found to be a directory's.
    """

    def __init__(self) -> None:
        self._tables: dict[pathlib.Path, pa.Table | InputError] = {}
        self.used: dict[pathlib.Path, set[str]] = {}

    def table(self, path: pathlib.Path) -> pa.Table:
        """Return `read(path)`; raise the same error every time."""
        path = path.resolve()
        if path not in self._tables:
            try:
                self._tables[path] = read(path)
            except InputError as e:
                self._tables[path] = e
        if isinstance(found := self._tables[path], InputError):
            raise found
        return found

    def of_run(self, directory: pathlib.Path) -> Evaluated:
        """Return the newest predictions of a run, from its directory or a folder above it.

        Raises:
          InputError: there are none, or the only table that may have them is damaged.
        """
        found, others, broken = [], set(), None
        absolute = pathlib.Path(os.path.abspath(directory))
        for folder in (absolute, *absolute.parents):
            path = folder / FILE
            if not path.is_file():
                continue
            try:
                table = self.table(path)
            except InputError as e:
                broken = broken or (e if folder == absolute else None)
                continue
            names = set(table['run'].to_pylist())
            name = _name_in(names, absolute, alone=folder == absolute)
            if name is None:
                others |= names if folder == absolute else set()
                continue
            self.used.setdefault(path.resolve(), set()).add(name)
            found.append((path.stat().st_mtime_ns, path, name))
        if not found:
            raise broken or Unevaluated(directory, others)
        _, path, name = max(found)
        moved = _parts(name)[-1:] not in ((), (absolute.name,))
        note = f'{directory}: its predictions were made as {name}' if moved else ''
        return Evaluated(str(directory), path, _rows(self.table(path), name, directory), note)

    def of_file(self, path: pathlib.Path, known: Iterable[str] = ()) -> list[Evaluated]:
        """Return every run of a table but the `known`, under the names that it has there.

        Raises:
          InputError: the file is damaged or no table of predictions.
        """
        table = self.table(path)
        names = [n for n in dict.fromkeys(table['run'].to_pylist()) if n not in set(known)]
        return [Evaluated(n, path, _rows(table, n, n)) for n in names]


def _rows(table: pa.Table, name: str, place: pathlib.Path | str) -> pa.Table:
    table = table.filter(pc.equal(table['run'], name))
    renamed = pa.array([str(place)] * table.num_rows, pa.string())
    return table.set_column(table.column_names.index('run'), 'run', renamed)


def _same(name: str, directory: pathlib.Path) -> bool:
    """Return True if a name in a table is the path of `directory`, or its last parts."""
    parts = _parts(name)
    return parts in [d.parts[-len(parts) :] for d in (directory, directory.resolve())]


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a path that name folders; () for '.' and '..'."""
    return tuple(p for p in pathlib.Path(os.path.normpath(name)).parts if p != '..')


def _name_in(names: set[str], directory: pathlib.Path, alone: bool) -> str | None:
    """Return the name under which a table has a run; None if it has none or several.

    A name of another path is accepted if its last part is the directory's, or if it is `alone` in
    the run's own table; and if no run is there any more (it was moved), or the run there has the
    same configuration (this one is a copy).
    """
    if exact := [n for n in names if _same(n, directory)]:
        return exact[0] if len(exact) == 1 else None
    alike = [n for n in names if pathlib.Path(n).name == directory.name]
    if alone and len(names) == 1:
        alike = list(names)
        if not _parts(alike[0]):  # evaluated from inside
            return alike[0]
    if len(alike) != 1:
        return None
    name, here = pathlib.Path(alike[0]), directory / 'config.json'
    for there in (name / here.name, directory.parent / name.name / here.name):
        if there.is_file() and there.read_bytes() != here.read_bytes():
            return None
    return alike[0]


def find(patterns: Sequence[str], shelf: Shelf) -> tuple[list[Evaluated], list[InputError]]:
    """Return the evaluated runs that the patterns match, each once, and the reason for each other.

    Args:
      patterns: directories of runs and globs of them; also tables of predictions, or folders with
        one that are no run, which stand for all runs in the table.

    Raises:
      InputError: no pattern was given, or one matches neither.
    """
    if not patterns:
        raise InputError("no --runs given; e.g. --runs=runs/a,runs/b or --runs='runs/*'")
    found: list[Evaluated] = []
    problems: list[InputError] = []
    for pattern in patterns:
        path = pathlib.Path(os.path.expanduser(pattern))
        path = path / FILE if (path / FILE).is_file() and not is_run(path) else path
        try:
            if path.is_file():
                found += shelf.of_file(path)
                continue
        except InputError as e:
            problems.append(e)
            continue
        for directory in find_runs([pattern]):
            try:
                found.append(shelf.of_run(directory))
            except InputError as e:
                problems.append(e)
    return _once(found), problems


def below(folder: pathlib.Path, shelf: Shelf) -> tuple[list[Evaluated], list[InputError]]:
    """Return the evaluated runs below a folder and in the tables there, and reasons as in `find`.

    Raises:
      InputError: the folder does not exist, or has neither a run nor a table of predictions.
    """
    if not folder.is_dir():
        raise InputError(f'--leaderboard={folder} is no folder; give the folder of your runs')
    runs, tables = [], []
    for place, folders, files in os.walk(folder):
        folders.sort()
        at = pathlib.Path(place)
        if FILE in files:
            tables.append(at / FILE)
        if is_run(at):
            runs.append(at)
            folders.clear()
    if not runs and not tables:
        raise InputError(f'{folder} has no run and no {FILE}; give the folder of your runs')
    found, problems = [], []
    for directory in runs:
        try:
            found.append(shelf.of_run(directory))
        except InputError as e:
            problems.append(e)
    for path in tables:
        try:
            if not is_run(path.parent):
                found += shelf.of_file(path, shelf.used.get(path.resolve(), ()))
        except InputError as e:
            problems.append(e)
    by_line = {str(p): p for p in problems}
    return _once(found), list(by_line.values())


def _once(found: Sequence[Evaluated]) -> list[Evaluated]:
    """Return every run once, with its newest table."""
    newest: dict[str, Evaluated] = {}
    for e in found:
        before = newest.setdefault(os.path.realpath(e.place), e)
        if e.file.stat().st_mtime_ns > before.file.stat().st_mtime_ns:
            newest[os.path.realpath(e.place)] = e
    return list(newest.values())


def is_run(path: pathlib.Path) -> bool:
    """Return True for the directory of a run."""
    return (path / 'config.json').is_file()


def short_names(places: Sequence[str]) -> list[str]:
    """Return the last parts of each path, as few as make all names different."""
    parts = [pathlib.Path(os.path.abspath(p)).parts for p in places]
    names = []
    for own in parts:
        for n in range(1, len(own) + 1):
            if sum(other[-n:] == own[-n:] for other in parts) == 1:
                break
        names.append('/'.join(own[-n:]).replace('//', '/'))
    return names
