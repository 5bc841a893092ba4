"""EMO-DB from noise under its names: German words, boredom, full-scale clips."""

import pathlib

import numpy as np
import pytest
import soundfile

from ser_jax import build
from ser_jax.contract import InputError
from tests import lookalikes

HERE = pathlib.Path(__file__).parent
Builder = build.builder_class(HERE / 'emodb_dataset_builder.py')
FILES = {f'wav/{name}.wav': 16000 for name in (
    '03a01Fa', '03a01Nc', '08a02La', '09b10Wb', '10a07Ad', '13b03Ec', '16a04Ta')}  # fmt: skip


def test_names_are_read_as_published(tmp_path):
    opened, report = lookalikes.built(Builder, lookalikes.write(tmp_path / 'in', FILES), tmp_path)
    of = dict(
        zip(
            opened.id,
            zip(opened.speaker, opened.sex, opened.emotion, opened.label, strict=True),
            strict=True,
        )
    )
    assert of['08a02La'] == ('emodb_08', 'female', 'boredom', 'L') and of['10a07Ad'] == (
        'emodb_10',
        'male',
        'fearful',
        'A',
    )
    assert set(opened.language) == {'de'} and set(opened.emotion) == set(Builder.EMOTIONS)
    assert opened.text[list(opened.id).index('03a01Fa')] == 'Der Lappen liegt auf dem Eisschrank.'
    assert (
        report['published']['speech']['here'] == 7
        and report['published']['speech']['published'] == 535
    )


def test_a_single_peak_at_full_scale_is_not_clipping(tmp_path):
    folder = lookalikes.write(tmp_path / 'in', FILES)
    samples = lookalikes.noise('peak', 16000)
    samples[1000] = 1.0
    soundfile.write(folder / 'wav' / '03a02Wa.wav', samples, 16000)
    opened, report = lookalikes.built(Builder, folder, tmp_path)
    assert report['clipped']['utterances'] == 0 and opened.peak.max() == pytest.approx(1, abs=1e-3)


def test_names_that_only_look_alike_count_as_bad(tmp_path):
    folder = lookalikes.write(tmp_path / 'in', {**FILES, 'wav/03a01Xa.wav': 16000})
    with pytest.raises(InputError, match=r'1 of 8 files are bad.*03a01Xa.wav: no EMO-DB name'):
        lookalikes.built(Builder, folder, tmp_path)


def test_laryngograms_under_the_same_names_are_refused_with_advice(tmp_path):
    folder = lookalikes.write(tmp_path / 'in', FILES)
    lookalikes.write(folder, {name.replace('wav/', 'laryngo/'): 16000 for name in FILES})
    with pytest.raises(InputError, match=r'14 of 14 .*name conflict.*give the folder wav ') as e:
        lookalikes.built(Builder, folder, tmp_path)
    assert '\n' not in str(e.value)
    opened, _ = lookalikes.built(Builder, folder / 'wav', tmp_path)
    assert len(opened) == len(FILES)


def test_the_folder_follows_the_convention():
    lookalikes.follows_the_convention(Builder, HERE, 'EMO-DB')
    assert sum(Builder.PUBLISHED_COUNTS.utterances['speech'].values()) == 535
    assert (
        np.mean([s == 'male' for s in Builder.PUBLISHED_COUNTS.speakers['speech'].values()]) == 0.5
    )
