"""Runs under a published protocol, here one of the tones: knobs, folds.json, labels, resume."""

import dataclasses
import functools
import json
import pathlib
import sys

import numpy as np
import pytest

from ser_jax import train
from ser_jax.contract import InputError
from ser_jax.data import listed_splits, protocols
from ser_jax.data.utterances import open_corpora
from ser_jax.evaluate import evaluate
from ser_jax.explore import split_checks
from ser_jax.runs.trained import open_trained
from ser_jax.scoring.score import protocol_label
from ser_jax.scoring.scores import scores_by
from tests import forked
from tests.conftest import EMOTIONS, small_config

ROOT = pathlib.Path(__file__).parents[1]
NAME = 'synthetic/tones3'
LISTS = listed_splits.parsed([
    {'test': ['synthetic_0', 'synthetic_1'], 'valid': ['synthetic_2']},
    {'test': ['synthetic_8']},
    {'test': ['synthetic_2', 'synthetic_9'], 'valid': ['synthetic_0']},
])  # fmt: skip
PROTOCOL = protocols.Protocol(
    NAME, 'tones', functools.partial(listed_splits.of_lists, LISTS), version=2, source='a test',
    corpora=('synthetic',), channels=('speech',), classes=('neutral', 'happy', 'sad', 'angry',
    'fearful'), supported='run', lists=LISTS,
)  # fmt: skip


@pytest.fixture(scope='module')
def published():
    """The protocol of the tones among the known ones, with speakers that are not built."""
    speakers = {'synthetic': {'speakers': [f'synthetic_{i}' for i in range(10)], 'utterances': {}}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(protocols.PROTOCOLS, NAME, PROTOCOL)
        patch.setattr(protocols, 'published_corpora', lambda: speakers)
        yield


def tones(data_dir):
    c = small_config(data_dir)
    c.members.protocol, c.members.folds, c.train.epochs = NAME, 5, 1
    return c


@pytest.fixture(scope='module')
def run(published, data_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp('runs') / 'tones'
    train.train(tones(data_dir), directory)
    return directory


def test_the_run_prints_what_is_missing(run, data_dir, capsys):
    train.train(tones(data_dir), run)  # a resume; nothing is left to do
    out = capsys.readouterr().out
    assert (
        f'{NAME}: 4 speakers not built: synthetic_6, synthetic_7, synthetic_8, synthetic_9' in out
    )
    assert f'{NAME}: 1 classes not built: fearful' in out
    assert f'{NAME}: fold1 has no utterance to test; left out' in out


def test_the_run_keeps_the_protocol_whole_and_its_knobs(run):
    folds, config = (json.loads((run / f'{n}.json').read_text()) for n in ('folds', 'config'))
    assert config['data']['emotions'] == list(PROTOCOL.classes)
    assert folds['protocol'] == NAME and folds['emotions'] == list(EMOTIONS)
    assert list(folds['members']) == ['fold0_seed0', 'fold2_seed0']
    record = folds['definition']
    assert (record['version'], record['partial'], len(record['folds'])) == (2, True, 3)
    assert record['missing']['classes'] == ['fearful']


def test_its_scores_are_labeled_partial(run):
    trained = open_trained(run)
    assert trained.protocol == NAME and trained.label == f'{NAME}@2, partial'
    table = evaluate([trained])
    assert set(table['protocol'].to_pylist()) == {trained.label}
    assert set(table['fold'].to_pylist()) == {0, 2}
    (score,) = scores_by(table, draws=20)
    assert score.partial and not score.inflated and score.note == 'synthetic, partial'
    assert not score.incomplete


def test_shared_speakers_of_a_published_split_are_inflated(run):
    trained = open_trained(run)
    leaky = trained._replace(definition={**trained.definition, 'leaky': True})
    assert leaky.label == f'{NAME}@2, speakers shared, partial'
    table = evaluate([trained])
    label = np.full(table.num_rows, leaky.label)
    at = table.column_names.index('protocol')
    (score,) = scores_by(table.set_column(at, 'protocol', [label]), draws=20)
    assert score.inflated and score.note == 'inflated, synthetic, partial'


@pytest.mark.parametrize(
    'given, label',
    [
        (('ravdess/emobox6',), 'ravdess/emobox6'),
        (('savee/loso4', 1, False, True), 'savee/loso4, partial'),
        (('meld/official', 3, True), 'meld/official@3, speakers shared'),
        (('leaky_random', 1, True), 'leaky_random'),
    ],
)
def test_labels(given, label):
    assert protocol_label(*given) == label


def test_a_run_of_an_earlier_version_opens_and_resumes(run, data_dir, tmp_path):
    """Its folds.json has no definition; neither its label nor its members change."""
    c = small_config(data_dir)
    c.train.epochs = 1
    old = tmp_path / 'old'
    train.train(c, old)
    before = {p: p.read_bytes() for p in old.glob('best/**/*') if p.is_file()}
    folds = json.loads((old / 'folds.json').read_text())
    del folds['definition']
    (old / 'folds.json').write_text(json.dumps(folds))
    (old / 'checksums.json').unlink()
    assert open_trained(old).label == 'speakers_k' and not open_trained(old).definition
    train.train(c, old)
    assert {p: p.read_bytes() for p in old.glob('best/**/*') if p.is_file()} == before
    assert 'definition' in json.loads((old / 'folds.json').read_text())


def test_a_definition_that_contradicts_the_run_is_damage(run, tmp_path):
    folds = json.loads((run / 'folds.json').read_text())
    for change in ({'name': 'other'}, {'version': 'two'}):
        for path in run.glob('*.json'):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / 'checksums.json').unlink()
        changed = {**folds, 'definition': {**folds['definition'], **change}}
        (tmp_path / 'folds.json').write_text(json.dumps(changed))
        with pytest.raises(InputError, match=r'folds\.json is damaged \((its protocol|definition)'):
            open_trained(tmp_path)


def test_a_conflict_is_refused_before_anything_is_written(published, data_dir, tmp_path):
    c = tones(data_dir)
    c.data.emotions = ('sad', 'happy')
    with pytest.raises(InputError, match=r'data\.emotions=.* leave data\.emotions out'):
        train.train(c, tmp_path / 'run')
    assert not (tmp_path / 'run' / 'config.json').exists()


def test_an_audit_finds_a_session_on_two_sides(data_dir):
    """And none where both of its speakers are on one."""
    opened = open_corpora(('synthetic',), str(data_dir))
    numbers = [int(s[-1]) for s in opened.speaker]
    ids = [f'Ses0{1 + n // 2}F_impro01_{"FM"[n % 2]}{i:03d}' for i, n in enumerate(numbers)]
    opened = dataclasses.replace(opened, id=np.array(ids, object))

    def leaks(tested, protocol='speakers_k'):
        test = [f'synthetic/{id}' for id, n in zip(ids, numbers, strict=True) if n in tested]
        train = [f'synthetic/{id}' for id in ids if f'synthetic/{id}' not in test]
        members = {'fold0_seed0': {'train': train, 'valid': [], 'test': test}}
        found = split_checks.run_findings(opened, protocol, members, [])
        return {f.check for f in found if f.severity == 'leak'}

    assert leaks({0, 2}) == {'session on two sides'} and not leaks({0, 1})
    assert leaks({0, 1}, 'meld/official') == {'protocol'}


def test_a_question_mark_lists_the_protocols_without_opening_anything(tmp_path):
    done = forked.run(
        [sys.executable, '-m', 'ser_jax.main', f'--config={ROOT / "tests" / "tone_config.py"}',
         f'--workdir={tmp_path / "run"}', '--config.members.protocol=?'],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert set(protocols.PROTOCOLS) - {NAME} <= set(lines)
    assert lines['ravdess/emobox6'] == ['ravdess/emobox6', '1', 'ravdess', '8', '6', 'no']
    assert lines['meld/official'][-1] == 'leaky' and not (tmp_path / 'run').exists()
