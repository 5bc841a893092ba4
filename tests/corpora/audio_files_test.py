"""Sound files are found wherever they lie, once each, and read the same in and out of zips."""

import os
import struct
import unicodedata
import zipfile

import numpy as np
import pytest
import soundfile

from ser_jax.contract import InputError
from ser_jax.corpora import audio_files


def write(path, seed: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 400), 16000)


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(
        [
            'b/deep/er/x.wav',
            'a.flac',
            'c/Y.WAV',
            'c/.hidden.wav',
            '.git/z.wav',
            '__MACOSX/c/._Y.wav',
        ]
    ):
        write(tmp_path / name, i)
    (tmp_path / 'notes.txt').write_text('no sound')
    (tmp_path / '.DS_Store').write_text('no sound')
    return tmp_path


def test_all_sound_files_of_a_folder_are_found(folder):
    found = audio_files.audio_files(folder)
    assert [a.source for a in found] == [
        str(folder / name) for name in ('a.flac', 'b/deep/er/x.wav', 'c/Y.WAV')
    ]
    assert [a.stem for a in found] == ['a', 'x', 'Y']
    assert audio_files.file_kinds(folder) == '2 .wav, 1 .flac, 1 .txt'
    assert audio_files.file_kinds(folder / 'c' / 'none') == 'nothing'


def test_zips_hold_the_same_sounds_without_unpacking(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp('zips')
    with zipfile.ZipFile(other / 'all.ZIP', 'w', zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob('*')):
            archive.write(path, path.relative_to(folder))
    before = sorted(other.rglob('*'))
    for root in (other, other / 'all.ZIP'):
        zipped = audio_files.audio_files(root)
        assert [a.stem for a in zipped] == ['a', 'x', 'Y']
        assert zipped[0].source == f'{other / "all.ZIP"}:a.flac'
        for one, two in zip(zipped, audio_files.audio_files(folder), strict=True):
            np.testing.assert_array_equal(one.read()[0], two.read()[0])
    assert sorted(other.rglob('*')) == before


def test_links_are_followed_once(folder):
    (folder / 'c' / 'loop').symlink_to(folder)
    (folder / 'linked.wav').symlink_to(folder / 'c' / 'Y.WAV')
    assert [a.stem for a in audio_files.audio_files(folder)] == ['a', 'x', 'Y', 'linked']


def test_broken_zips_and_members_are_named(tmp_path):
    (tmp_path / 'half.zip').write_bytes(b'PK\3\4 not a zip')
    with pytest.raises(InputError, match=r'half\.zip: cannot be read as a zip'):
        audio_files.audio_files(tmp_path)
    (tmp_path / 'half.zip').unlink()
    write(tmp_path / 'x.wav', 0)
    with zipfile.ZipFile(tmp_path / 'bent.zip', 'w') as archive:
        archive.write(tmp_path / 'x.wav', 'x.wav')
    content = bytearray((tmp_path / 'bent.zip').read_bytes())
    content[200] ^= 255  # within the member's bytes: its checksum no longer fits
    (tmp_path / 'bent.zip').write_bytes(content)
    audio = next(a for a in audio_files.audio_files(tmp_path) if '.zip:' in a.source)
    with pytest.raises(InputError, match=r'bent\.zip:x\.wav: cannot be unpacked'):
        audio.read()


def zipped(path, members: dict, **kwargs):
    """A zip of sounds of noise, by name and seed."""
    with zipfile.ZipFile(path, 'w', **kwargs) as archive:
        for name, seed in members.items():
            write(path.parent / 'one.wav', seed)
            archive.writestr(name, (path.parent / 'one.wav').read_bytes())
            (path.parent / 'one.wav').unlink()
    return path


def read_all(root) -> list:
    """(stem, samples) of every sound; a refusal in one line in place of samples."""
    found = []
    for audio in audio_files.audio_files(root):
        try:
            found.append((audio.stem, audio.read()[0].tobytes()))
        except InputError as e:
            assert '\n' not in str(e) and str(e).startswith(str(root))
            found.append((audio.stem, str(e)))
    return found


def test_locked_and_strangely_packed_members_are_named(tmp_path):
    path = zipped(tmp_path / 'x.zip', {'a.wav': 0, 'b.wav': 1}, compression=zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    central = content.index(b'PK\1\2')
    for offset, value, words in [
        (8, 1, 'is encrypted'),
        (10, 9, 'not supported'),
        (10, 97, 'not supported'),
    ]:
        changed = bytearray(content)
        struct.pack_into('<H', changed, central + offset, value)  # of the first member
        path.write_bytes(changed)
        (_, refused), (_, good) = read_all(path)
        assert words in refused.lower() and 'unpack the zip yourself' in refused
        assert refused.startswith(f'{path}:a.wav') and isinstance(good, bytes)


@pytest.mark.parametrize('name', ['Actor_01\\x.wav', 'Actor_01/x.wav'])
def test_backslashes_in_zips_are_folders(tmp_path, name):
    path = zipped(tmp_path / 'x.zip', {name: 0})
    [audio] = audio_files.audio_files(path)
    assert (audio.stem, audio.folders) == ('x', ('Actor_01',)) and len(audio.read()[0]) == 400


def test_members_of_one_name_are_all_read(tmp_path):
    with pytest.warns(UserWarning, match='Duplicate name'):
        path = zipped(tmp_path / 'x.zip', {'a/x.wav': 0})
        with zipfile.ZipFile(path, 'a') as archive:
            write(tmp_path / 'other.wav', 1)
            archive.write(tmp_path / 'other.wav', 'a/x.wav')
    audios = audio_files.audio_files(path)
    assert [(a.stem, a.folders) for a in audios] == [('x', ('a',))] * 2
    assert len({a.read()[0].tobytes() for a in audios}) == 2


@pytest.mark.parametrize('form', ['NFC', 'NFD'])
def test_names_have_one_normal_form_in_and_out_of_zips(tmp_path, form):
    folder, stem = (unicodedata.normalize(form, name) for name in ('müde', 'grün'))
    path = zipped(tmp_path / 'x.zip', {f'{folder}/{stem}.wav': 0})
    (tmp_path / 'in').mkdir()
    write(tmp_path / 'in' / folder / f'{stem}.wav', 0)
    content = bytearray(path.read_bytes())
    for header, offset in ((b'PK\3\4', 6), (b'PK\1\2', 8)):  # UTF-8 without the flag that says so
        struct.pack_into('<H', content, content.index(header) + offset, 0)
    (tmp_path / 'unflagged.zip').write_bytes(content)
    for root in (path, tmp_path / 'in', tmp_path / 'unflagged.zip'):
        [audio] = audio_files.audio_files(root)
        assert audio.stem == unicodedata.normalize('NFC', 'grün')
        assert audio.folders == (unicodedata.normalize('NFC', 'müde'),)
        assert len(audio.read()[0]) == 400


def test_names_that_are_no_utf_8_are_readable_text(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b'/m\xfcde')
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip('this file system takes no such names')
    write(tmp_path / 'one.wav', 0)
    os.replace(tmp_path / 'one.wav', f'{folder}/x.wav')
    open(f'{folder}/notes', 'w').close()
    [audio] = audio_files.audio_files(tmp_path)
    assert audio.folders == ('müde',) and audio.source == f'{tmp_path}/müde/x.wav'
    assert audio_files.other_files(tmp_path) == [f'{tmp_path}/müde/notes']
    assert len(audio.read()[0]) == 400


def test_zips_in_zips_are_not_passed_over_in_silence(tmp_path):
    inner = zipped(tmp_path / 'inner.zip', {'x.wav': 0})
    with zipfile.ZipFile(tmp_path / 'outer.zip', 'w') as archive:
        archive.write(inner, 'inner.zip')
    inner.unlink()
    assert audio_files.audio_files(tmp_path) == []
    assert audio_files.nested_zips(tmp_path) == [f'{tmp_path}/outer.zip:inner.zip']
    assert 'outer.zip:inner.zip is a zip within a zip: unpack' in audio_files.file_kinds(tmp_path)


def test_a_folder_that_cannot_be_read_is_named(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith('deep'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(InputError, match=r'deep: cannot be read \(Permission denied\)'):
        audio_files.audio_files(folder)


@pytest.mark.slow
@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
                                         zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])  # fmt: skip
def test_every_cut_and_any_flipped_byte_is_noticed_or_harmless(tmp_path, compression):
    path = zipped(tmp_path / 'x.zip', {'a.wav': 0, 'b/c.wav': 1}, compression=compression)
    content, random = path.read_bytes(), np.random.default_rng(0)
    whole = dict(read_all(path))
    cuts = [content[:n] for n in random.integers(0, len(content), 250)]
    flips = []
    for at, bit in zip(
        random.integers(0, len(content), 1000), random.integers(0, 8, 1000), strict=True
    ):
        flipped = bytearray(content)
        flipped[at] ^= 1 << bit
        flips.append(bytes(flipped))
    for changed in (*cuts, *flips):
        path.write_bytes(changed)
        try:
            found = read_all(path)
        except InputError as e:
            assert '\n' not in str(e)
            continue
        for stem, samples in found:
            assert isinstance(samples, str) or samples in whole.values(), stem
