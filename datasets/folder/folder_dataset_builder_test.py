"""One's own recordings become a corpus like any other, under a name of their own, junk and all."""

import pathlib
import sys

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from ser_jax import build
from ser_jax.contract import InputError
from ser_jax.data import utterances
from tests import forked, lookalikes

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
Builder = build.builder_class(HERE / 'folder_dataset_builder.py')


def junk(folder: pathlib.Path) -> pathlib.Path:
    """Two speakers with two emotions, and about everything else that a folder may hold."""
    files = {
        f'{s}/{e}/{i}.wav': 16000
        for s in ('anna', 'bob')
        for e in ('happy', 'own_word')
        for i in range(3)
    }
    lookalikes.write(folder, {**files, 'loose.wav': 16000})
    (folder / 'notes.txt').write_text('x')
    (folder / 'anna' / 'happy' / 'face.png').write_bytes(b'\x89PNG')
    (folder / 'anna' / 'happy' / 'empty.wav').write_bytes(b'')
    (folder / 'bob' / 'happy' / 'junk.mp3').write_bytes(b'no sound' * 50)
    soundfile.write(folder / 'bob' / 'happy' / 'silence.wav', np.zeros(8000), 16000)
    cut = folder / 'bob' / 'own_word' / 'cut.wav'
    cut.write_bytes((folder / 'bob' / 'own_word' / '0.wav').read_bytes()[:3000])
    (folder / 'bob' / 'own_word' / 'again.wav').write_bytes(
        (folder / 'bob' / 'own_word' / '1.wav').read_bytes()
    )
    return folder


def test_a_folder_of_junk_is_reported_file_by_file(tmp_path):
    opened, report = lookalikes.built(Builder, junk(tmp_path / 'in'), tmp_path)
    assert len(opened) == 12 and set(opened.speaker) == {'folder_anna', 'folder_bob'}
    assert opened.facts[0].emotions == ('happy', 'own word') and opened.facts[0].title == 'folder'
    kinds = {pathlib.Path(s['source']).name: s['kind'] for s in report['skipped']}
    assert kinds == {
        'empty.wav': 'empty', 'junk.mp3': 'undecodable', 'silence.wav': 'silent',
        'cut.wav': 'truncated',
        'again.wav': 'duplicate', 'loose.wav': 'unknown name',
    }  # fmt: skip
    assert report['ignored'] == {'no sound (.txt)': 1, 'no sound (.png)': 1}


def test_lines_of_a_manifest_that_are_left_out_are_reported(tmp_path):
    names = [f'{e}_{i}' for e in ('happy', 'sad') for i in range(4)]
    place = lookalikes.write(tmp_path / 'in', {f'wav/{name}.wav': 16000 for name in names})
    lines = [f'wav/{name}.wav,{name[:-2].strip("_")},s{name[-1]},fine' for name in names]
    lines[1], lines[4] = lines[1].replace('fine', '"Well I'), lines[4].replace('fine', 'Oh, really')
    (place / 'manifest.csv').write_text('\n'.join(['path,emotion,speaker,text', *lines]))
    opened, report = lookalikes.built(Builder, place, tmp_path)
    assert len(opened) == 6 and set(opened.speaker) == {f'folder_s{i}' for i in range(4)}
    assert [(s['source'].rpartition(':')[2], s['detail']) for s in report['skipped']] == [
        ('3', 'a quote is never closed'), ('6', '5 values for 4 columns'),
    ]  # fmt: skip
    assert report['ignored'] == {'no line of manifest.csv names it': 2}


def test_a_table_that_is_no_manifest_is_refused(tmp_path):
    (tmp_path / 'labels.xlsx').write_text('x')
    with pytest.raises(
        InputError,
        match=r'labels\.xlsx is neither folder, zip nor manifest \(\.csv, \.tsv, \.jsonl\)',
    ):
        lookalikes.built(Builder, tmp_path / 'labels.xlsx', tmp_path / 'out')


def test_the_command_gives_it_a_name_and_training_finds_it(tmp_path):
    lookalikes.write(
        tmp_path / 'in', {f'{e}/{i}.wav': 16000 for e in ('happy', 'sad') for i in range(2)}
    )

    def run(*flags):
        command = [
            sys.executable,
            '-m',
            'ser_jax.build',
            'datasets/folder',
            f'--data_dir={tmp_path}',
            *flags,
        ]
        return forked.run(command, cwd=ROOT, capture_output=True, text=True)

    done = run(f'--manual_dir={tmp_path / "in"}', '--name=my_voices')
    assert done.returncode == 0, done.stderr
    assert 'my_voices (log_mel): 4 utterances' in done.stdout
    assert (
        'one speaker (my_voices_unknown): no score can be independent of the speaker' in done.stdout
    )
    opened = utterances.open_corpora(('my_voices',), str(tmp_path))
    assert set(opened.speaker) == {'my_voices_unknown'} and opened.facts[0].name == 'my_voices'
    for flags, message in (
        (['--name=ravdess'], '--name=ravdess is the name of another corpus'),
        (['--name=My Voices'], '--name=My Voices is no name; expected lower-case letters'),
        (
            [],
            'give the folder that holds your recordings as --manual_dir=FOLDER: expected',
        ),
        (['--manual_dir=/nowhere'], '--manual_dir=/nowhere does not exist'),
    ):
        done = run(*flags)
        assert (
            done.returncode == 2 and message in done.stderr and done.stderr.count('error:') == 1
        ), done.stderr


def test_other_corpora_keep_their_names():
    path = build.script('ravdess')
    with (
        pytest.raises(
            InputError,
            match=r'--name=x is for your own recordings .datasets/folder., not for ravdess',
        ),
        build._renamed('x', build.builder_class(path), path),
    ):
        pass


def test_the_folder_follows_the_convention():
    metadata = Builder.get_metadata()
    assert metadata.description.startswith('# Your own recordings')
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
