"""Lines of manifests are conserved: each gives one recording or one problem, for any text."""

import json
import pathlib
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_jax.contract import InputError, Recording
from ser_jax.corpora import columns, labels, manifest

HERE = ('happy_01.wav', 'sad_01.wav', 'sub/angry_01.flac', 'é.wav', 'Upper.WAV')


@pytest.fixture
def place(tmp_path):
    (tmp_path / 'wav' / 'sub').mkdir(parents=True)
    for name in HERE:
        (tmp_path / 'wav' / name).write_bytes(b'')
    return tmp_path


def read(place, text, name='manifest.csv'):
    """(recordings, {line: (kind, detail)}) of a manifest's text."""
    path = pathlib.Path(place, name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode('utf-8', 'surrogatepass'))
    found = manifest.recordings(path, 'mine', labels.Labels(place / 'emotions.json'))
    problems = [f for f in found if not isinstance(f, Recording)]
    lines = {int(p.source.removeprefix(f'{path}:')): (p.kind, p.detail) for p in problems}
    assert len(lines) == len(problems)
    return [f for f in found if isinstance(f, Recording)], lines


CELL = st.sampled_from(
    ['wav/happy_01.wav', 'wav/sad_01.wav', 'gone.wav', 'happy', 'sad', 'anna', '', ' ', 'female',
     'speech', '"', '"x', 'x"',
     '"a, b"', 'really, well', 'a\u2028b', 'a\x85b', '\x0b', '\x1c', '\0', '""', 'nan', '_',
     'singing', ';', '\t', '\\']
)  # fmt: skip
GOOD = 'wav/sub/angry_01.flac,angry,anna,fine,male'


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(st.lists(CELL, max_size=6).map(','.join), max_size=8),
    st.sampled_from(['\n', '\r\n', '\r']),
    st.integers(0, 8),
)
def test_every_line_is_a_recording_or_a_problem(place, lines, end, at):
    lines.insert(min(at, len(lines)), GOOD)
    numbers = [n for n, line in enumerate(lines, 2) if line.strip()]
    try:
        used, problems = read(place, end.join(['path,emotion,speaker,text,sex', *lines]))
    except (
        InputError
    ) as e:  # the good line may be in conflict with another, or its speaker the only one
        assert 'lines' in str(e) or 'the speakers are' in str(e)
        return
    path = place / 'manifest.csv'
    starts = [
        line.number for line in columns.lines(path)
    ]  # fewer than numbers if values have line breaks
    assert len(used) + len(problems) == len(starts) and set(problems) <= set(starts) <= set(numbers)
    assert len(starts) == len(numbers) or '"' in path.read_text()
    assert len({r.source for r in used}) == len(used)


VALUE = st.sampled_from(
    ['wav/happy_01.wav', 'gone.wav', 'happy', '', None, 3, 1.5, True, ['a'], {'a': 1}, float('nan'),
     float('inf'), '\0',
     '\ud800', 'male', 'song', 'a\u2028b', 'anna']
)  # fmt: skip
KEYS = st.sampled_from(
    ['path', 'file', 'emotion', 'emotoin', 'speaker', 'text', 'sex', 'channel', 'other']
)


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.dictionaries(KEYS, VALUE, max_size=5), max_size=6))
def test_every_object_is_a_recording_or_a_problem(place, rows):
    rows.append({'path': 'wav/sad_01.wav', 'emotion': 'sad', 'speaker': 'anna'})
    try:
        used, problems = read(place, '\n'.join(map(json.dumps, rows)), 'manifest.jsonl')
    except InputError as e:
        assert 'lines' in str(e)
        return
    assert len(used) + len(problems) == len(rows)
    for r in used:
        json.dumps([r.id, r.speaker, r.text, r.label], ensure_ascii=False).encode()


TEXTS = [
    ('happy', 'anna', 'a, b'),
    ('sad', 'anna', 'c'),
    ('angry', 'bob', 'd ""e""'),
    ('calm', 'bob', ''),
    ('sad', 'bob', 'f'),
]


@pytest.mark.slow
def test_any_edit_of_a_manifest_is_conserved_or_refused(place):
    """Thousands of seeded edits: bytes and quotes put in, taken out and replaced, and cuts."""
    rows = [f'wav/{n},{e},{s},"{t}"' for n, (e, s, t) in zip(HERE, TEXTS, strict=True)]
    whole = '\r\n'.join(['path,emotion,speaker,text', *rows, '']).encode()
    random = np.random.default_rng(0)
    odd = [bytes([b]) for b in range(256)] + [
        b'"',
        b',',
        b'\n',
        b'\r',
        b';',
        '\u2028'.encode(),
    ] * 20
    refused = 0
    for _ in range(5000):
        content = whole
        for _ in range(random.integers(1, 5)):
            at, width = random.integers(len(content) + 1), random.integers(0, 3)
            content = content[:at] + odd[random.integers(len(odd))] + content[at + width :]
        content = content[
            : len(content) if random.random() < 0.8 else random.integers(len(content))
        ]
        try:
            used, problems = read(place, content)
        except InputError as e:
            assert '\n' not in str(e)
            refused += 1
            continue
        physical = [
            x for x in re.split(rb'\r\n?|\n', content.removeprefix(b'\xef\xbb\xbf')) if x.strip()
        ]
        starts = [line.number for line in columns.lines(place / 'manifest.csv')]
        assert len(used) + len(problems) == len(starts) <= len(physical) - 1
    assert refused < 4000
