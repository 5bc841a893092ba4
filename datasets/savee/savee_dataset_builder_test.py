"""SAVEE from noise under its names: both layouts, an offset, clipping."""

import pathlib
import zipfile

import numpy as np
import pytest
import soundfile

from ser_jax import build
from ser_jax.contract import InputError
from tests import lookalikes

HERE = pathlib.Path(__file__).parent
Builder = build.builder_class(HERE / 'savee_dataset_builder.py')
NAMES = ('a01', 'd02', 'f03', 'h04', 'n30', 'sa05', 'su15')


def layouts(root: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The official layout, and the flat one of many copies, with the same sounds."""
    official, flat = root / 'official', root / 'flat'
    for speaker in ('DC', 'KL'):
        for name in NAMES:
            samples = lookalikes.noise(
                speaker + name, 44100, offset=0.045 if speaker == 'KL' else 0.0
            )
            for path in (
                official / 'AudioData' / speaker / f'{name}.wav',
                flat / 'ALL' / f'{speaker}_{name}.wav',
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, 44100)
    return official, flat


def test_both_layouts_give_the_same(tmp_path):
    official, flat = layouts(tmp_path)
    one, report = lookalikes.built(Builder, official, tmp_path / '1')
    two, _ = lookalikes.built(Builder, flat, tmp_path / '2')
    assert one.fingerprints == two.fingerprints and not report['skipped']
    of = dict(zip(one.id, zip(one.speaker, one.emotion, one.label, strict=True), strict=True))
    assert of['KL_sa05'] == ('savee_kl', 'sad', 'sa') and of['DC_su15'] == (
        'savee_dc',
        'surprised',
        'su',
    )
    assert len(of) == 14 and set(one.sex) == {'male'} and one.facts[0].research_only
    assert report['published']['speech']['missing speakers'] == ['savee_je', 'savee_jk']


def test_clipping_is_reported_and_an_offset_removed(tmp_path):
    official, _ = layouts(tmp_path)
    soundfile.write(
        official / 'AudioData' / 'DC' / 'a02.wav',
        np.clip(lookalikes.noise('x', 44100, level=3.0), -1, 1),
        44100,
    )
    opened, report = lookalikes.built(Builder, official, tmp_path / '1')
    assert report['clipped'] == {'utterances': 1, 'speakers': {'savee_dc': 1}}
    assert dict(zip(opened.id, opened.clipped, strict=True))['DC_a02'] == 1
    low = {
        s: np.mean(
            [
                opened.read(i)[5:-5, 0].mean()
                for i in np.flatnonzero((opened.speaker == s) & (opened.clipped == 0))
            ]
        )
        for s in ('savee_dc', 'savee_kl')
    }
    assert (
        abs(low['savee_dc'] - low['savee_kl']) < 2
    )  # dB in the lowest band, where an offset would show


def test_a_file_without_speaker_counts_as_bad(tmp_path):
    official, _ = layouts(tmp_path)
    lookalikes.write(official, {'a03.wav': 44100})
    with pytest.raises(
        InputError, match=r'1 of 15 files are bad.*a03.wav: no speaker in its name or folder'
    ):
        lookalikes.built(Builder, official, tmp_path / '1')


def test_the_given_folder_or_zip_can_name_the_speaker(tmp_path):
    official, _ = layouts(tmp_path)
    one, _ = lookalikes.built(Builder, official / 'AudioData' / 'DC', tmp_path / '1')
    for name in ('DC.zip', 'kl.ZIP'):
        (tmp_path / 'zips').mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / 'zips' / name, 'w') as z:
            for path in (official / 'AudioData' / name[:2].upper()).iterdir():
                z.write(path, path.name)
    both, report = lookalikes.built(Builder, tmp_path / 'zips', tmp_path / '2')
    assert set(one.speaker) == {'savee_dc'} and not report['skipped']
    assert set(both.speaker) == {'savee_dc', 'savee_kl'} and len(both.id) == 14


def test_the_folder_follows_the_convention():
    lookalikes.follows_the_convention(Builder, HERE, 'SAVEE')
    assert sum(Builder.PUBLISHED_COUNTS.utterances['speech'].values()) == 480
