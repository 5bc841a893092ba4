"""Weights come from a real server, resumed and checked, or from a file; all are imported.

The image networks come first, then the files of a speech encoder.
"""

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
from ser_jax.models.encoders import published, weight_files, whisper
from tests import forked
from tests.speech_encoder_test import write_weights

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


ENCODER = 'whisper_tiny'


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` by name, in the manner of `server.manner`.

    'whole'; 'broken': the first connection ends after half of the bytes; 'no range': likewise, and
    later ones send the whole file again; 'short': a file that is shorter than published.
    """

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get('Range')
        name = self.path.rsplit('/', 1)[1]
        first = name not in [n for n, _ in server.asked]
        server.asked.append((name, asked))
        if name not in server.files:
            self.send_error(404)
            return
        content, ranged = server.files[name], asked and server.manner != 'no range'
        content = content[:-1] if server.manner == 'short' else content
        start = int(asked.removeprefix('bytes=').rstrip('-')) if ranged else 0
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        breaks = first and server.manner in ('broken', 'no range')
        self.wfile.write(content[start : len(content) // 2] if breaks else content[start:])


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    """A server with the two files of a small encoder, which the table of published files names."""
    monkeypatch.setattr(download, 'WAIT_S', 0.01)
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path / 'kept'))
    monkeypatch.setitem(whisper.SIZES, ENCODER, whisper.Size(2, 64))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    write_weights(tmp_path / 'made' / 'model.bin', 0)
    files = {
        'model.bin': (tmp_path / 'made' / 'model.bin').read_bytes(),
        'config.json': b'{"a": 1}',
    }
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Mirror)
    server.files, server.asked, server.manner = files, [], 'whole'
    server.handle_error = lambda *args: None
    server.url = f'http://127.0.0.1:{server.server_port}/some/where'
    sizes = {n: (len(c), hashlib.sha256(c).hexdigest()) for n, c in files.items()}
    entry = published.PUBLISHED[ENCODER]._replace(files=sizes)
    monkeypatch.setitem(published.PUBLISHED, ENCODER, entry)
    monkeypatch.setattr(published.Published, 'url', lambda self, file: f'{server.url}/{file}')
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def kept(folder: pathlib.Path) -> dict[str, bytes]:
    """The files in a folder by name."""
    return {p.name: p.read_bytes() for p in folder.iterdir()} if folder.exists() else {}


@pytest.mark.parametrize(
    'manner, ranges',
    [('whole', [False]), ('broken', [False, True]), ('no range', [False, True])],
)
def test_the_files_of_an_encoder_are_fetched_over_any_connection(mirror, manner, ranges):
    """Each is complete, checked, imported, and not fetched again."""
    mirror.manner, lines = manner, []
    path = verb.get(ENCODER, log=lines.append)
    assert path == weight_files.folder() / ENCODER / 'model.bin' == weight_files.find(ENCODER)
    assert kept(path.parent) == mirror.files
    tensors = 7 + 12 * whisper.SIZES[ENCODER].layers
    assert lines == [f'whisper_tiny: {tensors} tensors, 223,872 parameters; all imported']
    asked = [range_ for name, range_ in mirror.asked if name == 'model.bin']
    half = f'bytes={len(mirror.files["model.bin"]) // 2}-'
    assert asked == [half if resumed else None for resumed in ranges]
    count = len(mirror.asked)
    assert verb.get(ENCODER) == path and len(mirror.asked) == count


def test_a_damaged_encoder_is_fetched_again_and_the_good_file_is_not(mirror):
    path = verb.get(ENCODER)
    path.write_bytes(b'x' * len(mirror.files['model.bin']))
    mirror.asked.clear()
    assert verb.get(ENCODER) == path and kept(path.parent) == mirror.files
    assert mirror.asked == [('model.bin', None)]


def test_a_mirror_of_an_encoder_is_a_folder(mirror, monkeypatch, tmp_path):
    monkeypatch.setattr(published.Published, 'url', lambda self, file: 'http://127.0.0.1:9/x')
    path = verb.get(ENCODER, mirror.url + '/', tmp_path / 'own')
    assert kept(path.parent) == mirror.files


def wrong(server) -> None:
    server.files['model.bin'] = server.files['model.bin'][:-1] + b'?'


def short(server) -> None:
    server.manner = 'short'


def absent(server) -> None:
    del server.files['model.bin']


@pytest.mark.parametrize(
    'spoil, message',
    [
        (wrong, r'checksum is sha256 \w{64}, expected \w{64}; the file was deleted'),
        (short, r'expected [\d,]+ bytes, the server has [\d,]+'),
        (absent, r'download failed \(HTTP 404 Not Found\)'),
    ],
)
def test_what_is_not_the_published_encoder_is_refused_and_leaves_nothing(mirror, spoil, message):
    """In one line with the way out; nothing is found afterwards, and the next download is whole."""
    good = dict(mirror.files)
    spoil(mirror)
    with pytest.raises(InputError, match=message) as e:
        verb.get(ENCODER)
    words = str(e.value)
    assert '\n' not in words and words.startswith(mirror.url)
    assert words.endswith(
        'download it elsewhere and give --from=FOLDER with model.bin, config.json'
    )
    assert weight_files.find(ENCODER) is None
    assert kept(weight_files.folder() / ENCODER) == {}
    mirror.files, mirror.manner = good, 'whole'
    assert kept(verb.get(ENCODER).parent) == good


def test_a_truncated_part_of_an_earlier_download_is_completed(mirror):
    part = weight_files.folder() / ENCODER / 'model.bin.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(mirror.files['model.bin'][:1000])
    assert kept(verb.get(ENCODER).parent) == mirror.files
    assert mirror.asked[0] == ('model.bin', 'bytes=1000-')


def test_a_file_as_published_that_does_not_fit_the_network_is_refused(mirror, monkeypatch):
    """The checksum is right and the network another one: in one line, not half loaded."""
    monkeypatch.setitem(whisper.SIZES, ENCODER, whisper.Size(3, 64))
    with pytest.raises(InputError, match=r'lacks encoder/layer_2/.* another network'):
        verb.get(ENCODER)


def test_an_encoder_that_is_not_pinned_needs_a_file(mirror):
    with pytest.raises(InputError, match=r'no file of whisper_large_v3 is pinned; .*--from=FILE'):
        verb.get('whisper_large_v3')


def test_a_folder_with_two_files_of_weights_is_ambiguous(mirror, tmp_path):
    given = tmp_path / 'made'
    (given / 'model.safetensors').write_bytes(b'x')
    with pytest.raises(
        InputError, match=r'--from=.* holds model\.bin and model\.safetensors; give one .*FILE'
    ) as e:
        verb.get(ENCODER, str(given), tmp_path / 'own')
    assert '\n' not in str(e.value) and not (tmp_path / 'own').exists()
    path = verb.get(ENCODER, str(given / 'model.bin'), tmp_path / 'own')
    assert kept(path.parent) == {'model.bin': mirror.files['model.bin']}
    for name in ('none', 'empty'):
        (tmp_path / 'empty').mkdir(exist_ok=True)
        with pytest.raises(InputError, match=r'must be a folder with model\.bin or \.safetensors'):
            verb.get(ENCODER, str(tmp_path / name), tmp_path / 'own')
