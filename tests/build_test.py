"""The build command: output, reuse, refusals, and parity with stock `tfds build`."""

import contextlib
import errno
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import soundfile

from ser_jax import build
from ser_jax.contract import InputError, remedy
from ser_jax.corpora import builder
from tests import forked

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


def test_a_build_prints_its_inspection_and_its_folder(tmp_path, capsys):
    run(f'--data_dir={tmp_path}')
    out = capsys.readouterr().out.splitlines()
    assert out[0] == 'ravdess (log_mel):'
    assert out[1].startswith('10 utterances (3 female, 7 male), 0.00 hours, 2 speakers')
    assert out[-1] == f'ravdess (log_mel): 10 utterances in {folder(tmp_path)}'
    assert not (tmp_path / 'ravdess' / 'waveform').exists()  # the default config alone
    cls = build.builder_class(build.script('ravdess'))
    where = cls(data_dir=tmp_path, config='native').data_dir
    assert str(build.shards_folder(cls, tmp_path, 'native')) == where


def test_a_second_run_reuses_the_build_and_prints_it(built, capsys):
    before = {p: p.stat().st_mtime_ns for p in folder(built).iterdir()}
    build.main(['build', 'datasets/ravdess', f'--data_dir={built}'])
    out = capsys.readouterr().out.splitlines()
    assert (
        out[0] == 'ravdess (log_mel) is already built, nothing to do; --overwrite builds it again'
    )
    assert out[1] == f'ravdess (log_mel): 10 utterances in {folder(built)}'
    assert {p: p.stat().st_mtime_ns for p in folder(built).iterdir()} == before


def test_overwrite_builds_again_and_a_failure_keeps_the_old_build(built, capsys):
    before = fingerprint(built)
    with pytest.raises(InputError, match='does not exist'):
        run(f'--data_dir={built}', '--overwrite', manual_dir='/nowhere')
    assert fingerprint(built) == before
    run(f'--data_dir={built}', '--overwrite')
    assert capsys.readouterr().out.startswith('ravdess (log_mel):\n10 utterances')
    assert fingerprint(built) == before
    assert [p.name for p in folder(built).parent.iterdir()] == ['1.1.0']


def test_a_run_killed_while_overwriting_is_repaired(built, capsys):
    os.replace(folder(built), folder(built).with_name('replaced.1.1.0'))
    run(f'--data_dir={built}')
    assert 'is already built' in capsys.readouterr().out
    shutil.copytree(
        folder(built), folder(built).with_name('replaced.1.1.0')
    )  # killed a moment later
    run(f'--data_dir={built}')
    assert [p.name for p in folder(built).parent.iterdir()] == ['1.1.0']
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
    assert (
        out.splitlines()[-1]
        == f'ravdess (waveform): 10 utterances in {folder(tmp_path, "waveform")}'
    )


@pytest.mark.parametrize(
    'name',
    [
        'ravdess',
        'datasets/ravdess',
        str(ROOT / 'datasets' / 'ravdess'),
        'datasets/ravdess/ravdess_dataset_builder.py',
    ],
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
        (['datasets/ravdes'], "dataset 'datasets/ravdes' does not exist; .*ravdess"),
        (
            ['ravdess', '--config=logmel'],
            '--config=logmel is not a config of ravdess; did you mean log_mel',
        ),
        (['ravdess', '--config_idx=99'], '--config_idx must be 0 to'),
        (
            ['ravdess', '--manul_dir=x'],
            'unrecognized arguments: --manul_dir=x; did you mean --manual_dir',
        ),
        (['ravdess', '--tolerance=lots'], 'argument --tolerance'),
        (
            ['ravdess', '--tolerance=2', f'--manual_dir={DUMMY}'],
            'tolerance must be a number from 0 to 1',
        ),
        (
            ['ravdess', f'--manual_dir={DUMMY}', '--data_dir=/proc/nowhere'],
            '/proc/nowhere.*cannot be used .No such file',
        ),
    ],
)
def test_unusable_flags_are_one_line(flags, message, tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_TOLERANCE', '')
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message) as e:
        build.main(['build', f'--data_dir={tmp_path}', *flags])
    assert '\n' not in str(e.value)


def test_a_builder_that_cannot_be_imported_is_reported_with_the_reason(tmp_path):
    script = tmp_path / 'lame' / 'lame_dataset_builder.py'
    script.parent.mkdir()
    script.write_text('import a_module_that_is_not_there\n')
    with pytest.raises(
        InputError,
        match=r"lame_dataset_builder\.py cannot be imported .*No module named 'a_module_that",
    ):
        build.main(['build', str(script.parent), f'--data_dir={tmp_path}'])


def python_m(*flags, before=()) -> subprocess.CompletedProcess:
    command = [*before, sys.executable, '-m', 'ser_jax.build', *map(str, flags)]
    return forked.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_command_line_ends_with_one_line_and_a_code(tmp_path):
    good = python_m('datasets/ravdess', f'--manual_dir={DUMMY}', f'--data_dir={tmp_path}')
    assert good.returncode == 0, good.stderr
    assert good.stdout.splitlines()[-1].startswith('ravdess (log_mel): 10 utterances in ')
    bad = python_m(
        'datasets/ravdess', '--manual_dir=/nowhere', f'--data_dir={tmp_path}', '--config=native'
    )
    assert bad.returncode == 2
    assert (
        bad.stderr.startswith('error: --manual_dir=/nowhere does not exist')
        and bad.stderr.count('\n') == 1
    )
    asked = python_m('--help')
    assert asked.returncode == 0
    assert '--manual_dir' in asked.stdout and '--tolerance' in asked.stdout


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing(tmp_path):
    limited = [
        'sh',
        '-c',
        'ulimit -f 16 && exec "$@"',
        'sh',
    ]  # at most 16 KiB a file; the shard is larger
    done = python_m('ravdess', f'--manual_dir={DUMMY}', f'--data_dir={tmp_path}', before=limited)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f'error: {folder(tmp_path)}')
    assert f'cannot be written (File too large); {remedy(errno.EFBIG)} (--data_dir)' in done.stderr
    assert not list(tmp_path.rglob('*.array_record*'))


@pytest.mark.parametrize(
    'code',
    [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR],
)
@pytest.mark.parametrize('kind', [OSError, RuntimeError])
def test_errors_of_the_disk_have_their_remedy(code, kind, tmp_path, monkeypatch):
    def refuse(self, *_, **__):
        words = os.strerror(code)
        raise (
            OSError(code, words, str(tmp_path / 'x'))
            if kind is OSError
            else RuntimeError(f'open: {words}')
        )

    monkeypatch.setattr(builder.CorpusBuilder, '_download_and_prepare', refuse)
    with pytest.raises(InputError, match=f'{tmp_path}.*{os.strerror(code)}') as e:
        run(f'--data_dir={tmp_path}')
    assert f'; {remedy(code)} (--data_dir), then' in str(e.value)


@pytest.mark.parametrize('bug', [
    RuntimeError('ours'), OSError('ours'), FileNotFoundError(errno.ENOENT, 'No such file',
    '/elsewhere/x'),
    ValueError('ours'),
], ids=lambda e: type(e).__name__)  # fmt: skip
def test_errors_of_ours_keep_their_traceback(bug, tmp_path, monkeypatch):
    def fail(self, *_, **__):
        raise bug

    monkeypatch.setattr(builder.CorpusBuilder, '_download_and_prepare', fail)
    with pytest.raises(type(bug)):
        run(f'--data_dir={tmp_path}')


def test_long_paths_and_files_instead_of_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r'File name too long.*shorter path .--data_dir.'):
        run(f'--data_dir={tmp_path / ("x" * 300)}')
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=r'file.*Not a directory.*--data_dir'):
        run(f'--data_dir={tmp_path / "file"}')


def test_two_builds_at_once_are_one(tmp_path):
    hold = (
        'import sys, ser_jax.lock as l\nwith l.held(sys.argv[1], "build"):\n'
        ' print("held", flush=True); sys.stdin.read()'
    )
    command = [sys.executable, '-c', hold, str(folder(tmp_path))]
    stale = folder(tmp_path).with_name('incomplete.ABCDEF_1.1.0')
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as first:
        assert first.stdout.readline() == b'held\n'
        stale.mkdir(parents=True)  # what the first is at work in
        with pytest.raises(
            InputError, match=f'in use by another process .build, process {first.pid} on '
        ):
            run(f'--data_dir={tmp_path}')
        with pytest.raises(
            InputError, match=f'in use by another process .build, process {first.pid} on '
        ):
            cls = build.builder_class(build.script('ravdess'))
            cls(data_dir=tmp_path).download_and_prepare()
        assert stale.exists()
        first.kill()
    run(f'--data_dir={tmp_path}')
    assert [p.name for p in folder(tmp_path).parent.iterdir()] == ['1.1.0']


def test_no_temporary_folder_is_left(tmp_path, monkeypatch):
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    for manual_dir, flags in [(DUMMY, ()), (DUMMY, ()), ('/nowhere', ('--overwrite',))]:
        with contextlib.suppress(InputError):
            run(f'--data_dir={tmp_path}', *flags, manual_dir=manual_dir)
    assert not list((tmp_path / 'tmp').iterdir())


@pytest.mark.parametrize('name', ['fingerprint.json', 'inspection.json', 'corpus.json',
                                  'dataset_info.json',
                                  'features.json', 'origin.json'])  # fmt: skip
@pytest.mark.parametrize('damage', ['cut', 'empty', 'garbled', 'list'])
def test_damaged_tables_of_a_build_are_named_and_overwritten(name, damage, built):
    path = folder(built) / name
    content = path.read_bytes()
    damaged = {
        'cut': content[:-4],
        'empty': b'',
        'garbled': content[:9] + b'\xff{' + content[11:],
        'list': b'[1]',
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(InputError, match=rf'{name} (is damaged|holds no).*--overwrite') as e:
        run(f'--data_dir={built}')
    assert '\n' not in str(e.value)
    run(f'--data_dir={built}', '--overwrite')
    run(f'--data_dir={built}')


def make_recordings(folder: pathlib.Path, seed: int, name: str = 'x') -> pathlib.Path:
    """A folder of two sounds whose names and sizes are the same for every seed."""
    for emotion in ('happy', 'sad'):
        (folder / emotion).mkdir(parents=True, exist_ok=True)
        noise = (
            np.random.default_rng([seed, len(emotion)])
            .integers(-9000, 9000, 60_000)
            .astype(np.int16)
        )
        soundfile.write(folder / emotion / f'{name}.wav', noise, 16000)
    return folder


def voices(data_dir, manual_dir, *flags) -> None:
    build.main(['build', 'datasets/folder', '--name=my_voices', f'--data_dir={data_dir}',
                f'--manual_dir={manual_dir}', *flags])  # fmt: skip


def test_a_build_does_not_answer_for_another_source(tmp_path, capsys):
    one, two = make_recordings(tmp_path / 'one', 1), make_recordings(tmp_path / 'two', 2)
    voices(tmp_path, one)
    voices(tmp_path, one)
    assert 'already built' in capsys.readouterr().out
    with pytest.raises(
        InputError, match=f'from {one} .2 files., not from {two} .*--overwrite.*--name'
    ) as e:
        voices(tmp_path, two)
    assert '\n' not in str(e.value)
    voices(tmp_path, two, '--overwrite')
    voices(tmp_path, shutil.copytree(two, tmp_path / 'moved'))  # the same files elsewhere
    make_recordings(two, 3, 'more')
    with pytest.raises(InputError, match=r'held other files .2 then, 4 now.'):
        voices(tmp_path, two)
    with pytest.raises(InputError, match='gone does not exist'):
        voices(tmp_path, tmp_path / 'gone')
    shutil.rmtree(two)
    voices(tmp_path, two)
    assert 'does not exist any more; not compared' in capsys.readouterr().out


def test_an_edited_label_of_the_same_length_is_another_source(tmp_path):
    place = make_recordings(tmp_path / 'in', 1)
    manifest = place / 'manifest.csv'
    manifest.write_text('path,emotion\nhappy/x.wav,happy\nsad/x.wav,sad\n')
    for given in (place, manifest):
        voices(tmp_path / given.suffix, given)
    manifest.write_text('path,emotion\nhappy/x.wav,angry\nsad/x.wav,sad\n')
    for given in (place, manifest):
        with pytest.raises(InputError, match='when it held other files'):
            voices(tmp_path / given.suffix, given)


def test_a_build_without_origin_is_reported(built, capsys):
    (folder(built) / 'origin.json').unlink()
    run(f'--data_dir={built}')
    out = capsys.readouterr().out
    assert (
        'built by an earlier version, without origin.json; its source is not compared' in out
        and 'already built' in out
    )


@pytest.mark.slow
def test_stock_tfds_build_gives_the_same_content(tmp_path):
    """`tfds build datasets/ravdess`, the executable beside this Python, for all configs."""
    tfds = pathlib.Path(sys.executable).with_name('tfds')
    command = [
        tfds,
        'build',
        'datasets/ravdess',
        f'--manual_dir={DUMMY}',
        f'--data_dir={tmp_path / "stock"}',
    ]
    done = (
        subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=ROOT)
        if tfds.exists()
        else None
    )
    if done is None or (done.returncode and 'No module named' in done.stderr):
        pytest.fail("stock `tfds build` needs its extra: pip install -e '.[tfds]'")
    assert done.returncode == 0, done.stderr
    for config in ('log_mel', 'waveform', 'native', 'mfcc_curve', 'vsr_spectrogram'):
        run(f'--data_dir={tmp_path / "ours"}', f'--config={config}')
        assert list(folder(tmp_path / 'stock', config).glob('*.array_record*'))
        assert fingerprint(tmp_path / 'stock', config) == fingerprint(tmp_path / 'ours', config), (
            config
        )


@pytest.mark.skipif(importlib.util.find_spec('apache_beam') is not None, reason='Beam is here')
def test_beam_that_is_not_installed_is_named(tmp_path):
    done = python_m(
        'datasets/ravdess', f'--data_dir={tmp_path}', '--beam_pipeline_options=runner=DirectRunner'
    )
    assert done.returncode == 2 and 'needs Apache Beam' in done.stderr
