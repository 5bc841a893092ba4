"""Paths that name no file: the file that was meant, and the commonest causes."""

import unicodedata

import pytest

from ser_jax.corpora import near_paths

HERE = ('happy_01.wav', 'sad_01.wav', 'sub/angry_01.flac', 'sub/sad_01.wav', 'é.wav', 'Upper.WAV')
RULE = 'paths are relative to the manifest, with /'
FORM = 'the same characters in another Unicode form'
HINTS = [
    *((path, f'{RULE} (there is wav/happy_01.wav)') for path in (
        'wav\\happy_01.wav', 'C:\\me\\wav\\happy_01.wav', '/home/me/x/wav/happy_01.wav',
        'C:/x/happy_01.wav',
        '..\\wav\\Happy_01', 'mine/wav/happy_01.wav', 'happy_01.wav',
    )),
    ('/home/me/gone.wav', RULE),
    ('wav\\gone.wav', RULE),
    ('wav/Happy_01.wav', 'there is wav/happy_01.wav (upper and lower case differ)'),
    ('WAV/happy_01.wav', 'there is wav/happy_01.wav (upper and lower case differ)'),
    ('wav/happy_01', 'there is wav/happy_01.wav (with its suffix)'),
    ('wav/happy_01.mp3', 'there is wav/happy_01.wav (with its suffix)'),
    ('wav/upper', 'there is wav/Upper.WAV (with its suffix)'),
    (unicodedata.normalize('NFD', 'wav/é.wav'), f'there is wav/é.wav ({FORM})'),
    ('elsewhere/sad_01.wav', ''),
    ('wav', 'it is a folder'),
    ('gone.wav', ''),
    ('x' * 5000, ''),
]  # fmt: skip


@pytest.mark.parametrize('path, hint', HINTS)
def test_a_path_that_is_wrong_has_its_reason(tmp_path, path, hint):
    (tmp_path / 'wav' / 'sub').mkdir(parents=True)
    for name in HERE:
        (tmp_path / 'wav' / name).write_bytes(b'')
    assert near_paths.NearPaths(tmp_path).hint(path) == hint


def test_an_empty_folder_has_no_hint(tmp_path):
    assert near_paths.NearPaths(tmp_path).hint('a.wav') == ''
    assert near_paths.NearPaths(tmp_path).hint('a\\b.wav') == RULE
