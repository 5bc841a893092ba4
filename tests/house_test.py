"""The rules of the house as code: who may import whom, what never comes in, how rooms are named."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCES = sorted((ROOT / 'ser_jax').rglob('*.py'))
DOCUMENTED = [
    *SOURCES,
    *(ROOT / 'datasets').glob('*/*_builder.py'),
    *(ROOT / 'configs').rglob('*.py'),
]
# Permitted imports, from below to above; a module of the root is a room of its own.
NOUNS = {
    'contract': set(),
    'config': {'contract'},
    'lock': {'contract'},
    'emotions': {'contract'},
    'config_file': {'config', 'contract'},
    'distributed': {'contract'},
    'cli': {'config_file', 'contract'},
    'audio': {'contract'},
    'scoring': {'contract'},
    'models': {'audio', 'contract'},
    'corpora': {'audio', 'contract', 'emotions', 'lock'},
    'data': {'audio', 'contract', 'corpora', 'emotions', 'lock'},
    'explore': {'audio', 'contract', 'corpora', 'data', 'emotions'},
    'learn': {'audio', 'contract', 'data', 'models'},
    'report': {'audio', 'contract', 'scoring'},
    'assemble': {'audio', 'config', 'contract', 'data', 'emotions', 'learn'},
    'runs': {
        'assemble',
        'config',
        'contract',
        'data',
        'emotions',
        'explore',
        'learn',
        'lock',
        'report',
        'scoring',
    },
    'inference': {'assemble', 'audio', 'contract', 'data', 'emotions', 'learn', 'runs'},
    'stream': {'audio', 'contract', 'inference'},
    'personal': {
        'audio',
        'contract',
        'corpora',
        'data',
        'emotions',
        'explore',
        'inference',
        'runs',
        'scoring',
    },
    'webapp': {
        'audio',
        'contract',
        'emotions',
        'inference',
        'models',
        'personal',
        'runs',
        'scoring',
    },
    'live': {'audio', 'contract', 'inference', 'report', 'stream'},
    'serving': {'audio', 'contract', 'inference', 'stream'},
    'exporting': {
        'assemble',
        'audio',
        'config',
        'contract',
        'inference',
        'learn',
        'models',
        'report',
        'runs',
    },
}
VERBS = {
    'main', 'train', 'build', 'evaluate', 'predict', 'eda', 'audit', 'weights', 'reproduce',
    'compare', 'export', 'personalize', 'serve', 'app',
}  # fmt: skip
ON_VERBS = {'main': {'train'}}  # the verbs that stand on another


def imports(path: pathlib.Path) -> set[str]:
    """Modules a file imports anywhere in it, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f'{node.module}.{a.name}' for a in node.names}
    return found


def room(path: pathlib.Path) -> str:
    return path.relative_to(ROOT / 'ser_jax').parts[0]


@pytest.mark.parametrize('path', SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    own = room(path).removesuffix('.py')
    used = {i.split('.')[1] for i in imports(path) if i.startswith('ser_jax.')} - {own}
    if own in NOUNS:
        assert used <= NOUNS[own], used - NOUNS[own]
    elif own != '__init__':
        assert own in VERBS, f'{own} is neither a verb nor a noun of the house'
        assert not used & VERBS - ON_VERBS.get(own, set()), used


def test_the_picture_has_no_circle():
    """Each room stands on rooms above it in the table alone."""
    below = set()
    for name, used in NOUNS.items():
        assert used <= below, (name, used - below)
        below.add(name)


@pytest.mark.parametrize('path', SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_never_comes_in(path):
    heavy = ('tensorflow.', 'torch.', 'keras.', 'pickle.')
    assert not [i for i in imports(path) if f'{i}.'.startswith(heavy)]
    assert not re.search(
        r'(?<![.\w])eval\(|\bexec\(|allow_pickle=True|\b(TODO|FIXME)\b', path.read_text()
    )


@pytest.mark.parametrize('path', SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_are_named_for_what_they_hold_and_stay_small(path):
    assert not re.search(r'(utils?|common|misc|helpers?|manager|base)$', path.stem)
    assert len(path.read_text().splitlines()) <= 300
    assert ast.get_docstring(ast.parse(path.read_text())) or not path.read_text().strip()


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@pytest.mark.parametrize('path', DOCUMENTED, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_fit_on_a_screen_and_comprehensions_are_flat(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno - node.lineno < 60, node.name
        if isinstance(node, COMPREHENSIONS):
            inner = [n for n in ast.walk(node) if isinstance(n, COMPREHENSIONS) and n is not node]
            assert len(node.generators) == 1 and not inner, f'line {node.lineno}'


@pytest.mark.parametrize('path', DOCUMENTED, ids=lambda p: str(p.relative_to(ROOT)))
def test_docstrings_begin_with_an_imperative_or_a_noun(path):
    """No first word that only a clause can follow."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, documented)]
    firsts = [text.split()[0] for n in nodes if (text := ast.get_docstring(n))]
    assert not {'What', 'How', 'Whether', 'Where', 'Which', 'Who', 'Of', 'As'} & set(firsts)


def test_docstrings_use_nouns_for_what():
    """The word stands for a noun that was not looked for: at most once in 1,000 words."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    trees = [ast.parse(path.read_text()) for path in DOCUMENTED]
    nodes = [n for tree in trees for n in ast.walk(tree) if isinstance(n, documented)]
    words = re.findall(r"[a-z']+", ' '.join(ast.get_docstring(n) or '' for n in nodes).lower())
    assert words.count('what') <= len(words) / 1000


def test_verbs_import_neither_tensorflow_nor_torch():
    """Imports of each verb, of opening shards and of TFDS's core, with TensorFlow and torch there.

    A verb is imported in a fork, so that it does not find what another has imported.
    """
    code = (
        'import os, sys, tensorflow_datasets as t, ser_jax.data.utterances; t.core\n'
        f'for verb in {sorted(VERBS)}:\n'
        '  child = os.fork()\n'
        '  if not child:\n'
        '    __import__(f"ser_jax.{verb}")\n'
        '    found = {"tensorflow", "torch", "apache_beam"} & set(sys.modules)\n'
        '    sys.exit(f"{verb}: {found}" if found else 0)\n'
        '  if os.waitpid(child, 0)[1]: sys.exit(f"{verb} failed")\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').rglob('*.py')), ids=lambda p: p.name)
def test_configs_are_lab_notes(path):
    """A config imports `ser_jax.config` only; its docstring has command, hardware, time, score."""
    assert imports(path) <= {
        'ser_jax.config.base',
        'ser_jax.config.published',
        'ml_collections.ConfigDict',
    }
    note = ast.get_docstring(ast.parse(path.read_text()))
    for word in ('python -m ser_jax.main', 'cores', 'min', 'UAR', 'interval'):
        assert word in note, word


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'datasets').glob('*/*_dataset_builder.py')), ids=lambda p: p.name
)
def test_datasets_follow_the_convention(path):
    """A builder imports the room of corpora only; its folder has the files that TFDS expects."""
    assert {i.split('.')[1] for i in imports(path) if i.startswith('ser_jax')} <= {
        'corpora',
        'emotions',
    }
    names = ['README.md', 'CITATIONS.bib', 'TAGS.txt']
    if 'ARCHIVES' in path.read_text():  # it downloads a URL
        names.append('checksums.tsv')
    for name in names:
        assert (path.parent / name).exists(), name
    assert not (ROOT / 'datasets' / '__init__.py').exists()
    assert len(path.read_text().splitlines()) <= 100


def test_files_speak_of_the_project_alone():
    files = subprocess.run(
        ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    home = str(pathlib.Path.home())
    for name in files:
        path = ROOT / name
        if (
            path.suffix in ('.py', '.md', '.toml', '.jinja', '.bib', '.txt', '')
            and path.is_file()
            and name != 'tests/house_test.py'
        ):
            assert home + '/' not in path.read_text(errors='ignore'), name
