"""A run meets another build of its corpus under the same ids: never scored, its changes listed."""

import dataclasses
import json
import pathlib
import shutil
import sys

import numpy as np
import pytest

from ser_jax import audit, train
from ser_jax.contract import InputError
from ser_jax.evaluate import evaluate
from ser_jax.runs import merge
from ser_jax.runs.trained import open_trained
from tests import forked
from tests.conftest import ToneBuilder, small_config

ROOT = pathlib.Path(__file__).parents[1]
TURNED = {'happy': 'sad', 'sad': 'happy'}
CHANGES = {  # what changed -> one recording of the other build
    'sound': lambda r, n: (
        dataclasses.replace(r, read=lambda: (r.read()[0] * 0.5, 16000)) if n % 2 else r
    ),
    'label': lambda r, n: dataclasses.replace(r, emotion=TURNED.get(r.emotion, r.emotion)),
    'speaker': lambda r, n: dataclasses.replace(r, speaker=f'synthetic_{n % 6}'),
    'text': lambda r, n: dataclasses.replace(r, text=r.text + ' again'),
}


def build(folder: pathlib.Path, change, emotions=ToneBuilder.EMOTIONS) -> pathlib.Path:
    class Other(ToneBuilder, skip_registration=True):
        name, EMOTIONS = ToneBuilder.name, emotions

        def recordings(self, dl_manager):
            for n, recording in enumerate(super().recordings(dl_manager)):
                if changed := change(recording, n):
                    yield changed

    Other(data_dir=folder).download_and_prepare()
    return folder


@pytest.fixture(scope='module')
def run(data_dir, tmp_path_factory) -> pathlib.Path:
    """A finished run on the tone corpus."""
    config = small_config(data_dir)
    config.train.epochs = 1
    workdir = tmp_path_factory.mktemp('runs') / 'run'
    train.train(config, workdir)
    return workdir


@pytest.mark.parametrize('what', CHANGES)
def test_equal_ids_of_another_build_are_not_scored_and_the_audit_lists_what_changed(
    run, tmp_path, what
):
    folder = build(tmp_path / 'built', CHANGES[what])
    before = (run / 'MODEL_CARD.md').read_bytes() if (run / 'MODEL_CARD.md').exists() else None
    then = json.loads((run / 'environment.json').read_text())['fingerprints']['synthetic'][:12]
    with pytest.raises(InputError) as refused:
        evaluate([open_trained(run)], data_dir=str(folder))
    now = json.loads(next(folder.rglob('fingerprint.json')).read_text())['fingerprint'][:12]
    for words in (
        str(run),
        then,
        now,
        str(folder / 'synthetic' / 'log_mel'),
        'another build of synthetic',
        '--data_dir',
    ):
        assert words in str(refused.value)
    assert '\n' not in str(refused.value)
    after = (run / 'MODEL_CARD.md').read_bytes() if before else None
    assert before == after
    found = {f.check: f for f in audit.audit([], str(run), str(folder))}
    assert found['another build'].severity == 'error' and then in found['another build'].what
    assert {c for c in found if c.startswith('changed')} == {f'changed {what}'}
    assert (
        found[f'changed {what}'].where
        and found[f'changed {what}'].where[0] in found[f'changed {what}'].what
    )
    assert 'normalization of other data' not in found


def test_missing_and_new_utterances_are_reported_separately(run, tmp_path):
    def renamed(recording, n):
        return (
            dataclasses.replace(recording, id=recording.id + 'x')
            if recording.speaker == 'synthetic_0'
            else recording
        )

    found = {f.check: f for f in audit.audit([], str(run), str(build(tmp_path, renamed)))}
    assert len(found['other data'].where) == 12 and len(found['changed utterances'].where) == 12
    assert all(name.endswith('x') for name in found['changed utterances'].where)


def test_a_run_of_an_earlier_version_is_refused_alike_and_the_audit_lists_what_it_kept(
    run, tmp_path
):
    folder = build(tmp_path / 'built', CHANGES['label'])
    old = shutil.copytree(run, tmp_path / 'old')
    for later in ('checksums', 'utterances'):
        (old / f'{later}.json').unlink()
    with pytest.raises(InputError, match='was trained on another build of synthetic'):
        evaluate([open_trained(old)], data_dir=str(folder))
    assert any(
        'kept the names of its utterances alone' in f.what
        for f in audit.audit([], str(old), str(folder))
    )
    assert evaluate([open_trained(old)]).num_rows  # on its own build as ever


def test_a_run_without_the_fingerprint_is_damaged(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'copy')
    environment = json.loads((copy / 'environment.json').read_text())
    (copy / 'environment.json').write_text(json.dumps({**environment, 'fingerprints': {}}))
    (copy / 'checksums.json').unlink()
    with pytest.raises(
        InputError, match=r'environment\.json is damaged \(it has no fingerprint of synthetic\)'
    ):
        evaluate([open_trained(copy)])


def test_an_answer_is_chosen_from_what_it_was_in_training(run, data_dir, tmp_path):
    """The run's stored facts are used, since corpus.json is not part of the fingerprint."""
    shutil.copytree(data_dir / 'synthetic' / 'log_mel', tmp_path / 'synthetic' / 'log_mel')
    facts = next(tmp_path.rglob('corpus.json'))
    facts.write_text(
        json.dumps({**json.loads(facts.read_text()), 'emotions': ['happy', 'sad', 'angry']})
    )
    assert evaluate([open_trained(run)], data_dir=str(tmp_path)).equals(
        evaluate([open_trained(run)])
    )


def test_merged_pieces_are_not_scored_on_another_build(run, tmp_path):
    merge.merge([run], tmp_path / 'whole')
    folder = build(tmp_path / 'built', CHANGES['speaker'])
    with pytest.raises(InputError, match='whole was trained on another build'):
        evaluate([open_trained(tmp_path / 'whole')], data_dir=str(folder))
    assert 'changed speaker' in {
        f.check for f in audit.audit([], str(tmp_path / 'whole'), str(folder))
    }


def test_the_refused_run_is_left_out_and_the_others_are_scored(run, tmp_path):
    config = small_config(build(tmp_path / 'built', CHANGES['sound']))
    config.train.epochs, config.members.only = 1, (0,)
    train.train(config, tmp_path / 'runs' / 'other')
    shutil.copytree(run, tmp_path / 'runs' / 'run')
    done = forked.run(
        [sys.executable, '-m', 'ser_jax.evaluate', f'--runs={tmp_path}/runs/*',
         f'--data_dir={tmp_path / "built"}'],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    assert done.stderr.startswith(
        f'left out: {tmp_path / "runs" / "run"} was trained on another build'
    )
    assert (tmp_path / 'runs' / 'other' / 'MODEL_CARD.md').exists() and not (
        tmp_path / 'runs' / 'run' / 'MODEL_CARD.md'
    ).exists()
    assert str(tmp_path / 'runs' / 'other') in (tmp_path / 'runs' / 'scores.csv').read_text()


def test_a_member_that_learnt_a_tested_voice_is_not_scored_under_an_honest_name(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / 'copy')
    folds = json.loads((copy / 'folds.json').read_text())
    side = folds['members']['fold0_seed0']
    side['train'].append(side['test'].pop())
    (copy / 'folds.json').write_text(json.dumps(folds))
    with pytest.raises(InputError, match=r'folds\.json was changed since training wrote it'):
        open_trained(copy)
    assert 'changed files' in {f.check for f in audit.audit([], str(copy))}
    (copy / 'checksums.json').unlink()
    with pytest.raises(
        InputError,
        match=r'fold0_seed0 was trained on synthetic_\d and is tested on the same speaker',
    ):
        evaluate([open_trained(copy)])


def test_answers_that_are_no_numbers_are_no_answers(run, monkeypatch):
    trained = open_trained(run)

    def spoilt(self, members):
        return variables._replace(params={k: v * np.nan for k, v in variables.params.items()})

    variables = trained.variables(trained.finished[:1])
    monkeypatch.setattr(type(trained), 'variables', spoilt)
    with pytest.raises(InputError, match=r'predictions of .*fold0_seed0 are not finite'):
        evaluate([trained])


def test_voices_of_the_run_are_left_out_of_another_corpus(run, tmp_path, data_dir):
    """The same speaker under the same name, in other recordings."""

    class Cousin(ToneBuilder, skip_registration=True):
        name, FIRST = 'cousin', 10  # other sounds

        def recordings(self, dl_manager):
            for r in super().recordings(dl_manager):
                yield dataclasses.replace(r, speaker=r.speaker.replace('cousin_0', 'synthetic_0'))

    shutil.copytree(data_dir / 'synthetic' / 'log_mel', tmp_path / 'synthetic' / 'log_mel')
    Cousin(data_dir=tmp_path).download_and_prepare()
    printed = []
    rows = evaluate([open_trained(run)], ['cousin'], str(tmp_path), say=printed.append).to_pylist()
    speakers = {r['speaker'] for r in rows if r['corpus'] == 'cousin'}
    assert speakers == {f'cousin_{i}' for i in range(1, 6)}
    assert any(
        'may be trained on the speakers of 16 recordings of cousin; scored without them' in s
        for s in printed
    ), printed
