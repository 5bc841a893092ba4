"""GoEmotions from invented comments: two taxonomies, one emotion each, the published mapping."""

import json
import pathlib
import shutil

import pytest
import tensorflow_datasets as tfds

from ser_jax import build
from ser_jax.contract import InputError
from ser_jax.data import utterances

HERE = pathlib.Path(__file__).parent
DUMMY = HERE / 'dummy_data'
Builder = build.builder_class(HERE / 'goemotions_dataset_builder.py')
EKMAN = ('anger', 'disgust', 'fear', 'joy', 'neutral', 'sadness', 'surprise')


def prepared(data_dir, config='original', manual_dir=DUMMY):
    """(utterances as opened, report) of a build from `manual_dir`."""
    builder = Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    report = json.loads(pathlib.Path(builder.data_dir, 'inspection.json').read_text())
    return utterances.open_corpora((f'goemotions/{config}',), str(data_dir), 'text'), report


def test_comments_are_read_as_published(tmp_path):
    opened, report = prepared(tmp_path)
    by_id = dict(
        zip(opened.id, zip(opened.emotion, opened.label, opened.text, strict=True), strict=True)
    )
    assert by_id['train/ead0006'] == ('happy', 'joy', 'So happy for you :)')
    assert by_id['train/ead0005'] == ('annoyance', 'annoyance', '[NAME] said "no" again')
    assert by_id['dev/eae0001'][0] == 'surprised' and by_id['test/eaf0002'][0] == 'fearful'
    assert 'train/ead0003' not in by_id and report['ignored'] == {'several emotions': 2}
    assert [s['source'].rpartition('/')[2] for s in report['skipped']] == [
        'train.tsv:1'
    ]  # said twice: the first id stays
    assert set(opened.channel) == {'text'} and len(set(opened.speaker)) == len(opened) == 10
    assert 'goemotions_ead0006' in opened.speaker


def test_ekman_follows_the_published_mapping(tmp_path):
    opened, report = prepared(tmp_path, 'ekman')
    emotion = dict(zip(opened.id, opened.emotion, strict=True))
    assert (
        emotion['train/ead0002'] == 'happy' and emotion['train/ead0005'] == 'angry'
    )  # admiration, annoyance
    assert emotion['train/ead0003'] == 'happy'  # amusement and joy are one emotion here
    assert report['ignored'] == {'several emotions': 1}
    assert set(opened.facts[0].emotions) <= {
        'happy',
        'angry',
        'sad',
        'fearful',
        'disgust',
        'surprised',
        'neutral',
    }


def test_the_mapping_covers_every_label_once():
    module = __import__(Builder.__module__, fromlist=['x'])
    published = (DUMMY / 'emotions.txt').read_text().split()
    assert len(published) == 28 and {'original': tuple(published), 'ekman': EKMAN} == module.LABELS
    assert sorted(w for words in module.taxonomies.EKMAN.values() for w in words) == sorted(
        published
    )


def ekman_files(folder: pathlib.Path, mapping: dict) -> pathlib.Path:
    """The dummy comments in the seven labels, with the file that names them."""
    folder.mkdir(parents=True)
    labels = (DUMMY / 'emotions.txt').read_text().split()
    for table in DUMMY.glob('*.tsv'):
        rows = [line.split('\t') for line in table.read_text().splitlines()]
        for row in rows:
            meant = sorted({EKMAN.index(mapping[labels[int(n)]]) for n in row[1].split(',')})
            row[1] = ','.join(map(str, meant))
        (folder / table.name).write_text(''.join('\t'.join(row) + '\n' for row in rows))
    (folder / 'labels.txt').write_text('\n'.join(EKMAN))
    return folder


def test_files_of_seven_labels_give_the_same_shards_as_the_mapping(tmp_path):
    mapping = __import__(Builder.__module__, fromlist=['x']).taxonomies.EKMAN_OF
    mapped, _ = prepared(tmp_path / 'mapped', 'ekman')
    ekman_files(tmp_path / 'in' / 'ekman', mapping)
    read, _ = prepared(tmp_path / 'read', 'ekman', tmp_path / 'in')
    assert read.fingerprints == mapped.fingerprints
    (tmp_path / 'in' / 'ekman' / 'labels.txt').unlink()  # the folder's name is enough
    shutil.copytree(DUMMY, tmp_path / 'in' / 'original')
    both, _ = prepared(tmp_path / 'both', 'ekman', tmp_path / 'in')
    assert both.fingerprints == mapped.fingerprints
    original, _ = prepared(tmp_path / 'both', 'original', tmp_path / 'in')
    assert original.fingerprints == prepared(tmp_path / 'original')[0].fingerprints
    (tmp_path / 'in' / 'ekman' / 'dev.tsv').unlink()  # a split that the seven lack is mapped
    assert (
        prepared(tmp_path / 'mixed', 'ekman', tmp_path / 'in')[0].fingerprints
        == mapped.fingerprints
    )


def test_other_taxonomies_are_ignored_and_damage_is_named(tmp_path):
    group = shutil.copytree(DUMMY, tmp_path / 'in' / 'group')
    (group / 'emotions.txt').write_text('positive\nnegative\nambiguous\nneutral\n')
    shutil.copytree(DUMMY, tmp_path / 'in' / 'original')
    _, report = prepared(tmp_path / 'out', 'original', tmp_path / 'in')
    assert report['utterances'] == 10
    assert report['ignored']['of other labels, positive, negative, ambiguous, neutral ...'] == 3
    with open(tmp_path / 'in' / 'original' / 'test.tsv', 'a') as f:
        f.write('no numbers here\nnumber out of range\t28\teag0001\n')
    with pytest.raises(
        InputError, match=r'2 of 13 files are bad.*test\.tsv:5: expected text, label numbers and id'
    ):
        prepared(tmp_path / 'bad', 'original', tmp_path / 'in')


@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_every_comment_is_read_or_named(tmp_path, monkeypatch, end):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    odd = 'a "quote, \u2028 \x1c \x0b\x0c and \x7f one'
    bad = [
        'a\t-1\tid',
        'a\t28\tid',
        'a\t1\t',
        'a\t1, 2\tid',
        'a\t1_0\tid',
        'a\t٣\tid',
        'a\t1\tid\t',
        '',
        'a',
    ]
    lines = [f'{odd}\t2\teag1', *bad, f'"{odd}\t3\teag2']
    (copy / 'test.tsv').write_text(end.join(lines) + end, newline='')
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.9')
    opened, report = prepared(tmp_path / 'out', manual_dir=copy)
    test = {i: t for i, t in zip(opened.id, opened.text, strict=True) if i.startswith('test/')}
    assert test == {'test/eag1': odd, 'test/eag2': f'"{odd}'}
    named = [s['source'].rpartition(':')[2] for s in report['skipped'] if 'test.tsv' in s['source']]
    assert named == [str(n) for n in range(2, 2 + len(bad))]


def test_two_lists_of_labels_that_differ_are_refused(tmp_path):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    shutil.copy(copy / 'emotions.txt', copy / 'labels.txt')
    prepared(tmp_path / 'same', manual_dir=copy)
    (copy / 'labels.txt').write_text('\n'.join(EKMAN))
    with pytest.raises(
        InputError,
        match=r'(labels|emotions)\.txt and another file in its folder list different labels',
    ):
        prepared(tmp_path / 'out', manual_dir=copy)


def test_folders_without_comments_are_refused_in_one_line(tmp_path):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'goemotions_1.csv').write_text('text,id\n')
    with pytest.raises(
        InputError, match=r'holds no goemotions text; expected files like test\.tsv.*1 \.csv'
    ) as e:
        prepared(tmp_path / 'out', 'original', tmp_path / 'in')
    assert '\n' not in str(e.value)


def test_the_folder_follows_the_convention():
    metadata = Builder.get_metadata()
    assert metadata.description.startswith('# GoEmotions') and 'demszky2020' in metadata.citation
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
    assert sum(p.stat().st_size for p in DUMMY.rglob('*') if p.is_file()) < 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_the_stock_test_case_passes(monkeypatch):
    """TFDS's own checks, which read with TensorFlow and therefore want tfrecord."""
    import unittest

    monkeypatch.setitem(tfds.core.registered._DATASET_REGISTRY, 'goemotions', Builder)

    class Stock(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = Builder
        BUILDER_CONFIG_NAMES_TO_TEST = ['original']  # noqa: RUF012
        SPLITS = {'train': 10}  # noqa: RUF012

        def _make_builder(self, config=None):
            return Builder(data_dir=self.tmp_dir, config=config, file_format='tfrecord')

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Stock).run(result)
    assert result.testsRun >= 5
    assert not result.errors and not result.failures, (result.errors + result.failures)[0][1]
