"""Sound files are found wherever they lie, once each, and read the same in and out of zips."""

import zipfile

import numpy as np
import pytest
import soundfile

from ser_jax.contract import InputError
from ser_jax.data import sources


def write(path, seed: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, 400), 16000)


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(
        ['b/deep/er/x.wav', 'a.flac', 'c/Y.WAV', 'c/.hidden.wav', '.git/z.wav', '__MACOSX/c/._Y.wav']
    ):
        write(tmp_path / name, i)
    (tmp_path / 'notes.txt').write_text('no sound')
    (tmp_path / '.DS_Store').write_text('no sound')
    return tmp_path


def test_all_sound_files_of_a_folder_are_found(folder):
    found = sources.audio_files(folder)
    assert [a.source for a in found] == [str(folder / name) for name in ('a.flac', 'b/deep/er/x.wav', 'c/Y.WAV')]
    assert [a.stem for a in found] == ['a', 'x', 'Y']
    assert sources.seen(folder) == '2 .wav, 1 .flac, 1 .txt'
    assert sources.seen(folder / 'c' / 'none') == 'nothing'


def test_zips_hold_the_same_sounds_without_unpacking(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp('zips')
    with zipfile.ZipFile(other / 'all.ZIP', 'w', zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob('*')):
            archive.write(path, path.relative_to(folder))
    before = sorted(other.rglob('*'))
    for root in (other, other / 'all.ZIP'):
        zipped = sources.audio_files(root)
        assert [a.stem for a in zipped] == ['a', 'x', 'Y']
        assert zipped[0].source == f'{other / "all.ZIP"}:a.flac'
        for one, two in zip(zipped, sources.audio_files(folder), strict=True):
            np.testing.assert_array_equal(one.read()[0], two.read()[0])
    assert sorted(other.rglob('*')) == before


def test_links_are_followed_once(folder):
    (folder / 'c' / 'loop').symlink_to(folder)
    (folder / 'linked.wav').symlink_to(folder / 'c' / 'Y.WAV')
    assert [a.stem for a in sources.audio_files(folder)] == ['a', 'x', 'Y', 'linked']


def test_broken_zips_and_members_are_named(tmp_path):
    (tmp_path / 'half.zip').write_bytes(b'PK\3\4 not a zip')
    with pytest.raises(InputError, match=r'half\.zip: cannot be read as a zip'):
        sources.audio_files(tmp_path)
    (tmp_path / 'half.zip').unlink()
    write(tmp_path / 'x.wav', 0)
    with zipfile.ZipFile(tmp_path / 'bent.zip', 'w') as archive:
        archive.write(tmp_path / 'x.wav', 'x.wav')
    content = bytearray((tmp_path / 'bent.zip').read_bytes())
    content[200] ^= 255  # within the member's bytes: its checksum no longer fits
    (tmp_path / 'bent.zip').write_bytes(content)
    audio = next(a for a in sources.audio_files(tmp_path) if '.zip:' in a.source)
    with pytest.raises(InputError, match=r'bent\.zip:x\.wav: cannot be unpacked'):
        audio.read()
