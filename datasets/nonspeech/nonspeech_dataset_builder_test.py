"""Sounds other than speech, from noise under ESC's names: ESC's layout, folders of classes."""

import pathlib

import pytest
import tensorflow_datasets as tfds

from ser_jax import build
from ser_jax.contract import InputError
from tests import lookalikes

HERE = pathlib.Path(__file__).parent
Builder = build.builder_class(HERE / 'nonspeech_dataset_builder.py')


def test_the_published_layout_takes_its_classes_from_the_table(tmp_path):
    files = ['ESC-50-master/audio/1-100032-A-0.wav', 'ESC-50-master/audio/2-26143-B-21.wav']
    folder = lookalikes.write(
        tmp_path / 'in', {**dict.fromkeys(files, 44100), 'ESC-50-master/other.wav': 44100}
    )
    (folder / 'ESC-50-master' / 'meta').mkdir()
    (folder / 'ESC-50-master' / 'meta' / 'esc50.csv').write_text(
        'filename,fold,target,category\n1-100032-A-0.wav,1,0,dog\n2-26143-B-21.wav,2,21,sneezing\n'
    )
    opened, report = lookalikes.built(Builder, folder, tmp_path)
    assert list(zip(opened.label, opened.speaker, strict=True)) == [
        ('dog', 'nonspeech_100032'), ('sneezing', 'nonspeech_26143'),
    ]  # fmt: skip
    assert set(opened.emotion) == {'unknown'} and set(opened.channel) == {'sound'}
    assert report['ignored'] == {'no ESC name': 1}


def test_folders_name_the_class_without_a_table(tmp_path):
    files = [
        '001 - Dog bark/1-100032-A.wav',
        'human_sounds/person_sneeze/1-26143-A.wav',
        '1-26143-B-21.wav',
    ]
    opened, _ = lookalikes.built(
        Builder, lookalikes.write(tmp_path / 'in', dict.fromkeys(files, 44100)), tmp_path
    )
    of = dict(zip(opened.id, zip(opened.label, opened.speaker, strict=True), strict=True))
    assert of == {
        '1-100032-A': ('dog_bark', 'nonspeech_100032'), '1-26143-A': ('person_sneeze',
        'nonspeech_26143'),
        '1-26143-B-21': ('21', 'nonspeech_26143'),
    }  # fmt: skip


def test_the_refusal_of_another_folder_has_instructions(tmp_path):
    with pytest.raises(
        InputError, match='holds no nonspeech recording; expected names like 1-100032-A-0'
    ):
        lookalikes.built(Builder, lookalikes.write(tmp_path / 'in', {'a.wav': 16000}), tmp_path)


@pytest.mark.parametrize('table', [b'filename,class\nx.wav,dog\n', b'filename,category\nx.wav\n',
                                   b'\xff\xfe',
                                   b'filename,category\n"x.wav,dog\n'])  # fmt: skip
def test_a_table_that_cannot_be_read_is_named(tmp_path, table):
    folder = lookalikes.write(tmp_path / 'in', {'audio/1-100032-A-0.wav': 44100})
    (folder / 'esc50.csv').write_bytes(table)
    with pytest.raises(InputError, match=r'esc50\.csv cannot be read .*copy it again') as e:
        lookalikes.built(Builder, folder, tmp_path)
    assert '\n' not in str(e.value)


def test_the_folder_follows_the_convention():
    metadata = Builder.get_metadata()
    assert metadata.description.startswith('# ESC-50') and 'piczak2015esc' in metadata.citation
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
