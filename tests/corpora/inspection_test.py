"""Inspection of a corpus: hashes of the content, clipping, differences from the published one."""

import collections

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from ser_jax.audio import wav
from ser_jax.contract import InputError, Recording
from ser_jax.corpora import inspection, inspection_report


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=300))
def test_the_hash_of_16_bit_samples_is_that_of_their_bytes(values):
    import hashlib

    samples = np.array(values, np.int16)
    assert (
        inspection.sha256(samples.astype(np.float32) / 32768)
        == hashlib.sha256(samples.tobytes()).hexdigest()
    )


def test_the_hash_depends_on_the_samples_and_not_on_the_container(tmp_path):
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


def inspected(
    name: str, emotion='happy', speaker='s1', sex='male', channel='speech', sha256='', **fields
) -> inspection.Inspected:
    recording = Recording(
        name, speaker, emotion, emotion, lambda: None, f'{name}.wav', sex=sex, channel=channel
    )
    measures = {**inspection.measures(None, 0), 'seconds': 2.0, **fields}
    return inspection.Inspected(recording, sha256 or name, measures)


PUBLISHED = inspection_report.PublishedCounts(
    utterances={'speech': {'happy': 2, 'sad': 2}, 'song': {'sad': 1}},
    speakers={'speech': {'s1': 'male', 's2': 'female'}, 'song': {'s1': 'male'}},
)


def test_a_partial_corpus_is_compared_with_the_published_one():
    kept = [
        inspected('a'),
        inspected('b', 'angry', sex='female'),
        inspected('c', speaker='s9', clipped=1),
    ]
    report = inspection_report.summary(kept, [], kept, PUBLISHED)
    assert report['published']['speech'] == {
        'here': 3, 'published': 4, 'missing speakers': ['s2'], 'unknown speakers': ['s9'],
        'other sex': ['s1'],
        'unknown emotions': ['angry'], 'emotions': ['sad 0 of 2'],
    }  # fmt: skip
    assert report['published']['song'] == {
        'here': 0,
        'published': 1,
        'missing speakers': ['s1'],
        'emotions': ['sad 0 of 1'],
    }
    text = '\n'.join(inspection_report.lines(report))
    assert '3 of the 4 published files; missing speakers: s2; unknown speakers: s9' in text
    assert 'song: 0 of the 1 published files\n' in text
    assert 'a partial corpus can be used' in text
    assert '1, 33.3%' in text


def test_a_complete_corpus_is_called_so_with_its_duplicates():
    usable = [
        inspected('a'),
        inspected('b', sha256='a'),
        inspected('c', 'sad', 's2', 'female'),
        inspected('d', 'sad'),
    ]
    usable.append(inspected('e', 'sad', channel='song'))
    kept, duplicates = inspection.without_duplicates(usable)
    assert [s.source for s in duplicates] == ['b.wav']
    report = inspection_report.summary(kept, duplicates, usable, PUBLISHED)
    assert (report['utterances'], report['sexes'], report['hours']) == (
        4,
        {'female': 1, 'male': 3},
        round(8 / 3600, 4),
    )
    text = '\n'.join(inspection_report.lines(report))
    assert (
        'speech: complete, 4 files as published' in text
        and 'song: complete, 1 files as published' in text
    )
    assert 'partial' not in text
    assert 'skipped, duplicate: 1\n    b.wav (the same content as a.wav)' in text


@given(
    st.lists(st.tuples(*3 * [st.integers(0, 4)], st.sampled_from(['happy', 'sad'])), max_size=12),
    st.randoms(use_true_random=False),
)
def test_no_recording_is_chosen_by_its_place(rows, random):
    """Rows of (id, content, copy, emotion): whatever the order, the same contents are kept."""
    recordings = [
        inspected(f'u{i}', emotion, sha256=f'content {content}') for i, content, _, emotion in rows
    ]
    kept, skipped = inspection.without_duplicates(recordings)
    assert len(kept) + len(skipped) == len(recordings)
    contents, emotions = collections.defaultdict(set), collections.defaultdict(set)
    for h in recordings:
        contents[h.recording.id].add(h.sha256)
        emotions[h.sha256].add(h.recording.emotion)
    usable = {
        h.sha256
        for h in recordings
        if len(contents[h.recording.id]) == 1 and len(emotions[h.sha256]) == 1
    }
    assert sorted(h.sha256 for h in kept) == sorted(usable)
    random.shuffle(recordings)
    again, _ = inspection.without_duplicates(recordings)
    assert {h.sha256 for h in again} == usable


def test_different_contents_of_one_name_are_a_conflict_that_counts():
    copies = [inspected('x', sha256='speech'), inspected('x', sha256='laryngogram'), inspected('y')]
    kept, skipped = inspection.without_duplicates(copies)
    assert [h.recording.id for h in kept] == ['y']
    assert {s.kind for s in skipped} == {'name conflict'}
    with pytest.raises(
        InputError, match=r'2 of 3 .*2 name conflict, .*; if a name .*take wav/; repair'
    ):
        inspection.check_tolerance(skipped, 3, 0.5, 'take wav/')
    inspection.check_tolerance(skipped, 3, 0.7)


def bad(count: int, kind: str = 'silent', detail: str = '') -> list[inspection.Skipped]:
    return [inspection.Skipped(f'{kind}{i}.wav', kind, detail) for i in range(count)]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.floats(0, 1))
def test_the_tolerance_is_a_share_of_all_files_and_duplicates_are_free(
    good, silent, missing, share
):
    files, skipped = good + silent + missing, bad(silent) + bad(missing, 'missing')
    skipped += [s for kind in inspection.HARMLESS for s in bad(9, kind)]
    wrong = silent + missing
    if wrong and (wrong > share * files or wrong == files):
        with pytest.raises(InputError, match=f'^{wrong} of {files} files are bad') as e:
            inspection.check_tolerance(skipped, files, share)
        assert '\n' not in str(e.value)
        for count, kind in ((silent, 'silent'), (missing, 'missing')):
            assert (f'{count} {kind}, e.g. {kind}0.wav' in str(e.value)) == (count > 0)
        assert ('--tolerance' in str(e.value)) == (wrong < files)
    else:
        inspection.check_tolerance(skipped, files, share)


def test_half_may_be_missing_where_half_is_tolerated():
    inspection.check_tolerance(bad(6, 'missing'), 12, 0.5)
    with pytest.raises(
        InputError, match=r'7 of 12 files are bad, 58.3%; at most 50.0% .*7 missing'
    ):
        inspection.check_tolerance(bad(7, 'missing', 'no such file'), 12, 0.5)
    with pytest.raises(InputError, match='12 of 12 files are bad, all of them'):
        inspection.check_tolerance(bad(12, 'missing'), 12, 1.0)


def test_a_report_accounts_for_every_file():
    usable = [
        inspected('a'),
        inspected('b', sha256='a'),
        inspected('c'),
        inspected('c', sha256='d'),
    ]
    kept, rest = inspection.without_duplicates(usable)
    skipped = bad(3) + bad(2, 'missing') + rest + bad(4, 'ignored', 'no sound')
    report = inspection_report.summary(kept, skipped, usable, None)
    assert report['files'] == 9 == report['utterances'] + len(report['skipped'])
    assert report['ignored'] == {'no sound': 4}
