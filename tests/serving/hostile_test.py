"""Hostile and unlucky users: no traceback, no hang, bounded memory, the next is answered."""

import concurrent.futures
import io
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile

import httpx
import numpy as np
import pytest
import soundfile

from tests.audio import sound_files
from tests.serving import mutated
from tests.serving.server import LIMITS, ROOT, Server, connect, error, serving, wav

FORM = 'multipart/form-data; boundary=x'
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


def head(**headers) -> bytes:
    """The head of an upload."""
    fields = {'Host': 'x', 'Content-Type': FORM} | headers
    lines = [f'{name.replace("_", "-")}: {value}\r\n' for name, value in fields.items()]
    return f'POST /v1/predict HTTP/1.1\r\n{"".join(lines)}\r\n'.encode()


def flood(raw, chunked: bool, most: int) -> tuple[bytes, int]:
    """Send zeros until there is a response; return it and the bytes that were sent."""
    block, sent, part = bytes(1 << 16), 0, b''
    raw.settimeout(0)
    while sent < most:
        try:  # the rest of a part that the socket did not take goes on in the next round
            part = part or (b'%x\r\n%b\r\n' % (len(block), block) if chunked else block)
            while part:
                part = part[raw.send(part) :]
            sent += len(block)
        except BlockingIOError:
            time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            break
        try:
            if found := raw.recv(1 << 16):
                return found, sent
        except BlockingIOError:
            continue
        except ConnectionResetError:
            break
    raise AssertionError(f'no response after {sent} bytes')


@pytest.mark.parametrize('chunked', [False, True], ids=['length', 'chunked'])
def test_an_upload_of_two_gigabytes_is_refused_before_it_is_read(server, chunked):
    before = server.resident_mb()
    with connect(server) as raw:
        size = {'Transfer_Encoding': 'chunked'} if chunked else {'Content_Length': 2 << 30}
        raw.sendall(head(**size) + (b'%x\r\n%b\r\n' % (len(PART), PART) if chunked else PART))
        found, sent = flood(raw, chunked, 2 << 30)
    assert found.startswith(b'HTTP/1.1 413') and b'too_large' in found
    assert sent < 64 << 20  # sockets and the client's loop are ahead of the response
    assert server.resident_mb() < before + 50
    assert server.post(wav()).status_code == 200


def test_headers_that_lie_about_the_length_of_the_body_harm_nothing(server):
    for length in ('-1', '1e3', '99999999999999999999999', '5, 6', ''):
        with connect(server) as raw:
            raw.sendall(head(Content_Length=length) + PART)
            assert raw.recv(4096).startswith(b'HTTP/1.1 4')
    with connect(server) as raw:  # the client ends before its body
        raw.sendall(head(Content_Length=100_000) + PART + wav()[:1000])
    with connect(server) as raw:  # more follows than was announced
        raw.sendall(head(Content_Length=len(PART)) + PART + bytes(100))
        assert raw.recv(4096).startswith(b'HTTP/1.1 4')
    assert server.post(wav()).status_code == 200


def test_a_body_that_never_arrives_is_given_up(runs):
    with serving(f'--run={runs["audio"]}', '--max_batch=1', '--timeout_s=2') as small:
        with connect(small) as raw:
            raw.sendall(head(Content_Length=1000) + PART)
            assert raw.recv(4096).startswith(b'HTTP/1.1 408')
        assert small.post(wav()).status_code == 200


def test_a_zip_named_wav_is_no_recording(server):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('a.wav', wav())
    response = server.post(file.getvalue(), 'a.wav')
    assert response.status_code == 415 and 'wav' in error(response)['remedy']


def ten_hours(kind: str) -> bytes:
    """A small file that lasts 10 hours."""
    if kind == 'flac header':  # lies: a second of sound, and 10 hours in its header
        content = bytearray(wav(kind='FLAC'))
        content[21] = content[21] & 0xF0
        content[22:26] = struct.pack('>I', 36000 * 16000)
        content[26:42] = bytes(16)
        return bytes(content)
    file = io.BytesIO()
    with soundfile.SoundFile(file, 'w', 4000, 1, format='FLAC') as sound:
        for _ in range(600):
            sound.write(np.zeros(60 * 4000, np.int16))
    return file.getvalue()


@pytest.mark.parametrize('kind', ['flac header', 'flac'])
def test_ten_hours_are_refused_by_their_length(server, kind):
    content, before = ten_hours(kind), server.resident_mb()
    assert len(content) < 4 << 20
    began = time.monotonic()
    response = server.post(content)
    assert (response.status_code, error(response)['code']) == (413, 'too_long'), response.text
    assert time.monotonic() - began < 30
    assert server.resident_mb() < before + 100
    assert server.post(wav()).status_code == 200


@pytest.mark.slow
def test_a_hundred_parallel_uploads_are_answered_or_sent_away(runs):
    flags = f'--run={runs["audio"]}', *LIMITS, '--max_concurrent=16'
    with serving(*flags) as small:
        content = wav(30.0)
        small.post(content)
        before = small.resident_mb()
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            found = list(pool.map(small.post, [content] * 100))
        codes = [r.status_code for r in found]
        assert set(codes) <= {200, 503} and codes.count(200) >= 16
        for response in found:
            if response.status_code == 503:
                assert response.headers['retry-after'] == '1' and error(response)['code'] == 'busy'
        assert len({r.json()['probability'] for r in found if r.status_code == 200}) == 1
        assert small.resident_mb() < before + 250
        assert small.post(wav()).status_code == 200


def test_a_client_that_does_not_read_its_answer_harms_nothing(server):
    files = [('files', ('a.wav', wav(2.0)))] * 6
    request = httpx.Request('POST', f'{server.url}/v1/batch', files=files)
    lines = [f'{k}: {v}\r\n' for k, v in request.headers.items()]
    content = f'POST /v1/batch HTTP/1.1\r\n{"".join(lines)}\r\n'.encode() + request.read()
    sockets = [connect(server) for _ in range(20)]
    for raw in sockets:
        raw.sendall(content)
    assert server.post(wav()).status_code == 200
    for raw in sockets:
        raw.close()
    assert server.post(wav()).status_code == 200


def test_damaged_files_get_a_refusal_or_an_answer(server):
    """A few hundred files with damaged headers; decoder_test.py has 10,000."""
    choose, codes = random.Random(17), set()
    with httpx.Client(base_url=server.url, timeout=60) as session:
        for number in range(240):
            name = mutated.FORMATS[number % len(mutated.FORMATS)]
            content = mutated.file(sound_files.sound(name), choose)
            files = {'file': (f'x.{name}', content)}
            response = session.post('/v1/predict', files=files)
            codes.add(response.status_code)
            if response.status_code != 200:
                error(response)
    assert codes <= {200, 413, 415, 422} and {200, 422} <= codes
    assert server.post(wav()).status_code == 200


@pytest.mark.slow
def test_a_run_that_is_deleted_is_served_on(runs, tmp_path):
    shutil.copytree(runs['audio'], tmp_path / 'gone')
    with serving(f'--run={tmp_path / "gone"}', '--max_batch=1') as small:
        answer = small.post(wav()).json()
        shutil.rmtree(tmp_path / 'gone')
        assert small.post(wav()).json() == answer
        assert httpx.get(f'{small.url}/v1/runs').json()['runs'][0]['name'] == 'gone'


def is_alive(pid: int) -> bool:
    """True if a process runs."""
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rsplit(')')[1].split()[0] not in 'ZX'
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_killed_server_leaves_no_process_and_its_port_is_free(runs):
    flags = f'--run={runs["audio"]}', '--max_batch=1'
    first = Server(*flags).wait()
    assert first.post(wav()).status_code == 200
    decoders = first.children()
    assert decoders
    first.stop(signal.SIGKILL)
    end = time.monotonic() + 30
    while any(map(is_alive, decoders)):
        assert time.monotonic() < end
        time.sleep(0.05)
    with serving(*flags, f'--port={first.address[1]}') as second:
        assert second.post(wav()).status_code == 200


def test_a_decoder_that_dies_is_replaced(server):
    assert server.post(wav()).status_code == 200
    pids = [p for p in server.children() if is_alive(p)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    codes = [server.post(wav()).status_code for _ in range(6)]
    assert codes[-1] == 200 and set(codes) <= {200, 422}


@pytest.mark.slow
def test_sigterm_finishes_the_requests_in_work(runs):
    flags = f'--run={runs["audio"]}', '--max_batch=1', '--max_seconds=600', '--max_mb=64'
    server = Server(*flags).wait()
    content = wav(500.0)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, content)
        while 'ser_jax_requests_in_work 1.0' not in httpx.get(f'{server.url}/metrics').text:
            assert not answer.done()
        code, err = server.stop()
        assert answer.result().status_code == 200
    assert code == 0 and 'Traceback' not in err, err


@pytest.mark.slow
def test_a_port_in_use_and_other_mistakes_are_one_line(server, runs, tmp_path):
    audio = f'--run={runs["audio"]}'
    for flags, words in {
        (audio, f'--port={server.address[1]}'): 'end the program that uses the port',
        (f'--run=audio={runs["audio"]}', f'--run=audio={runs["fused"]}'): 'is taken by',
        (f'--run={tmp_path}',): 'has no config.json',
        (): '--run is missing',
        (audio, '--max_mb=0'): '--max_mb must be more than 0',
        (audio, '--max_batch=3'): '--max_batch must be 1, 2, 4, 8 or 16',
        (audio, '--token=a b'): 'the token must be',
        (f'--run=a b={runs["audio"]}',): "the name 'a b' must be",
        (audio, '--host=203.0.113.1'): 'cannot listen on 203.0.113.1',
    }.items():
        command = [sys.executable, '-m', 'ser_jax.serve', '--port=0', *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == ''
        assert done.stderr.startswith('error: ') and done.stderr.count('\n') == 1, done.stderr
        assert words in done.stderr
