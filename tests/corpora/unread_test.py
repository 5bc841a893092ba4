"""Tables among recordings that are no manifest: refused if they look like one, else counted."""

import pathlib
import shutil

import pytest

from ser_jax.contract import InputError, Recording
from ser_jax.corpora import user_folder
from tests import lookalikes


def read(place) -> tuple[dict[str, Recording], list[tuple[str, str]]]:
    """(id -> recording, [(kind, detail)]) of a place."""
    found = list(user_folder.recordings(pathlib.Path(place), 'mine'))
    used = {r.id: r for r in found if isinstance(r, Recording)}
    return used, [(s.kind, s.detail) for s in found if not isinstance(s, Recording)]


TABLES = {
    'metadata.csv': 'file_name,emotion\nhappy/a.wav,happy\n',
    'labels.csv': 'id;label\n1;x\n',
    'meta.tsv': 'filename\tlabel\tspeaker\n',
    'sub/manifest.csv': 'anything',
    'manifest.txt': 'anything',
    'list.txt': 'happy/a.wav happy\nhappy/b.wav sad\n',
    'data.json': '[{"path": "a.wav", "emotion": "bliss"}]',
    'map.json': '{"happy/a.wav": "happy"}',
    'table.xlsx': 'anything',
}


@pytest.mark.parametrize('name', TABLES)
@pytest.mark.parametrize('zipped', [False, True])
def test_a_table_that_is_not_read_is_refused(tmp_path, name, zipped):
    place = lookalikes.write(tmp_path / 'in', {'anna/happy/a.wav': 16000, 'bob/sad/b.wav': 16000})
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text(TABLES[name])
    if zipped:
        place = pathlib.Path(shutil.make_archive(str(tmp_path / 'mine'), 'zip', place))
    with pytest.raises(InputError, match=rf'{name} .*manifest\.csv.*move it away') as e:
        read(place)
    assert '\n' not in str(e.value)


def test_other_tables_are_counted(tmp_path):
    lookalikes.write(tmp_path, {'happy/a.wav': 16000, 'sad/b.wav': 16000})
    for name, text in {
        'notes.txt': 'a day, in may',
        'speakers.csv': 'speaker,age\n1,30\n',
        'a.json': '{"n": 1}',
    }.items():
        (tmp_path / name).write_text(text)
    assert read(tmp_path)[1] == [('ignored', f'no sound (.{s})') for s in ('json', 'txt', 'csv')]
    (tmp_path / 'Manifest.CSV').write_text('path,emotion\nhappy/a.wav,angry\n')
    used, skipped = read(tmp_path)
    assert {r.emotion for r in used.values()} == {'angry'}
    assert skipped == [
        *(('ignored', f'not read beside Manifest.CSV (.{s})') for s in ('json', 'txt', 'csv')),
        ('ignored', 'no line of Manifest.CSV names it'),
    ]
