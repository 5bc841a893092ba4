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
from typing import Generic, NamedTuple, TypeVar

from ser_jax.contract import InputError

DELIMITERS = '\t;,'
# str.splitlines would also split at U+2028, U+0085, \v, \f and others, which texts contain.
_END = re.compile(r'\r\n?|\n')
_QUOTED = re.compile(r' *"((?:[^"]++|"")*+)" *')
_OPENS = re.compile(r' *"')


Value = TypeVar('Value')  # str, or object in JSON lines


class Line(NamedTuple, Generic[Value]):
    """One row of a table: `values` by column, or the `fault` that rules it out.

    A row with line breaks within quotes ends in line `last`; 0: it ends in line `number`.
    """

    number: int
    values: dict[str, Value] | None
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
        first = next(_records(text, delimiter, 0, 1, lambda line: False), None)
        if first is None:
            raise InputError(f'{name} is empty')
        if first.last > first.number:  # a heading with a line break has probably absorbed a row
            fault = f'line {first.number}: a quote is never closed'
        elif first.fault:
            fault = f'line {first.number}: {first.fault}'  # a tab is tried first, a comma last
        else:
            written = tuple(map(str.strip, first.values))
            columns = tuple(map(column, written))
            hits = sum(c in columns for c in required)
            found = Header(delimiter, written, columns, first.number, first.end)
            candidates.append((hits, len(written), found))
    best = max(candidates, key=lambda candidate: candidate[:2], default=None)
    if best is None or (fault and best[0] < len(required)):
        raise InputError(f'{name}: {fault}')
    return best[2]


def rows(
    text: str, found: Header, like_row: Callable[[list[str]], bool] | None = None
) -> Iterator[Line[str]]:
    """Iterate over the rows below the header.

    Args:
      text: the table.
      found: its header.
      like_row: returns True if cells look like a row of the table, to distinguish a quoted value
        that has absorbed rows from one with line breaks. Default: at least as many cells as the
        header has, and more than one.
    """
    width = len(found.columns)

    def absorbed(line: str) -> bool:
        cells = [cell.strip(' "') for cell in line.split(found.delimiter)]
        return like_row(cells) if like_row else len(cells) >= width > 1

    first = found.end, found.number + 1
    for record in _records(text, found.delimiter, *first, absorbed, width):
        row = None
        if not record.fault:
            row = dict(zip(found.columns, map(str.strip, record.values), strict=True))
        yield Line(record.number, row, record.fault, record.last)


def json_rows(text: str) -> Iterator[Line[object]]:
    """Iterate over JSON lines: each is an object or a fault."""
    for number, line in enumerate(_END.split(text), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError) as e:
            yield Line(number, None, f'not a JSON object ({e})')
            continue
        yield (
            Line(number, row) if isinstance(row, dict) else Line(number, None, 'not a JSON object')
        )


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


def _count(n: int, what: str) -> str:
    return f'{n} {what}{"s" * (n > 1)}'


class _Record(NamedTuple):
    """One row of a delimited table, in lines `number` to `last` of the text, up to offset `end`."""

    number: int
    last: int
    values: list[str]
    fault: str
    end: int


def _records(
    text: str,
    delimiter: str,
    start: int,
    number: int,
    absorbed: Callable[[str], bool],
    width: int = 0,
) -> Iterator[_Record]:
    """Yield every record from `start` on, which is line `number`, that is not blank."""
    plain = re.compile(f'[^{delimiter}\r\n]*')
    while start < len(text):
        stop = _END.search(text, start)
        end, after = stop.span() if stop else (len(text), len(text))
        line, last = text[start:end], number
        values, fault = line.split(delimiter), ''
        if '"' in line:
            values, fault, end = _values(text, start, delimiter, plain)
            if not fault:
                lines = _END.split(text[start:end])
                if any(map(absorbed, lines[1:])):
                    closed = number + len(lines) - 1
                    fault = 'a quote is never closed; the next one, in '
                    fault += f'line {closed}, is in another row'
                else:
                    stop = _END.match(text, end)
                    after, last = stop.end() if stop else end, number + len(lines) - 1
        if not fault and '\0' in text[start:after]:
            fault = 'holds a NUL character'
        elif not fault and width and not line.strip(f'{delimiter} \t'):
            values = [''] * width  # nothing but delimiters, as spreadsheets end tables
        elif not fault and width and len(values) != width:
            fault = f'{_count(len(values), "value")} for {_count(width, "column")}'
            fault += f' (lines {number} to {last})' * (last > number)
        if line.strip():
            yield _Record(number, last, values, fault, after)
        start, number = after, last + 1


def _values(text: str, start: int, delimiter: str, plain: re.Pattern) -> tuple[list[str], str, int]:
    """Return (values, fault, end) of the record that begins at `start`; with a fault: no values."""
    values, position = [], start
    while True:
        if quoted := _QUOTED.match(text, position):
            values.append(quoted[1].replace('""', '"'))
            opened, position = position, quoted.end()
            if position < len(text) and text[position] not in f'{delimiter}\r\n':
                across = _END.search(quoted[0])
                return [], _unclosed(text, start, opened) if across else _AFTER, start
        elif _OPENS.match(text, position):
            return [], _unclosed(text, start, position), start
        else:
            found = plain.match(text, position)  # it may be empty
            end = found.end() if found else position
            # In a table with tabs no value needs quotes, and most writers keep them as characters.
            if '"' in text[position:end] and delimiter != '\t':
                return [], _INSIDE, start
            values.append(text[position:end])
            position = end
        if position == len(text) or text[position] != delimiter:
            return values, '', position
        position += 1


_AFTER = 'characters after a closing quote; write a quote within quotes twice: ""'
_INSIDE = 'a quote within a value that has none around it; write "..." with the quote twice: ""'


def _unclosed(text: str, start: int, at: int) -> str:
    """Return the fault of an open quote at `at` in the record that begins at `start`."""
    below = len(_END.findall(text, start, at))
    opened = f', opened {_count(below, "line")} below,' if below else ''
    return f'a quote{opened} is never closed'
