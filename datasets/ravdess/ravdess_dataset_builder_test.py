"""RAVDESS from generated noise: every layout gives the same shards; the stock test passes."""

import json
import pathlib
import re
import shutil
import zipfile

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from ser_jax import build
from ser_jax.contract import InputError

HERE = pathlib.Path(__file__).parent
DUMMY = HERE / 'dummy_data'
Builder = build.builder_class(HERE / 'ravdess_dataset_builder.py')
IDS = [
    '03-01-01-01-01-01-01', '03-01-01-01-01-01-02', '03-01-03-01-02-01-01', '03-01-03-01-02-01-02',
    '03-01-04-01-02-01-01', '03-01-05-01-01-01-01', '03-01-05-01-01-01-02', '03-01-06-02-02-02-01',
    '03-02-01-01-01-01-01', '03-02-04-01-01-01-01',
]  # fmt: skip


def prepared(data_dir, manual_dir=DUMMY, config=None):
    """(examples, report, fingerprint) of a build from `manual_dir`."""
    builder = Builder(data_dir=data_dir, config=config)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    folder = pathlib.Path(builder.data_dir)
    examples = list(tfds.builder_from_directory(folder).as_data_source('train'))
    report, content = (
        json.loads((folder / name).read_text()) for name in ('inspection.json', 'fingerprint.json')
    )
    return examples, report, content['fingerprint']


def test_names_are_read_as_published(tmp_path):
    examples, report, _ = prepared(tmp_path)
    texts = [{k: v.decode() for k, v in e.items() if isinstance(v, bytes)} for e in examples]
    assert [t['id'] for t in texts] == IDS
    by_id = {t['id']: t for t in texts}
    strong = by_id['03-01-06-02-02-02-01']
    del strong['source_sha256']
    assert strong == {
        'id': '03-01-06-02-02-02-01', 'speaker': 'ravdess_01', 'sex': 'male', 'emotion': 'fearful',
        'label': '06',
        'text': 'Dogs are sitting by the door', 'language': 'en', 'intensity': 'strong',
        'channel': 'speech',
    }  # fmt: skip
    song = by_id['03-02-04-01-01-01-01']
    assert (song['channel'], song['emotion'], song['intensity']) == ('song', 'sad', 'normal')
    assert song['text'] == 'Kids are talking by the door'
    assert by_id['03-01-01-01-01-01-02']['sex'] == 'female'
    assert [(s['kind'], pathlib.Path(s['source']).stem) for s in report['skipped']] == [
        ('duplicate', '03-01-04-01-02-02-01')
    ]
    assert report['ignored'] == {'sound of a video': 1}
    assert (
        report['published']['speech']['here'] == 9
        and report['published']['speech']['published'] == 1440
    )
    assert report['published']['song']['missing speakers'][0] == 'ravdess_02'


@pytest.mark.parametrize('config', ['log_mel', 'waveform', 'native'])
def test_configs_store_their_feature(tmp_path, config):
    examples, _, _ = prepared(tmp_path, config=config)
    for e in examples:
        if config == 'native':
            assert e['native'].dtype == np.int16 and e['rate_hz'] in (16000, 48000)
            assert len(e['native']) == pytest.approx(e['seconds'] * e['rate_hz'])
        else:
            steps = {'log_mel': 100, 'waveform': 16000}[config]
            assert len(e[config]) == pytest.approx(e['seconds'] * steps, abs=2)
    if config == 'native':
        assert sorted({e['native'].shape[1] for e in examples}) == [1, 2]


def layouts(root: pathlib.Path) -> dict[str, pathlib.Path]:
    """The dummy data in the layouts in which RAVDESS travels."""
    speech = [p for p in sorted(DUMMY.rglob('*')) if re.match('03-01', p.name)]
    song = zipfile.ZipFile(DUMMY / 'Audio_Song_Actors_01-24.zip')
    nested, flat, zips, twice = (root / name for name in ('nested', 'flat', 'zips', 'twice'))
    for folder in (flat, zips):
        folder.mkdir(parents=True)
    with zipfile.ZipFile(zips / 'Audio_Speech_Actors_01-24.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        for path in speech:
            inner = f'{path.parent.name}/{path.name}'
            for copy in (nested / 'ravdess_speech', twice, twice / 'audio_speech_actors_01-24'):
                (copy / inner).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy / inner)
            shutil.copy(path, flat)
            z.write(path, inner)
    shutil.copy(DUMMY / 'Audio_Song_Actors_01-24.zip', zips)
    song.extractall(nested / 'ravdess_song')
    song.extractall(twice)
    for path in (nested / 'ravdess_song').rglob('*.wav'):
        shutil.copy(path, flat)
    return {'nested': nested, 'flat': flat, 'zips': zips, 'twice': twice}


def test_every_layout_gives_the_same_shards(tmp_path):
    _, _, expected = prepared(tmp_path / 'as_is')
    for name, folder in layouts(tmp_path / 'copies').items():
        _, report, found = prepared(tmp_path / name, folder)
        assert found == expected, name
        assert len(report['skipped']) == (10 if name == 'twice' else 1)
    _, report, _ = prepared(
        tmp_path / 'zip', tmp_path / 'copies' / 'zips' / 'Audio_Speech_Actors_01-24.zip'
    )
    assert report['utterances'] == 8 and report['published']['song']['here'] == 0


def augmented(folder: pathlib.Path, how: str) -> None:
    """Adds other samples under the names of some recordings, in a place that sorts first."""
    paths = [p for p in sorted(DUMMY.rglob('*')) if re.match('03-01-0[1-4]', p.name)]
    other = folder / 'Actor_00' if how != 'flac' else folder / 'Actor_01'
    other.mkdir(exist_ok=True)
    for path in paths:
        samples, rate = soundfile.read(path, dtype='float32')
        if how == 'flac':
            soundfile.write(other / f'{path.stem}.flac', samples[::3], rate // 3)
        else:
            soundfile.write(other / path.name, samples * 0.5, rate)
    if how == 'zip':
        shutil.make_archive(folder / '00', 'zip', other)
        shutil.rmtree(other)


@pytest.mark.parametrize('how', ['folder', 'zip', 'flac'])
def test_other_sounds_under_the_same_names_are_never_chosen(how, tmp_path, monkeypatch):
    shutil.copytree(DUMMY, tmp_path / 'in')
    augmented(tmp_path / 'in', how)
    with pytest.raises(InputError, match=r'files are bad.*name conflict.*only one of each'):
        prepared(tmp_path, tmp_path / 'in')
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.9')
    examples, report, _ = prepared(tmp_path, tmp_path / 'in')
    of = {e['id']: e['source_sha256'] for e in prepared(tmp_path / 'plain')[0]}
    assert 0 < len(examples) < len(of)
    assert all(of[e['id']] == e['source_sha256'] for e in examples)
    assert report['files'] == len(examples) + len(report['skipped'])


def test_the_default_manual_folder_is_used_without_a_flag(tmp_path):
    shutil.copytree(DUMMY, tmp_path / 'downloads' / 'manual')
    builder = Builder(data_dir=tmp_path)
    builder.download_and_prepare()
    assert builder.info.splits['train'].num_examples == len(IDS)


def test_folders_without_recordings_are_refused_in_one_line(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'other').mkdir()
    shutil.copy(DUMMY / 'notes.txt', tmp_path / 'other')
    shutil.copy(DUMMY / 'Actor_01' / '03-01-01-01-01-01-01.wav', tmp_path / 'other' / 'hello.wav')
    cases = {
        'nowhere': 'does not exist; get Audio',
        'empty': 'is empty; get',
        'other/notes.txt': 'is no folder; get',
    }
    cases['other'] = (
        r'holds no ravdess recording; expected names like 03-01-06.* '
        r'found (1 .txt, 1 .wav|1 .wav, 1 .txt); give'
    )
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as e:
            prepared(tmp_path / 'out', tmp_path / name)
        assert '\n' not in str(e.value)


def test_corrupt_files_and_odd_names_are_named(tmp_path):
    shutil.copytree(DUMMY, tmp_path / 'in')
    cut = tmp_path / 'in' / 'Actor_01' / '03-01-01-01-01-01-01.wav'
    cut.write_bytes(cut.read_bytes()[:3000])
    cut.with_name('03-01-09-01-01-01-01.wav').write_bytes(b'')
    with pytest.raises(InputError, match='2 of 12 files are bad') as e:
        prepared(tmp_path / 'out', tmp_path / 'in')
    assert f'{cut}: truncated' in str(e.value)
    assert '03-01-09-01-01-01-01.wav: no RAVDESS name' in str(e.value)


def test_published_counts_are_those_of_the_paper():
    published = Builder.PUBLISHED_COUNTS
    assert {c: sum(n.values()) for c, n in published.utterances.items()} == {
        'speech': 1440,
        'song': 1012,
    }
    assert {c: len(s) for c, s in published.speakers.items()} == {'speech': 24, 'song': 23}
    assert tuple(published.utterances['speech']) == Builder.EMOTIONS


def test_the_folder_follows_the_convention(tmp_path):
    metadata = Builder.get_metadata()
    assert metadata.description.startswith('# RAVDESS') and 'livingstone2018' in metadata.citation
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
    infos = Builder.url_infos
    assert {a.url: a.size for a in Builder.ARCHIVES} == {
        url: int(info.size) for url, info in infos.items()
    }
    assert len((HERE / 'ravdess_dataset_builder.py').read_text().splitlines()) <= 70
    assert sum(p.stat().st_size for p in DUMMY.rglob('*') if p.is_file()) < 200_000


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_the_stock_test_case_passes(monkeypatch):
    """TFDS's own checks, which read with TensorFlow and therefore want tfrecord."""
    import unittest

    try:
        import dill  # noqa: F401
        import tensorflow  # noqa: F401
    except ImportError as e:
        pytest.fail(
            f"the stock test case needs TensorFlow and dill ({e}): pip install -e '.[tfds,test]'"
        )
    # As a plain import of the builder does; `tfds build` and build.builder_class do not register.
    monkeypatch.setitem(tfds.core.registered._DATASET_REGISTRY, 'ravdess', Builder)

    class Stock(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = Builder
        SPLITS = {'train': len(IDS)}  # noqa: RUF012

        def _make_builder(self, config=None):
            return Builder(data_dir=self.tmp_dir, config=config, file_format='tfrecord')

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Stock).run(result)
    assert result.testsRun >= 5
    assert not result.errors and not result.failures, (result.errors + result.failures)[0][1]
