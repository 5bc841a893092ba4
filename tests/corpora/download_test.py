"""Downloads from a real server: resumed, checked, and complete under their final name."""

import contextlib
import hashlib
import http.server
import io
import json
import pathlib
import threading
import zipfile

import numpy as np
import pytest
import soundfile

from ser_jax import build
from ser_jax.contract import InputError
from ser_jax.corpora import download

CONTENT = np.random.default_rng(0).bytes(1_000_003)


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; misbehaves as told.

    Attributes:
      cuts: bytes after which the next connections break, in turn.
      ranges: whether Range requests are honored.
      statuses: answers to the next requests instead of content, in turn.
      requests: (path, Range header or None) of every request.
    """

    daemon_threads = True
    block_on_close = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.files, self.cuts, self.statuses, self.requests, self.ranges = {}, [], [], [], True

    def url(self, name: str) -> str:
        return f'http://127.0.0.1:{self.server_port}/{name}'

    def handle_error(self, request, client_address):
        pass  # connections break on purpose


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get('Range')
        server.requests.append((self.path, asked))
        content = server.files.get(self.path.lstrip('/'))
        status = server.statuses.pop(0) if server.statuses else 200 if content is not None else 404
        if status != 200:
            self.send_error(status)
            return
        start = 0
        if asked and server.ranges:
            start = int(asked.removeprefix('bytes=').rstrip('-'))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        else:
            self.send_response(200)
        self.send_header('Content-Length', str(len(content) - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(content)
        self.wfile.write(content[start : start + cut])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, 'WAIT_S', 0.01)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with contextlib.closing(Server()) as s:
        s.close = lambda: (s.shutdown(), s.server_close())
        threading.Thread(target=s.serve_forever, args=(0.02,), daemon=True).start()
        s.files['file.bin'] = CONTENT
        yield s


def archive(server, name='file.bin', content=CONTENT, **changed) -> download.Archive:
    fields = {
        'url': server.url(name),
        'size': len(content),
        'checksum': hashlib.md5(content).hexdigest(),
        **changed,
    }
    return download.Archive(**fields)


def test_a_file_arrives_whole_and_is_not_requested_again(server, tmp_path):
    path = download.fetch(archive(server), tmp_path / 'deep' / 'er')
    assert path == tmp_path / 'deep' / 'er' / 'file.bin'
    assert path.read_bytes() == CONTENT
    assert download.fetch(archive(server), path.parent) == path
    assert len(server.requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ['file.bin']


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    server.cuts = [400_000, 100_000, 1]
    assert download.fetch(archive(server), tmp_path).read_bytes() == CONTENT
    assert [r for _, r in server.requests] == [
        None,
        'bytes=400000-',
        'bytes=500000-',
        'bytes=500001-',
    ]


def test_an_interrupted_run_is_resumed_by_the_next(server, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    real = download._receive

    def killed(archive, part, have, show):
        def shown(count):
            if count > 300_000:
                raise Killed

        return real(archive, part, have, shown)

    monkeypatch.setattr(download, '_receive', killed)
    with pytest.raises(Killed):
        download.fetch(archive(server), tmp_path)
    monkeypatch.setattr(download, '_receive', real)
    part = tmp_path / 'file.bin.part'
    have = part.stat().st_size
    assert 0 < have < len(CONTENT) and not (tmp_path / 'file.bin').exists()
    assert download.fetch(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == ('/file.bin', f'bytes={have}-')
    assert not part.exists()


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges, server.cuts = False, [700_000]
    assert download.fetch(archive(server), tmp_path).read_bytes() == CONTENT


def test_passing_trouble_is_waited_out(server, tmp_path):
    server.statuses = [503, 429, 500]
    assert download.fetch(archive(server), tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(server, tmp_path):
    with pytest.raises(
        InputError,
        match=r'md5 \w+, expected 00000; the file was deleted, try again; do it by hand$',
    ):
        download.fetch(archive(server, checksum='00000'), tmp_path, 'do it by hand')
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_replaced(server, tmp_path):
    (tmp_path / 'file.bin').write_bytes(
        CONTENT[:-1] + b'!' if CONTENT[-1:] != b'!' else CONTENT[:-1] + b'?'
    )
    assert download.fetch(archive(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize('left', [b'x' * 10, b'x' * 2_000_000])
def test_a_part_of_another_version_does_not_poison_the_file(server, tmp_path, left):
    (tmp_path / 'file.bin.part').write_bytes(left)
    try:
        download.fetch(archive(server), tmp_path)
    except InputError as e:  # found by the checksum, and gone
        assert 'checksum' in str(e)
        download.fetch(archive(server), tmp_path)
    assert (tmp_path / 'file.bin').read_bytes() == CONTENT


def test_another_file_on_the_server_is_refused_before_it_is_downloaded(server, tmp_path):
    with pytest.raises(InputError, match='expected 77 bytes, the server has 1,000,003'):
        download.fetch(archive(server, size=77), tmp_path)


@pytest.mark.parametrize('status, tries', [(404, 1), (403, 1), (500, download.ATTEMPTS)])
def test_a_refusal_of_the_server_is_reported_with_the_fallback(server, tmp_path, status, tries):
    server.statuses = [status] * tries
    with pytest.raises(
        InputError, match=f'file.bin: download failed \\(HTTP {status} .*\\); do it by hand$'
    ):
        download.fetch(archive(server), tmp_path, 'do it by hand')
    assert len(server.requests) == tries


def test_no_network_is_reported_with_the_fallback(server, tmp_path):
    unreachable = archive(server)
    server.close()
    with pytest.raises(InputError, match=r'download failed \(.*refused.*\); do it by hand$'):
        download.fetch(unreachable, tmp_path, 'do it by hand')
    server.close = lambda: None


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(InputError, match=f'cannot write {tmp_path}/file'):
        download.fetch(archive(server), tmp_path / 'file')


def test_ravdess_is_built_from_downloaded_zips(server, tmp_path, monkeypatch):
    cls = build.builder_class(build.script('ravdess'))
    archives = []
    for name, channel in (('speech.zip', '01'), ('song.zip', '02')):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, 'w') as z:
            for actor in (1, 2):
                sound = io.BytesIO()
                noise = np.random.default_rng(actor + 7 * len(channel + name)).uniform(
                    -0.5, 0.5, 4800
                )
                soundfile.write(sound, noise, 48000, format='WAV')
                z.writestr(
                    f'Actor_{actor:02d}/03-{channel}-04-02-01-01-{actor:02d}.wav', sound.getvalue()
                )
        server.files[name] = packed.getvalue()
        archives.append(archive(server, name, packed.getvalue()))
    monkeypatch.setattr(cls, 'ARCHIVES', tuple(archives))
    server.cuts = [1000]
    builder = cls(data_dir=tmp_path)
    builder.download_and_prepare()
    names = [e['id'].decode() for e in builder.as_data_source('train')]
    assert names == [f'03-{c}-04-02-01-01-{a}' for c in ('01', '02') for a in ('01', '02')]
    report = json.loads((pathlib.Path(builder.data_dir) / 'inspection.json').read_text())
    assert report['published']['song']['here'] == 2
    assert sorted(p.name for p in (tmp_path / 'downloads' / 'ravdess').iterdir()) == [
        'song.zip',
        'speech.zip',
    ]

    del server.files['song.zip']
    (tmp_path / 'downloads' / 'ravdess' / 'song.zip').unlink()
    with pytest.raises(
        InputError, match=r'song\.zip: download failed \(HTTP 404 .*--manual_dir=FOLDER'
    ):
        cls(data_dir=tmp_path, config='waveform').download_and_prepare()
