"""Parsers of tables, line by line: delimited text after RFC 4180, and JSON lines.

Each line that is not blank is yielded once, as values or with the fault that rules it out. A fault
rules out one line only: parsing continues with the next line, so a quote that is never closed does
not absorb the lines below it.

    found = tables.header(text, 'table.csv', str.lower, ('path', 'emotion'))
    for line in tables.rows(text, found):
        line.number, line.values, line.fault
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ser_jax.contract import InputError

DELIMITERS = '\t;,'
# str.splitlines would also split at U+2028, U+0085, \v, \f and others, which texts contain.
_END = re.compile(r'\r\n?|\n')
_QUOTED = re.compile(r' *"((?:[^"]++|"")*+)" *')
_OPENS = re.compile(r' *"')


class Line(NamedTuple):
    """One row of a table: `values` by column, or the `fault` that rules it out.

    A row with line breaks within quotes ends in line `last`; 0: it ends in line `number`.
    """

    number: int
    values: dict[str, object] | None
    fault: str = ''
    last: int = 0


class Header(NamedTuple):
    """First line of a delimited table: names as written, column names, offset of the rows."""

    delimiter: str
    written: tuple[str, ...]
    columns: tuple[str, ...]
    number: int
    end: int


def decode(content: bytes, name: str) -> str:
    """Return a table's text, without byte order mark.

    Raises:
      InputError: it is not UTF-8 (the message gives the line).
    """
    if is_utf16(content):
        raise InputError(
            f'{name} is UTF-16, as spreadsheets write "Unicode text"; save it as UTF-8'
        )
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as e:
        line = len(_END.findall(content[: e.start].decode('latin-1'))) + 1
        raise InputError(
            f'{name}: line {line} is not UTF-8 (byte 0x{e.object[e.start]:02x}); save it as UTF-8'
        ) from e


def is_utf16(content: bytes) -> bool:
    """Return True for UTF-16 (or UTF-32), with or without byte order mark."""
    start = content[:200]
    return start.startswith((b'\xff\xfe', b'\xfe\xff')) or start.count(0) > len(start) // 4


def header(text: str, name: str, column: Callable[[str], str], required: Sequence[str]) -> Header:
    """Return the header by the delimiter that yields most `required` columns, then most columns.

    Args:
      text: the table.
      name: name of the table, for messages.
      column: maps a name as written to a column name.
      required: columns to find.

    Raises:
      InputError: the table is empty, or a quote in the header is malformed.
    """
    candidates, fault = [], ''
    for delimiter in DELIMITERS:
        first = next(_records(text, delimiter, 0, 1, _never), None)
        if first is None:
            raise InputError(f'{name} is empty')
        number, last, written, end = first
        if last > number:  # a heading with a line break has probably absorbed a row
            written = 'a quote is never closed'
        if isinstance(written, str):
            fault = written  # a tab is tried first, a comma last
            continue
        written = tuple(v.strip() for v in written)
        columns = tuple(map(column, written))
        hits = sum(c in columns for c in required)
        candidates.append(((hits, len(written)), Header(delimiter, written, columns, number, end)))
    best = max(candidates, key=_first, default=None)
    if fault and (best is None or best[0][0] < len(required)):
        raise InputError(f'{name}: line {number}: {fault}')
    return best[1]


def rows(
    text: str, found: Header, like_row: Callable[[list[str]], bool] | None = None
) -> Iterator[Line]:
    """Iterate over the rows below the header.

    Args:
      text: the table.
      found: its header.
      like_row: returns True if cells look like a row of the table, to distinguish a quoted value
        that has absorbed rows from one with line breaks. Default: at least as many cells as the
        header has, and more than one.
    """
    width = len(found.columns)
    if like_row is None:

        def like_row(cells: list[str]) -> bool:
            return len(cells) >= width > 1

    def absorbed(line: str) -> bool:
        return like_row([cell.strip(' "') for cell in line.split(found.delimiter)])

    for number, last, values, _ in _records(
        text, found.delimiter, found.end, found.number + 1, absorbed, width
    ):
        if isinstance(values, str):
            yield Line(number, None, values, last)
        else:
            row = dict(zip(found.columns, map(str.strip, values), strict=True))
            yield Line(number, row, '', last)


def json_rows(text: str) -> Iterator[Line]:
    """Iterate over JSON lines: each is an object or a fault."""
    for number, line in enumerate(_END.split(text), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as e:
            yield Line(number, None, f'no JSON object ({e})')
            continue
        yield Line(number, row) if isinstance(row, dict) else Line(number, None, 'no JSON object')


def word(value: object) -> str:
    """Return a JSON value as text.

    Raises:
      ValueError: the value is neither text nor a finite number.
    """
    if isinstance(value, bool | list | dict) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise ValueError(f'{type(value).__name__} {value!s:.40} is neither text nor a number')
    return '' if value is None else str(value).strip()


def _once(pairs: list[tuple[str, object]]) -> dict:
    row = {}
    for name, value in pairs:
        if name in row:
            raise ValueError(f'{name!r} occurs twice')
        row[name] = value
    return row


def _first(pair: tuple):
    return pair[0]


def _count(n: int, what: str) -> str:
    return f'{n} {what}{"s" * (n > 1)}'


def _never(line: str) -> bool:
    return False


def _records(
    text: str, delimiter: str, at: int, number: int, absorbed: Callable[[str], bool], width: int = 0
) -> Iterator[tuple[int, int, list[str] | str, int]]:
    """Yield (first line, last line, values or fault, end) of every record that is not blank."""
    plain = re.compile(f'[^{delimiter}\r\n]*')
    while at < len(text):
        stop = _END.search(text, at)
        end, after = stop.span() if stop else (len(text), len(text))
        line, lines = text[at:end], 1
        values = line.split(delimiter)
        if '"' in line:
            values, end = _values(text, at, delimiter, plain)
            if not isinstance(values, str):
                inside = _END.split(text[at:end])
                whole = _END.match(text, end)
                if any(map(absorbed, inside[1:])):
                    closed = number + len(inside) - 1
                    values = f'a quote is never closed; the next one is in line {closed}'
                else:
                    after, lines = whole.end() if whole else end, len(inside)
        if not isinstance(values, str):
            if '\0' in text[at:after]:
                values = 'holds a NUL character'
            elif width and not line.strip(f'{delimiter} \t'):
                values = [''] * width  # nothing but delimiters, as spreadsheets end tables
            elif width and len(values) != width:
                values = f'{_count(len(values), "value")} for {_count(width, "column")}'
                values += f' (lines {number} to {number + lines - 1})' * (lines > 1)
        if line.strip():
            yield number, number + lines - 1, values, after
        at, number = after, number + lines


def _values(
    text: str, start: int, delimiter: str, plain: re.Pattern
) -> tuple[list[str] | str, int]:
    """Return (values, end) of the record that begins at `start`, or (fault, start)."""
    values, at = [], start
    while True:
        if quoted := _QUOTED.match(text, at):
            values.append(quoted[1].replace('""', '"'))
            at, before = quoted.end(), at
            if at < len(text) and text[at] not in f'{delimiter}\r\n':
                across = _END.search(quoted[0])
                return (_unclosed(text, start, before) if across else _AFTER), start
        elif _OPENS.match(text, at):
            return _unclosed(text, start, at), start
        else:
            found = plain.match(text, at)
            # In a table with tabs no value needs quotes, and most writers keep them as characters.
            if '"' in found[0] and delimiter != '\t':
                return _INSIDE, start
            values.append(found[0])
            at = found.end()
        if at == len(text) or text[at] != delimiter:
            return values, at
        at += 1


_AFTER = 'characters after a closing quote; write a quote within quotes twice: ""'
_INSIDE = 'a quote within a value that has none around it; write "..." with the quote twice: ""'


def _unclosed(text: str, start: int, at: int) -> str:
    """Return the fault of an open quote at `at` in the record that begins at `start`."""
    below = len(_END.findall(text, start, at))
    return (
        f'a quote, opened {below} line{"s" * (below > 1)} below, is never closed'
        if below
        else 'a quote is never closed'
    )
