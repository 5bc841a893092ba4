"""Stored variants: trained on beside their source, never scored, split only by a leaky protocol."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax import assemble, audit, evaluate, train
from ser_jax.audio import front_ends, wav
from ser_jax.audio.variants import STORED, source_of, variant_of
from ser_jax.contract import InputError
from ser_jax.data import batches, utterances
from ser_jax.runs.trained import open_trained
from tests.conftest import ToneBuilder, tone

CHOSEN = ('stretch_pitch', 'noise')


@pytest.fixture(scope='module')
def built(data_dir):
    """The folder of the tone corpus, with statistics of every recording and its variants."""
    ToneBuilder(config='stats162_variants', data_dir=data_dir).download_and_prepare()
    return data_dir


@pytest.fixture
def varied(config, built) -> ConfigDict:
    """The small config on those shards, with two variants."""
    config.features.source = 'stats162'
    config.data.variants = CHOSEN
    config.model = ConfigDict({'name': 'burnwal'})
    config.members.only, config.train.epochs = (0,), 2
    return config


def test_each_variant_is_an_utterance_after_its_source(built):
    opened = utterances.open_corpora(('synthetic',), str(built), 'stats162', versions=CHOSEN)
    assert len(opened) == 3 * 96
    assert list(opened.id[:3]) == ['s0_angry_0', 's0_angry_0+stretch_pitch', 's0_angry_0+noise']
    front, at = front_ends.by_name('stats162'), list(opened.id).index('s2_sad_1+noise')
    excerpt = front.excerpt(wav.prepare(tone(2, 2, 1), 16000, front.rate_hz))
    of = {
        variant: front.describe(x) for _, variant, x in STORED('s2_sad_1', excerpt, front.rate_hz)
    }
    np.testing.assert_array_equal(opened.read(at), of['noise'][None])
    np.testing.assert_array_equal(opened.read(at - 1), of['stretch_pitch'][None])
    np.testing.assert_array_equal(opened.read(at - 2), of[''][None])
    streamed = utterances.open_corpora(('synthetic',), str(built), 'stats162', 0.0, versions=CHOSEN)
    np.testing.assert_array_equal(streamed.read(at), opened.read(at))


def test_variants_follow_their_source_into_training_and_nowhere_else(varied):
    run = assemble.open_run(varied)
    name, used = run.utterances.id, 0
    for member in run.members:
        held = np.concatenate([member.valid, member.test])
        assert not [i for i in name[held] if variant_of(i)]
        sources = {i for i in name[member.train] if not variant_of(i)}
        assert {i for i in name[member.train] if variant_of(i)} == {
            f'{i}+{v}' for i in sources for v in CHOSEN
        }
        assert not {source_of(i) for i in name[member.train]} & set(name[held])
        used += len(sources)
    assert used


def test_an_epoch_trains_on_one_version_of_a_recording_each_equally_often(varied):
    varied.data.variants_heard = 'one'
    run = assemble.open_run(varied)
    member = run.members[0]
    assert sorted(member.versions.ravel()) == sorted(member.train)
    counts = dict.fromkeys(('', *CHOSEN), 0)
    for epoch in range(60):
        plan = batches.epoch_plan(member, epoch, 8, run.steps, run.utterances.length, 1)
        trained = run.utterances.id[plan.utterance[plan.weight > 0]]
        assert len({source_of(i) for i in trained}) == len(trained) == len(member.versions)
        for i in trained:
            counts[variant_of(i)] += 1
    share = np.array(list(counts.values())) / sum(counts.values())
    np.testing.assert_allclose(share, 1 / 3, atol=0.03)
    again = batches.epoch_plan(member, 0, 8, run.steps, run.utterances.length, 1)
    np.testing.assert_array_equal(
        again.utterance, batches.epoch_plan(member, 0, 8, run.steps, run.utterances.length, 1)[0]
    )
    varied.members.protocol, varied.members.test_share = 'leaky_augmented', 0.25
    with pytest.raises(
        InputError, match=r"variants_heard='one' with members.protocol='leaky_augmented'"
    ):
        assemble.open_run(varied)


def test_the_published_split_is_a_leak_by_name_and_the_audit_says_so(varied, tmp_path):
    varied.members.protocol, varied.members.test_share = 'leaky_augmented', 0.25
    varied.train.select, varied.members.only = 'last', ()
    run = assemble.open_run(varied)
    name, member = run.utterances.id, run.members[0]
    tested = name[member.test]
    assert len(tested) == round(0.25 * len(run.utterances)) and any(variant_of(i) for i in tested)
    trained_on = {source_of(i) for i in name[member.train]}
    assert (
        np.mean([source_of(i) in trained_on for i in tested]) > 0.8
    )  # 1 - 0.25 ** 2 in the long run
    train.train(varied, tmp_path / 'run')
    rows = evaluate.evaluate([open_trained(tmp_path / 'run')]).to_pylist()
    assert {r['id'] for r in rows} == set(tested)
    found = audit.audit((), tmp_path / 'run')
    assert any(f.check.startswith('augmented sibling') and f.severity == 'leak' for f in found), (
        found
    )


def test_what_has_no_variants_is_refused(varied):
    varied.data.variants = ('echo',)
    with pytest.raises(
        InputError, match=r"data.variants must be one of noise, stretch_pitch, .*, got 'echo'"
    ):
        assemble.open_run(varied)
    varied.data.variants, varied.features.source = ('noise',), 'log_mel'
    with pytest.raises(
        InputError, match='variants are stored for stats162 and made of waveform only'
    ):
        assemble.open_run(varied)
