"""Weights come from a real server, resumed and checked, or from a file; all are imported."""

import hashlib
import http.server
import os
import pathlib
import sys
import threading

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from ser_jax import weights as verb
from ser_jax.contract import InputError
from ser_jax.corpora import download
from ser_jax.models import weights
from ser_jax.models.backbones import BACKBONES
from tests import forked

ROOT = pathlib.Path(__file__).parents[1]


def write(path, backbone, lacking: str = '') -> None:
    """The trunk's own tensors in Keras' layout."""
    layers = {}
    for _, layer, weight, variable in backbone.weights():
        if f'{layer}/{weight}' != lacking:
            layers.setdefault(layer, {})[weight] = np.asarray(variable[...])
    with h5py.File(path, 'w') as f:
        f.attrs['layer_names'] = [n.encode() for n in layers]
        for layer, content in layers.items():
            of = f.create_group(layer)
            of.attrs['weight_names'] = [f'{layer}/{w}:0'.encode() for w in content]
            for weight, tensor in content.items():
                of.create_dataset(
                    f'{layer}/{weight}:0', data=tensor, compression='gzip', compression_opts=1
                )


@pytest.fixture(scope='module')
def file(tmp_path_factory) -> pathlib.Path:
    """ResNet50 of full size, with a last shift that identifies it."""
    backbone = BACKBONES['resnet50']()
    backbone.conv5_block3.conv5_block3_3_bn.beta[...] = jnp.arange(2048.0)
    path = tmp_path_factory.mktemp('weights') / 'mine.h5'
    write(path, backbone)
    return path


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; the first connection breaks half way, later ones honor Range."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        content, asked = self.server.content, self.headers.get('Range')
        self.server.asked.append((self.path, asked))
        start = int(asked.removeprefix('bytes=').rstrip('-')) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:] if asked else content[: len(content) // 2])


@pytest.fixture
def server(monkeypatch, file, tmp_path):
    monkeypatch.setattr(download, 'WAIT_S', 0.01)
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path / 'kept'))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    server.content, server.asked = file.read_bytes(), []
    server.handle_error = lambda *args: None
    published = weights.Published(
        f'http://127.0.0.1:{server.server_port}/resnet/{weights.PUBLISHED["resnet50"].name}',
        len(server.content),
        hashlib.md5(server.content).hexdigest(),
    )
    monkeypatch.setitem(weights.PUBLISHED, 'resnet50', published)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_published_file_is_fetched_resumed_checked_and_imported(server):
    lines = []
    path = verb.get('resnet50', log=lines.append)
    assert (
        path == weights.folder() / weights.PUBLISHED['resnet50'].name
        and path.read_bytes() == server.content
    )
    assert lines == ['resnet50: 318 tensors, 23,587,712 parameters; all imported']
    assert [r for _, r in server.asked] == [None, f'bytes={len(server.content) // 2}-']
    assert verb.get('resnet50') == path and len(server.asked) == 2
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    backbone = BACKBONES['resnet50']()
    weights.load(backbone, weights.need('resnet50'))
    np.testing.assert_array_equal(
        backbone.conv5_block3.conv5_block3_3_bn.beta[...], np.arange(2048)
    )


def test_a_mirror_may_call_the_file_otherwise(server, tmp_path):
    url = weights.PUBLISHED['resnet50'].url.rsplit('/', 1)[0] + '/copy.h5?x=1'
    path = verb.get('resnet50', url, tmp_path / 'weights')
    assert path == tmp_path / 'weights' / weights.PUBLISHED['resnet50'].name
    assert server.asked[0][0] == '/resnet/copy.h5?x=1'
    assert verb.get('resnet50', url, tmp_path / 'weights') == path and len(server.asked) == 2


def test_another_file_than_the_published_is_refused(server, monkeypatch):
    monkeypatch.setitem(
        weights.PUBLISHED, 'resnet50', weights.PUBLISHED['resnet50']._replace(md5='00')
    )
    with pytest.raises(
        InputError, match=r'checksum is md5 \w+, expected 00; .*elsewhere and give --from=FILE$'
    ):
        verb.get('resnet50')
    with pytest.raises(
        InputError, match=r'model\.safetensors is not a mirror of resnet50.*; download the file'
    ):
        verb.get('resnet50', 'https://example.org/model.safetensors')


def test_a_file_that_is_here_is_checked_and_copied(file, tmp_path):
    lines = []
    path = verb.get('resnet50', str(file), tmp_path / 'kept', lines.append)
    assert path.read_bytes() == file.read_bytes() and '318 tensors' in lines[0]
    assert verb.get('resnet50', str(path), tmp_path / 'kept') == path
    write(tmp_path / 'short.h5', BACKBONES['resnet50'](), 'conv1_conv/bias')
    with pytest.raises(
        InputError, match=r'short\.h5 lacks 1 tensors, first conv1_conv/bias; expected the 318'
    ):
        verb.get('resnet50', str(tmp_path / 'short.h5'), tmp_path / 'other')
    assert not (tmp_path / 'other').exists()
    with pytest.raises(
        InputError,
        match=r'is not a file; expected a \.h5 of Keras, a \.safetensors of timm, or a URL',
    ):
        verb.get('resnet50', str(tmp_path / 'none.h5'))


def test_the_command_line_lists_fetches_and_names_mistakes(file, tmp_path):
    def run(*arguments: str):
        return forked.run(
            [sys.executable, '-m', 'ser_jax.weights', *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env={**os.environ, 'SER_JAX_WEIGHTS': str(tmp_path / 'kept'), 'JAX_PLATFORMS': 'cpu'},
        )

    first = run()
    assert first.returncode == 0 and len(first.stdout.splitlines()) == len(verb.NAMES)
    assert 'densenet201      missing; python -m ser_jax.weights densenet201' in first.stdout
    done = run('resnet50', f'--from={file}', f'--dir={tmp_path / "own"}')
    assert done.returncode == 0, done.stderr
    assert (
        'all imported' in done.stdout
        and f'export SER_JAX_WEIGHTS={tmp_path / "own"}' in done.stdout
    )
    listed = verb.listing(tmp_path / 'own')
    assert any(line.startswith('resnet50         Keras  ') for line in listed)
    wrong = run('resnet18')
    assert wrong.returncode == 2 and wrong.stderr.startswith(
        "error: 'resnet18' is not known; known are densenet201"
    )
    assert (
        run(f'--from={file}').returncode == 2
        and run('resnet50', 'xception', f'--from={file}').returncode == 2
    )
