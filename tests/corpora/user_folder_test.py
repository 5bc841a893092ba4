"""Recordings of the user: sub-folders and manifests, and a report of every unused file."""

import itertools
import json
import os
import pathlib
import unicodedata
import zipfile

import numpy as np
import pytest
import soundfile

from ser_jax.contract import InputError, Recording
from ser_jax.corpora import labels, user_folder
from tests import lookalikes


def read(place, name='mine') -> tuple[dict[str, Recording], list[tuple[str, str]]]:
    """(id -> recording, [(kind, detail)]) of a place."""
    found = list(user_folder.recordings(pathlib.Path(place), name))
    used = {r.id: r for r in found if isinstance(r, Recording)}
    return used, [(s.kind, s.detail) for s in found if not isinstance(s, Recording)]


@pytest.mark.parametrize(
    'files, expected',
    [
        (['happy/a.wav', 'sad/b.wav'], [('unknown', 'happy'), ('unknown', 'sad')]),
        (['whisper/a.wav', 'shout/b.wav'], [('unknown', 'shout'), ('unknown', 'whisper')]),
        (['Anna/Happiness/a.wav', 'Bob M./ANGER/b.wav'], [('anna', 'happy'), ('bob_m', 'angry')]),
        (
            ['deep/in/here/anna/happy/a.wav', 'deep/in/here/anna/bliss/b.wav'],
            [('anna', 'bliss'), ('anna', 'happy')],
        ),
        (
            ['happy/anna/a.wav', 'pleasant_surprise/bob/b.wav'],
            [('anna', 'happy'), ('bob', 'surprised')],
        ),
    ],
)
def test_sub_folders_give_speaker_and_emotion(tmp_path, files, expected):
    used, skipped = read(lookalikes.write(tmp_path, dict.fromkeys(files, 16000)))
    assert (
        sorted((r.speaker.removeprefix('mine_'), r.emotion) for r in used.values())
        == sorted(expected)
        and not skipped
    )
    assert all(r.sex == 'unknown' and len(r.read()[0]) for r in used.values())


def test_a_zip_is_read_in_place(tmp_path):
    lookalikes.write(tmp_path / 'in', {'anna/happy/a.wav': 16000, 'anna/sad/b.wav': 16000})
    with zipfile.ZipFile(tmp_path / 'mine.zip', 'w') as z:
        for path in (tmp_path / 'in').rglob('*.wav'):
            z.write(path, path.relative_to(tmp_path / 'in'))
    assert set(read(tmp_path / 'mine.zip')[0]) == {'anna/happy/a', 'anna/sad/b'}


@pytest.mark.parametrize(
    'files, message',
    [
        ({}, 'holds no recording; expected sub-folders'),
        ({'x/y/a.wav': 16000, 'x/z/b.wav': 16000}, r'no folder is an emotion \(found x, y, z\)'),
        ({'happy/sad/a.wav': 16000}, 'emotions are ambiguous: sad or happy'),
        ({'a.wav': 16000}, r'no folder is an emotion \(found files in no folder\)'),
    ],
)
def test_folders_without_emotions_are_refused_in_one_line(tmp_path, files, message):
    with pytest.raises(InputError, match=message) as e:
        read(lookalikes.write(tmp_path, files))
    assert 'manifest.csv' in str(e.value) and '\n' not in str(e.value)


def test_strangers_and_loose_files_are_named(tmp_path):
    lookalikes.write(tmp_path, {'happy/a.wav': 16000, 'sad/b.wav': 16000, 'loose.wav': 16000})
    (tmp_path / 'notes.txt').write_text('x')
    (tmp_path / '.hidden').write_text('x')
    used, skipped = read(tmp_path)
    assert set(used) == {'happy/a', 'sad/b'}
    assert skipped == [
        ('ignored', 'no sound (.txt)'),
        ('unknown name', 'is in no folder of an emotion'),
    ]


def test_emotions_json_maps_labels(tmp_path):
    lookalikes.write(tmp_path, {'Wut/a.wav': 16000, 'Freude/b.wav': 16000, 'noise/c.wav': 16000})
    (tmp_path / 'emotions.json').write_text(json.dumps({'wut': 'Anger', 'noise': None}))
    used, skipped = read(tmp_path)
    assert {r.label: r.emotion for r in used.values()} == {'Wut': 'angry', 'Freude': 'freude'}
    assert skipped == [('ignored', "label 'noise', which emotions.json leaves out")]


@pytest.mark.parametrize(
    'text, message',
    [
        ('["Wut"]', 'not a JSON object'),
        ('{"Wut": 3}', "'Wut' means '3', which is no word"),
        ('{"Wut": ["angry"]}', 'which is no word'),
        ('{"Wut": {"a": "b"}}', 'which is no word'),
        ('{"Wut": true}', 'which is no word'),
        ('{"Wut": ""}', 'which is no word'),
        ('{"": "sad"}', "'' is no label"),
        ('{"Wut": "angry", "wut": "sad"}', "'wut' occurs twice"),
        ('{"Wut": "angry", "Wut": null}', "'Wut' occurs twice"),
        ('{"Wut": "angry"', 'cannot be read'),
        ('[' * 100_000, 'cannot be read'),
        ('{"Wuut": "angry"}', "names 'wuut', which is no label; did you mean 'wut'"),
    ],
)
def test_an_emotions_json_that_is_none_is_one_line(tmp_path, text, message):
    lookalikes.write(tmp_path, {'Wut/a.wav': 16000, 'Freude/b.wav': 16000})
    (tmp_path / 'emotions.json').write_text(text)
    with pytest.raises(InputError, match=message) as e:
        read(tmp_path)
    assert '\n' not in str(e.value) and 'emotions.json' in str(e.value)


def test_keys_of_emotions_json_that_no_label_is_are_named(tmp_path):
    lookalikes.write(tmp_path, {'Wut/a.wav': 16000, 'very_glad/b.wav': 16000})
    (tmp_path / 'Emotions.json').write_text(
        '{"Wut": "angry", "Very-Glad": "happy", "Staunen": "surprise"}'
    )
    used, skipped = read(tmp_path)
    assert {r.emotion for r in used.values()} == {'angry', 'happy'}
    assert skipped == [('ignored', "'staunen' in Emotions.json, which is no label")]
    (tmp_path / 'Wut' / 'emotions.json').write_text('{}')
    with pytest.raises(
        InputError, match=r'Wut/emotions\.json is not read; put it at .*Emotions\.json'
    ):
        read(tmp_path)


ROWS = [('path', 'Emotion', 'speaker', 'Gender', 'text'), ('a.wav', 'Joy', 'Anna', 'F', 'a; b, c'),
        ('sub/b.wav', 'bliss', 'Bob', 'm', '')]  # fmt: skip


@pytest.mark.parametrize('kind', ['csv', 'semicolon', 'tsv', 'jsonl', 'given', 'bom'])
def test_a_manifest_gives_the_same_in_every_format(tmp_path, kind):
    lookalikes.write(tmp_path, {'a.wav': 16000, 'sub/b.wav': 48000, 'not_listed.wav': 16000})
    name = {'tsv': 'manifest.tsv', 'jsonl': 'manifest.jsonl', 'given': 'voices.csv'}.get(
        kind, 'manifest.csv'
    )
    if kind == 'jsonl':
        lines = [json.dumps(dict(zip(ROWS[0], row, strict=True))) for row in ROWS[1:]]
    else:
        mark = {'semicolon': ';', 'tsv': '\t'}.get(kind, ',')
        lines = [mark.join(f'"{v}"' if set(v) & {',', ';'} else v for v in row) for row in ROWS]
    (tmp_path / name).write_text(
        '\n'.join(lines) + '\n', encoding='utf-8-sig' if kind == 'bom' else 'utf-8'
    )
    used, skipped = read(tmp_path / name if kind == 'given' else tmp_path)
    unlisted = [] if kind == 'given' else [('ignored', f'no line of {name} names it')]
    assert set(used) == {'a', 'sub/b'} and skipped == unlisted
    a, b = used['a'], used['sub/b']
    assert (a.speaker, a.emotion, a.label, a.sex, a.text) == (
        'mine_anna',
        'happy',
        'Joy',
        'female',
        'a; b, c',
    )
    assert (b.speaker, b.emotion, b.sex, b.text, b.language) == (
        'mine_bob',
        'bliss',
        'male',
        '',
        'en',
    )
    assert b.read()[1] == 48000


SPLITS = (
    'train', 'TEST', 'val', 'valid', 'validation', 'dev', 'eval', 'Training', 'testing', 'fold1',
    'fold_2',
    'split0', 'set1', 'part2', 'cv1', 'audio', 'wav', 'data', 'clips', 'train_set', '16kHz', 'male',
)  # fmt: skip
PEOPLE = (
    'anna',
    'Bob M.',
    '001',
    '1',
    's1',
    'spk_2',
    'K1',
    'actor_03',
    'speaker12',
    'F01',
    'Eva',
    'Seth',
    'Ali',
    '03',
)


@pytest.mark.parametrize('layout', ['{0}/{1}/x.wav', '{1}/{0}/x.wav', 'deep/{0}/{1}/x.wav'])
@pytest.mark.parametrize('at', range(0, len(SPLITS), 2))
def test_sides_of_a_split_are_no_speakers(tmp_path, layout, at):
    files = [layout.format(side, e) for side in SPLITS[at : at + 2] for e in ('happy', 'sad')]
    with pytest.raises(
        InputError, match=rf'{SPLITS[at]}.* no speakers, so no score could be .*manifest\.csv'
    ) as e:
        read(lookalikes.write(tmp_path, dict.fromkeys(files, 16000)))
    assert '\n' not in str(e.value)


def test_people_are_speakers():
    assert not [p for p in PEOPLE if labels.no_speaker(p)] and all(map(labels.no_speaker, SPLITS))
    assert labels.speaker('Bob M.') == 'bob_m' and labels.speaker('की') != labels.speaker('कि')
    assert not any(map(labels.speaker, ('', '?', 'NaN', 'unknown', ' - ')))


def test_one_side_among_people_is_refused_too(tmp_path):
    files = [f'{s}/{e}/x.wav' for s in ('anna', 'bob', 'test') for e in ('happy', 'sad')]
    with pytest.raises(InputError, match='the folders test are at the level of the speakers'):
        read(lookalikes.write(tmp_path, dict.fromkeys(files, 16000)))


def test_a_single_container_leaves_speakers_unknown(tmp_path):
    used, skipped = read(
        lookalikes.write(tmp_path, {'wav/happy/x.wav': 16000, 'wav/sad/x.wav': 16000})
    )
    assert {r.speaker for r in used.values()} == {'mine_unknown'} and len(used) == 2 and not skipped


@pytest.mark.parametrize('layout', ['{0}/{1}/{2}/x.wav', '{0}/{2}/{1}/x.wav'])
def test_speakers_below_a_split_are_themselves(tmp_path, layout):
    files = [
        layout.format(*of)
        for of in itertools.product(('train', 'test'), ('anna', 'bob'), ('happy', 'sad'))
    ]
    used, skipped = read(lookalikes.write(tmp_path, dict.fromkeys(files, 16000)))
    assert (
        {r.speaker for r in used.values()} == {'mine_anna', 'mine_bob'}
        and len(used) == 8
        and not skipped
    )


def test_sides_of_a_split_are_no_emotions(tmp_path):
    lookalikes.write(tmp_path, {'train/a.wav': 16000, 'test/b.wav': 16000})
    with pytest.raises(InputError, match=r'no folder is an emotion \(found test, train\)'):
        read(tmp_path)
    lookalikes.write(tmp_path, {'happy/a.wav': 16000})
    used, skipped = read(tmp_path)
    assert set(used) == {'happy/a'}
    assert skipped == [
        ('unknown name', 'test/ is no emotion'),
        ('unknown name', 'train/ is no emotion'),
    ]


def test_recordings_without_speaker_are_left_out_beside_others(tmp_path):
    used, skipped = read(
        lookalikes.write(tmp_path, dict.fromkeys(('anna/happy/a.wav', 'happy/b.wav'), 16000))
    )
    assert {r.speaker for r in used.values()} == {'mine_anna'}
    assert skipped == [
        (
            'unknown name',
            'is in no folder of a speaker, while others are: it may be of one of those',
        )
    ]


def test_unicode_forms_of_a_name_are_one(tmp_path):
    forms = [unicodedata.normalize(form, 'André/Fröhlich') for form in ('NFC', 'NFD')]
    lookalikes.write(
        tmp_path,
        {f'{form}/{i}.wav': 16000 for i, form in enumerate(forms)} | {'x/happy/c.wav': 16000},
    )
    (tmp_path / 'emotions.json').write_text(
        json.dumps({unicodedata.normalize('NFD', 'FRÖHLICH'): 'joy'})
    )
    used, skipped = read(tmp_path)
    assert {(r.speaker, r.emotion, r.label) for r in used.values()} == {
        ('mine_andré', 'happy', 'Fröhlich'), ('mine_x', 'happy', 'happy'),
    } and not skipped  # fmt: skip


def test_names_that_are_not_utf8_can_be_written(tmp_path):
    lookalikes.write(tmp_path, {'happy/a.wav': 16000, 'sad/b.wav': 16000})
    os.rename(tmp_path / 'sad' / 'b.wav', os.fsencode(tmp_path) + b'/sad/\xfc.wav')
    with open(os.fsencode(tmp_path) + b'/x.\xfc', 'w'):
        pass
    found = list(user_folder.recordings(tmp_path, 'mine'))
    assert len(found) == 3  # the sound is named or used, the other file counted
    for item in found:
        names = [str(v) for f, v in vars(item).items() if f != 'read']
        assert ''.join(names).encode()


def test_two_manifests_are_one_too_many(tmp_path):
    lookalikes.write(tmp_path, {'happy/a.wav': 16000})
    (tmp_path / 'Manifest.csv').write_text('path,emotion\nhappy/a.wav,angry\n')
    (tmp_path / 'manifest.jsonl').write_text('{}')
    with pytest.raises(InputError, match=r'Manifest.csv and manifest.jsonl; keep one'):
        read(tmp_path)


def test_formats_that_users_have(tmp_path):
    for name, rate in (('happy/a.mp3', 48000), ('happy/b.flac', 44100), ('sad/c.ogg', 22050)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.stack([lookalikes.noise(name, rate)] * 2, 1), rate)
    used, _ = read(tmp_path)
    assert {r.read()[1] for r in used.values()} == {48000, 44100, 22050} and len(used) == 3
