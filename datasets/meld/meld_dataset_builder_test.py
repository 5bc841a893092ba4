"""MELD from generated noise and invented lines, matched by split, dialog and turn."""

import csv
import json
import pathlib
import shutil
import zipfile

import pytest
import soundfile
import tensorflow_datasets as tfds

from ser_jax import build
from ser_jax.contract import InputError
from ser_jax.data import utterances
from tests.audio.sound_files import muxed

HERE = pathlib.Path(__file__).parent
DUMMY = HERE / 'dummy_data'
Builder = build.builder_class(HERE / 'meld_dataset_builder.py')


def prepared(data_dir, manual_dir=DUMMY):
    """(utterances as opened, report) of a build from `manual_dir`."""
    builder = Builder(data_dir=data_dir)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    report = json.loads(pathlib.Path(builder.data_dir, 'inspection.json').read_text())
    return utterances.open_corpora(('meld',), str(data_dir)), report


def test_utterances_are_read_as_published(tmp_path):
    opened, report = prepared(tmp_path)

    def by_id(field):
        return dict(zip(opened.id, getattr(opened, field), strict=True))

    assert by_id('speaker') == {
        'dev/dia0_utt0': 'meld_Rachel', 'dev/dia0_utt1': 'meld_Gunther',
        'test/dia0_utt0': 'meld_Chandler',
        'test/dia0_utt1': 'meld_Monica', 'train/dia0_utt0': 'meld_Phoebe',
        'train/dia0_utt1': 'meld_Ross',
        'train/dia1_utt0': 'meld_Joey',
    }  # fmt: skip
    assert by_id('sex')['dev/dia0_utt0'] == 'female' and by_id('sex')['train/dia1_utt0'] == 'male'
    assert by_id('sex')['dev/dia0_utt1'] == 'unknown'
    assert (
        by_id('emotion')['test/dia0_utt0'] == 'happy' and by_id('label')['test/dia0_utt0'] == 'joy'
    )
    assert by_id('text')['train/dia0_utt0'] == 'There’s a heron on the roof, I’m sure.'
    assert by_id('text')['dev/dia0_utt1'] == 'It was damp…'
    assert set(opened.emotion) == set(Builder.EMOTIONS) and set(opened.channel) == {'speech'}
    assert not report['skipped'] and report['ignored'] == {
        'a clip whose sound was extracted beside it': 1,
        'no line in the tables': 1,
        'not a MELD name, or in no folder named for its split': 1,
        'several voices at once': 1,
        'in the train table, but no such clip': 1,
    }


def test_tables_of_the_time_of_cp1252_give_the_same(tmp_path):
    expected, _ = prepared(tmp_path / 'expected')
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    for table in copy.glob('*.csv'):
        text = table.read_text(encoding='utf-8').translate({0x92: '’'})
        table.write_bytes(text.encode('cp1252'))
    assert prepared(tmp_path / 'out', copy)[0].fingerprints == expected.fingerprints


def test_layouts_give_what_they_hold(tmp_path):
    expected, _ = prepared(tmp_path / 'expected')
    (tmp_path / 'zipped').mkdir()
    with zipfile.ZipFile(tmp_path / 'zipped' / 'train_splits.zip', 'w') as z:
        for path in (DUMMY / 'train_splits').iterdir():
            z.write(path, path.name)  # the split is in the name of the zip
    for name in ('dev_splits_complete', 'output_repeated_splits_test'):
        shutil.copytree(DUMMY / name, tmp_path / 'zipped' / 'MELD.Raw' / name)
    for table in DUMMY.glob('*.csv'):
        shutil.copy(table, tmp_path / 'zipped' / 'MELD.Raw')
    assert prepared(tmp_path / 'zip', tmp_path / 'zipped')[0].fingerprints == expected.fingerprints
    part = shutil.copytree(DUMMY / 'dev_splits_complete', tmp_path / 'part' / 'dev')
    shutil.copy(DUMMY / 'dev_sent_emo.csv', part)
    opened, report = prepared(
        tmp_path / 'dev', part
    )  # the split is in the name of the folder that was given
    assert list(opened.id) == ['dev/dia0_utt0', 'dev/dia0_utt1'] and report['ignored'] == {
        'no line in the tables': 1
    }


def test_published_gaps_and_a_broken_clip_are_tolerated(tmp_path, monkeypatch):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    (copy / 'train_splits' / 'dia125_utt3.wav').write_bytes(
        b''
    )  # what a conversion of the broken clip leaves
    with pytest.raises(InputError, match=r'1 of 8 files are bad.*dia125_utt3\.wav: is empty'):
        prepared(tmp_path / 'out', copy)
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.2')  # of 13,708 it is one
    opened, report = prepared(tmp_path / 'out', copy)
    assert len(opened) == 7 and [s['kind'] for s in report['skipped']] == ['empty']


def test_clips_are_decoded_without_extracted_audio(tmp_path):
    pytest.importorskip('av')
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    samples, rate_hz = soundfile.read(copy / 'train_splits' / 'dia0_utt0.wav', dtype='float32')
    (copy / 'train_splits' / 'dia0_utt0.wav').unlink()
    clip = muxed([samples], rate_hz, 'aac', 'mp4')
    (copy / 'train_splits' / 'dia0_utt0.mp4').write_bytes(clip)
    opened, report = prepared(tmp_path / 'out', copy)
    assert 'train/dia0_utt0' in set(opened.id) and not report['skipped']


def _remove_tables(folder):
    for path in folder.glob('*.csv'):
        path.unlink()


def _spoil_table(folder):
    (folder / 'dev_sent_emo.csv').write_text('a,b\n1,2\n')


def _remove_clips(folder):
    for path in folder.glob('*_*/'):
        shutil.rmtree(path)


@pytest.mark.parametrize(
    'damage, message',
    [
        (_remove_tables, 'holds clips but none of train_sent_emo.csv'),
        (_spoil_table, 'has no column Utterance'),
        (_remove_clips, 'holds no meld recording'),
    ],
)
def test_missing_files_are_one_line(tmp_path, damage, message):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    damage(copy)
    with pytest.raises(InputError, match=message) as e:
        prepared(tmp_path / 'out', copy)
    assert '\n' not in str(e.value)


def test_a_damaged_line_counts_against_the_copy(tmp_path):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    table = copy / 'dev_sent_emo.csv'
    with open(table, encoding='utf-8', newline='') as f:
        rows = list(csv.reader(f))
    rows[1][3] = 'hunger'
    with open(table, 'w', encoding='utf-8', newline='') as f:
        csv.writer(f).writerows(rows)
    with pytest.raises(
        InputError,
        match=r'1 of 7 files are bad.*dia0_utt0\.wav: its line in the dev table is damaged',
    ):
        prepared(tmp_path / 'out', copy)


@pytest.mark.parametrize(
    'line, why',
    [
        (
            '8,"The roof","Joey",joy,positive,1,0,9,9,"00:00:01,000","00:00:02,000',
            'a quote is never closed',
        ),
        (
            '8,The roof, see,Joey,joy,positive,1,0,9,9,"00:00:01,000","00:00:02,000"',
            '12 values for 11 columns',
        ),
        ('8,"The roof",Joey,joy,positive,1,0,9,9', '9 values for 11 columns'),
        (
            '8,"The roof",Joey,joy,positive,1.0,0,9,9,"00:00:01,000","00:00:02,000"',
            'no number of dialog or utterance',
        ),
    ],
)
def test_every_line_of_a_table_is_read_or_named(tmp_path, monkeypatch, line, why):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    table = copy / 'train_sent_emo.csv'
    head, first, *rest = table.read_text(encoding='utf-8').splitlines()
    first = first.replace('heron', 'heron\u2028')
    table.write_text('\r\n'.join([head, line, first, *rest]), encoding='utf-8', newline='')
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.5')
    opened, report = prepared(tmp_path / 'out', copy)
    assert len(opened) == 7 and '\u2028' not in ''.join(opened.text)
    assert [(s['source'].rpartition('/')[2], s['detail']) for s in report['skipped']] == [
        ('train_sent_emo.csv:2', why)
    ]


def test_tables_that_differ_are_refused(tmp_path):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    (copy / 'dyadic').mkdir()
    text = (copy / 'dev_sent_emo.csv').read_text(encoding='utf-8')
    (copy / 'dyadic' / 'dev_sent_emo.csv').write_text(text, encoding='utf-8')
    assert len(prepared(tmp_path / 'same', copy)[0]) == 7
    (copy / 'dyadic' / 'dev_sent_emo.csv').write_text(
        text.replace('anger', 'joy'), encoding='utf-8'
    )
    with pytest.raises(
        InputError,
        match=r'csv:2 and .*csv:2 differ about dia0_utt0 of dev; keep only the table as published',
    ):
        prepared(tmp_path / 'out', copy)


def test_the_folder_follows_the_convention():
    metadata = Builder.get_metadata()
    assert metadata.description.startswith('# MELD') and 'poria2019' in metadata.citation
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
    assert sum(p.stat().st_size for p in DUMMY.rglob('*') if p.is_file()) < 200_000


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_the_stock_test_case_passes(monkeypatch):
    """TFDS's own checks, which read with TensorFlow and therefore want tfrecord."""
    import unittest

    monkeypatch.setitem(tfds.core.registered._DATASET_REGISTRY, 'meld', Builder)

    class Stock(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = Builder
        SPLITS = {'train': 7}  # noqa: RUF012

        def _make_builder(self, config=None):
            return Builder(data_dir=self.tmp_dir, config=config, file_format='tfrecord')

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Stock).run(result)
    assert result.testsRun >= 5
    assert not result.errors and not result.failures, (result.errors + result.failures)[0][1]
