"""datasets/synthetic with two sentences per speaker and emotion: complete, reproducible."""

import collections
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ser_jax import build
from ser_jax.audio import features, wav
from ser_jax.contract import InputError
from ser_jax.corpora import espeak, synthetic_script, synthetic_voice

HERE = Path(__file__).parent
Builder = build.builder_class(HERE / 'synthetic_dataset_builder.py')
SENTENCES = 2


@pytest.fixture(scope='module')
def small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Builder, 'SENTENCES', SENTENCES)
        yield Builder


def _built(builder_class, folder, config='log_mel'):
    builder = builder_class(data_dir=folder, config=config)
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope='module')
def log_mel(small, tmp_path_factory):
    return _built(small, tmp_path_factory.mktemp('first'))


def test_every_utterance_is_present_with_its_fields(log_mel):
    assert log_mel.name == 'synthetic'
    source = log_mel.as_data_source('train')
    lines = {line.id: line for line in synthetic_script.script(0, SENTENCES)}
    assert len(source) == len(lines) == 12 * 8 * SENTENCES
    speakers, emotions, sexes = collections.Counter(), collections.Counter(), collections.Counter()
    for i in range(len(source)):
        found = {k: v.decode() if isinstance(v, bytes) else v for k, v in source[i].items()}
        line = lines.pop(found['id'])
        assert found['speaker'] == f'synthetic_{line.speaker.id}'
        assert found['sex'] == line.speaker.sex
        assert found['emotion'] == found['label'] == line.emotion
        assert found['text'] == line.text
        assert (found['language'], found['intensity'], found['channel']) == (
            'en',
            'normal',
            'speech',
        )
        assert 0.8 < found['seconds'] < 6
        frames = found['log_mel']
        assert frames.dtype == np.float16
        assert frames.shape[1] == 64
        assert abs(len(frames) - 100 * found['seconds']) < 2
        assert np.isfinite(frames).all()
        assert frames.astype(np.float32).std() > 5
        speakers[found['speaker']] += 1
        emotions[found['emotion']] += 1
        sexes[found['sex']] += 1
    assert not lines
    assert set(speakers.values()) == {8 * SENTENCES}
    assert set(emotions.values()) == {12 * SENTENCES}
    assert sexes['female'] == sexes['male']


def test_features_are_those_of_the_performance(log_mel):
    example = log_mel.as_data_source('train')[100]
    line = next(
        line for line in synthetic_script.script(0, SENTENCES) if line.id == example['id'].decode()
    )
    (expected,) = features.extract([wav.prepare(*synthetic_voice.perform(line))])
    assert np.array_equal(example['log_mel'], expected.astype(np.float16))


def test_every_build_has_the_same_content_and_nothing_is_wrong_with_it(small, log_mel, tmp_path):
    def written(builder, name):
        return json.loads((Path(builder.data_dir) / name).read_text())

    again = _built(small, tmp_path)
    assert written(again, 'fingerprint.json') == written(log_mel, 'fingerprint.json')
    report = written(log_mel, 'inspection.json')
    assert report['skipped'] == []
    assert report['clipped']['utterances'] == 0


def test_waveform_holds_the_performance_at_16_khz(small, tmp_path):
    example = _built(small, tmp_path, 'waveform').as_data_source('train')[7]
    assert example['waveform'].dtype == np.int16
    assert abs(len(example['waveform']) - 16000 * example['seconds']) < 2


def test_without_espeak_the_build_stops_with_one_line(small, tmp_path, monkeypatch):
    monkeypatch.setattr(espeak, '_worker', None)
    monkeypatch.setitem(sys.modules, 'espeakng_loader', None)
    with pytest.raises(InputError, match=r"pip install 'ser_jax\[synthetic\]'"):
        _built(small, tmp_path)


def test_the_metadata_name_it_synthetic():
    readme = (HERE / 'README.md').read_text()
    assert 'does not transfer to human speech' in ' '.join(readme.split())
    bib = (HERE / 'CITATIONS.bib').read_text()
    assert all(key in bib for key in ('scherer2003', 'juslin2003', 'banse1996', 'cahn1990'))
