"""Text files in folders, zips and tars, in several encodings; damage is reported."""

import os
import re
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_jax.contract import InputError
from ser_jax.corpora.text_files import decode, documents

NAME = re.compile(r'(?:^|[/:])(old|new)/(\d+)\.txt$')
TEXTS = {'old/1.txt': 'a kettle', 'old/2.txt': 'a café', 'new/10.txt': 'a “quoted” ferry'}


def folder(root):
    for name, text in {
        **TEXTS,
        'old/.3.txt': 'hidden',
        'old/notes.md': 'no',
        'older/4.txt': 'no',
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
    return root


def found(root):
    return {'/'.join(d.match.groups()) + '.txt': d.text for d in documents(root, NAME)}


def test_folders_zips_and_tars_hold_the_same(tmp_path):
    plain = folder(tmp_path / 'plain')
    assert found(plain) == TEXTS
    assert found(plain / 'old') == {
        k: v for k, v in TEXTS.items() if k.startswith('old')
    }  # its own name counts
    for kind in ('zip', 'tar', 'tar.gz', 'tgz', 'tar.xz'):
        path = tmp_path / kind / f'a.{kind}'
        path.parent.mkdir()
        if kind == 'zip':
            with zipfile.ZipFile(path, 'w') as z:
                for file in plain.rglob('*.txt'):
                    z.write(file, f'inside/{file.relative_to(plain)}')
        else:
            with tarfile.open(
                path, f'w:{kind[-2:]}' if kind != 'tar' and kind != 'tgz' else 'w'
            ) as t:
                t.add(plain, 'inside')
        assert found(path.parent) == TEXTS, kind
        assert all(f'a.{kind}:inside/' in d.source for d in documents(path.parent, NAME))


@given(st.text(st.characters(blacklist_categories=('Cs', 'Cc'))))
def test_utf8_comes_back_with_and_without_a_mark(text):
    assert decode(text.encode()) == text.removeprefix('\ufeff')
    assert decode(b'\xef\xbb\xbf' + text.encode()) == text


@pytest.mark.parametrize('text', ['there’s', '“quoted”', 'wait…', 'a – b', 'café’s'])
def test_cp1252_comes_back_also_where_it_was_stored_as_controls(text):
    assert decode(text.encode('cp1252')) == text
    assert decode(text.encode('cp1252').decode('latin-1').encode()) == text


@given(st.lists(st.sampled_from(['é', 'there’s', '“no”', 'plain', '日本'])), st.integers(0, 9))
def test_a_byte_in_another_encoding_changes_nothing_else(words, at):
    parts = [w.encode() for w in words]
    parts.insert(min(at, len(parts)), 'caf\xe9’'.encode('cp1252'))
    words.insert(min(at, len(words)), 'caf\xe9’')
    assert decode(b' '.join(parts)) == ' '.join(words)


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-le', 'utf-32-be'])
def test_other_encodings_are_named(tmp_path, encoding):
    path = tmp_path / 'old' / '1.txt'
    path.parent.mkdir()
    path.write_text('a kettle', encoding=encoding)
    (document,) = documents(tmp_path, NAME)
    with pytest.raises(InputError, match=r'1\.txt is UTF-16; save it as UTF-8'):
        print(document.text)


@pytest.mark.parametrize('kind', ['tar.gz', 'tar.bz2', 'tar.xz', 'zip'])
def test_any_damage_of_an_archive_is_one_line_or_harmless(tmp_path, kind):
    whole = tmp_path / f'whole.{kind}'
    if kind == 'zip':
        with zipfile.ZipFile(whole, 'w', zipfile.ZIP_DEFLATED) as z:
            for file in folder(tmp_path / 'in').rglob('*.txt'):
                z.write(file, file.relative_to(tmp_path / 'in'))
    else:
        with tarfile.open(whole, f'w:{kind[4:]}') as t:
            t.add(folder(tmp_path / 'in'), 'inside')
    content, random = whole.read_bytes(), np.random.default_rng(0)
    path = tmp_path / 'damaged' / f'a.{kind}'
    path.parent.mkdir()
    for at in random.integers(0, len(content), 60):
        flipped = bytearray(content)
        flipped[at] ^= 1 << random.integers(8)
        for damaged in (bytes(flipped), content[:at]):
            path.write_bytes(damaged)
            try:
                list(documents(path.parent, NAME))
            except InputError as e:
                assert '\n' not in str(e)


@pytest.mark.parametrize('kind', ['tar.gz', 'zip'])
def test_damaged_archives_are_one_line(tmp_path, kind):
    path = tmp_path / f'a.{kind}'
    if kind == 'zip':
        path.write_bytes(b'PK no zip')
    else:
        with tarfile.open(path, 'w:gz') as t:
            t.add(folder(tmp_path / 'in'), 'inside')
        path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(InputError, match=rf'a\.{kind}: cannot be read.*again') as e:
        list(documents(tmp_path, NAME))
    assert '\n' not in str(e.value)


def test_names_that_are_not_utf8_can_be_printed(tmp_path):
    folder(tmp_path / 'in')
    os.rename(tmp_path / 'in' / 'old', os.fsencode(tmp_path / 'in') + b'/\xfcold')
    os.mkdir(os.fsencode(tmp_path / 'in') + b'/\xfc')
    os.rename(
        os.fsencode(tmp_path / 'in') + b'/\xfcold', os.fsencode(tmp_path / 'in') + b'/\xfc/old'
    )
    assert found(tmp_path / 'in') == TEXTS
    assert all(d.source.encode() for d in documents(tmp_path, NAME))
