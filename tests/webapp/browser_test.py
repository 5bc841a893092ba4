"""Two visits in a real browser with a fake microphone; a real server in a process of its own."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import soundfile

pytest.importorskip('streamlit')
pytest.importorskip('playwright')

from playwright import sync_api

from ser_jax.webapp.about_page import DELETED
from ser_jax.webapp.store import Lesson, Store, now
from tests.conftest import tone

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='no chromium on the path'),
]
MARKER = 'zanzibar-quokka-7391'
WAIT_MS = 120_000
ARGUMENTS = (
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
)  # fmt: skip


@pytest.fixture
def server(run, tmp_path):
    """The address of a running app, and its folder of data."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    data = tmp_path / 'data'
    command = [
        sys.executable, '-m', 'ser_jax.app', f'--run={run}', f'--port={port}',
        f'--data_dir={data}', '--nobrowser',
    ]  # fmt: skip
    environment = {**os.environ, 'JAX_PLATFORMS': 'cpu'}
    with open(tmp_path / 'log', 'w') as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait_for(f'http://localhost:{port}/_stcore/health', process)
        yield f'http://localhost:{port}', data
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(address: str, process: subprocess.Popen) -> None:
    for _ in range(480):
        assert process.poll() is None, 'the server has ended'
        try:
            urllib.request.urlopen(address, timeout=5).read()
            return
        except OSError:
            time.sleep(0.25)
    raise AssertionError('the server does not answer')


@pytest.fixture
def page(tmp_path):
    sound = tmp_path / 'microphone.wav'
    samples = np.resize(tone(20, 1, 0), 10 * 16000)
    soundfile.write(sound, samples, 16000)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, f'--use-file-for-fake-audio-capture={sound}'],
            timeout=WAIT_MS,
        )
        context = browser.new_context(
            permissions=['microphone'], viewport={'width': 390, 'height': 844}
        )
        context.set_default_timeout(WAIT_MS)
        yield context.new_page()
        browser.close()


def test_a_recording_gets_a_verdict(server, page):
    """The gate answers "not a human voice" for the tones of the tests: a verdict as well."""
    address, _ = server
    page.goto(address)
    button = page.get_by_test_id('stAudioInputActionButton')
    button.click()
    page.wait_for_timeout(5000)
    button.click()
    page.get_by_text('Piece by piece').wait_for()
    assert page.locator('h2').first.inner_text()
    overflow = 'document.documentElement.scrollWidth > window.innerWidth'
    assert not page.evaluate(overflow)  # on a phone nothing is cut off


def test_deleting_my_data_leaves_no_byte(server, page):
    address, data = server
    Store(data).add_lessons([Lesson(0, now(), 'sad', MARKER, 2.0, MARKER.encode() * 3000)])
    page.goto(f'{address}/about')
    page.get_by_role('button', name='Delete my data').click()
    page.get_by_role('button', name='Yes, delete everything').click()
    page.get_by_text(DELETED).wait_for()
    files = [p for p in pathlib.Path(data).rglob('*') if p.is_file()]
    assert not [p for p in files if MARKER.encode() in p.read_bytes()]
