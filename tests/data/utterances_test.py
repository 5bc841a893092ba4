"""Built corpora, opened: what is on disk is what is in memory, and what changed is refused."""

import json
import shutil

import numpy as np
import pytest

from ser_jax.audio import features, front_ends
from ser_jax.contract import InputError
from ser_jax.data import utterances
from ser_jax.explore import exemplars
from tests.conftest import EMOTIONS, ROOT, tone


def test_features_are_those_of_the_recordings(data_dir):
    opened = utterances.open_corpora(('synthetic',), str(data_dir))
    assert len(opened) == 96 and opened.flat.dtype == np.float16
    for i in (0, 17, 95):
        s, emotion, take = opened.id[i].split('_')
        expected = features.extract([tone(int(s[1:]), EMOTIONS.index(emotion), int(take))])[0]
        assert opened.length[i] == len(expected)
        np.testing.assert_allclose(opened.read(i), expected, atol=0.05)  # float16 of values to 100


def test_select_keeps_features_with_their_utterances(data_dir):
    opened = utterances.open_corpora(('synthetic',), str(data_dir))
    song = opened.select(opened.channel == 'song')
    assert len(song) == 24 and set(song.channel) == {'song'}
    i = np.flatnonzero(opened.channel == 'song')[5]
    np.testing.assert_array_equal(song.read(5), opened.read(i))
    np.testing.assert_array_equal(
        song.flat[song.offset[5] : song.offset[5] + song.length[5]], opened.read(i)
    )


@pytest.mark.parametrize('trim_db', [0.0, 0.1])
@pytest.mark.parametrize('source', ['log_mel', 'waveform'])
def test_streamed_holds_no_features_and_reads_the_same(data_dir, source, trim_db):
    resident, streamed = (
        utterances.open_corpora(('synthetic',), str(data_dir), source, gb, trim_db=trim_db)
        for gb in (4.0, 0.0)
    )
    assert streamed.flat is None
    for i in range(0, len(resident), 7):
        np.testing.assert_array_equal(streamed.read(i), resident.read(i))


@pytest.mark.parametrize('trim_db', [0.0, 0.1])
@pytest.mark.parametrize('source', ['log_mel', 'waveform'])
def test_normalization_is_that_of_all_frames_of_the_given_utterances(data_dir, source, trim_db):
    whole = utterances.open_corpora(('synthetic',), str(data_dir), source)
    opened = utterances.open_corpora(('synthetic',), str(data_dir), source, trim_db=trim_db)
    some = np.array([3, 40, 41])
    assert (opened.length[some] < whole.length[some]).any() == (trim_db > 0)
    front = front_ends.by_name(source)
    stored = [whole.read(i) for i in some]
    stored = [v[slice(*front_ends.audible_span(front, v, trim_db))] for v in stored]
    for i, values in zip(some, stored, strict=True):
        np.testing.assert_array_equal(opened.read(i), values)
    frames = stored if source == 'log_mel' else features.extract(stored)
    stacked = np.concatenate(frames).astype(np.float64)
    mean, std = utterances.normalization(opened, some)
    np.testing.assert_allclose(mean, stacked.mean(0), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(std, stacked.std(0), rtol=1e-3, atol=1e-3)


def test_a_corpus_that_is_not_built_comes_with_its_command(tmp_path):
    with pytest.raises(
        InputError,
        match=r"'ravdess'.*python -m ser_jax\.build datasets/ravdess --manual_dir=.*--data_dir=",
    ):
        utterances.open_corpora(('ravdess',), str(tmp_path))


def test_a_corpus_named_twice_is_refused(data_dir):
    with pytest.raises(InputError, match='names synthetic twice'):
        utterances.open_corpora(('synthetic', 'synthetic'), str(data_dir))


def test_a_corpus_that_changed_is_refused(data_dir, tmp_path):
    copy = shutil.copytree(data_dir, tmp_path / 'built')
    stored = next(copy.glob('synthetic/log_mel/*/fingerprint.json'))
    stored.write_text(json.dumps({**json.loads(stored.read_text()), 'fingerprint': 'other'}))
    with pytest.raises(InputError, match=r'is not what was built.*--overwrite'):
        utterances.open_corpora(('synthetic',), str(copy))


def test_damaged_shards_are_one_line(data_dir, tmp_path):
    copy = shutil.copytree(data_dir, tmp_path / 'built')
    shard = next(copy.glob('synthetic/log_mel/*/*.array_record*'))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 3])
    with pytest.raises(InputError, match='--overwrite'):
        utterances.open_corpora(('synthetic',), str(copy))


@pytest.mark.parametrize(
    'name', ['fingerprint.json', 'corpus.json', 'dataset_info.json', 'features.json']
)
@pytest.mark.parametrize('damage', [lambda b: b[:-5], lambda b: b'', lambda b: b'{}', None])
def test_damaged_tables_are_one_line_that_names_the_file(data_dir, tmp_path, name, damage):
    copy = shutil.copytree(data_dir, tmp_path / 'built')
    path = next(copy.glob(f'synthetic/log_mel/*/{name}'))
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r'build it again|build the corpus again') as e:
        utterances.open_corpora(('synthetic',), str(copy))
    assert '\n' not in str(e.value) and str(path.parent) in str(e.value)


@pytest.mark.parametrize('trim_db', [-5.0, float('nan'), float('inf')])
def test_a_trim_that_cannot_be_is_refused_by_its_value(data_dir, trim_db):
    with pytest.raises(InputError, match=f'features.trim_db must be at least 0, got {trim_db}'):
        utterances.open_corpora(('synthetic',), str(data_dir), trim_db=trim_db)


def test_bugs_of_ours_are_not_called_damage(data_dir, monkeypatch):
    def bug(*_):
        raise ZeroDivisionError('ours')

    monkeypatch.setattr(front_ends, 'audible_span', bug)
    with pytest.raises(ZeroDivisionError):
        utterances.open_corpora(('synthetic',), str(data_dir))


@pytest.mark.parametrize('name, command', [
    ('my_voices', 'datasets/folder --name=my_voices --manual_dir='),
    ('ravdes', 'datasets/ravdess --manual_dir='),
    ('synthetik', 'datasets/synthetic --data_dir='), ('cremad', 'datasets/cremad --manual_dir='),
])  # fmt: skip
def test_the_command_that_builds_a_corpus_names_a_folder_that_exists(tmp_path, name, command):
    with pytest.raises(InputError, match=command) as e:
        utterances.open_corpora((name,), str(tmp_path))
    assert (ROOT / str(e.value).split('ser_jax.build ')[1].split()[0]).is_dir()


def test_folders_that_are_no_versions_are_passed_over(data_dir, tmp_path):
    copy = shutil.copytree(data_dir, tmp_path / 'built')
    for name in ('1.1.0.bak', '1.1.x', 'replaced.1.1.0', 'incomplete.ABCDEF_1.1.0'):
        (copy / 'synthetic' / 'log_mel' / name).mkdir()
    assert len(utterances.open_corpora(('synthetic',), str(copy))) == 96


def test_sounds_are_read_from_checked_shards_alone(data_dir, tmp_path):
    copy = shutil.copytree(data_dir, tmp_path / 'built')
    assert len(utterances.data_source('synthetic', copy, 'waveform').data) == 96
    stored = next(copy.glob('synthetic/waveform/*/fingerprint.json'))
    stored.write_text(json.dumps({**json.loads(stored.read_text()), 'fingerprint': 'other'}))
    with pytest.raises(InputError, match='is not what was built'):
        exemplars.Sounds('synthetic', str(copy))
