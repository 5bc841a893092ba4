"""The page of an exploration: figures, tables, missing builds, mistakes of users."""

import csv
import functools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ser_jax import eda
from ser_jax.contract import Recording
from ser_jax.corpora import builder
from tests import forked
from tests.conftest import EMOTIONS, ToneBuilder, tone
from tests.report.html_test import Page

ROOT = Path(__file__).parents[1]
EVIL = '<script>alert(1)</script>&'
FIGURES = ('counts', 'speakers', 'lengths', 'rates', 'measures', 'words', 'mels', 'augmented_mels')
SAMPLED = ('waves', 'spectrograms', 'augmented_waves')
TABLES = (
    'corpora',
    'counts',
    'emotions',
    'speakers',
    'quantiles',
    'rates',
    'frames',
    'measures',
    'words',
    'sheets',
)


def mixed(speaker: int, emotion: int, double: bool) -> tuple[np.ndarray, int]:
    """Return a tone, at twice the rate and on two channels if `double`."""
    samples = tone(speaker, emotion, 9)
    return (np.stack([np.repeat(samples, 2)] * 2, 1), 32000) if double else (samples, 16000)


class MixedBuilder(builder.CorpusBuilder, skip_registration=True):
    """Recordings of two rates, with names that are unsafe in HTML and as file names."""

    name = 'mixed'

    def recordings(self, dl_manager):
        for s in range(3):
            for e in range(4):
                double = e == 3 or s == 2
                read = functools.partial(mixed, s, e, double)
                emotion = EVIL if e == 3 else EMOTIONS[e]
                yield Recording(
                    f'{EVIL}{s}{e}',
                    f'{EVIL}_{s}',
                    emotion,
                    emotion,
                    read,
                    'here',
                    text=f'{EVIL} x{s}',
                )


class TextBuilder(builder.CorpusBuilder, skip_registration=True):
    """Nothing but words, of many classes and many writers."""

    name, BUILDER_CONFIGS = 'words', [builder.TEXT]

    def recordings(self, dl_manager):
        for i in range(260):
            words = f'word{i} is {"good" if i % 2 else "bad"}'
            yield Recording(
                f'{i:03}',
                f'words_{i}',
                f'class{i % 26:02}',
                '',
                None,
                'here',
                text=words,
                channel='text',
            )


@pytest.fixture(scope='module')
def built(data_dir, tmp_path_factory) -> Path:
    """Four corpora: tones with samples, tones without, two rates as recorded, and texts."""
    root = tmp_path_factory.mktemp('four')
    for config in ('log_mel', 'waveform'):
        shutil.copytree(data_dir / 'synthetic' / config, root / 'synthetic' / config)
    bare = type('Bare', (ToneBuilder,), {'name': 'bare', 'FIRST': 20}, skip_registration=True)
    for cls, config in (
        (bare, 'log_mel'),
        (MixedBuilder, 'log_mel'),
        (MixedBuilder, 'native'),
        (TextBuilder, 'text'),
    ):
        cls(config=config, data_dir=root).download_and_prepare()
    return root


@pytest.fixture(scope='module')
def output(built, tmp_path_factory) -> Path:
    """The results of all four corpora."""
    folder = tmp_path_factory.mktemp('eda')
    eda.explore(['synthetic', 'bare', 'mixed', 'words'], folder, str(built))
    return folder


def rows(folder: Path, name: str) -> list[dict]:
    return list(
        csv.DictReader((folder / 'tables' / f'{name}.csv').read_text(encoding='utf-8').splitlines())
    )


def test_every_figure_is_there_as_print_needs_it(output):
    expected = {f'{f}_{c}' for c in ('synthetic', 'bare', 'mixed') for f in FIGURES}
    expected |= {f'{f}_{c}' for c in ('synthetic', 'mixed') for f in SAMPLED} | {
        'counts_words',
        'words_words',
    }
    expected |= {
        'counts',
        'lengths',
        'rates',
        'lengths_compared',
        'levels_compared',
        'measures_compared',
        'frames_by_rate',
    }
    assert {p.stem for p in (output / 'figures').iterdir()} == expected
    for path in (output / 'figures').iterdir():
        with Image.open(path) as image:
            assert image.info['dpi'] == pytest.approx((200, 200), abs=1), path.name
            assert image.width in (700, 1440), path.name  # a column or a page of a paper
            dark = np.asarray(image.convert('L')) < 200
            assert (
                dark.any() and not dark[:, 0].any() and not dark[0].any() and not dark[-1].any()
            ), path.name  # uncut


def test_every_table_is_there_and_quantiles_equal_numpys(output, built):
    assert {p.stem for p in (output / 'tables').iterdir()} == set(TABLES)
    double = [e == 3 or s == 2 for s in range(3) for e in range(4)]
    length = np.array([len(tone(s, e, 9)) for s in range(3) for e in range(4)])
    mixed = [
        r for r in rows(output, 'quantiles') if r['corpus'] == 'mixed' and r['emotion'] == 'all'
    ]
    at = [float(r['quantile']) for r in mixed]
    for column, expected in (
        ('seconds', length / 16000),
        ('samples_at_16_khz', length),
        ('samples_as_recorded', length * (1 + np.array(double))),
    ):
        np.testing.assert_allclose(
            [float(r[column]) for r in mixed], np.quantile(expected, at), rtol=1e-6
        )
    np.testing.assert_array_equal(
        [int(r['rate_hz']) for r in mixed],
        np.quantile(np.where(double, 32000, 16000), at, method='lower'),
    )
    assert [
        (r['rate_hz'], r['recordings'], r['share_at_or_above'])
        for r in rows(output, 'rates')
        if r['corpus'] == 'mixed'
    ] == [
        ('16000', '6', '1.000000'),
        ('32000', '6', '0.500000'),
    ]
    assert {r['corpus'] for r in rows(output, 'quantiles')} == {
        'all corpora',
        'synthetic',
        'bare',
        'mixed',
    }
    assert [r['rate_hz_covering_80'] for r in rows(output, 'corpora')] == [
        '16000',
        '16000',
        '16000',
        '',
    ]
    assert {r['rate_hz'] for r in rows(output, 'sheets') if r['corpus'] == 'mixed'} == {
        '16000',
        '32000',
    }


def test_the_page_is_whole_and_loads_nothing(output):
    source = (output / 'eda.html').read_text(encoding='utf-8')
    page = Page(source)
    assert not {'script', 'link', 'iframe'} & set(page.tags)
    assert [x for x in page.loads if not x.startswith('data:image/png')] == []
    assert '@import' not in source and 'url(http' not in source
    assert len(page.ids) == len(set(page.ids)) and {x[1:] for x in page.links} <= set(page.ids)
    assert page.tags.count('svg') == len(list((output / 'figures').iterdir()))
    assert '<script>' not in source and '&lt;script&gt;alert(1)' in source
    for words in (
        'Compared',
        '16,000 Hz covers 80 % of the data',
        'Texts only',
        'Sampling rates are mixed',
        '260 speakers, too many',
        'the input of models',
        'samples of native shards',
    ):
        assert words in page.text, words


def test_a_missing_build_is_reported_with_its_command(output, built):
    text = Page((output / 'eda.html').read_text(encoding='utf-8')).text
    assert text.count('need samples, which are not built') == 1
    assert f'python -m ser_jax.build datasets/bare --config=waveform --data_dir={built}' in text


def test_waveform_shards_are_enough(data_dir, tmp_path):
    shutil.copytree(data_dir / 'synthetic' / 'waveform', tmp_path / 'in' / 'synthetic' / 'waveform')
    (opened,) = eda.explore(['synthetic'], tmp_path / 'out', str(tmp_path / 'in'), ['speech'])
    assert len(opened) == 72 and {r['channel'] for r in rows(tmp_path / 'out', 'counts')} == {
        'speech'
    }
    assert {p.stem for p in (tmp_path / 'out' / 'figures').iterdir()} == {
        f'{f}_synthetic' for f in (*FIGURES, *SAMPLED)
    } | {'frames_by_rate'}
    assert 'Compared' not in Page((tmp_path / 'out' / 'eda.html').read_text(encoding='utf-8')).text


def test_texts_alone_make_a_page(built, tmp_path):
    eda.explore(['words'], tmp_path, str(built))
    assert {p.stem for p in (tmp_path / 'figures').iterdir()} == {'counts_words', 'words_words'}
    assert rows(tmp_path, 'quantiles') == [] and len(rows(tmp_path, 'emotions')) == 26
    assert [r['sentences'] for r in rows(tmp_path, 'corpora')] == ['260']
    assert 'Rates and lengths' not in Page((tmp_path / 'eda.html').read_text(encoding='utf-8')).text


def verb(*flags) -> subprocess.CompletedProcess:
    command = [sys.executable, '-m', 'ser_jax.eda', *map(str, flags)]
    done = forked.run(command, cwd=ROOT, capture_output=True, text=True)
    assert 'Traceback' not in done.stderr, done.stderr
    return done


def test_the_command_says_a_line_per_corpus_and_where_the_page_is(built, tmp_path):
    done = verb('--corpora=words', f'--data_dir={built}', f'--output={tmp_path / "a" / "b"}')
    assert done.returncode == 0, done.stderr
    words, where = done.stdout.splitlines()
    assert words == 'words: 260 utterances · 26 emotions · 260 speakers · 260 sentences'
    assert (
        where.startswith(f'page: {tmp_path / "a" / "b" / "eda.html"}')
        and (tmp_path / 'a' / 'b' / 'eda.html').exists()
    )


@pytest.mark.parametrize(
    'flags, expected',
    [
        ((), 'no --corpora given'),
        (('--corpora=synthetic,synthetic',), 'has synthetic twice'),
        (('--corpora=synthetik',), 'is not built in'),
        (('--corpora=synthetic', '--channels=opera'), 'known are speech, song, sound, text'),
        (('--corpora=synthetic', '--channels=sound'), 'it has song, speech'),
        (('--corpora=synthetic', 'ravdess'), "unexpected argument 'ravdess'"),
        (('--corpora=synthetic', '--output={file}'), 'File exists'),
        (('--corpora=synthetic', '--output={file}/x'), 'Not a directory'),
        (('--corpus=synthetic',), 'corpora'),
    ],
)
@pytest.mark.slow  # nine processes
def test_mistakes_are_one_line(data_dir, tmp_path, flags, expected):
    (tmp_path / 'file').write_text('not a folder')
    done = verb(*(f.format(file=tmp_path / 'file') for f in flags), f'--data_dir={data_dir}')
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('error: ') and expected in lines[0], done.stderr


def test_damaged_samples_are_named(data_dir, tmp_path):
    shutil.copytree(data_dir / 'synthetic', tmp_path / 'in' / 'synthetic')
    for path in (tmp_path / 'in' / 'synthetic' / 'waveform').rglob('*array_record*'):
        path.write_bytes(b'nothing' * 100)
    done = verb(
        '--corpora=synthetic', f'--data_dir={tmp_path / "in"}', f'--output={tmp_path / "out"}'
    )
    assert (
        done.returncode == 2
        and 'build it again with --overwrite' in done.stderr
        and done.stderr.count('\n') == 1
    )
