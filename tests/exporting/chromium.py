"""Open an exported page in Chromium as a file, give it a recording, return its answer."""

import pathlib
import shutil

import pytest

ARGUMENTS = [
    '--no-sandbox',
    '--disable-gpu',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
]
PROBABILITIES = """async name => {
  const blob = document.querySelector('#file').files[0];
  const p = await probabilities(await decoded(await blob.arrayBuffer()));
  return Object.fromEntries(classes.map((c, i) => [c, p[i]]));
}"""


def answer(page_file: pathlib.Path, recording: pathlib.Path, scheme: str = 'light') -> dict:
    """Return texts of the page, all probabilities, and addresses of other places that it asked."""
    playwright = pytest.importorskip('playwright.sync_api')
    chromium = shutil.which('chromium')
    if not chromium:
        pytest.skip('Chromium is not installed')
    asked: list[str] = []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(color_scheme=scheme, viewport={'width': 700, 'height': 900})
        page.on('request', lambda r: asked.append(r.url))
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector('#file:not([disabled])', timeout=120_000)
        page.set_input_files('#file', str(recording))
        page.wait_for_selector('#answer li', timeout=120_000)
        found = {
            'status': page.inner_text('#status'),
            'rows': [row.inner_text() for row in page.query_selector_all('#answer li')],
            'probabilities': page.evaluate(PROBABILITIES),
            'elsewhere': [u for u in asked if not u.startswith(('file:', 'blob:', 'data:'))],
        }
        page.focus('#record')  # keys alone start and stop a recording
        page.keyboard.press('Enter')
        page.wait_for_selector('#record:text("Stop")')
        page.wait_for_timeout(1500)
        page.keyboard.press('Enter')
        page.wait_for_selector('#status:not(:text("Recording"))')
        page.wait_for_function(
            'document.querySelector("#status").textContent.includes("s of sound")'
        )
        found['recorded'] = page.inner_text('#status')
        page.screenshot(path=str(page_file.parent.parent / f'page_{scheme}.png'))
        browser.close()
    return found
