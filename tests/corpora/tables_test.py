"""Tables taken apart: whatever the quotes, separators and damage, every line comes back once."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.contract import InputError
from ser_jax.corpora import tables

ODD = '\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e'
VALUES = st.text(st.sampled_from(f'ab é,;\t"\'\\{ODD}\n\r'), max_size=8)
CLEAN = st.text(st.sampled_from(f"ab é,;'\\{ODD}"), max_size=8)


def taken(text, required=('n', 'x')):
    found = tables.header(text, 't.csv', str, required)
    return found, list(tables.rows(text, found))


def plain(rows):
    return [[v.strip() for v in row] for row in rows]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=6),
    st.sampled_from(',;\t'),
    st.sampled_from(['\n', '\r\n', '\r']),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.booleans(),
)
def test_what_a_writer_of_tables_wrote_comes_back(rows, delimiter, end, quoting, last):
    """Line breaks within quotes included, unless what follows them could be a row itself."""
    out = io.StringIO(newline='')
    if {'\n', '\r'} & {*''.join(map(''.join, rows))}:
        quoting = (
            csv.QUOTE_ALL
        )  # before Python 3.13 a line break that is not `end` is written without quotes
    rows = [(f'r{i}', *row) for i, row in enumerate(rows)]
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(
        [('n', 'x', 'y', 'z'), *rows]
    )
    text = out.getvalue() if last else out.getvalue().removesuffix(end)
    found = tables.header(text, 't.csv', str, ('n', 'x'))
    lines = list(tables.rows(text, found, lambda cells: False))
    assert not [line.fault for line in lines if line.fault]
    assert [list(line.values.values()) for line in lines] == plain(rows)
    assert found.columns == ('n', 'x', 'y', 'z') and found.delimiter == delimiter


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.text(st.sampled_from(f'ab,,""\t;\\{ODD} '), max_size=12), max_size=8),
    st.sampled_from(['\n', '\r\n', '\r']),
)
def test_any_line_costs_itself_alone(lines, end):
    """Lines of any characters are conserved: as many records as lines, each by its number."""
    text = end.join(['n,x', *lines])
    _, got = taken(text)
    numbers = [n for n, line in enumerate(lines, 2) if line.strip()]
    # A record covers more than one line only if it is a proper one with a line break within quotes.
    covered = [n for line in got for n in range(line.number, line.last + 1)]
    assert [n for n in covered if n in numbers] == numbers
    assert all((line.values is None) == bool(line.fault) for line in got)
    assert all(set(line.values) == {'n', 'x'} for line in got if line.values)


@pytest.mark.parametrize('at', range(6))
@pytest.mark.parametrize('quoting', [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize('closed', [None, 1, 3])
def test_a_quote_that_is_never_closed_is_named_and_swallows_nothing(at, quoting, closed):
    out = io.StringIO(newline='')
    rows = [(f'r{i}', 'happy', '001', 'fine, really' if i % 2 else 'fine') for i in range(6)]
    csv.writer(out, lineterminator='\n', quoting=quoting).writerows([('n', 'x', 's', 't'), *rows])
    lines = out.getvalue().splitlines()
    lines[at + 1] = f'r{at},happy,001,"Well I never'
    if closed and at + closed < 6:  # the end of another value that closes it by chance
        lines[at + 1 + closed] = f'r{at + closed},happy,001,never mind"'
    _, got = taken('\n'.join(lines))
    assert [line.number for line in got] == list(range(2, 8))
    faults = {line.number: line.fault for line in got if line.fault}
    assert 'a quote is never closed' in faults.pop(at + 2)
    assert set(faults) == ({at + closed + 2} if closed and at + closed < 6 else set())
    assert all(line.values['n'] == f'r{line.number - 2}' for line in got if line.values)


@pytest.mark.parametrize(
    'line, fault',
    [
        ('a,b,c', '3 values for 2 columns'),
        ('a', '1 value for 2 columns'),
        ('a,b,', '3 values for 2 columns'),
        ('a,b "c', 'a quote within a value that has none around it'),
        ('a,b"', 'a quote within a value that has none around it'),
        ('a,"b"c', 'characters after a closing quote'),
        ('a,"b"c"', 'characters after a closing quote'),
        ('a,"b', 'a quote is never closed'),
        ('a,"""', 'a quote is never closed'),
        ('a,b\0', 'holds a NUL character'),
        ('"a\n\n","b', 'a quote, opened 2 lines below, is never closed'),
    ],
)
def test_faults_have_a_name(line, fault):
    _, got = taken(f'n,x\n{line}\nc,d\n')
    assert got[0].number == 2 and fault in got[0].fault
    assert got[-1].values == {'n': 'c', 'x': 'd'}


@pytest.mark.parametrize(
    'line, values',
    [
        (' a , b ', ('a', 'b')),
        ('a, "b, c" ', ('a', 'b, c')),
        ('"a","b ""c"" d"', ('a', 'b "c" d')),
        ('a,"b\n\nc"', ('a', 'b\n\nc')),
        ('"",""', ('', '')),
        (',', ('', '')),
        (' ; ,;', (';', ';')),
        ('a,b' + 'x' * 200_000, ('a', 'b' + 'x' * 200_000)),
        ('a,"' + 'y,\n' * 100_000 + '"', ('a', ('y,\n' * 100_000).strip())),
    ],
)
def test_what_is_legal_is_read(line, values):
    text = f'n,x\n{line}\n'
    found = tables.header(text, 't.csv', str, ('n', 'x'))
    (got,) = tables.rows(text, found, lambda cells: False)
    assert tuple(got.values.values()) == values


def test_the_header_decides_the_delimiter():
    for text, delimiter in (
        ('n;x;many, many, commas, here\na;b;c,d,e\n', ';'),
        ('n\tx\ta;b;c,d,e,f\na\tb\tc\n', '\t'),
        ('\n\n  \nn,x\na,b\n', ','),
        ('"n","x;y;z","x"\na,b,c\n', ','),
    ):
        found, got = taken(text)
        assert found.delimiter == delimiter and len(got) == 1 and got[0].values['n'] == 'a'
    assert got[0].number == 2


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'is empty'),
        ('\n \n', 'is empty'),
        ('n,"x\na,b\n', 'line 1: a quote is never'),
        ('n,x,"y\na,b,c"\n', 'line 1: a quote is never closed'),
    ],
)
def test_a_header_that_is_none_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        tables.header(text, 't.csv', str, ('n', 'x'))


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-le', 'utf-16-be', 'utf-32'])
def test_other_encodings_are_named(encoding):
    with pytest.raises(InputError, match=r't\.csv is UTF-16.*save it as UTF-8'):
        tables.decode('path,emotion\nä.wav,happy\n'.encode(encoding), 't.csv')
    with pytest.raises(InputError, match=r'line 3 is not UTF-8 \(byte 0xe4\); save it as UTF-8'):
        tables.decode('a,b\r\nc,d\r\nä,e\r\n'.encode('cp1252'), 't.csv')
    assert tables.decode('ä'.encode('utf-8-sig'), 't.csv') == 'ä'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), JSON, max_size=3) | CLEAN.filter(str.strip), max_size=6
    )
)
def test_every_line_of_json_comes_back(rows):
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows]
    got = list(tables.json_rows('\r\n'.join(lines)))
    assert [line.number for line in got] == list(range(1, len(rows) + 1))
    for line, row in zip(got, rows, strict=True):
        if isinstance(row, dict):
            assert json.dumps(line.values) == json.dumps(row)
        else:
            assert line.values is None and line.fault.startswith('not a JSON object')


@pytest.mark.parametrize(
    'line', ['{"a": 1, "a": 2}', '[' * 100_000, '3', '"x"', '{"a": ' + '9' * 5000 + '}', '{"a": 1']
)
def test_json_that_is_no_row_is_named(line):
    first, second = tables.json_rows(f'{line}\n{{"b": 1}}')
    assert first.fault.startswith('not a JSON object') and second.values == {'b': 1}
