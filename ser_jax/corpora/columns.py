"""Columns of a manifest: their names, the required ones, and the lines of CSV, TSV or JSONL."""

import collections
import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from ser_jax.audio import wav
from ser_jax.contract import InputError
from ser_jax.corpora import labels, tables
from ser_jax.emotions import VALENCE, word

SUFFIXES = ('.csv', '.tsv', '.jsonl')
COLUMNS = ('path', 'emotion', 'speaker', 'text', 'sex', 'language', 'intensity', 'channel', 'id')
OTHER_NAMES = {
    'file': 'path', 'filename': 'path', 'label': 'emotion', 'transcript': 'text', 'gender': 'sex',
}  # fmt: skip
HELP = 'expected the columns path and emotion (speaker, text, sex ... where known)'


def lines(manifest: Path) -> Iterator[tables.Line[str]]:
    """Yield the lines of a manifest with the names of COLUMNS as keys.

    Raises:
      InputError: the file is unreadable or empty, or its header is invalid.
    """
    try:
        text = tables.decode(manifest.read_bytes(), str(manifest))
    except OSError as e:
        raise InputError(
            f'{manifest} cannot be read ({e.strerror}); check its permissions and the disk'
        ) from e
    if not text.strip():
        raise InputError(f'{manifest} is empty; {HELP}')
    if manifest.suffix.lower() == '.jsonl':
        if text.lstrip().startswith('['):
            raise InputError(
                f'{manifest} is a JSON list; write one object per line, '
                '{"path": ..., "emotion": ...}'
            )
        yield from map(_of_json, tables.json_rows(text))
        return
    header = tables.header(text, str(manifest), _column, ('path', 'emotion'))
    _check_header(manifest, header)
    path_column, emotion_column = map(header.columns.index, ('path', 'emotion'))

    def like_row(cells: list[str]) -> bool:
        """Return True if cells have a known emotion, an audio suffix or an existing file."""
        if len(cells) >= len(header.columns) and word(cells[emotion_column]) in VALENCE:
            return True
        if any(cell.lower().endswith(wav.SUFFIXES) for cell in cells):
            return True
        path = cells[path_column] if path_column < len(cells) else ''
        return os.path.isfile(manifest.parent / path)

    yield from tables.rows(text, header, like_row)


def _check_header(manifest: Path, header: tables.Header) -> None:
    if any(name.lower().endswith(wav.SUFFIXES) for name in header.written):
        first = header.delimiter.join(header.written)
        raise InputError(
            f'{manifest}: line {header.number} is {first[:80]!r}, not a header; '
            f'put {",".join(COLUMNS[:3])} above it'
        )
    for name, column in zip(header.written, header.columns, strict=True):
        if near := _near(column):
            raise InputError(
                f'{manifest} has a column {name!r}; did you mean {near}? '
                f'expected {", ".join(COLUMNS)}'
            )
    written = collections.defaultdict(list)
    for name, column in zip(header.written, header.columns, strict=True):
        written[column].append(name)
    for column in COLUMNS:
        if len(names := written[column]) > 1:
            raise InputError(
                f'{manifest} has {len(names)} columns for the {column}, {" and ".join(names)}; '
                'keep one'
            )
    if absent := [c for c in ('path', 'emotion') if c not in header.columns]:
        raise InputError(
            f'{manifest} has no column {absent[0]}; it has {", ".join(header.written)}; {HELP}'
        )


def _of_json(line: tables.Line[object]) -> tables.Line[str]:
    """Return a JSON line with the names of COLUMNS as keys and its values as text."""
    if line.values is None:
        return tables.Line(line.number, None, line.fault)
    row: dict[str, str] = {}
    for name, value in line.values.items():
        column = _column(name)
        if near := _near(column):
            return tables.Line(line.number, None, f'has {name!r}; did you mean {near}?')
        if column in COLUMNS:
            if column in row:
                return tables.Line(line.number, None, f'has {column} twice, once as {name!r}')
            try:
                row[column] = tables.word(value)
            except ValueError as e:
                return tables.Line(line.number, None, f'{column}: {e}')
    return tables.Line(line.number, {'path': '', 'emotion': '', **row})


def _column(name: str) -> str:
    """Return the normalized column name of a heading."""
    plain = labels.normal(name).lower()
    return OTHER_NAMES.get(plain, plain)


def _near(column: str) -> str:
    """Return the name in COLUMNS that `column` probably misspells, '' if there is none."""
    near = [] if column in COLUMNS else difflib.get_close_matches(column, COLUMNS, 1, 0.8)
    return near[0] if near else ''
