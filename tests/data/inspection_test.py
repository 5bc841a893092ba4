"""What an inspection says of a corpus: hashes by content, clipping, differences to what was published."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ser_jax.audio import wav
from ser_jax.contract import InputError, Recording
from ser_jax.data import inspection


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=300))
def test_the_hash_of_16_bit_samples_is_that_of_their_bytes(values):
    import hashlib

    samples = np.array(values, np.int16)
    assert inspection.sha256(samples.astype(np.float32) / 32768) == hashlib.sha256(samples.tobytes()).hexdigest()


def test_the_hash_does_not_depend_on_the_container_and_tells_sounds_apart(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    hashes = set()
    for name in ('a.wav', 'a.flac', 'a.aiff', 'a.w64'):
        soundfile.write(tmp_path / name, samples, 16000)
        hashes.add(inspection.sha256(wav.read(tmp_path / name)[0]))
    assert len(hashes) == 1
    exact = samples.astype(np.float32) / 32768
    assert inspection.sha256(exact * np.float32(0.999)) not in hashes
    assert inspection.sha256(exact[::-1]) not in hashes
    assert inspection.sha256(exact * 4) not in hashes  # float files may leave [-1, 1]


def test_a_plateau_is_clipping_a_peak_is_not():
    samples = np.sin(np.arange(3000) / 7).astype(np.float32) * 0.5
    assert not inspection.clipped(samples)
    samples[[100, 500, 900]] = 1.0
    assert not inspection.clipped(samples)
    samples[200:203] = -1.0
    assert inspection.clipped(samples)
    assert inspection.clipped(np.stack([samples * 0, samples], 1))


def heard(
    name: str, emotion='happy', speaker='s1', sex='male', channel='speech', sha256='', **fields
) -> inspection.Heard:
    recording = Recording(name, speaker, emotion, emotion, lambda: None, f'{name}.wav', sex=sex, channel=channel)
    measures = {**inspection.measures(None, 0), 'seconds': 2.0, **fields}
    return inspection.Heard(recording, sha256 or name, measures)


PUBLISHED = inspection.Published(
    utterances={'speech': {'happy': 2, 'sad': 2}, 'song': {'sad': 1}},
    speakers={'speech': {'s1': 'male', 's2': 'female'}, 'song': {'s1': 'male'}},
)


def test_a_partial_corpus_is_compared_with_the_published_one():
    kept = [heard('a'), heard('b', 'angry', sex='female'), heard('c', speaker='s9', clipped=1)]
    report = inspection.summary(kept, [], kept, PUBLISHED)
    assert report['published']['speech'] == {
        'here': 3, 'published': 4, 'missing speakers': ['s2'], 'unknown speakers': ['s9'], 'other sex': ['s1'],
        'unknown emotions': ['angry'], 'emotions': ['sad 0 of 2'],
    }  # fmt: skip
    assert report['published']['song'] == {
        'here': 0,
        'published': 1,
        'missing speakers': ['s1'],
        'emotions': ['sad 0 of 1'],
    }
    text = '\n'.join(inspection.lines(report))
    assert '3 of the 4 published files; missing speakers: s2; unknown speakers: s9' in text
    assert 'song: 0 of the 1 published files\n' in text
    assert 'a partial corpus is fine' in text
    assert '1, 33.3%' in text


def test_a_complete_corpus_is_called_so_with_its_duplicates():
    audible = [heard('a'), heard('b', sha256='a'), heard('c', 'sad', 's2', 'female'), heard('d', 'sad')]
    audible.append(heard('e', 'sad', channel='song'))
    kept, duplicates = inspection.without_duplicates(audible)
    assert [s.source for s in duplicates] == ['b.wav']
    report = inspection.summary(kept, duplicates, audible, PUBLISHED)
    assert (report['utterances'], report['sexes'], report['hours']) == (4, {'female': 1, 'male': 3}, round(8 / 3600, 4))
    text = '\n'.join(inspection.lines(report))
    assert 'speech: complete, 4 files as published' in text and 'song: complete, 1 files as published' in text
    assert 'partial' not in text
    assert 'skipped, duplicate: 1\n    b.wav (the same content as a.wav)' in text


@pytest.mark.parametrize('bad, refused', [(0, False), (2, False), (3, True)])
def test_the_tolerance_is_a_share_of_all_files_and_duplicates_are_free(bad, refused):
    skipped = [inspection.Skipped(f'{i}.wav', 'silent') for i in range(bad)]
    skipped += [inspection.Skipped(f'd{i}.wav', kind) for i, kind in enumerate(inspection.HARMLESS * 9)]
    if refused:
        with pytest.raises(
            InputError, match=r'3 of 100 files are bad, 3\.0% where 2\.0% are tolerated \(0\.wav: silent;'
        ):
            inspection.check_tolerance(skipped, 100, 0.02)
    else:
        inspection.check_tolerance(skipped, 100, 0.02)
