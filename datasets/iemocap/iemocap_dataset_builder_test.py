"""IEMOCAP from generated noise: speakers from file names, emotions from EmoEvaluation."""

import json
import pathlib
import shutil
import types
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ser_jax import build
from ser_jax.contract import InputError
from ser_jax.data import protocols, utterances

HERE = pathlib.Path(__file__).parent
DUMMY = HERE / 'dummy_data'
Builder = build.builder_class(HERE / 'iemocap_dataset_builder.py')


def prepared(data_dir, manual_dir=DUMMY):
    """(utterances as opened, report) of a build from `manual_dir`."""
    builder = Builder(data_dir=data_dir)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    report = json.loads(pathlib.Path(builder.data_dir, 'inspection.json').read_text())
    return utterances.open_corpora(('iemocap',), str(data_dir)), report


def test_utterances_are_read_as_published(tmp_path):
    opened, report = prepared(tmp_path)

    def by_id(field):
        return dict(zip(opened.id, getattr(opened, field), strict=True))

    assert by_id('emotion') == {
        'Ses01F_impro01_F000': 'neutral', 'Ses01F_impro01_M000': 'frustrated',
        'Ses01F_impro01_F001': 'angry',
        'Ses01F_impro01_F002': 'excited', 'Ses01M_script01_1_F000': 'happy',
        'Ses01M_script01_1_M000': 'sad',
        'Ses05M_impro05a_F000': 'surprised', 'Ses05M_impro05a_M000': 'fearful',
        'Ses05M_impro05a_M001': 'disgust',
    }  # fmt: skip
    # The first letter says who wore markers, the last who speaks.
    assert (
        by_id('speaker')['Ses01F_impro01_M000'] == 'iemocap_Ses01M'
        and by_id('sex')['Ses01F_impro01_M000'] == 'male'
    )
    assert (
        by_id('speaker')['Ses01M_script01_1_F000']
        == 'iemocap_Ses01F'
        == by_id('speaker')['Ses01F_impro01_F002']
    )
    assert (
        by_id('text')['Ses01M_script01_1_F000'] == 'You kept the lamp.'
        and by_id('label')['Ses01F_impro01_F002'] == 'exc'
    )
    assert set(opened.channel) == {'speech'} and set(opened.rate_hz) == {16000}
    assert report['ignored'] == {
        'the evaluators did not agree (xxx)': 1, 'another emotion (oth)': 1,
        'sound of a whole dialog': 1,
    }  # fmt: skip
    assert (
        report['published']['speech']['here'] == 9
        and report['published']['speech']['published'] == 7529
    )
    assert opened.facts[0].research_only


def test_one_session_and_a_zip_give_what_they_hold(tmp_path):
    expected, _ = prepared(tmp_path / 'all')
    session, _ = prepared(tmp_path / 'one', DUMMY / 'Session5')
    assert set(session.speaker) == {'iemocap_Ses05F', 'iemocap_Ses05M'}
    (tmp_path / 'in').mkdir()
    with zipfile.ZipFile(tmp_path / 'in' / 'iemocap.zip', 'w') as z:
        for path in DUMMY.rglob('*.*'):
            z.write(path, f'IEMOCAP_full_release/{path.relative_to(DUMMY)}')
    assert prepared(tmp_path / 'zip', tmp_path / 'in')[0].fingerprints == expected.fingerprints


def test_what_is_missing_is_named(tmp_path):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    (copy / 'Session5/dialog/EmoEvaluation/Ses05M_impro05a.txt').unlink()
    with pytest.raises(
        InputError, match=r'3 of 9 files are bad.*Ses05M_impro05a_F000\.wav: has no line in EmoEval'
    ):
        prepared(tmp_path / 'out', copy)
    for path in copy.rglob('EmoEvaluation'):
        shutil.rmtree(path)
    with pytest.raises(
        InputError, match=r'no dialog/EmoEvaluation/\*\.txt with their emotions; give the'
    ) as e:
        prepared(tmp_path / 'out', copy)
    assert '\n' not in str(e.value)
    shutil.rmtree(copy / 'Session1/sentences'), shutil.rmtree(copy / 'Session5/sentences')
    with pytest.raises(InputError, match='holds no iemocap recording'):
        prepared(tmp_path / 'out', copy)


def test_an_unknown_code_and_an_odd_name_are_named(tmp_path, monkeypatch):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    table = copy / 'Session1/dialog/EmoEvaluation/Ses01F_impro01.txt'
    table.write_text(
        table.read_text().replace('\tneu\t', '\tbor\t').replace('\n', '\r\n'), newline=''
    )
    wav = copy / 'Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav'
    shutil.copy(wav, wav.with_name('Ses01F_impro01_X000.wav'))
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.5')
    opened, report = prepared(tmp_path / 'out', copy)
    assert len(opened) == 8
    assert {(s['kind'], s['detail']) for s in report['skipped']} == {
        ('unknown name', "emotion 'bor' is not known"), ('unknown name', 'not an IEMOCAP name'),
    }  # fmt: skip


def test_every_line_of_the_dialogs_is_accounted_for(tmp_path, monkeypatch):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    table = copy / 'Session1/dialog/EmoEvaluation/Ses01F_impro01.txt'
    text = table.read_text().replace('\tfru\t', ' fru').replace('[4.7500 -', '[4.7500')
    text += (
        '[3.2500 - 4.3500]\tSes01F_impro01_F001\thap\t[2.5000, 2.5000, 2.5000]\n'  # it is ang above
    )
    text += '[9.2500 - 9.3500]\tSes01F_impro01_F009\thap\t[2.5000, 2.5000, 2.5000]\n'
    table.write_text(text.replace('\n', '\r'), newline='')
    words = copy / 'Session1/dialog/transcriptions/Ses01F_impro01.txt'
    words.write_text(
        words.read_text().replace('Is this', 'Is\u2028this').replace(']: Look', '] Look')
    )
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.5')
    opened, report = prepared(tmp_path / 'out', copy)
    assert {pathlib.Path(s['source']).stem: s['detail'] for s in report['skipped']} == {
        'Ses01F_impro01_M000': 'has no line in EmoEvaluation',
        'Ses01F_impro01_M001': 'has no line in EmoEvaluation',
        'Ses01F_impro01_F001': 'is ang and hap in EmoEvaluation',
    }  # fmt: skip
    for why in (
        'damaged line in EmoEvaluation',
        'damaged line in transcriptions',
        'in EmoEvaluation, but no such sound',
    ):
        assert report['ignored'][why] == {'damaged line in EmoEvaluation': 2}.get(why, 1)
    text = dict(zip(opened.id, opened.text, strict=True))
    assert (
        text['Ses01F_impro01_F000'] == 'Is\u2028this the line for the ferry?'
        and text['Ses01F_impro01_F002'] == ''
    )


def test_the_protocol_leaves_one_session_out():
    speakers = sorted(Builder.PUBLISHED_COUNTS.speakers['speech'])
    everyone = types.SimpleNamespace(
        speaker=np.repeat(speakers, 2), sex=np.repeat(['female', 'male'] * 5, 2),
        corpus=np.zeros(20, int), names=('iemocap',),
        channel=np.full(20, 'speech'), emotion=np.tile(['sad', 'happy'], 10),
        source_sha256=np.arange(20).astype(str),
        id=np.array([f'{s[8:13]}F_impro01_{s[13]}{i:03d}' for i, s in enumerate(speakers * 2)]),
    )  # fmt: skip
    everyone.id = np.array(sorted(everyone.id, key=lambda i: (i[:5], i[15])))
    members = types.SimpleNamespace(protocol='iemocap/session5', valid_speakers=1)
    sides = 'train', 'valid', 'test'
    sessions = [{s: {name[8:13] for name in everyone.speaker[getattr(f, s)]} for s in sides}
                for f in protocols.make_folds(everyone, members)]  # fmt: skip
    assert [f['test'] for f in sessions] == [{f'Ses0{n}'} for n in range(1, 6)]
    for f in sessions:  # one validation speaker brings the other of its session
        assert len(f['valid']) == 1 and len(f['train']) == 3
        assert len(f['train'] | f['valid'] | f['test']) == 5


def test_the_folder_follows_the_convention():
    metadata = Builder.get_metadata()
    assert metadata.description.startswith('# IEMOCAP') and 'busso2008' in metadata.citation
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
    assert sum(Builder.PUBLISHED_COUNTS.utterances['speech'].values()) + 2507 + 3 == 10039
    assert tuple(sorted(Builder.PUBLISHED_COUNTS.utterances['speech'])) == tuple(
        sorted(Builder.EMOTIONS)
    )
    assert sum(p.stat().st_size for p in DUMMY.rglob('*') if p.is_file()) < 200_000


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_the_stock_test_case_passes(monkeypatch):
    """TFDS's own checks, which read with TensorFlow and therefore want tfrecord."""
    import unittest

    monkeypatch.setitem(tfds.core.registered._DATASET_REGISTRY, 'iemocap', Builder)

    class Stock(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = Builder
        SPLITS = {'train': 9}  # noqa: RUF012

        def _make_builder(self, config=None):
            return Builder(data_dir=self.tmp_dir, config=config, file_format='tfrecord')

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Stock).run(result)
    assert result.testsRun >= 5
    assert not result.errors and not result.failures, (result.errors + result.failures)[0][1]
