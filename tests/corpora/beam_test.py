"""Builds on Beam: the same files as on one machine, and one-line errors."""

import functools
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from ser_jax import build
from ser_jax.audio import wav
from ser_jax.contract import InputError, Recording
from ser_jax.corpora import builder

ROOT = pathlib.Path(build.__file__).resolve().parents[1]
DUMMY = ROOT / 'datasets' / 'ravdess' / 'dummy_data'
PROCESSES = 'runner=DirectRunner,direct_num_workers=2,direct_running_mode=multi_processing'
THREADS = 'runner=DirectRunner,direct_num_workers=2,direct_running_mode=multi_threading'
ALONE = 'runner=DirectRunner'

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings('ignore')]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Several chunks of a few recordings; without Beam these tests fail rather than pass unseen."""
    try:
        import apache_beam  # noqa: F401
    except ImportError as e:
        pytest.fail(f"building on Beam needs apache-beam ({e}): pip install -e '.[tfds,test]'")
    monkeypatch.setattr(builder, 'CHUNK', 3)


class Given(builder.CorpusBuilder, skip_registration=True):
    """A corpus of whatever recordings a test hands over."""

    BUILDER_CONFIGS = (*builder.CorpusBuilder.BUILDER_CONFIGS, builder.TEXT)
    given = ()

    def recordings(self, dl_manager):
        return self.given


def recording(name: str, read, **fields) -> Recording:
    return Recording(
        id=name,
        speaker='given_1',
        emotion='happy',
        label='H',
        read=read,
        source=f'{name}.wav',
        **fields,
    )


def sounds(folder: pathlib.Path, count: int = 7) -> list[pathlib.Path]:
    """Files of noise of different lengths."""
    folder.mkdir(parents=True)
    paths = [folder / f'u{i}.wav' for i in range(count)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).integers(-9000, 9000, 5000 + 3000 * i).astype(np.int16)
        soundfile.write(path, noise, 16000, subtype='PCM_16')
    return paths


def given(folder, recordings, options=None, config='log_mel', **attributes):
    """Builds a corpus of these recordings, on Beam where options are given; returns its folder."""
    from apache_beam.options.pipeline_options import PipelineOptions

    builder = Given(data_dir=folder, config=config)
    builder.given = recordings
    for name, value in attributes.items():
        setattr(builder, name, value)
    flags = options and PipelineOptions(flags=[f'--{o}' for o in options.split(',')])
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(beam_options=flags))
    return pathlib.Path(builder.data_dir)


def content(folder: pathlib.Path) -> tuple:
    """(fingerprint.json, inspection.json, corpus.json, names of the files) of a build."""
    names = sorted(p.name for p in folder.iterdir())
    return *(
        json.loads((folder / n).read_text())
        for n in ('fingerprint.json', 'inspection.json', 'corpus.json')
    ), names


def left(data_dir: pathlib.Path) -> list[pathlib.Path]:
    """What a failed build left behind, but for TFDS's note of who asked."""
    return [p for p in data_dir.rglob('*') if p.is_file() and p.parent.name != '.config']


def ravdess(data_dir, *flags, manual_dir=DUMMY) -> pathlib.Path:
    build.main(
        [
            'build',
            'datasets/ravdess',
            f'--manual_dir={manual_dir}',
            f'--data_dir={data_dir}',
            *flags,
        ]
    )
    return next((data_dir / 'ravdess').glob('*/*'))


@pytest.fixture
def flawed(tmp_path) -> pathlib.Path:
    """RAVDESS from noise: zips, a duplicate, the sound of a video, a bad name and a cut file."""
    shutil.copytree(DUMMY, tmp_path / 'in')
    cut = tmp_path / 'in' / 'Actor_01' / '03-01-01-01-01-01-01.wav'
    cut.write_bytes(cut.read_bytes()[:3000])
    cut.with_name('03-01-09-01-01-01-01.wav').write_bytes(b'')
    return tmp_path / 'in'


@pytest.mark.parametrize(
    'options, config', [(PROCESSES, 'log_mel'), (THREADS, 'native'), (ALONE, 'waveform')]
)
def test_the_shards_are_those_of_one_machine(options, config, flawed, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv('SER_JAX_TOLERANCE', '')
    flags = '--tolerance=0.5', f'--config={config}'
    plain = ravdess(tmp_path / 'plain', *flags, manual_dir=flawed)
    printed = capfd.readouterr().out
    on_beam = ravdess(
        tmp_path / 'beam', *flags, f'--beam_pipeline_options={options}', manual_dir=flawed
    )
    assert content(on_beam)[:3] == content(plain)[:3]
    assert content(on_beam)[0]['examples'] == 9 and len(content(on_beam)[1]['skipped']) == 3
    assert content(on_beam)[3] == content(plain)[3]  # nothing of the work is left
    now = capfd.readouterr()
    assert now.out.replace(str(on_beam), '') == printed.replace(str(plain), '')
    assert all(
        line.startswith('inspecting ravdess') for line in now.err.splitlines() if line.strip()
    ), now.err


def test_too_many_bad_files_are_refused_in_the_same_words(flawed, tmp_path):
    messages = []
    for flags in [], [f'--beam_pipeline_options={PROCESSES}']:
        with pytest.raises(InputError, match='2 of 12 files are bad') as e:
            ravdess(tmp_path / 'out', *flags, manual_dir=flawed)
        messages.append(str(e.value))
        assert not left(tmp_path / 'out')
    assert messages[0] == messages[1] and '\n' not in messages[0]


def test_an_empty_corpus_is_an_error(tmp_path):
    with pytest.raises(InputError, match='none of 0 files is usable'):
        given(tmp_path, [], ALONE)


def test_texts_need_no_sound(tmp_path):
    texts = [recording(f't{i}', None, text=f'word {i % 6}', channel='text') for i in range(8)]
    plain, on_beam = (given(tmp_path / str(o), texts, o, 'text') for o in (None, PROCESSES))
    assert content(on_beam) == content(plain)
    assert content(plain)[0]['examples'] == 6 and len(content(plain)[1]['skipped']) == 2


def test_the_order_is_that_of_ids_over_all_shards(tmp_path):
    paths = sounds(tmp_path / 'in', 40)
    recordings = [recording(p.stem, functools.partial(wav.read, p)) for p in paths]
    config = tfds.download.DownloadConfig(num_shards=4, beam_runner='DirectRunner')
    builder = Given(data_dir=tmp_path, config='log_mel')
    builder.given = recordings
    builder.download_and_prepare(download_config=config)
    assert builder.info.splits['train'].num_shards == 4
    ids = [e['id'].decode() for e in builder.as_data_source('train')]
    assert ids == sorted(p.stem for p in paths)
    assert (
        content(pathlib.Path(builder.data_dir))[0]
        == content(given(tmp_path / 'plain', recordings))[0]
    )


def test_max_examples_per_split_limits_the_examples(flawed, tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_TOLERANCE', '')
    flags = '--tolerance=0.5', '--max_examples_per_split=4'
    plain = ravdess(tmp_path / 'plain', *flags, manual_dir=flawed)
    on_beam = ravdess(
        tmp_path / 'beam', *flags, f'--beam_pipeline_options={ALONE}', manual_dir=flawed
    )
    assert content(on_beam)[:3] == content(plain)[:3] and content(plain)[0]['examples'] == 4


def inside_alone(path, inside=[]):  # noqa: B006
    """Read a file, and does not stand a second caller at the same time."""
    assert not inside
    inside.append(path)
    try:
        return wav.read(path)
    finally:
        inside.pop()


def test_a_corpus_can_require_one_read_at_a_time(tmp_path):
    recordings = [
        recording(p.stem, functools.partial(inside_alone, p)) for p in sounds(tmp_path / 'in', 40)
    ]
    assert content(given(tmp_path, recordings, THREADS, THREADS=1))[0]['examples'] == 40


def read_once(path):
    """Read a file that is gone afterwards, as when a disk fails between inspection and writing."""
    samples = wav.read(path)
    path.unlink()
    return samples


def test_a_file_that_is_lost_before_its_features_are_computed_is_named(tmp_path):
    paths = sounds(tmp_path / 'in')
    recordings = [recording(p.stem, functools.partial(wav.read, p)) for p in paths]
    recordings[4] = recording('u4', functools.partial(read_once, paths[4]))
    with pytest.raises(InputError, match=r'u4\.wav: no such file') as e:
        given(tmp_path / 'out', recordings, ALONE)
    assert '\n' not in str(e.value)
    assert not left(tmp_path / 'out')


def lose(folder, path):
    """Remove the folder of chunks and replies, as on a worker that does not share the disk."""
    for place in folder.rglob('at_work'):
        shutil.rmtree(place)
    return wav.read(path)


def test_files_that_workers_do_not_find_are_named(tmp_path):
    [path] = sounds(tmp_path / 'in', 1)
    fields = {'speaker': 'x', 'emotion': 'happy', 'label': 'H', 'source': str(path)}
    elsewhere = Recording(
        id='u', read=functools.partial(wav.read, tmp_path / 'not_mounted' / path.name), **fields
    )
    with pytest.raises(InputError, match=rf'Beam workers do not find {path}; .* launch/README'):
        given(tmp_path / '1', [elsewhere], ALONE)
    lost = Recording(id='u', read=functools.partial(lose, tmp_path / '2', path), **fields)
    with pytest.raises(
        InputError, match=rf'Beam workers do not find {tmp_path / "2"}.*at_work; .* launch/README'
    ) as e:
        given(tmp_path / '2', [lost], ALONE)
    assert '\n' not in str(e.value)


def test_workers_without_the_package_are_named(tmp_path, monkeypatch):
    recordings = [
        recording(p.stem, functools.partial(wav.read, p)) for p in sounds(tmp_path / 'in')
    ]
    (tmp_path / 'ser_jax').mkdir()
    # What workers find first: as if they had none.
    (tmp_path / 'ser_jax' / '__init__.py').write_text(
        'raise ModuleNotFoundError("No module named \'ser_jax\'")\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    with pytest.raises(InputError, match='Beam workers cannot import ser_jax; see'):
        given(tmp_path / 'out', recordings, PROCESSES)


def test_an_error_of_ours_keeps_its_traceback(tmp_path):
    with pytest.raises(Exception, match=r"invalid literal for int.. with base 10: 'three'") as e:
        given(tmp_path / 'out', [recording('u', functools.partial(int, 'three'))], PROCESSES)
    assert not isinstance(e.value, InputError)
    assert not left(tmp_path / 'out')


def test_reads_that_cannot_be_sent_are_refused(tmp_path):
    samples = wav.read(sounds(tmp_path / 'in', 1)[0])
    with pytest.raises(
        InputError, match=r'u0\.wav.* cannot be sent to a Beam worker .* Recording\.read'
    ) as e:
        given(tmp_path, [recording('u0', lambda: samples)], ALONE)
    assert '\n' not in str(e.value)


def test_reads_that_workers_cannot_import_are_refused(tmp_path):
    """A builder lies in datasets/, where it is imported by path; workers know ser_jax alone."""
    script = tmp_path / 'own_read' / 'own_read_dataset_builder.py'
    script.parent.mkdir()
    script.write_text(
        'import functools\n'
        'from ser_jax.audio import wav\n'
        'from ser_jax.corpora import builder\n'
        'def read(path):\n'
        '    return wav.read(path)\n'
        'class Builder(builder.CorpusBuilder):\n'
        '    def recordings(self, dl_manager):\n'
        f'        for i, path in enumerate({[str(p) for p in sounds(tmp_path / "in")]}):\n'
        "            yield builder.Recording(id=f'u{i}', speaker='x', emotion='happy', label='H',\n"
        '                                    source=path, read=functools.partial(read, path))\n'
    )
    command = ['build', str(script), f'--data_dir={tmp_path / "out"}']
    with pytest.raises(
        InputError, match=r'worker cannot import .*own_read.* expected functions of ser_jax'
    ) as e:
        build.main([*command, f'--beam_pipeline_options={PROCESSES}'])
    assert '\n' not in str(e.value)
    build.main(command)  # one machine can


@pytest.mark.parametrize(
    'options, message',
    [
        ('direct_num_workers=two', "direct_num_workers: invalid int value: 'two'"),
        ('direct_num_worker=2', 'has direct_num_worker, which is not an option of Beam'),
        ('runner=DirctRunner', 'runner=DirctRunner, which is not available'),
    ],
)
def test_options_that_cannot_be_are_named(options, message, tmp_path):
    with pytest.raises(InputError, match=message) as e:
        ravdess(tmp_path, f'--beam_pipeline_options={options}')
    assert '\n' not in str(e.value)


def test_an_order_that_changes_is_refused(tmp_path):
    with pytest.raises(InputError, match='--nondeterministic_order'):
        ravdess(tmp_path, f'--beam_pipeline_options={ALONE}', '--nondeterministic_order')


def test_without_the_flag_beam_is_not_even_imported(tmp_path):
    code = (
        'import sys, tensorflow_datasets as tfds; from ser_jax import build\n'
        f'builder = build.builder_class(build.script("ravdess"))(data_dir={str(tmp_path)!r})\n'
        f'builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir={str(DUMMY)!r}))\n'
        'sys.exit("apache_beam" in sys.modules)\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_stock_tfds_build_takes_the_same_flag(tmp_path):
    tfds_command = pathlib.Path(sys.executable).with_name('tfds')
    if not tfds_command.exists():
        pytest.fail("stock `tfds build` needs its extra: pip install -e '.[tfds]'")
    flags = [f'--manual_dir={DUMMY}', '--config=log_mel', f'--beam_pipeline_options={PROCESSES}']
    command = [
        tfds_command,
        'build',
        'datasets/ravdess',
        f'--data_dir={tmp_path / "stock"}',
        *flags,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    stock, plain = next((tmp_path / 'stock').glob('ravdess/*/*')), ravdess(tmp_path / 'plain')
    assert content(stock)[:3] == content(plain)[:3]
