"""The table of published systems: runs from configs by name, trained once, inflated ones marked."""

import json
import pathlib

import pytest

from ser_jax import reproduce
from ser_jax.config import published as asked
from ser_jax.contract import InputError
from ser_jax.reproduce import SYSTEMS, System
from tests.conftest import ROOT

TINY = System(
    'tiny',
    'Tiny, 4 emotions',
    ('synthetic',),
    ('log_mel', 'log_mel'),
    'accuracy 0.99, n = 1',
    '1 epoch',
    'luck',
)
CONFIG = """
from ser_jax.config import published
from tests.conftest import small_config


def get_config(which='speakers_k'):
    own, full = published(which)
    c = small_config('set by the program')
    c.train.epochs, c.train.select, c.members.seeds = 2, 'last', (0,)
    c.members.folds, c.members.valid_speakers = 2, 0
    if own:
        c.members.protocol, c.members.test_share = 'leaky_holdout', 0.25
    return c
"""


@pytest.fixture
def configs(tmp_path, monkeypatch) -> pathlib.Path:
    """A folder of configs with the tiny system alone."""
    folder = tmp_path / 'configs'
    folder.mkdir()
    (folder / 'tiny.py').write_text(CONFIG)
    monkeypatch.setattr(reproduce, 'CONFIGS', folder)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path / 'no weights'))
    return folder


@pytest.mark.slow
def test_both_protocols_stand_side_by_side_and_nothing_is_trained_twice(
    configs, data_dir, tmp_path, capsys
):
    deep = TINY._replace(name='deep', title='Deep', trunk='resnet50')
    first, second = reproduce.reproduce([TINY, deep], False, tmp_path / 'out', data_dir)
    own, honest = first['ours under its protocol'], first['ours speaker-independent']
    assert '*inflated, synthetic*' in own and 'leaky_holdout, synthetic, n = 18' in own
    assert 'inflated' not in honest and ' 6 speakers, 2 folds x 1 seed' in honest
    assert '2 epochs, adamw 0.0' in own and 'features normalized' in own
    assert second['ours under its protocol'] == 'needs weights'
    table = (tmp_path / 'out' / 'published.md').read_text()
    assert table.count('*inflated, synthetic*') == 1 and table.count('needs weights') == 2
    assert '| Tiny, 4 emotions | accuracy 0.99, n = 1; 1 epoch |' in table
    assert (
        json.loads((tmp_path / 'out' / 'published.json').read_text())[1]['ours under its protocol']
        == 'needs weights'
    )
    assert 'Published systems' in (tmp_path / 'out' / 'report.html').read_text()
    trained = [p.stat().st_mtime_ns for p in sorted((tmp_path / 'out').rglob('about.json'))]
    assert len(trained) == 3
    assert reproduce.reproduce([TINY], False, tmp_path / 'out', data_dir) == [
        first,
        second,
    ]  # Deep keeps its row
    assert trained == [p.stat().st_mtime_ns for p in sorted((tmp_path / 'out').rglob('about.json'))]
    assert capsys.readouterr().out.count('tiny own: WA') == 2


def test_a_training_that_stops_withholds_no_other(configs, data_dir, tmp_path):
    broken = TINY._replace(name='broken', title='Broken')
    (configs / 'broken.py').write_text(CONFIG.replace("'last', (0,)", "'last', (-1,)"))
    with pytest.raises(
        InputError,
        match=r'2 trainings stopped: \S*broken_own \(code 2\).*published\.md has the others',
    ):
        reproduce.reproduce([broken, TINY], False, tmp_path / 'out', data_dir)
    stopped, scored = json.loads((tmp_path / 'out' / 'published.json').read_text())
    assert (
        stopped['ours under its protocol'] == 'stopped'
        and 'UAR' in scored['ours speaker-independent']
    )


def test_builds_that_are_missing_come_with_their_commands(tmp_path, monkeypatch):
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
    wanted = [s for s in SYSTEMS if s.name in ('stsam', 'nooks')]
    commands = reproduce.missing(wanted, tmp_path)
    elsewhere = tmp_path / 'elsewhere'
    assert reproduce.missing(wanted, elsewhere) == [f'{c} --data_dir={elsewhere}' for c in commands]
    assert commands == [
        'python -m ser_jax.build datasets/ravdess --config=mfcc_curve --manual_dir=FOLDER',
        'python -m ser_jax.build datasets/savee --config=mfcc_curve --manual_dir=FOLDER',
        'python -m ser_jax.build datasets/imdb --manual_dir=FOLDER',
        'python -m ser_jax.build datasets/ravdess --config=log_mel_40_published '
        '--manual_dir=FOLDER',
        'python -m ser_jax.build datasets/ravdess --config=log_mel_40 --manual_dir=FOLDER',
    ]
    with pytest.raises(
        InputError, match=r'5 builds are missing; build them with: python -m ser_jax.build'
    ):
        reproduce.reproduce(wanted, False, tmp_path / 'out', tmp_path)


@pytest.mark.parametrize('system', SYSTEMS, ids=lambda s: s.name)
@pytest.mark.parametrize('which', ['own', 'own-full', 'speakers_k', 'speakers_k-full'])
def test_every_config_matches_its_row(system, which):
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        system.name, reproduce.CONFIGS / f'{system.name}.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    c = module.get_config(which)
    own, full = asked(which)
    assert set(c.data.corpora) == set(system.corpora)
    built = c.features.source + ('_variants' if c.data.variants else '')
    assert built == system.sources[0 if own else 1]
    assert c.members.protocol.startswith('leaky') == own
    assert (c.data.texts or '') == (system.texts if own else '')
    assert own or (c.members.folds == 3 and len(c.members.seeds) == (3 if full else 1))
    assert (c.model.name == 'transfer') == bool(system.trunk)
    assert c.train.epochs <= module.get_config(f'{which.split("-")[0]}-full').train.epochs


def test_a_variant_that_is_none_is_refused():
    with pytest.raises(
        ValueError, match="'all' is no variant of this config; known are own, own-full, speakers_k"
    ):
        asked('all')


@pytest.mark.parametrize('content', ['[{"system": ', '{}', '[1]', '[{"system": "x"}]'])
def test_a_damaged_table_is_named_before_anything_is_trained(configs, data_dir, tmp_path, content):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'published.json').write_text(content)
    with pytest.raises(InputError, match=r'published\.json is (damaged|not a table)'):
        reproduce.reproduce([TINY], False, tmp_path / 'out', data_dir)
    assert not (tmp_path / 'out' / 'tiny_own').exists()
