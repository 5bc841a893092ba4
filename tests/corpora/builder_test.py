"""Builders: the recordings' content on disk, in order and reproducible; bad ones are reported."""

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
import tracemalloc
import unicodedata

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_datasets.core import shuffle

from ser_jax.audio import features, wav
from ser_jax.contract import InputError, Recording
from ser_jax.corpora import builder, inspection, spool


class Given(builder.CorpusBuilder, skip_registration=True):
    """A corpus of whatever recordings a test hands over."""

    given = ()

    def recordings(self, dl_manager):
        return self.given


def sound(seed: int, seconds: float = 0.5, rate: int = 16000, channels: int = 0) -> np.ndarray:
    shape = (int(seconds * rate), channels) if channels else int(seconds * rate)
    return np.random.default_rng(seed).integers(-9000, 9000, shape).astype(np.float32) / 32768


def recording(name: str, samples, rate: int = 16000, **fields) -> Recording:
    fields = {'speaker': 'given_1', 'emotion': 'happy', 'label': 'H', **fields}
    return Recording(id=name, read=lambda: (samples, rate), source=f'{name}.wav', **fields)


def build(folder, recordings, config='log_mel', **attributes):
    """Build a corpus of recordings; return its examples, read back by path, and its folder."""
    builder = Given(data_dir=folder, config=config)
    builder.given = recordings
    for name, value in attributes.items():
        setattr(builder, name, value)
    builder.download_and_prepare()
    examples = list(tfds.builder_from_directory(builder.data_dir).as_data_source('train'))
    return examples, pathlib.Path(builder.data_dir)


def stored(folder: pathlib.Path) -> dict:
    return json.loads((folder / builder.FINGERPRINT).read_text())


def skipped(folder: pathlib.Path) -> dict[str, str]:
    return {
        s['source']: s['kind']
        for s in json.loads((folder / builder.INSPECTION).read_text())['skipped']
    }


def several(count: int = 7) -> list[Recording]:
    return [
        recording(f'u{i}', sound(i, 0.3 + 0.2 * (i % 7)), sex='female', text=f'word {i}')
        for i in range(count)
    ]


def test_examples_are_the_recordings_in_the_order_of_ids(tmp_path):
    recordings = several()
    examples, folder = build(tmp_path, [recordings[i] for i in (3, 0, 6, 1, 5, 2, 4)])
    assert [e['id'].decode() for e in examples] == [r.id for r in recordings]
    for example, r in zip(examples, recordings, strict=True):
        for name in (
            'speaker',
            'sex',
            'emotion',
            'label',
            'text',
            'language',
            'intensity',
            'channel',
        ):
            assert example[name].decode() == getattr(r, name)
        samples, rate = r.read()
        assert example['seconds'] == pytest.approx(len(samples) / rate)
        alone = features.extract([samples])[0]
        assert example['log_mel'].dtype == np.float16
        np.testing.assert_allclose(
            example['log_mel'], alone.astype(np.float16), atol=0.07
        )  # one step of float16
    assert list(folder.glob('*.array_record*'))  # without any flag


def test_building_twice_gives_the_same_fingerprint_and_readers_find_it(tmp_path):
    first, folder = build(tmp_path / '1', several())
    _, again = build(tmp_path / '2', several()[::-1])
    assert (
        stored(folder)
        == stored(again)
        == {'fingerprint': builder.fingerprint(first), 'examples': 7, 'features': 'log_mel'}
    )


@pytest.mark.parametrize('change', ['value', 'order', 'name', 'missing', 'type', 'text'])
def test_any_change_of_content_changes_the_fingerprint(change):
    def examples():
        return [
            {'id': f'{i}', 'x': np.arange(6, dtype=np.int16) + i, 'seconds': 1.0 + i}
            for i in range(3)
        ]

    before, changed = builder.fingerprint(examples()), examples()
    if change == 'value':
        changed[1]['x'][3] += 1
    elif change == 'order':
        changed.reverse()
    elif change == 'name':
        changed[0]['y'] = changed[0].pop('x')
    elif change == 'missing':
        changed.pop()
    elif change == 'type':
        changed[2]['x'] = changed[2]['x'].view(np.uint16)
    else:
        changed[2]['id'] = 'two'
    assert builder.fingerprint(changed) != before
    assert (
        builder.fingerprint(
            {**e, 'id': e['id'].encode(), 'seconds': np.float32(e['seconds'])} for e in examples()
        )
        == before
    )


def test_waveform_and_native_hold_the_samples(tmp_path):
    recordings = [
        recording('a', sound(0)),
        recording('b', sound(1, rate=48000, channels=2), 48000),
        recording('c', sound(2, rate=22050), 22050),
    ]
    waves, _ = build(tmp_path, recordings, 'waveform')
    natives, _ = build(tmp_path, recordings, 'native')
    for r, wave, native in zip(recordings, waves, natives, strict=True):
        samples, rate = r.read()
        assert native['rate_hz'] == rate
        np.testing.assert_array_equal(native['native'], (samples * 32768).reshape(len(samples), -1))
        np.testing.assert_array_equal(
            wave['waveform'], wav.int16(wav.prepare(samples, rate, 16000))
        )
        assert wave['source_sha256'] == native['source_sha256']
    np.testing.assert_array_equal(waves[0]['waveform'], sound(0) * 32768)


def test_equal_sounds_are_kept_once_and_conflicting_labels_not_at_all(tmp_path):
    recordings = [
        recording('b_copy', sound(1)), recording('a', sound(0)), recording('b', sound(1)),
        recording('b_more', sound(1)),
        recording('c', sound(2)), recording('c_sad', sound(2), emotion='sad'), recording('a',
        sound(0)),
    ]  # fmt: skip
    recordings[-1] = dataclasses.replace(recordings[-1], source='other/a.wav')
    examples, folder = build(tmp_path, recordings, TOLERANCE=0.0)
    assert [e['id'] for e in examples] == [b'a', b'b']
    expected = {
        'b_copy.wav': 'duplicate',
        'b_more.wav': 'duplicate',
        'c.wav': 'label conflict',
        'c_sad.wav': 'label conflict',
    }
    assert skipped(folder) == {**expected, 'other/a.wav': 'duplicate'}
    np.testing.assert_array_equal(
        examples[0]['log_mel'], build(tmp_path / '2', [recording('a', sound(0))])[0][0]['log_mel']
    )


def test_different_sounds_under_one_id_are_counted_and_none_is_chosen(tmp_path):
    recordings = [recording('a', sound(0)), recording('a', sound(9)), recording('b', sound(1))]
    recordings[1] = dataclasses.replace(recordings[1], source='other/a.wav')
    with pytest.raises(InputError, match=r'2 of 3 files are bad.*name conflict'):
        build(tmp_path, recordings, TOLERANCE=0.5)
    examples, folder = build(tmp_path, recordings, TOLERANCE=0.9)
    assert [e['id'] for e in examples] == [b'b']
    assert skipped(folder) == {'a.wav': 'name conflict', 'other/a.wav': 'name conflict'}


@pytest.mark.parametrize('kind', ['missing', 'truncated', 'unknown name'])
def test_shares_count_files_that_failed_before_decoding(kind, tmp_path):
    lost = [builder.Skipped(f'm.csv:{i}', kind, 'no such file') for i in range(6)]
    ignored = [builder.Skipped(f'{i}.txt', 'ignored', 'no sound') for i in range(99)]
    assert len(build(tmp_path / '1', [*several(6), *lost, *ignored], TOLERANCE=0.5)[0]) == 6
    with pytest.raises(InputError, match=f'6 of 11 files are bad, 54.5%; .*6 {kind}, e.g. m.csv:0'):
        build(tmp_path / '2', [*several(5), *lost, *ignored], TOLERANCE=0.5)
    with pytest.raises(InputError, match='6 of 6 files are bad, all of them'):
        build(tmp_path / '3', lost, TOLERANCE=1.0)


def test_names_in_two_normal_forms_are_one_class(tmp_path):
    forms = [unicodedata.normalize(form, 'mü') for form in ('NFC', 'NFD')]
    recordings = [
        recording(f'{name}{i}', sound(i), speaker=f'given_{name}', emotion=name, label=name)
        for i, name in enumerate(forms)
    ]
    examples, folder = build(tmp_path, recordings)
    for field in ('speaker', 'emotion', 'label'):
        assert len({e[field] for e in examples}) == 1
    assert json.loads((folder / builder.FACTS).read_text())['emotions'] == [forms[0]]
    with pytest.raises(InputError, match=r'2 of 2 files are bad, all of them .2 name conflict'):
        build(tmp_path / '2', [recording(name, sound(i)) for i, name in enumerate(forms)])


def bad_recordings() -> list[Recording]:
    def undecodable():
        raise wav.SoundError('broken.wav', 'truncated', 'truncated, 7 bytes of sound are missing')

    broken = Recording(
        id='broken',
        speaker='given_1',
        emotion='sad',
        label='S',
        read=undecodable,
        source='broken.wav',
    )
    return [
        broken,
        recording('empty', np.zeros(0, np.float32)),
        recording('silent', np.zeros(999, np.float32)),
        recording('nan', np.full(999, np.nan, np.float32)),
    ]


def test_bad_recordings_are_listed_with_their_reasons_within_the_tolerance(tmp_path):
    examples, folder = build(
        tmp_path,
        [*several(), *bad_recordings(), builder.Skipped('x.wav', 'unknown name')],
        TOLERANCE=0.5,
    )
    assert len(examples) == 7
    assert skipped(folder) == {
        'broken.wav': 'truncated', 'empty.wav': 'empty', 'silent.wav': 'silent',
        'nan.wav': 'not finite',
        'x.wav': 'unknown name',
    }  # fmt: skip


def test_too_many_bad_recordings_are_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(
        InputError,
        match=r'4 of 11 files are bad, 36\.4%; at most 2\.0% .*broken\.wav: truncated.*1 silent',
    ) as e:
        build(tmp_path, [*several(), *bad_recordings()])
    assert '\n' not in str(e.value)
    assert not list(tmp_path.rglob('*.array_record*'))


def test_the_environment_sets_the_tolerance(tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.4')
    assert len(build(tmp_path, [*several(), *bad_recordings()])[0]) == 7
    for wrong in ('much', '-1', '2', 'nan'):
        monkeypatch.setenv('SER_JAX_TOLERANCE', wrong)
        with pytest.raises(InputError, match='tolerance must be a number from 0 to 1'):
            inspection.tolerance(0.02)


@pytest.mark.parametrize('recordings', [[], bad_recordings()])
def test_nothing_usable_is_an_error(tmp_path, recordings):
    with pytest.raises(InputError, match=r'none of 0 files is usable|4 of 4 files are bad'):
        build(tmp_path, recordings, TOLERANCE=1.0)


def test_a_corpus_can_require_one_read_at_a_time(tmp_path):
    inside = []

    def read(samples):
        assert not inside
        inside.append(1)
        try:
            return samples * 1.0, 16000
        finally:
            inside.pop()

    recordings = [
        dataclasses.replace(r, read=functools.partial(read, r.read()[0])) for r in several(40)
    ]
    assert len(build(tmp_path, recordings, THREADS=1)[0]) == 40


def test_building_needs_no_tensorflow(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import builder_test
assert len(builder_test.build({str(tmp_path)!r}, builder_test.several(3))[0]) == 3
assert not {{'tensorflow', 'torch'}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_past_tfds_own_buffer_examples_come_out_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(
        shuffle, 'MAX_MEM_BUFFER_SIZE', 20_000
    )  # less than two examples; TFDS would ask for TensorFlow
    examples, folder = build(tmp_path, several(9), 'waveform')
    assert [e['id'].decode() for e in examples] == [f'u{i}' for i in range(9)]
    assert not list(folder.rglob('*.tmp')) and 'tensorflow' not in sys.modules


def test_more_recordings_need_no_more_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, 'CHUNK', 2)

    def peak(name: str, recordings: list[Recording]) -> int:
        builder = Given(data_dir=tmp_path / name, config='waveform')
        builder.given = recordings
        tracemalloc.start()
        try:
            builder.download_and_prepare()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = ([recording(f'u{i:02}', sound(i, 5.0)) for i in range(n)] for n in (4, 44))
    peak('first', few)  # imports and caches
    assert (
        peak('many', many) - peak('few', few) < 10 * 5 * 16_000 * 2
    )  # a quarter of what 40 more take as int16


def test_arrays_are_packed_as_they_are():
    arrays = {
        'log_mel': sound(0).reshape(-1, 4).astype(np.float16),
        'places': np.arange(3),
        'seconds': np.float32(1.5),
    }
    back = spool.unpacked(spool.packed(arrays))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


@given(st.lists(st.binary(max_size=50)))
def test_what_waits_on_disk_comes_back_in_any_order(tmp_path_factory, values):
    kept = spool.Spool(tmp_path_factory.getbasetemp())
    for i, data in enumerate(values):
        kept[i] = data
        assert kept[i // 2] == values[i // 2]  # read between writes
    assert (
        [kept[i] for i in kept] == values
        and len(kept) == len(values)
        and kept.size == sum(map(len, values))
    )
