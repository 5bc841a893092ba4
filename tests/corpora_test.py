"""Several corpora in one run: each is trained and scored on the emotions that it supports."""

import json

import numpy as np
import pytest

from ser_jax import assemble, evaluate, train
from ser_jax.data import utterances
from ser_jax.runs.trained import open_trained
from tests.conftest import ToneBuilder

WORDS = ('neutral', 'happy', 'boredom', 'excited')


class Other(ToneBuilder, skip_registration=True):
    """A corpus of other voices without sad and angry, with a common and a new emotion instead."""

    name = 'other'
    EMOTIONS = WORDS
    FIRST = 10


@pytest.fixture(scope='module')
def both(data_dir):
    """The folder of the built corpora, with `other` beside `synthetic`."""
    if not (data_dir / 'other').exists():
        Other(config='log_mel', data_dir=data_dir).download_and_prepare()
    return data_dir


@pytest.fixture
def of_both(config, both):
    config.data.corpora = ('synthetic', 'other')
    config.members.valid_speakers = 2
    return config


def test_a_corpus_brings_its_facts(both):
    opened = utterances.open_corpora(('other',), str(both))
    assert opened.facts[0].emotions == WORDS and opened.facts[0].name == 'other'
    assert (
        set(opened.rate_hz) == {16000} and not opened.clipped.any() and (opened.level_db < 0).all()
    )
    np.testing.assert_allclose(opened.seconds, opened.length / 100, atol=0.02)


def test_a_run_over_several_corpora_masks_what_one_of_them_cannot_show(of_both, tmp_path):
    of_both.train.epochs, of_both.data.supported = 2, 'corpus'
    train.train(of_both, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    assert trained.emotions == ('neutral', 'happy', 'sad', 'angry', 'boredom', 'excited')
    assert [f.name for f in trained.corpora] == ['synthetic', 'other']
    rows = evaluate.evaluate([trained], say=lambda line: None).to_pylist()
    assert {r['corpus'] for r in rows} == {'synthetic', 'other'}
    assert {r['protocol'] for r in rows} == {'speakers_k, corpus known'}  # said beside every number
    for r in rows:
        barred = ('boredom', 'excited') if r['corpus'] == 'synthetic' else ('sad', 'angry')
        assert not any(r[f'p_{e}'] for e in barred) and r['predicted'] not in barred
    folds = json.loads((tmp_path / 'run' / 'folds.json').read_text())['members']
    for sides in folds.values():  # every side hears both corpora
        assert all(
            {i.split('/')[0] for i in sides[side]} == {'synthetic', 'other'} for side in sides
        )


def test_a_recording_of_an_unknown_corpus_is_scored_on_all_emotions_of_the_run(of_both, tmp_path):
    """By default scoring does not know either where a recording comes from."""
    of_both.train.epochs = 2
    of_both.members.only = (0,)
    train.train(of_both, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    rows = evaluate.evaluate([trained], say=lambda line: None).to_pylist()
    assert {r['corpus'] for r in rows} == {'synthetic', 'other'} and {
        r['protocol'] for r in rows
    } == {'speakers_k'}
    assert all(r[f'p_{e}'] > 0 for r in rows for e in trained.emotions)
    of_both.data.supported = 'all'
    with pytest.raises(Exception, match=r"data\.supported must be one of run, corpus, got 'all'"):
        assemble.open_run(of_both)


def test_merges_and_valence_reach_labels_and_support(of_both):
    of_both.data.merge = ('excited:happy', 'boredom:sad')
    run = assemble.open_run(of_both)
    assert run.emotions == ('neutral', 'happy', 'sad', 'angry')
    assert [f.emotions for f in run.utterances.facts] == [run.emotions, ('neutral', 'happy', 'sad')]
    of_both.data.merge, of_both.data.labels = (), 'valence'
    run = assemble.open_run(of_both)
    assert run.emotions == ('negative', 'positive')  # by name: words that are not ours
    other = run.utterances.names.index('other')
    assert (
        'excited' not in run.utterances.label[run.utterances.corpus == other]
    )  # of unknown valence: left out


def test_an_emotion_without_recordings_is_refused(of_both):
    of_both.data.emotions = ('happy', 'trusting')
    with pytest.raises(
        Exception, match=r'data.emotions names trusting, of which synthetic, other have no example'
    ):
        assemble.open_run(of_both)
    of_both.data.corpora = ('synthetic', 'synthetic')
    with pytest.raises(Exception, match='names synthetic twice'):
        assemble.open_run(of_both)


def test_what_was_learnt_under_another_name_is_not_scored(config, data_dir, both, tmp_path):
    class Copy(ToneBuilder, skip_registration=True):
        """The voices that are trained on, one of them left out, and one that is new."""

        name = 'copied'

        def recordings(self, dl_manager):
            for r in super().recordings(dl_manager):
                if r.speaker != 'copied_5':
                    yield r
            Copy.FIRST = 40
            yield from (r for r in super().recordings(dl_manager) if r.speaker == 'copied_5')

    Copy(config='log_mel', data_dir=data_dir).download_and_prepare()
    config.members.only, config.train.epochs = (0,), 1
    train.train(config, tmp_path / 'run')
    printed = []
    rows = evaluate.evaluate(
        [open_trained(tmp_path / 'run')], ['copied'], say=printed.append
    ).to_pylist()
    assert {r['speaker'] for r in rows if r['protocol'] == 'cross_corpus'} == {'copied_5'}
    assert any('may be trained on' in s for s in printed)


@pytest.mark.parametrize('supported', ['run', 'corpus'])
def test_another_corpus_is_scored_on_the_common_emotions(config, both, tmp_path, supported):
    config.members.only, config.data.supported = (0,), supported
    train.train(config, tmp_path / 'run')
    printed = []
    rows = evaluate.evaluate(
        [open_trained(tmp_path / 'run')], ['other'], say=printed.append
    ).to_pylist()
    crossed = [r for r in rows if r['protocol'].startswith('cross_corpus')]
    assert {r['emotion'] for r in crossed} == {'neutral', 'happy'} and any(
        'has no class boredom' in s for s in printed
    )
    answers = (
        {'neutral', 'happy'} if supported == 'corpus' else {'neutral', 'happy', 'sad', 'angry'}
    )
    assert all(
        (r[f'p_{e}'] > 0) == (e in answers)
        for r in crossed
        for e in ('neutral', 'happy', 'sad', 'angry')
    )
    assert {r['protocol'] for r in rows if r not in crossed} == {
        'speakers_k'
    }  # where all its corpora show all of it
    assert {r['protocol'] for r in crossed} == {
        'cross_corpus' + ', corpus known' * (supported == 'corpus')
    }


@pytest.mark.parametrize('supported', ['run', 'corpus'])
def test_a_class_that_was_never_trained_is_never_answered(config, both, tmp_path, supported):
    """Not on a corpus that has it, nor if the run's corpus supports it without any example."""

    class Partial(ToneBuilder, skip_registration=True):
        name = 'partial'
        EMOTIONS = ('neutral', 'happy', 'sad', 'boredom')
        FIRST = 30

        def recordings(self, dl_manager):
            yield from (r for r in super().recordings(dl_manager) if r.emotion != 'boredom')

    if not (both / 'partial').exists():
        Partial(config='log_mel', data_dir=both).download_and_prepare()
    config.data.corpora = ('partial',)
    config.members.only, config.data.supported = (0,), supported
    config.data.emotions, config.data.unsupported = (
        ('neutral', 'happy', 'sad', 'boredom'),
        ('boredom',),
    )
    train.train(config, tmp_path / 'run')
    rows = evaluate.evaluate(
        [open_trained(tmp_path / 'run')], ['other'], say=lambda line: None
    ).to_pylist()
    assert {r['corpus'] for r in rows} == {'partial', 'other'}
    assert not any(r['p_boredom'] for r in rows)
