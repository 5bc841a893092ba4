"""The door of building: what it prints, what it reuses, what it refuses, and that stock `tfds build` does the same."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from ser_jax import build
from ser_jax.contract import InputError

ROOT = pathlib.Path(build.__file__).resolve().parents[1]
DUMMY = ROOT / 'datasets' / 'ravdess' / 'dummy_data'


def run(*flags, manual_dir=DUMMY) -> None:
    build.main(['build', 'datasets/ravdess', f'--manual_dir={manual_dir}', *map(str, flags)])


@pytest.fixture
def built(tmp_path, capsys):
    """A data directory with RAVDESS from its dummy data."""
    run(f'--data_dir={tmp_path}')
    capsys.readouterr()
    return tmp_path


def folder(data_dir: pathlib.Path, config='log_mel') -> pathlib.Path:
    return data_dir / 'ravdess' / config / '1.1.0'


def fingerprint(data_dir: pathlib.Path, config='log_mel') -> str:
    return json.loads((folder(data_dir, config) / 'fingerprint.json').read_text())['fingerprint']


def test_a_build_says_what_it_found_and_where_it_is(tmp_path, capsys):
    run(f'--data_dir={tmp_path}')
    out = capsys.readouterr().out.splitlines()
    assert out[0] == 'ravdess (log_mel):'
    assert out[1].startswith('10 utterances (3 female, 7 male), 0.00 hours, 2 speakers')
    assert out[-1] == f'ravdess (log_mel): 10 utterances in {folder(tmp_path)}'
    assert not (tmp_path / 'ravdess' / 'waveform').exists()  # the default config alone


def test_a_second_run_reuses_what_exists_and_says_so(built, capsys):
    before = {p: p.stat().st_mtime_ns for p in folder(built).iterdir()}
    run(f'--data_dir={built}', manual_dir='/nowhere')
    out = capsys.readouterr().out.splitlines()
    assert out[0] == 'ravdess (log_mel) is already built, nothing to do; --overwrite builds it again'
    assert out[1] == f'ravdess (log_mel): 10 utterances in {folder(built)}'
    assert {p: p.stat().st_mtime_ns for p in folder(built).iterdir()} == before


def test_overwrite_builds_again_and_a_failure_keeps_what_was_there(built, capsys):
    before = fingerprint(built)
    with pytest.raises(InputError, match='does not exist'):
        run(f'--data_dir={built}', '--overwrite', manual_dir='/nowhere')
    assert fingerprint(built) == before
    run(f'--data_dir={built}', '--overwrite')
    assert capsys.readouterr().out.startswith('ravdess (log_mel):\n10 utterances')
    assert fingerprint(built) == before
    assert [p.name for p in folder(built).parent.iterdir()] == ['1.1.0']


def test_a_run_killed_while_overwriting_is_repaired(built):
    os.replace(folder(built), folder(built).with_name('replaced.1.1.0'))
    run(f'--data_dir={built}', manual_dir='/nowhere')
    assert len(fingerprint(built)) == 64


def test_a_folder_without_shards_is_not_taken_for_a_build(tmp_path, capsys):
    folder(tmp_path).mkdir(parents=True)
    with pytest.raises(InputError, match='holds no complete shards'):
        run(f'--data_dir={tmp_path}')
    run(f'--data_dir={tmp_path}', '--overwrite')
    assert capsys.readouterr().out.endswith(f'10 utterances in {folder(tmp_path)}\n')


def test_damaged_and_changed_shards_are_found(built):
    shard = next(folder(built).glob('*.array_record*'))
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r'is damaged .* --overwrite'):
        run(f'--data_dir={built}')
    shard.write_bytes(content)
    stored = folder(built) / 'fingerprint.json'
    stored.write_text(stored.read_text().replace(fingerprint(built), 'f' * 64))
    with pytest.raises(InputError, match=r'is not what was built .* stored ffff'):
        run(f'--data_dir={built}')


def test_configs_and_tolerance_are_flags(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('SER_JAX_TOLERANCE', '0')  # put back afterwards; the flag sets it
    copy = tmp_path / 'in'
    shutil.copytree(DUMMY, copy)
    (copy / 'Actor_01' / '03-01-02-01-01-01-01.wav').write_bytes(b'')
    with pytest.raises(InputError, match='1 of 12 files are bad'):
        run(f'--data_dir={tmp_path}', '--config=waveform', manual_dir=copy)
    run(f'--data_dir={tmp_path}', '--config=waveform', '--tolerance=0.1', manual_dir=copy)
    out = capsys.readouterr().out
    assert '03-01-02-01-01-01-01.wav (is empty (0 bytes); copy or download it again)' in out
    assert out.splitlines()[-1] == f'ravdess (waveform): 10 utterances in {folder(tmp_path, "waveform")}'


@pytest.mark.parametrize(
    'name',
    ['ravdess', 'datasets/ravdess', str(ROOT / 'datasets' / 'ravdess'), 'datasets/ravdess/ravdess_dataset_builder.py'],
)
def test_a_dataset_is_named_in_any_of_the_usual_ways(name, monkeypatch, tmp_path):
    expected = ROOT / 'datasets' / 'ravdess' / 'ravdess_dataset_builder.py'
    monkeypatch.chdir(ROOT)
    assert build.script(name) == expected
    monkeypatch.chdir(ROOT / 'datasets' / 'ravdess')
    assert build.script('') == expected
    monkeypatch.chdir(tmp_path)
    assert build.script('ravdess') == expected


@pytest.mark.parametrize(
    'flags, message',
    [
        (['datasets/ravdes'], "dataset 'datasets/ravdes' is not there; .*ravdess"),
        (['ravdess', '--config=logmel'], '--config=logmel is unknown to ravdess; did you mean log_mel'),
        (['ravdess', '--manul_dir=x'], 'unrecognized arguments: --manul_dir=x; did you mean --manual_dir'),
        (['ravdess', '--tolerance=lots'], 'argument --tolerance'),
        (['ravdess', '--tolerance=2', f'--manual_dir={DUMMY}'], 'is not a share'),
        (['ravdess', f'--manual_dir={DUMMY}', '--data_dir=/proc/nowhere'], '/proc/nowhere.*cannot be written'),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(flags, message, tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_TOLERANCE', '')
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message) as e:
        build.main(['build', f'--data_dir={tmp_path}', *flags])
    assert '\n' not in str(e.value)


def test_a_builder_that_cannot_be_imported_says_why(tmp_path):
    script = tmp_path / 'lame' / 'lame_dataset_builder.py'
    script.parent.mkdir()
    script.write_text('import a_module_that_is_not_there\n')
    with pytest.raises(
        InputError, match=r"lame_dataset_builder\.py cannot be imported .*No module named 'a_module_that"
    ):
        build.main(['build', str(script.parent), f'--data_dir={tmp_path}'])


def python_m(*flags, before=()) -> subprocess.CompletedProcess:
    command = [*before, sys.executable, '-m', 'ser_jax.build', *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=ROOT)


def test_the_command_line_ends_with_one_line_and_a_code(tmp_path):
    good = python_m('datasets/ravdess', f'--manual_dir={DUMMY}', f'--data_dir={tmp_path}')
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[-1].startswith('ravdess (log_mel): 10 utterances in ')
    bad = python_m('datasets/ravdess', '--manual_dir=/nowhere', f'--data_dir={tmp_path}', '--config=native')
    assert bad.returncode == 2
    assert bad.stderr.startswith('error: --manual_dir=/nowhere does not exist') and bad.stderr.count('\n') == 1
    asked = python_m('--help')
    assert asked.returncode == 0
    assert '--manual_dir' in asked.stdout and '--tolerance' in asked.stdout


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing(tmp_path):
    limited = ['sh', '-c', 'ulimit -f 16 && exec "$@"', 'sh']  # at most 16 KiB a file; the shard is larger
    done = python_m('ravdess', f'--manual_dir={DUMMY}', f'--data_dir={tmp_path}', before=limited)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f'error: {folder(tmp_path)}')
    assert 'cannot be written (File too large); free some space' in done.stderr
    assert not list(tmp_path.rglob('*.array_record*'))


@pytest.mark.slow
def test_stock_tfds_build_gives_the_same_content(tmp_path):
    """`tfds build datasets/ravdess`, the executable beside this Python, for all configs."""
    tfds = pathlib.Path(sys.executable).with_name('tfds')
    command = [tfds, 'build', 'datasets/ravdess', f'--manual_dir={DUMMY}', f'--data_dir={tmp_path / "stock"}']
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=ROOT) if tfds.exists() else None
    if done is None or (done.returncode and 'No module named' in done.stderr):
        pytest.fail("stock `tfds build` needs its extra: pip install -e '.[tfds]'")
    assert done.returncode == 0, done.stderr
    for config in ('log_mel', 'waveform', 'native', 'mfcc_curve', 'vsr_spectrogram'):
        run(f'--data_dir={tmp_path / "ours"}', f'--config={config}')
        assert list(folder(tmp_path / 'stock', config).glob('*.array_record*'))
        assert fingerprint(tmp_path / 'stock', config) == fingerprint(tmp_path / 'ours', config), config


@pytest.mark.skipif(importlib.util.find_spec('apache_beam') is not None, reason='Beam is here')
def test_beam_that_is_not_installed_is_named(tmp_path):
    done = python_m('datasets/ravdess', f'--data_dir={tmp_path}', '--beam_pipeline_options=runner=DirectRunner')
    assert done.returncode == 2 and 'needs Apache Beam' in done.stderr
