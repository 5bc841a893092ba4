"""TESS from noise: uneven folders, the lost F, a file of another rate, a copy in the copy."""

import pathlib

import numpy as np
import pytest

from ser_jax import build
from ser_jax.contract import InputError
from tests import lookalikes

HERE = pathlib.Path(__file__).parent
Builder = build.builder_class(HERE / 'tess_dataset_builder.py')
FILES = {
    'OAF_Fear/OAF_food_fear.wav': 96000, 'OAF_Fear/OAF_back_fear.wav': 24414,
    'YAF_fear/YAF_back_fear.wav': 24414,
    'OAF_Pleasant_surprise/OAF_back_ps.wav': 24414, 'YAF_pleasant_surprised/YAF_back_ps.wav': 24414,
    'OAF_neutral/OA_bite_neutral.wav': 24414, 'OAF_Sad/OAF_back_sad.wav': 24414,
    'YAF_sad/YAF_back_sad.wav': 24414,
    'YAF_disgust/YAF_back_disgust.wav': 24414,
}  # fmt: skip


def test_names_are_read_as_published(tmp_path):
    opened, report = lookalikes.built(Builder, lookalikes.write(tmp_path / 'in', FILES), tmp_path)
    of = dict(
        zip(
            opened.id,
            zip(opened.speaker, opened.emotion, opened.label, opened.text, strict=True),
            strict=True,
        )
    )
    assert of['OAF_back_ps'] == ('tess_oaf', 'surprised', 'ps', 'Say the word back')
    assert of['OA_bite_neutral'][:2] == ('tess_oaf', 'neutral') and len(of) == 9
    assert set(opened.sex) == {'female'} and not report['skipped']
    assert dict(zip(opened.id, opened.rate_hz, strict=True))['OAF_food_fear'] == 96000
    np.testing.assert_allclose(opened.seconds, 0.4, atol=1e-4)  # whatever the rate
    assert np.ptp(opened.length) <= 1
    assert opened.facts[0].research_only


def test_a_copy_that_holds_everything_twice_gives_the_same(tmp_path):
    once, _ = lookalikes.built(Builder, lookalikes.write(tmp_path / 'once', FILES), tmp_path / '1')
    for name, rate_hz in FILES.items():
        for place in ('', 'TESS Toronto emotional speech set data/'):
            path = tmp_path / 'twice' / (place + name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((tmp_path / 'once' / name).read_bytes())
    twice, report = lookalikes.built(Builder, tmp_path / 'twice', tmp_path / '2')
    assert once.fingerprints == twice.fingerprints
    assert {s['kind'] for s in report['skipped']} == {'duplicate'} and len(
        report['skipped']
    ) == len(FILES)


def test_names_that_only_look_alike_count_as_bad(tmp_path):
    folder = lookalikes.write(tmp_path / 'in', {**FILES, 'OAF_Sad/OAF_back_calm.wav': 24414})
    with pytest.raises(InputError, match=r'1 of 10 files are bad.*OAF_back_calm.wav: no TESS name'):
        lookalikes.built(Builder, folder, tmp_path)


def test_the_folder_follows_the_convention():
    lookalikes.follows_the_convention(Builder, HERE, 'TESS')
    assert sum(Builder.PUBLISHED_COUNTS.utterances['speech'].values()) == 2800
