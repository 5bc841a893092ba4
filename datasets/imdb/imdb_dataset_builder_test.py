"""IMDB from invented reviews: files, archives and Keras's npz; an npz runs no code."""

import io
import json
import os
import pathlib
import pickle
import shutil
import tarfile
import time
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ser_jax import build
from ser_jax.contract import InputError
from ser_jax.data import utterances

HERE = pathlib.Path(__file__).parent
DUMMY = HERE / 'dummy_data'
Builder = build.builder_class(HERE / 'imdb_dataset_builder.py')
IDS = [
    'test/neg/0_2', 'test/pos/0_8', 'test/pos/1_7', 'train/neg/0_3', 'train/neg/1_1',
    'train/neg/2_1', 'train/pos/0_9',
    'train/pos/10_10',
]  # fmt: skip
INDEX = {
    w: rank
    for rank, w in enumerate(
        ['the', 'and', 'a', 'of', 'goat', 'lighthouse', 'fog', 'praise', 'blame'], 1
    )
}


def prepared(data_dir, manual_dir=DUMMY):
    """(utterances as opened, report) of a build from `manual_dir`."""
    builder = Builder(data_dir=data_dir)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
    )
    report = json.loads(pathlib.Path(builder.data_dir, 'inspection.json').read_text())
    return utterances.open_corpora(('imdb',), str(data_dir), 'text'), report


def lists(rows) -> np.ndarray:
    out = np.empty(len(rows), object)
    out[:] = rows
    return out


def keras_copy(folder, train, test, **more):
    """The two files of Keras: `train` and `test` are lists of (ids, label)."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, rows in (('train', train), ('test', test)):
        arrays[f'x_{split}'] = lists([ids for ids, _ in rows])
        arrays[f'y_{split}'] = np.array([label for _, label in rows])
    np.savez(folder / 'imdb.npz', **{**arrays, **more})
    (folder / 'imdb_word_index.json').write_text(json.dumps(INDEX))
    return folder


def test_reviews_are_read_as_published(tmp_path):
    opened, report = prepared(tmp_path)
    assert list(opened.id) == IDS
    at = IDS.index('train/pos/0_9')
    assert (opened.emotion[at], opened.label[at], opened.channel[at]) == ('positive', '9', 'text')
    assert (
        opened.text[at] == 'A merry little film about a lighthouse. I laughed twice and cried once.'
    )
    assert opened.text[IDS.index('train/pos/10_10')].startswith('The café')
    assert len(set(opened.speaker)) == len(IDS) and opened.speaker[at] == 'imdb_train/pos/0_9'
    assert list(opened.emotion) == [
        {'pos': 'positive', 'neg': 'negative'}[i.split('/')[1]] for i in IDS
    ]
    assert report['ignored'] == {'review without a verdict (unsup)': 1}
    (twice,) = report[
        'skipped'
    ]  # of a review on both sides of the published split the test keeps its own
    assert twice['kind'] == 'duplicate' and twice['source'].endswith('train/pos/1_7.txt')


def test_every_file_of_a_side_is_read_or_named(tmp_path, monkeypatch):
    copy = shutil.copytree(DUMMY, tmp_path / 'in')
    odd = 'expected number and stars, as in 0_9.txt'
    bad = {
        'pos/3_2.txt': '2 stars are not pos', 'neg/3_8.txt': '8 stars are not neg',
        'neg/4_5.txt': '5 stars are not neg', 'pos/7.txt': odd, 'pos/8_9.TXT': odd,
    }  # fmt: skip
    for name in bad:
        (copy / 'aclImdb' / 'test' / name).write_text(f'A kite, {name}.')
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.9')
    opened, report = prepared(tmp_path / 'out', copy)
    named = {
        '/'.join(s['source'].split('/')[-2:]): s['detail']
        for s in report['skipped']
        if s['kind'] == 'unknown name'
    }
    assert list(opened.id) == IDS and named == bad
    (copy / 'aclImdb' / 'test' / 'pos' / '9_9.txt').write_text('A kite.', encoding='utf-16')
    with pytest.raises(InputError, match=r'9_9\.txt is UTF-16; save it as UTF-8'):
        prepared(tmp_path / 'utf16', copy)


def test_a_copy_of_keras_that_does_not_fit_its_index_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0.5')
    folder = keras_copy(tmp_path / 'in', [([2, 5], 1), ([3, 77], 0)], [([6], 0)])
    opened, report = prepared(tmp_path / 'out', folder)
    assert len(opened) == 2 and [s['detail'] for s in report['skipped']] == [
        'word number 77 is not in imdb_word_index.json'
    ]
    message = 'train has 1 reviews and 1 labels; expected as many, each 0 or 1'
    for label in (2, -1):
        keras_copy(folder, [([2], label)], [([6], 0)])
        with pytest.raises(InputError, match=message):
            prepared(tmp_path / 'bad', folder)
    keras_copy(folder, [([2], 1)], [([6], 0)], y_train=np.array([1, 0]))
    with pytest.raises(InputError, match='train has 1 reviews and 2 labels'):
        prepared(tmp_path / 'bad', folder)
    keras_copy(folder, [([2], 1)], [([6], 0)])
    (folder / 'imdb_word_index.json').write_text(json.dumps({**INDEX, 'goad': 5}))
    with pytest.raises(InputError, match='has two words of one rank'):
        prepared(tmp_path / 'bad', folder)


def test_archives_give_the_same_shards(tmp_path):
    expected, _ = prepared(tmp_path / 'files')
    for kind in ('tar.gz', 'zip'):
        path = tmp_path / kind / f'aclImdb_v1.{kind}'
        path.parent.mkdir()
        if kind == 'zip':
            shutil.make_archive(str(path.with_suffix('')), 'zip', DUMMY)
        else:
            with tarfile.open(path, 'w:gz') as archive:
                archive.add(DUMMY / 'aclImdb', 'aclImdb')
        opened, _ = prepared(tmp_path / f'built_{kind}', path.parent)
        assert opened.fingerprints == expected.fingerprints, kind


def test_the_copy_of_keras_comes_in_the_order_of_keras(tmp_path):
    random = np.random.default_rng(0)
    rows = [([int(i) for i in random.integers(1, 10, 30)], n % 2) for n in range(50)]
    opened, _ = prepared(tmp_path / 'out', keras_copy(tmp_path / 'in', rows, rows[:0]))
    # What Keras documents: RandomState(113).shuffle of the places.
    order = np.arange(50)
    np.random.RandomState(113).shuffle(order)
    word = {rank: w for w, rank in INDEX.items()}
    assert list(opened.id) == [f'train/{n:05d}' for n in range(50)]
    assert list(opened.text) == [' '.join(word[i] for i in rows[at][0]) for at in order]
    assert list(opened.label) == [str(rows[at][1]) for at in order]
    assert set(opened.emotion[opened.label == '1']) == {'positive'}


def test_what_load_data_returned_keeps_its_order_and_its_words(tmp_path):
    train = [([1, 4, 8, 2, 10], 1), ([1, 5, 9], 0)]
    opened, _ = prepared(tmp_path / 'out', keras_copy(tmp_path / 'in', train, [([1, 12, 2], 0)]))
    assert dict(zip(opened.id, opened.text, strict=True)) == {
        'test/00000': 'blame', 'train/00000': 'the goat fog', 'train/00001': 'and lighthouse',
    }  # fmt: skip


def test_an_npz_runs_no_code(tmp_path):
    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    folder = keras_copy(tmp_path / 'in', [([1, 2], 1), ([3], Malice())], [([2], 0)])
    assert np.load(folder / 'imdb.npz', allow_pickle=True)['y_train'].shape == (2,)
    (tmp_path / 'ran').rmdir()  # so the file is what it claims to be
    with pytest.raises(
        InputError, match=r'imdb\.npz cannot be used .*it calls posix\.mkdir.*it was not run'
    ):
        prepared(tmp_path / 'out', folder)
    assert not (tmp_path / 'ran').exists()
    for inside in (
        b'cos\nsystem\n(S"true"\ntR.',
        b'cbuiltins\neval\n(S"1"\ntR.',
        b'c_codecs\nlookup\n(S"x"\ntR.',
    ):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {'descr': '|O', 'fortran_order': False, 'shape': (1,)}
        )
        with zipfile.ZipFile(folder / 'imdb.npz', 'w') as z:
            for name in ('x_train', 'y_train', 'x_test', 'y_test'):
                z.writestr(f'{name}.npy', header.getvalue() + inside)
        with pytest.raises(InputError, match='which no list of numbers needs'):
            prepared(tmp_path / 'out', folder)


@pytest.mark.parametrize('protocol', [0, 2, 3, 5])
def test_arrays_of_every_age_are_read(tmp_path, protocol):
    folder = keras_copy(tmp_path / 'in', [([2, 5], 1), ([3, 4, 5], 0)], [([6], 0)])
    expected, _ = prepared(tmp_path / 'expected', folder)
    with np.load(folder / 'imdb.npz', allow_pickle=True) as f:
        stored = dict(f)
    with zipfile.ZipFile(folder / 'imdb.npz', 'w') as z:
        for name, array in stored.items():
            content = io.BytesIO()
            np.lib.format.write_array(
                content, array[:0] if array.dtype == object else array, allow_pickle=True
            )
            if array.dtype == object:
                content = io.BytesIO()
                header = {'descr': '|O', 'fortran_order': False, 'shape': array.shape}
                np.lib.format.write_array_header_1_0(content, header)
                old = pickle.dumps(array, protocol).replace(
                    b'numpy._core.multiarray', b'numpy.core.multiarray'
                )
                content.write(old if protocol < 4 else pickle.dumps(array, protocol))
            z.writestr(f'{name}.npy', content.getvalue())
    assert prepared(tmp_path / 'out', folder)[0].fingerprints == expected.fingerprints


def test_what_cannot_be_read_is_one_line(tmp_path):
    folder = keras_copy(tmp_path / 'in', [([2], 1)], [([3], 0)])
    (folder / 'imdb_word_index.json').unlink()
    with pytest.raises(InputError, match=r'put one imdb_word_index\.json beside it'):
        prepared(tmp_path / 'out', folder)
    keras_copy(folder, [([2], 1)], [([3], 0)])
    (folder / 'imdb.npz').write_bytes((folder / 'imdb.npz').read_bytes()[:200])
    with pytest.raises(InputError, match=r'imdb\.npz cannot be used .*expected imdb\.npz of Keras'):
        prepared(tmp_path / 'out', folder)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'notes.txt').write_text('no review')
    with pytest.raises(
        InputError, match=r'holds no imdb text; expected files like train/pos.*found 1 \.txt'
    ) as e:
        prepared(tmp_path / 'out', tmp_path / 'other')
    assert '\n' not in str(e.value)


def test_files_go_before_the_copy_of_keras_beside_them(tmp_path):
    folder = keras_copy(shutil.copytree(DUMMY, tmp_path / 'in'), [([2], 1)], [([3], 0)])
    opened, report = prepared(tmp_path / 'out', folder)
    assert (
        list(opened.id) == IDS
        and "Keras's copy of reviews that are here as files" in report['ignored']
    )


def test_thousands_of_texts_take_seconds(tmp_path):
    rows = [
        ([n % 9 + 1, n // 9 % 9 + 1, n // 81 % 9 + 1, n // 729 + 1], n % 2) for n in range(3000)
    ]
    start = time.monotonic()
    opened, _ = prepared(tmp_path / 'out', keras_copy(tmp_path / 'in', rows, rows[:0]))
    assert len(opened) == 3000 and time.monotonic() - start < 20  # about 2 on a quiet machine


def test_the_folder_follows_the_convention():
    metadata = Builder.get_metadata()
    assert metadata.description.startswith('# IMDB') and 'maas2011' in metadata.citation
    assert set(metadata.tags) <= set(tfds.core.dataset_metadata.valid_tags())
    infos = Builder.url_infos
    assert {a.url: a.size for a in Builder.ARCHIVES} == {
        url: int(info.size) for url, info in infos.items()
    }
    assert sum(p.stat().st_size for p in DUMMY.rglob('*') if p.is_file()) < 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore')
def test_the_stock_test_case_passes(monkeypatch):
    """TFDS's own checks, which read with TensorFlow and therefore want tfrecord."""
    import unittest

    monkeypatch.setitem(tfds.core.registered._DATASET_REGISTRY, 'imdb', Builder)

    class Stock(tfds.testing.DatasetBuilderTestCase):
        DATASET_CLASS = Builder
        SPLITS = {'train': len(IDS)}  # noqa: RUF012

        def _make_builder(self, config=None):
            return Builder(data_dir=self.tmp_dir, config=config, file_format='tfrecord')

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Stock).run(result)
    assert result.testsRun >= 5
    assert not result.errors and not result.failures, (result.errors + result.failures)[0][1]
