"""Data of the person who uses the app: one SQLite file in one private folder, and nothing else.

Freed pages are overwritten (`secure_delete`) and the log of changes is emptied after every
deletion, so that no deleted byte stays in a file. A connection lasts for one operation: windows,
threads and processes share the file.
"""

import contextlib
import datetime
import json
import os
import pathlib
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ser_jax.contract import InputError, writing

FILE, VOICES = 'data.sqlite', 'voices'
_SECONDS = 10.0  # longest wait for another process
_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS verdicts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, made TEXT NOT NULL, origin TEXT NOT NULL,
  seconds REAL NOT NULL, emotion TEXT NOT NULL, probability REAL NOT NULL,
  probabilities TEXT NOT NULL, model TEXT NOT NULL, transcript TEXT NOT NULL DEFAULT '',
  note TEXT NOT NULL DEFAULT '', audio BLOB);
CREATE TABLE IF NOT EXISTS lessons (
  id INTEGER PRIMARY KEY AUTOINCREMENT, made TEXT NOT NULL, emotion TEXT NOT NULL,
  sentence TEXT NOT NULL, seconds REAL NOT NULL, audio BLOB NOT NULL);
"""


class Verdict(NamedTuple):
    """One answer of the history.

    Attributes:
      id: 0 before it is saved.
      made: time in UTC, ISO 8601.
      origin: 'recorded' or 'uploaded'.
      seconds: length of the recording.
      emotion: the most probable class.
      probability: that of `emotion`.
      probabilities: of all classes by name.
      model: 'general', or the name of a version.
      transcript: text that the model was given.
      note: of the person.
      audio: WAV file, None without consent.
    """

    id: int
    made: str
    origin: str
    seconds: float
    emotion: str
    probability: float
    probabilities: dict[str, float]
    model: str
    transcript: str = ''
    note: str = ''
    audio: bytes | None = None


class Lesson(NamedTuple):
    """One kept recording of the person; emotion '' = without a label."""

    id: int
    made: str
    emotion: str
    sentence: str
    seconds: float
    audio: bytes


def default_folder() -> pathlib.Path:
    """Return the user's folder for data of this program, by the XDG convention."""
    home = os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share')
    return pathlib.Path(home) / 'ser_jax'


def now() -> str:
    """Return the time in UTC, ISO 8601, in seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')


class Store:
    """Settings, verdicts and lessons of one person.

    Args:
      folder: new, empty or a store; made with permissions 0700 if it does not exist.

    Raises:
      InputError: the folder or its file cannot be used.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder).expanduser()
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (self.folder / FILE).exists() and any(self.folder.iterdir()):
                raise InputError(
                    f'{self.folder} holds other files; give --data_dir a new or empty folder, '
                    'for it alone'
                )
            self.folder.chmod(0o700)
        with self._open() as connection:
            connection.executescript(_SCHEMA)

    @property
    def voices(self) -> pathlib.Path:
        """Folder of the personalized models."""
        return self.folder / VOICES

    def setting(self, name: str, default: str = '') -> str:
        """Return a setting."""
        with self._open() as connection:
            row = connection.execute('SELECT value FROM settings WHERE name = ?', [name]).fetchone()
        return row[0] if row else default

    def set(self, name: str, value: str) -> None:
        """Save a setting."""
        with self._open() as connection:
            connection.execute('INSERT OR REPLACE INTO settings VALUES (?, ?)', [name, value])

    def add_verdict(self, verdict: Verdict) -> int:
        """Save an answer; return its id."""
        row = verdict._asdict() | {'probabilities': json.dumps(verdict.probabilities)}
        del row['id']
        columns, marks = ', '.join(row), ', '.join(f':{name}' for name in row)
        with self._open() as connection:
            done = connection.execute(f'INSERT INTO verdicts ({columns}) VALUES ({marks})', row)
            return int(done.lastrowid or 0)

    def verdicts(self) -> list[Verdict]:
        """Return the history, newest first."""
        with self._open() as connection:
            rows = connection.execute(
                f'SELECT {", ".join(Verdict._fields)} FROM verdicts ORDER BY made DESC, id DESC'
            ).fetchall()
        found = [Verdict(*row) for row in rows]
        return [v._replace(probabilities=json.loads(str(v.probabilities))) for v in found]

    def add_note(self, id: int, note: str) -> None:
        """Save the note of an answer; it replaces an earlier one."""
        with self._open() as connection:
            connection.execute('UPDATE verdicts SET note = ? WHERE id = ?', [note, id])
            self._forget(connection)

    def add_lessons(self, lessons: list[Lesson]) -> None:
        """Save recordings for teaching: all or none."""
        with self._open() as connection:
            connection.executemany(
                'INSERT INTO lessons (made, emotion, sentence, seconds, audio) '
                'VALUES (?, ?, ?, ?, ?)',
                [lesson[1:] for lesson in lessons],
            )

    def lessons(self) -> list[Lesson]:
        """Return the recordings for teaching, oldest first."""
        with self._open() as connection:
            rows = connection.execute(
                f'SELECT {", ".join(Lesson._fields)} FROM lessons ORDER BY id'
            ).fetchall()
        return [Lesson(*row) for row in rows]

    def delete(self, table: str, id: int | None = None) -> None:
        """Delete one row of 'verdicts' or 'lessons', or all; no byte of it stays."""
        if table not in ('verdicts', 'lessons'):
            raise ValueError(table)
        with self._open() as connection:
            if id is None:
                connection.execute(f'DELETE FROM {table}')
            else:
                connection.execute(f'DELETE FROM {table} WHERE id = ?', [id])
            self._forget(connection)

    def drop_audio(self) -> None:
        """Delete the recordings of the history; the answers stay."""
        with self._open() as connection:
            connection.execute('UPDATE verdicts SET audio = NULL')
            self._forget(connection)

    def delete_everything(self) -> None:
        """Delete all that the app has saved: rows, settings, personalized models.

        Raises:
          InputError: a file is in use by another program or cannot be removed; give it again.
        """
        with writing(self.voices):
            if self.voices.exists():
                shutil.rmtree(self.voices)
        with self._open() as connection:
            for table in ('settings', 'verdicts', 'lessons', 'sqlite_sequence'):
                connection.execute(f'DELETE FROM {table}')
            connection.commit()
            connection.execute('VACUUM')
            self._forget(connection)

    def _forget(self, connection: sqlite3.Connection) -> None:
        """Empty the log of changes, which still holds pages as they were."""
        connection.commit()
        busy, *_ = connection.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()
        if busy:
            raise InputError(
                f'{self.folder / FILE} is being read by another program, so traces of deleted data '
                'remain in its log; end that program and delete again'
            )

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one operation: saved at its end, or not at all after an error."""
        path = self.folder / FILE
        try:
            if not path.exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = sqlite3.connect(path, timeout=_SECONDS)
            try:
                connection.execute('PRAGMA journal_mode = WAL')
                connection.execute('PRAGMA synchronous = FULL')  # saved is saved, power cut or not
                connection.execute('PRAGMA secure_delete = ON')
                connection.execute('PRAGMA temp_store = MEMORY')  # no copy in another folder
                with connection:
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as e:
            raise InputError(
                f'{path} cannot be read or written ({e}); make room on the disk, end '
                'other programs that use it, check its permissions, or give another --data_dir'
            ) from e


def as_json(verdicts: list[Verdict]) -> str:
    """Return the history as JSON, without audio."""
    return json.dumps([_plain(v) for v in verdicts], indent=1, ensure_ascii=False) + '\n'


def _plain(verdict: Verdict) -> Mapping[str, Any]:
    fields = verdict._asdict()
    del fields['audio']
    return fields
