"""What is saved is there after a kill; what is deleted is in no file."""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.contract import InputError
from ser_jax.webapp import chronicle
from ser_jax.webapp.store import FILE, Lesson, Store, Verdict, as_json, default_folder

MARKER = 'zanzibar-quokka-7391'
ROOT = pathlib.Path(__file__).parents[2]


def verdict(**fields) -> Verdict:
    plain = Verdict(0, '2026-01-02T03:04:05+00:00', 'recorded', 5.0, 'happy', 0.6,
                    {'happy': 0.6, 'sad': 0.4}, 'general')  # fmt: skip
    return plain._replace(**fields)


def lesson(content: bytes = b'RIFF', emotion: str = 'sad') -> Lesson:
    return Lesson(0, '2026-01-02T03:04:05+00:00', emotion, 'A sentence.', 2.5, content)


def files_with(folder: pathlib.Path, marker: str) -> list[str]:
    files = (p for p in folder.rglob('*') if p.is_file())
    return [p.name for p in files if marker.encode() in p.read_bytes()]


def marked(folder: pathlib.Path) -> Store:
    """A store with the marker in every kind of data, in rows that span pages."""
    store = Store(folder)
    content = MARKER.encode() * 2000
    for i in range(5):
        store.add_verdict(verdict(note=MARKER, transcript=MARKER * 50, audio=content))
        store.add_lessons([lesson(content), lesson(content, '')])
    store.set(MARKER, MARKER)
    version = store.voices / 'run-1' / 'v1'
    version.mkdir(parents=True)
    (version / 'parent.json').write_text(MARKER)
    hidden = store.voices / 'run-1' / '.v2.writing'  # left by a killed process
    hidden.mkdir()
    (hidden / 'personal.npz').write_text(MARKER)
    return store


@settings(max_examples=20, deadline=None)
@given(
    text=st.text(st.characters(exclude_categories=['Cs'])),
    audio=st.none() | st.binary(max_size=500),
    p=st.floats(0, 1),
)
def test_any_answer_comes_back_as_it_was_saved(tmp_path_factory, text, audio, p):
    store = Store(tmp_path_factory.mktemp('store'))
    saved = verdict(transcript=text, note=text, audio=audio, probability=p, probabilities={'a': p})
    id = store.add_verdict(saved)
    assert store.verdicts() == [saved._replace(id=id)]
    rows = list(csv.DictReader(io.StringIO(chronicle.as_csv(store.verdicts()), newline='')))
    assert len(rows) == 1 and float(rows[0]['p_a']) == p
    assert json.loads(as_json(store.verdicts()))[0]['note'] == text


def test_saved_rows_survive_kill_9(tmp_path):
    code = (
        'import os, signal, sys; from ser_jax.webapp.store import *\n'
        'store = Store(sys.argv[1])\n'
        'for i in range(20):\n'
        '  store.add_lessons([Lesson(0, now(), "sad", str(i), 1.0, b"x" * 9000)])\n'
        '  print(i, flush=True)\n'
        'os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path / 'a')],
        cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    assert [x.sentence for x in Store(tmp_path / 'a').lessons()] == done.stdout.split()


def test_two_processes_lose_nothing(tmp_path):
    code = (
        'import sys; from ser_jax.webapp.store import *\n'
        'store = Store(sys.argv[1])\n'
        'for i in range(15): store.add_lessons([Lesson(0, now(), "sad", sys.argv[2], 1.0, b"")])\n'
    )
    running = [
        subprocess.Popen(
            [sys.executable, '-c', code, str(tmp_path / 'a'), name],
            cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)},
        )
        for name in 'ab'
    ]  # fmt: skip
    assert [p.wait(120) for p in running] == [0, 0]
    sentences = [x.sentence for x in Store(tmp_path / 'a').lessons()]
    assert sorted(sentences) == ['a'] * 15 + ['b'] * 15


def test_deleting_everything_leaves_no_byte(tmp_path):
    store = marked(tmp_path / 'a')
    assert len(files_with(tmp_path, MARKER)) >= 3  # the search finds what is there
    store.delete_everything()
    assert files_with(tmp_path, MARKER) == []
    assert files_with(tmp_path, '2026-01-02T03') == []
    assert not store.voices.exists() and store.verdicts() == [] and store.lessons() == []
    store.add_lessons([lesson()])  # the next visit works
    assert [x.id for x in store.lessons()] == [1]


@pytest.mark.parametrize('delete', ['one', 'all', 'audio', 'note'])
def test_every_deletion_leaves_no_byte(tmp_path, delete):
    store = Store(tmp_path / 'a')
    store.add_verdict(verdict(note='stays'))
    id = store.add_verdict(verdict(note=MARKER, audio=MARKER.encode() * 3000))
    if delete == 'audio':
        store.add_note(id, '')
        store.drop_audio()
    elif delete == 'note':
        store.drop_audio()
        store.add_note(id, 'other')
    else:
        store.delete('verdicts', id if delete == 'one' else None)
    assert files_with(tmp_path, MARKER) == []
    assert len(store.verdicts()) == {'one': 1, 'all': 0}.get(delete, 2)


def test_a_reader_that_holds_the_log_is_named(tmp_path, monkeypatch):
    import sqlite3

    monkeypatch.setattr('ser_jax.webapp.store._SECONDS', 0.1)
    store = marked(tmp_path / 'a')
    other = sqlite3.connect(tmp_path / 'a' / FILE)
    other.execute('BEGIN')
    other.execute('SELECT count(*) FROM verdicts').fetchone()
    with pytest.raises(InputError, match='another program'):
        store.delete('verdicts')
    other.close()
    store.delete_everything()
    assert files_with(tmp_path, MARKER) == []


def test_the_folder_is_private(tmp_path):
    store = marked(tmp_path / 'deep' / 'a')
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / FILE).stat().st_mode & 0o077 == 0


def test_the_folder_follows_the_convention(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    assert default_folder() == tmp_path / 'ser_jax'


def test_an_unusable_file_is_refused_in_one_line(tmp_path):
    (tmp_path / FILE).write_text('no database ' * 100)
    with pytest.raises(InputError, match='--data_dir') as e:
        Store(tmp_path)
    assert '\n' not in str(e.value)
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError):
        Store(tmp_path / 'file' / 'below')


def test_a_full_disk_saves_all_or_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path / 'a')
    store.add_lessons([lesson()])
    opened = store._open

    def full():
        return _limited(opened())

    monkeypatch.setattr(store, '_open', full)
    with pytest.raises(InputError, match='room on the disk'):
        store.add_lessons([lesson(b'x' * 10_000), lesson(b'x' * 1_000_000)])
    monkeypatch.undo()
    assert len(store.lessons()) == 1


class _limited:
    """A connection to a file that cannot grow far."""

    def __init__(self, opened):
        self._opened = opened

    def __enter__(self):
        connection = self._opened.__enter__()
        connection.execute('PRAGMA max_page_count = 40')
        return connection

    def __exit__(self, *error):
        return self._opened.__exit__(*error)


def test_a_spreadsheet_runs_no_note_and_a_report_no_script():
    bad = [verdict(note='=HYPERLINK("x")'), verdict(note='<script>alert(1)</script>')]
    assert "'=HYPERLINK" in chronicle.as_csv(bad)
    assert '<script>' not in chronicle.report(bad) and 'no diagnosis' in chronicle.report(bad)
