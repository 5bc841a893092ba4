"""README.md and docs/: the Python example runs, links exist, tables and lines stay narrow."""

import pathlib
import re

import pytest
import soundfile

from ser_jax import train
from tests.conftest import EMOTIONS, small_config, tone

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / 'README.md'
PAGES = [
    README,
    *sorted((ROOT / 'docs').glob('*.md')),
    ROOT / 'CONTRIBUTING.md',
    ROOT / 'datasets' / 'README.md',
    ROOT / 'launch' / 'README.md',
]
COLUMNS, CELL, README_LINES = 100, 120, 120
_FENCED = re.compile(r'^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'\]\(([^)\s]+)\)')


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def python_blocks(text: str) -> list[str]:
    return [code for language, code in _FENCED.findall(text) if language == 'python']


def prose(text: str) -> list[str]:
    """Return the lines outside of fenced and indented code and of tables, without link targets."""
    lines = _FENCED.sub('', text).splitlines()
    lines = [line for line in lines if not line.startswith(('|', '    '))]
    return [_LINK.sub(']', line) for line in lines]


def cells(text: str) -> list[str]:
    """Return the cells of all tables, without link targets."""
    rows = [line for line in _FENCED.sub('', text).splitlines() if line.startswith('|')]
    divided = (re.split(r'(?<!\\)\|', _LINK.sub(']', row))[1:-1] for row in rows)
    return [cell.strip() for row in divided for cell in row]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r'^#+ (.+)$', _FENCED.sub('', text), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', h.lower()).replace(' ', '-') for h in headings}


def test_the_python_example_prints_an_emotion_of_a_trained_run(
    data_dir, tmp_path, monkeypatch, capsys
):
    """The block runs verbatim where a tiny run and a recording have the names that it uses."""
    (code,) = python_blocks(README.read_text())
    assert len(code.splitlines()) <= 10
    (run,) = set(re.findall(r"'(runs/\w+)'", code))
    (recording,) = set(re.findall(r"'([\w.]+\.wav)'", code))
    c = small_config(data_dir)
    c.train.epochs, c.members.only = 1, (0,)
    train.train(c, tmp_path / run)
    soundfile.write(tmp_path / recording, tone(0, 1, 0), 16000)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(compile(code, name(README), 'exec'), {'__name__': '__main__'})
    printed = capsys.readouterr().out
    assert printed.split()[0] in EMOTIONS, printed


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= README_LINES


def test_the_readme_lists_every_page_of_docs():
    links = set(_LINK.findall(README.read_text()))
    assert {name(page) for page in (ROOT / 'docs').glob('*.md')} <= links


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_relative_links_lead_to_files_and_headings(page):
    targets = _LINK.findall(page.read_text())
    for target in targets:
        if re.match(r'\w+:', target):
            continue
        path, _, anchor = target.partition('#')
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f'{name(page)} links to {target}'
        if anchor:
            assert anchor in anchors(linked.read_text()), f'{name(page)} links to {target}'


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_no_table_cell_is_longer_than_a_glance(page):
    long = [cell for cell in cells(page.read_text()) if len(cell) > CELL]
    assert not long, long


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page):
    """A row with a cell too many is cut off where it is shown."""
    blocks = re.findall(r'(?:^\|.*\n?)+', page.read_text(), re.MULTILINE)
    for block in blocks:
        counts = {len(re.findall(r'(?<!\\)\|', row)) for row in block.splitlines()}
        assert len(counts) == 1, block


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_lines_outside_of_tables_and_code_keep_within_the_columns(page):
    long = [line for line in prose(page.read_text()) if len(line) > COLUMNS]
    assert not long, long


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_commands_name_verbs_that_exist(page):
    verbs = set(re.findall(r'python -m ser_jax\.(\w+)', page.read_text()))
    assert verbs <= {path.stem for path in (ROOT / 'ser_jax').glob('*.py')}


@pytest.mark.parametrize('page', PAGES, ids=name)
def test_knobs_on_command_lines_exist(page):
    from ser_jax.config import MODEL, SECTIONS

    for section, knob in re.findall(r'--config\.(\w+)\.(\w+)=', page.read_text()):
        known = MODEL if section == 'model' else SECTIONS.get(section, {})
        assert knob in known or (section, knob) == ('any', 'knob'), f'{section}.{knob}'
