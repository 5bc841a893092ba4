"""CREMA-D from noise under its names: actors, sentences, levels, the silent file."""

import pathlib

import numpy as np
import pytest
import soundfile

from ser_jax import build
from ser_jax.contract import InputError
from tests import lookalikes

HERE = pathlib.Path(__file__).parent
Builder = build.builder_class(HERE / 'cremad_dataset_builder.py')
FILES = {f'AudioWAV/{name}.wav': 16000 for name in (
    '1001_DFA_ANG_XX', '1001_IEO_ANG_HI', '1001_IEO_ANG_LO', '1002_MTI_SAD_MD', '1002_WSI_NEU_XX',
    '1091_TAI_FEA_X',
    '1091_ITS_DIS_XX', '1090_IWW_HAP_XX')}  # fmt: skip


def test_names_are_read_as_published(tmp_path):
    opened, report = lookalikes.built(Builder, lookalikes.write(tmp_path / 'in', FILES), tmp_path)
    of = dict(
        zip(
            opened.id,
            zip(
                opened.speaker,
                opened.sex,
                opened.emotion,
                opened.intensity,
                opened.text,
                strict=True,
            ),
            strict=True,
        )
    )
    assert of['1001_IEO_ANG_HI'] == (
        'cremad_1001',
        'male',
        'angry',
        'strong',
        "It's eleven o'clock",
    )
    assert of['1002_MTI_SAD_MD'] == (
        'cremad_1002',
        'female',
        'sad',
        'normal',
        'Maybe tomorrow it will be cold',
    )
    assert of['1091_TAI_FEA_X'][3] == 'unknown' and len(of) == 8 and not report['skipped']
    assert opened.facts[0].emotions == Builder.EMOTIONS
    published = report['published']['speech']
    assert (
        published['here'] == 8
        and published['published'] == 7441
        and len(published['missing speakers']) == 87
    )


def test_the_silent_file_is_named_and_strangers_are_passed_over(tmp_path):
    folder = lookalikes.write(tmp_path / 'in', {**FILES, 'VideoFlash/notes.wav': 16000})
    soundfile.write(folder / 'AudioWAV' / '1076_MTI_SAD_XX.wav', np.zeros(8000), 16000)
    builder_class = type(
        'Lenient',
        (Builder,),
        {'TOLERANCE': 0.2, '__module__': Builder.__module__, 'name': 'cremad'},
    )
    _, report = lookalikes.built(builder_class, folder, tmp_path)
    assert [(s['kind'], pathlib.Path(s['source']).stem) for s in report['skipped']] == [
        ('silent', '1076_MTI_SAD_XX')
    ]
    assert report['ignored'] == {'no CREMA-D name': 1}


def test_the_wav_of_a_clone_is_read_and_its_mp3_ignored(tmp_path):
    folder = lookalikes.write(tmp_path / 'in', FILES)
    (folder / 'AudioMP3').mkdir()
    for name in FILES:
        stem = pathlib.Path(name).stem
        soundfile.write(
            folder / 'AudioMP3' / f'{stem}.mp3', lookalikes.noise(f'other {stem}', 16000), 16000
        )
    (folder / 'AudioMP3' / '1001_IEO_ANG_HI.mp3').write_text(
        'version https://git-lfs.github.com/spec/v1\n'
    )
    opened, report = lookalikes.built(Builder, folder, tmp_path)
    alone, _ = lookalikes.built(
        Builder, lookalikes.write(tmp_path / 'wav', FILES), tmp_path / 'alone'
    )
    assert opened.fingerprints == alone.fingerprints and not report['skipped']
    assert report['ignored'] == {'mp3, made for the raters': len(FILES)}


def test_the_refusal_of_another_folder_has_instructions(tmp_path):
    with pytest.raises(
        InputError, match=r'holds no cremad recording; expected names like 1001_DFA_ANG_XX.wav'
    ):
        lookalikes.built(Builder, lookalikes.write(tmp_path / 'in', {'a.wav': 16000}), tmp_path)
    with pytest.raises(InputError, match='cannot be downloaded; get it with git and git-lfs'):
        Builder(data_dir=tmp_path).download_and_prepare()


def test_the_folder_follows_the_convention():
    lookalikes.follows_the_convention(Builder, HERE, 'CREMA-D')
    assert (
        sum(Builder.PUBLISHED_COUNTS.utterances['speech'].values()) == 7441
    )  # one of 7,442 is silent
    sexes = list(Builder.PUBLISHED_COUNTS.speakers['speech'].values())
    assert len(sexes) == 91 and sexes.count('female') == 43
