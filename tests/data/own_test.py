"""One's own recordings: both ways to tell them apart, and a word about everything that is not used."""

import json
import pathlib
import zipfile

import numpy as np
import pytest
import soundfile

from ser_jax.contract import InputError, Recording
from ser_jax.data import own
from tests import lookalikes


def read(place, name='mine') -> tuple[dict[str, Recording], list[tuple[str, str]]]:
    """(id -> recording, [(kind, detail)]) of a place."""
    found = list(own.recordings(pathlib.Path(place), name))
    used = {r.id: r for r in found if isinstance(r, Recording)}
    return used, [(s.kind, s.detail) for s in found if not isinstance(s, Recording)]


@pytest.mark.parametrize(
    'files, said',
    [
        (['happy/a.wav', 'sad/b.wav'], [('unknown', 'happy'), ('unknown', 'sad')]),
        (['whisper/a.wav', 'shout/b.wav'], [('unknown', 'shout'), ('unknown', 'whisper')]),
        (['Anna/Happiness/a.wav', 'Bob M./ANGER/b.wav'], [('anna', 'happy'), ('bob_m', 'angry')]),
        (['deep/in/here/anna/happy/a.wav', 'deep/in/here/anna/bliss/b.wav'], [('anna', 'bliss'), ('anna', 'happy')]),
        (['happy/anna/a.wav', 'pleasant_surprise/bob/b.wav'], [('anna', 'happy'), ('bob', 'surprised')]),
    ],
)
def test_sub_folders_tell_speaker_and_emotion(tmp_path, files, said):
    used, skipped = read(lookalikes.write(tmp_path, dict.fromkeys(files, 16000)))
    assert sorted((r.speaker.removeprefix('mine_'), r.emotion) for r in used.values()) == sorted(said) and not skipped
    assert all(r.sex == 'unknown' and len(r.read()[0]) for r in used.values())


def test_a_zip_is_read_in_place(tmp_path):
    lookalikes.write(tmp_path / 'in', {'anna/happy/a.wav': 16000, 'anna/sad/b.wav': 16000})
    with zipfile.ZipFile(tmp_path / 'mine.zip', 'w') as z:
        for path in (tmp_path / 'in').rglob('*.wav'):
            z.write(path, path.relative_to(tmp_path / 'in'))
    assert set(read(tmp_path / 'mine.zip')[0]) == {'anna/happy/a', 'anna/sad/b'}


@pytest.mark.parametrize(
    'files, says',
    [
        ({}, 'holds no recording; expected sub-folders'),
        ({'x/y/a.wav': 16000, 'x/z/b.wav': 16000}, r'none is \(seen: x, y, z\)'),
        ({'happy/sad/a.wav': 16000}, 'sad and happy could both be'),
        ({'a.wav': 16000}, r'none is \(seen: files in no folder\)'),
    ],
)
def test_folders_that_tell_nothing_are_one_line_with_the_way_out(tmp_path, files, says):
    with pytest.raises(InputError, match=says) as e:
        read(lookalikes.write(tmp_path, files))
    assert 'manifest.csv' in str(e.value) and '\n' not in str(e.value)


def test_strangers_and_loose_files_are_named(tmp_path):
    lookalikes.write(tmp_path, {'happy/a.wav': 16000, 'sad/b.wav': 16000, 'loose.wav': 16000})
    (tmp_path / 'notes.txt').write_text('x')
    (tmp_path / '.hidden').write_text('x')
    used, skipped = read(tmp_path)
    assert set(used) == {'happy/a', 'sad/b'}
    assert skipped == [('ignored', 'no sound (.txt)'), ('unknown name', 'lies in no folder that tells an emotion')]


def test_labels_mean_what_emotions_json_says(tmp_path):
    lookalikes.write(tmp_path, {'Wut/a.wav': 16000, 'Freude/b.wav': 16000, 'noise/c.wav': 16000})
    (tmp_path / 'emotions.json').write_text(json.dumps({'wut': 'Anger', 'noise': None}))
    used, skipped = read(tmp_path)
    assert {r.label: r.emotion for r in used.values()} == {'Wut': 'angry', 'Freude': 'freude'}
    assert skipped == [('ignored', "label 'noise', which emotions.json leaves out")]
    (tmp_path / 'emotions.json').write_text('["Wut"]')
    with pytest.raises(InputError, match=r'emotions\.json cannot be read'):
        read(tmp_path)


ROWS = [('path', 'Emotion', 'speaker', 'Gender', 'text'), ('a.wav', 'Joy', 'Anna', 'F', 'a; b, c'),
        ('sub/b.wav', 'bliss', '', 'm', '')]  # fmt: skip


@pytest.mark.parametrize('kind', ['csv', 'semicolon', 'tsv', 'jsonl', 'given', 'bom'])
def test_a_manifest_in_any_dress_tells_the_same(tmp_path, kind):
    lookalikes.write(tmp_path, {'a.wav': 16000, 'sub/b.wav': 48000, 'not_listed.wav': 16000})
    name = {'tsv': 'manifest.tsv', 'jsonl': 'manifest.jsonl', 'given': 'voices.csv'}.get(kind, 'manifest.csv')
    if kind == 'jsonl':
        lines = [json.dumps(dict(zip(ROWS[0], row, strict=True))) for row in ROWS[1:]]
    else:
        mark = {'semicolon': ';', 'tsv': '\t'}.get(kind, ',')
        lines = [mark.join(f'"{v}"' if set(v) & {',', ';'} else v for v in row) for row in ROWS]
    (tmp_path / name).write_text('\n'.join(lines) + '\n', encoding='utf-8-sig' if kind == 'bom' else 'utf-8')
    used, skipped = read(tmp_path / name if kind == 'given' else tmp_path)
    assert set(used) == {'a', 'sub/b'} and not skipped
    a, b = used['a'], used['sub/b']
    assert (a.speaker, a.emotion, a.label, a.sex, a.text) == ('mine_anna', 'happy', 'Joy', 'female', 'a; b, c')
    assert (b.speaker, b.emotion, b.sex, b.text, b.language) == ('mine_unknown', 'bliss', 'male', '', 'en')
    assert b.read()[1] == 48000


def test_lines_that_cannot_be_used_are_named_by_number(tmp_path):
    lookalikes.write(tmp_path, {'a.wav': 16000})
    (tmp_path / 'manifest.csv').write_text('path,emotion\na.wav,happy\n\ngone.wav,sad\na.wav,\na.wav,sad\n,sad\n')
    found = [s for s in own.recordings(tmp_path, 'mine') if not isinstance(s, Recording)]
    assert [(s.source.rpartition(':')[2], s.kind) for s in found] == [
        ('4', 'missing'), ('5', 'unknown name'), ('6', 'duplicate'), ('7', 'unknown name'),
    ]  # fmt: skip


@pytest.mark.parametrize(
    'text, says',
    [
        ('', 'is empty'),
        ('path,mood\na.wav,x\n', 'has no column emotion; it has path, mood'),
        ('path,emotoin\na.wav,x\n', "has a column 'emotoin'; did you mean emotion"),
        (b'path,emotion\n\xff\xfe\n', 'save it as UTF-8'),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_one_line(tmp_path, text, says):
    (tmp_path / 'manifest.csv').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=says):
        read(tmp_path)
    (tmp_path / 'manifest.jsonl').write_text('{}')
    with pytest.raises(InputError, match=r'manifest.jsonl; keep one'):
        read(tmp_path)


def test_a_line_of_jsonl_that_is_none_is_named(tmp_path):
    (tmp_path / 'manifest.jsonl').write_text('{"path": "a.wav", "emotion": "sad"}\nnot json\n')
    with pytest.raises(InputError, match=r'manifest.jsonl:2 is no JSON object'):
        read(tmp_path)


def test_formats_that_users_have(tmp_path):
    for name, rate in (('happy/a.mp3', 48000), ('happy/b.flac', 44100), ('sad/c.ogg', 22050)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.stack([lookalikes.noise(name, rate)] * 2, 1), rate)
    used, _ = read(tmp_path)
    assert {r.read()[1] for r in used.values()} == {48000, 44100, 22050} and len(used) == 3
