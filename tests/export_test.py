"""Exported files give the run's probabilities in their own runtimes, whole or not at all."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from ser_jax import export, train
from ser_jax.audio.clips import Clip
from ser_jax.contract import InputError
from ser_jax.exporting import hub, onnx_file, parity, program, stablehlo, web
from ser_jax.inference import Predictor
from tests.conftest import EMOTIONS, small_config, tone
from tests.exporting import chromium
from tests.speech_encoder_test import SIZE, write_weights

RATE = 16000
TOLERANCE = 1e-5  # float32 in another order; the limit of the verb is parity.TOLERANCE
RUNTIME = os.environ.get('SER_JAX_ONNXRUNTIME_WEB', '')  # `dist` of the npm package
pytest.importorskip('flatbuffers')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')


def config_of(kind: str, data_dir: pathlib.Path) -> ConfigDict:
    c = small_config(data_dir)
    c.train.epochs, c.members.folds, c.members.seeds = 1, 2, (0,)
    if kind == 'waveform':
        c.features.source, c.features.trim_db = 'waveform', 30.0
    elif kind == 'fusion':
        c.model = ConfigDict(
            {**c.model, 'name': 'fusion', 'embedding': 8, 'fused': 8, 'modality_dropout': 0.1}
        )
    elif kind == 'speech_encoder':
        c.features.source, c.features.input = 'waveform', 'whisper_mel'
        c.features.normalize = 'none'
        c.model = ConfigDict(
            {'name': 'speech_encoder', 'encoder': 'whisper_tiny', 'layers': (1, 2), 'hidden': 8}
        )
    return c


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """Whisper tiny made still smaller, with random weights and a cache of its own."""
    from ser_jax.models.encoders import whisper

    folder = tmp_path_factory.mktemp('weights')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(whisper.SIZES, 'whisper_tiny', SIZE)
        patch.setenv('SER_JAX_WEIGHTS', str(folder))
        patch.setenv('SER_JAX_ACTIVATIONS', str(folder / 'derived'))
        write_weights(folder / 'whisper_tiny' / 'model.bin', 0)
        yield folder


@pytest.fixture(scope='module', params=['conv_bilstm', 'waveform', 'fusion', 'speech_encoder'])
def run(request, data_dir, tiny, tmp_path_factory) -> pathlib.Path:
    """A run of two members and one epoch."""
    directory = tmp_path_factory.mktemp('runs') / request.param
    train.train(config_of(request.param, data_dir), directory)
    return directory


@pytest.fixture(scope='module')
def exported(run, tmp_path_factory) -> pathlib.Path:
    output = tmp_path_factory.mktemp('exported') / 'x'
    export.export(Predictor.open(run, window_s=4.0), ['stablehlo', 'onnx', 'hub', 'web'], output)
    return output


def batch(seconds: tuple[float, ...], least: int) -> tuple[np.ndarray, np.ndarray]:
    length = np.array([round(s * RATE) for s in seconds], np.int32)
    samples = np.zeros((len(length), max(least, *length)), np.float32)
    for row, n in enumerate(length):
        samples[row, :n] = np.resize(tone(row % 4, row % 3, 1), n)
    return samples, length


CASES = ((0.3,), (0.05, 4.0), (0.9, 2.2, 3.1))  # seconds of the rows of each batch


@pytest.fixture(scope='module')
def expected(run) -> list[np.ndarray]:
    """Probabilities of the run for CASES."""
    function = jax.jit(program.of_run(Predictor.open(run, window_s=4.0)).function)
    return [np.asarray(function(*batch(seconds, 3200))[0]) for seconds in CASES]


@pytest.mark.parametrize('form', [stablehlo, onnx_file, hub, web], ids=lambda m: m.FILE)
def test_a_file_gives_the_probabilities_of_the_run(exported, expected, form):
    """At several lengths and batch sizes; neither padding nor other rows change an answer."""
    call = form.opened(exported)
    for seconds, truth in zip(CASES, expected, strict=True):
        samples, length = batch(seconds, 3200)
        given = call(samples, length)
        np.testing.assert_allclose(given, truth, atol=TOLERANCE)
        np.testing.assert_allclose(given.sum(1), 1, atol=1e-5)
    alone = call(samples[:1, : length[0]], length[:1])
    np.testing.assert_allclose(alone[0], given[0], atol=2e-4)  # features are rounded to float16


def test_a_file_gives_the_answer_of_predict(run, exported):
    (answer,) = Predictor.open(run, window_s=4.0).predict([Clip(tone(1, 2, 1), RATE)])
    samples = tone(1, 2, 1)[None]
    given = onnx_file.opened(exported)(samples, np.array([samples.shape[1]], np.int32))
    np.testing.assert_allclose(given[0], answer.probabilities, atol=2e-4)


def test_the_manifest_describes_and_seals_every_file(run, exported):
    manifest = json.loads((exported / 'manifest.json').read_text())
    files = {p for p in exported.rglob('*') if p.is_file()} - {exported / 'manifest.json'}
    assert {exported / name for name in manifest['sha256']} == files
    for name, digest in manifest['sha256'].items():
        assert hashlib.sha256((exported / name).read_bytes()).hexdigest() == digest
    assert (
        manifest['classes'] == list(EMOTIONS) == json.loads((exported / 'labels.json').read_text())
    )
    assert manifest['rate_hz'] == RATE and len(manifest['members']) == 2
    assert manifest['inputs']['longest_samples'] == 4 * RATE and manifest['inputs']['any_length']
    assert manifest['features']['front_end']['name'] in ('log_mel', 'whisper_mel')
    assert manifest['research_only'] is False and 'licence' in manifest
    assert all(d <= parity.TOLERANCE for d in manifest['largest_differences'].values())


def test_the_onnx_file_has_its_metadata_inside(exported):
    import onnx

    model = onnx.load(exported / onnx_file.FILE)
    inside = {p.key: p.value for p in model.metadata_props}
    assert json.loads(inside['classes']) == list(EMOTIONS)
    assert inside['rate_hz'] == str(RATE) and 'longest_samples' in inside['inputs']


def test_the_loader_of_the_hub_folder_answers_without_the_run_or_its_weights(
    run, exported, tmp_path
):
    if run.name == 'speech_encoder':
        pytest.skip('the process would build the encoder in its published size')
    soundfile.write(tmp_path / 'x.wav', tone(1, 2, 0), RATE)
    loader = exported / 'hub' / hub.LOADER
    assert len(loader.read_text().splitlines()) <= 12
    environment = {**os.environ, 'SER_JAX_WEIGHTS': str(tmp_path / 'none')}
    done = subprocess.run(
        [sys.executable, str(loader), str(tmp_path / 'x.wav')],
        capture_output=True, text=True, env=environment, check=True,
    )  # fmt: skip
    (answer,) = Predictor.open(run).predict([Clip(tone(1, 2, 0), RATE)])
    assert f"[('{answer.emotion}', 0." in done.stdout
    assert (exported / 'hub' / 'README.md').read_text().startswith('---\nlibrary_name: "ser_jax"')


def test_one_member_can_be_exported(run, tmp_path):
    predictor = Predictor.open(run, ['fold1_seed0'])
    manifest = export.export(predictor, ['hub'], tmp_path / 'one')
    assert manifest['members'] == ['fold1_seed0']
    (expected,) = predictor.predict([Clip(tone(0, 1, 1), RATE)])
    (given,) = hub.open_folder(tmp_path / 'one' / 'hub').predict([Clip(tone(0, 1, 1), RATE)])
    np.testing.assert_allclose(given.probabilities, expected.probabilities, atol=1e-6)


def small(data_dir, tmp_path) -> Predictor:
    train.train(config_of('conv_bilstm', data_dir), tmp_path / 'run')
    return Predictor.open(tmp_path / 'run')


def test_nothing_is_left_half_written(data_dir, tmp_path, monkeypatch):
    predictor, output = small(data_dir, tmp_path), tmp_path / 'made' / 'x'
    monkeypatch.setattr(onnx_file, 'opened', lambda folder: lambda s, n: np.full((len(n), 4), 0.25))
    with pytest.raises(InputError, match='differs from the run by 0'):
        export.export(predictor, ['stablehlo', 'onnx'], output)
    assert list(output.parent.iterdir()) == []
    output.mkdir()
    (output / 'mine.txt').write_text('kept')
    with pytest.raises(InputError, match='exists; give a new folder'):
        export.export(predictor, ['stablehlo'], output)
    assert (output / 'mine.txt').read_text() == 'kept'


@pytest.mark.parametrize('formats', [[], ['onnx', 'coreml']])
def test_unknown_formats_are_refused(formats):
    with pytest.raises(InputError, match='--format must be some of stablehlo,onnx'):
        export.check_formats(formats)


def test_a_missing_package_is_named_with_its_command(data_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(
        InputError, match=r"package onnx is missing; pip install 'ser_jax\[export\]'"
    ):
        export.export(small(data_dir, tmp_path), ['onnx'], tmp_path / 'x')


def test_a_run_that_needs_the_speaker_is_refused(data_dir, tiny, tmp_path):
    c = config_of('speech_encoder', data_dir)
    c.features.speaker_norm = 'all'
    c.model.head = 'discriminant'
    train.train(c, tmp_path / 'run')
    with pytest.raises(InputError, match='trained relative to speakers'):
        export.export(Predictor.open(tmp_path / 'run'), ['hub'], tmp_path / 'x')


def test_features_without_a_traced_form_are_refused(data_dir, tmp_path, monkeypatch):
    predictor = small(data_dir, tmp_path)

    def traced(self, samples, length):
        raise InputError('not in a step')

    monkeypatch.setattr(type(predictor.source), 'traced', traced)
    with pytest.raises(InputError, match='its features, log_mel, are not computed by JAX'):
        program.of_run(predictor)


def test_a_damaged_hub_folder_is_one_line(exported, tmp_path):
    with pytest.raises(InputError, match='is no folder of an exported run'):
        hub.open_folder(tmp_path)
    settings = (exported / 'hub' / hub.SETTINGS).read_text()
    (tmp_path / hub.SETTINGS).write_text(settings)
    (tmp_path / hub.WEIGHTS).write_bytes((exported / 'hub' / hub.WEIGHTS).read_bytes()[:500])
    with pytest.raises(InputError, match='export it again'):
        hub.open_folder(tmp_path)


def test_the_page_names_the_only_place_that_it_loads_from(exported, tmp_path):
    page = (exported / 'web' / web.PAGE).read_text()
    assert page.count('https://') == 1 and web.PUBLIC in page and web.INTEGRITY in page
    with pytest.raises(InputError, match=rf'has no {web.SCRIPT}; npm install onnxruntime-web@'):
        web.check_runtime(tmp_path)


@pytest.mark.slow
def test_the_page_answers_in_a_browser_without_a_server(data_dir, tmp_path):
    if not RUNTIME:
        pytest.skip('SER_JAX_ONNXRUNTIME_WEB does not name a folder')
    predictor = small(data_dir, tmp_path)
    export.export(predictor, ['web'], tmp_path / 'x', RUNTIME)
    soundfile.write(tmp_path / 'x.wav', tone(1, 2, 0), RATE)
    found = chromium.answer(tmp_path / 'x' / 'web' / web.PAGE, tmp_path / 'x.wav')
    assert found['elsewhere'] == [] and len(found['rows']) == 3
    (answer,) = predictor.predict([Clip(tone(1, 2, 0), RATE)])
    given = [found['probabilities'][e] for e in EMOTIONS]
    np.testing.assert_allclose(given, answer.probabilities, atol=1e-3)  # wav has 16 bits
    assert f'most probably {answer.emotion}' in found['status']
    assert 's of sound: most probably' in found['recorded']


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_tensorflow_formats_give_the_probabilities_of_the_run(run, tmp_path):
    """In a process of its own, as a user does; the verb compares and prints the differences."""
    pytest.importorskip('tensorflow')
    pytest.importorskip('ai_edge_litert')
    if run.name == 'speech_encoder':
        pytest.skip('the process would build the encoder in its published size')
    output = tmp_path / 'x'
    command = [sys.executable, '-m', 'ser_jax.export', f'--run={run}', f'--output={output}']
    command += ['--format=savedmodel,tflite', '--window_s=4']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 'tflite: model.tflite' in done.stdout
    manifest = json.loads((output / 'manifest.json').read_text())
    assert set(manifest['largest_differences']) == {'savedmodel', 'tflite'}
    assert all(d <= parity.TOLERANCE for d in manifest['largest_differences'].values())
    with zipfile.ZipFile(output / 'model.tflite') as inside:
        assert inside.read('labels.txt').decode().split() == list(EMOTIONS)
    asset = json.loads((output / 'savedmodel' / 'assets' / 'metadata.json').read_text())
    assert asset['classes'] == list(EMOTIONS)
