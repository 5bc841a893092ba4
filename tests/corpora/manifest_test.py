"""Manifests: one recording or one reported problem per line, whatever the fault."""

import pathlib
import unicodedata

import pytest

from ser_jax.contract import InputError, Recording
from ser_jax.corpora import labels, manifest

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


def refusal(place, text, name='manifest.csv') -> str:
    with pytest.raises(InputError) as e:
        read(place, text, name)
    assert '\n' not in str(e.value) and str(e.value).isprintable()
    return str(e.value).removeprefix(str(place) + '/')


HEAD = 'path,emotion,speaker,sex,intensity,channel,text\n'


@pytest.mark.parametrize(
    'line, problem',
    [
        (
            'wav/sad_01.wav,sad,b,,,singing,',
            ('bad line', "channel 'singing' is not known; expected song, sound, speech"),
        ),
        (
            'wav/sad_01.wav,sad,b,,,text,',
            ('bad line', "channel 'text' is not known; expected song, sound, speech"),
        ),
        (
            'wav/sad_01.wav,sad,b,weiblich,,,',
            ('bad line', "sex 'weiblich' is not known; expected female, male, unknown"),
        ),
        (
            'wav/sad_01.wav,sad,b,,loud,,',
            ('bad line', "intensity 'loud' is not known; expected normal, strong, unknown"),
        ),
        ('wav/sad_01.wav,,b,,,,', ('unknown name', 'no emotion')),
        ('wav/sad_01.wav,NaN,b,,,,', ('unknown name', 'no emotion')),
        ('wav/sad_01.wav,_,b,,,,', ('unknown name', 'no emotion')),
        (',sad,b,,,,', ('unknown name', 'no path')),
        ('wav/sad_01.wav,"sa""d",b,,,,', ('bad line', "emotion 'sa\"d' is no word")),
        ('wav/sad_01.wav,"sa\nd",b,,,,', ('bad line', "emotion 'sa\\nd' is no word")),
        (
            'wav/sad_01.wav,sad,,,,,',
            ('bad line', 'no speaker, while other lines have one: it may be one of those'),
        ),
        (
            'wav/sad_01.wav,sad,Unknown,,,,',
            ('bad line', 'no speaker, while other lines have one: it may be one of those'),
        ),
        ('wav/sad_01.wav,sad,b', ('bad line', '3 values for 7 columns')),
        ('wav/sad_01.wav,sad,b,,,,Oh, really', ('bad line', '8 values for 7 columns')),
        (',,,,,,', ('ignored', 'a line without values')),
        ('wav/happy_01.wav,happy,a,,,,', ('duplicate', 'the same file as in line 2')),
        ('./wav/sub/../happy_01.wav,happy,a,,,,', ('duplicate', 'the same file as in line 2')),
    ],
)
def test_what_is_wrong_with_a_line_is_named(place, line, problem):
    used, problems = read(place, f'{HEAD}wav/happy_01.wav,happy,a,F,Strong,SONG,Oh\n{line}\n')
    assert problems == {3: problem}
    assert [(r.sex, r.intensity, r.channel, r.text) for r in used] == [
        ('female', 'strong', 'song', 'Oh')
    ]


def test_lines_that_disagree_about_a_file_are_named_and_not_used(place):
    text = 'path,emotion,speaker\nwav/happy_01.wav,happy,a\nwav/sad_01.wav,sad,a\n'
    used, problems = read(
        place, f'{text}wav/happy_01.wav,angry,a\nwav/é.wav,sad,a\nwav/é.wav,sad,b\n'
    )
    assert [r.label for r in used] == ['sad'] and problems == {
        2: ('label conflict', 'emotion happy, but angry for the same file in line 4'),
        4: ('label conflict', 'emotion angry, but happy for the same file in line 2'),
        5: ('bad line', 'speaker a, but b for the same file in line 6'),
        6: ('bad line', 'speaker b, but a for the same file in line 5'),
    }


def test_two_files_of_one_name_both_reach_the_inspection(place):
    (place / 'wav' / 'happy_01.flac').write_bytes(b'')
    used, problems = read(place, 'path,emotion\nwav/happy_01.wav,happy\nwav/happy_01.flac,sad\n')
    assert [r.id for r in used] == [
        'wav/happy_01'
    ] * 2 and not problems  # there sounds tell, not the order


def test_unicode_forms_are_one_label_and_one_speaker(place):
    forms = [unicodedata.normalize(form, 'é') for form in ('NFC', 'NFD')]
    used, _ = read(
        place,
        f'path,emotion,speaker\nwav/sad_01.wav,gên{forms[0]},{forms[0]}\nwav/happy_01.wav,gên{forms[1]},{forms[1]}\n',
    )
    assert len({(r.emotion, r.label, r.speaker) for r in used}) == 1 and len(used) == 2


@pytest.mark.parametrize('bad', [12, 7])
def test_paths_that_are_all_wrong_are_one_line(place, bad):
    lines = [f'wav\\x_{i:02d}.wav,happy' for i in range(bad)] + ['wav/sad_01.wav,'] * (12 - bad)
    printed = refusal(place, '\n'.join(['path,emotion', *lines]))
    assert printed.startswith(f'manifest.csv: {bad} of 12 lines name no file, e.g. wav\\x_00.wav; ')
    assert 'paths are relative to the manifest, with /' in printed
    assert ('5 of 12 lines are bad, e.g. line 9: no emotion' in printed) == (bad == 7)


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'is empty; expected the columns path and emotion'),
        ('path,emotion\n\n', 'has no line below its header'),
        ('path,mood\na.wav,x\n', 'has no column emotion; it has path, mood'),
        ('path,emotoin\na.wav,x\n', "has a column 'emotoin'; did you mean emotion"),
        ('path,path,emotion\na,b,c\n', 'has 2 columns for the path, path and path; keep one'),
        ('file,path,emotion\na,b,c\n', 'has 2 columns for the path, file and path; keep one'),
        (
            'path,sex,Gender,emotion\na,b,c,d\n',
            'has 2 columns for the sex, sex and Gender; keep one',
        ),
        (
            'wav/happy_01.wav,happy\nwav/sad_01.wav,sad\n',
            "line 1 is 'wav/happy_01.wav,happy', not a header; put path,emotion",
        ),
        (
            'path,emotion,speaker\nwav/sad_01.wav,sad,train\nwav/happy_01.wav,sad,Test\n',
            'the speakers are Test, train, which',
        ),
        (
            'path,emotion,speaker\nwav/sad_01.wav,sad,train\n',
            'the speakers are train, which are no persons',
        ),
        ('path,emotion\nwav/sad_01.wav,\n', '1 of 1 lines are bad, e.g. line 2: no emotion'),
        (b'path,emotion\n\xff\xfe\n', 'line 2 is not UTF-8 (byte 0xff); save it as UTF-8'),
        (
            'path,emotion\n'.encode('utf-16'),
            'is UTF-16, as spreadsheets write "Unicode text"; save it as UTF-8',
        ),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_line(place, text, message):
    assert message in refusal(place, text)


@pytest.mark.parametrize(
    'line, detail',
    [
        ('not json', 'not a JSON object (Expecting value: line 1 column 1 (char 0))'),
        (
            '{"path": "wav/happy_01.wav", "emotion": ["happy"]}',
            "emotion: list ['happy'] is neither text nor a number",
        ),
        (
            '{"path": "wav/happy_01.wav", "emotion": NaN}',
            'emotion: float nan is neither text nor a number',
        ),
        (
            '{"path": "wav/happy_01.wav", "emotion": true}',
            'emotion: bool True is neither text nor a number',
        ),
        (
            '{"path": "wav/happy_01.wav", "emotion": "sad", "path": "b"}',
            "not a JSON object ('path' occurs twice)",
        ),
        (
            '{"path": "wav/happy_01.wav", "label": "sad", "emotion": "b"}',
            "has emotion twice, once as 'emotion'",
        ),
        ('{"path": "wav/happy_01.wav", "emotoin": "sad"}', "has 'emotoin'; did you mean emotion?"),
    ],
)
def test_a_line_of_json_that_is_wrong_is_named(place, line, detail):
    good = '{"path": "wav/sad_01.wav", "emotion": 3, "text": "a\u2028b", "other": [1, NaN]}'
    used, problems = read(place, f'\n{good}\n{line}\n', 'manifest.jsonl')
    assert problems == {3: ('bad line', detail)}
    assert [(r.emotion, r.text) for r in used] == [('3', 'a\u2028b')]


def test_a_json_list_is_no_jsonl(place):
    printed = refusal(place, '[{"path": "wav/sad_01.wav", "emotion": "sad"}]', 'manifest.jsonl')
    assert 'is a JSON list; write one object per line' in printed


@pytest.mark.parametrize('mark', ODD := '\n\u2028\u2029\x85\x0b\x0c\x1c')
def test_texts_keep_their_line_separators(place, mark):
    text = f'Oh{mark}well, {mark}{mark}"no"'
    quoted = text.replace('"', '""')
    used, problems = read(
        place, f'path,emotion,text\nwav/sad_01.wav,sad,"{quoted}"\nwav/happy_01.wav,happy,b\n'
    )
    assert [r.text for r in used] == [text, 'b'] and not problems


@pytest.mark.parametrize('order', ['path,emotion,text', 'text,emotion,path', 'emotion,text,path'])
def test_two_stray_quotes_do_not_make_one_text_of_many_lines(place, order):
    rows = [dict(path=f'wav/{n}', emotion='happy', text='fine') for n in HERE]
    rows[1]['text'], rows[3]['text'] = '"Well I never', 'never mind"'
    lines = [','.join(row[c] for c in order.split(',')) for row in rows]
    used, problems = read(place, '\n'.join([order, *lines]))
    assert (
        len(used) == 3
        and set(problems) == {3, 5}
        and 'never closed' in problems[3][1] + problems[5][1]
    )
