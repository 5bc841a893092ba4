"""Speakers decide: no protocol but a leaky one may let a voice stand on two sides."""

import json
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.contract import InputError
from ser_jax.data import folds, protocols


def people(speakers=10, each=6, emotions=3, song=0):
    n = speakers * each
    speaker = np.repeat([f's{i:02d}' for i in range(speakers)], each).astype(object)
    channel = np.array(['speech'] * n, object)
    channel[np.arange(n) % each < song] = 'song'
    return types.SimpleNamespace(
        speaker=speaker,
        corpus=np.zeros(len(speaker), np.int32),
        names=('own',),
        sex=np.array([('female', 'male')[int(s[1:]) % 2] for s in speaker], object),
        emotion=np.array([f'e{i % emotions}' for i in range(n)], object),
        channel=channel,
        source_sha256=np.array([f'h{i}' for i in range(n)], object),
        id=np.arange(n).astype(str).astype(object),
    )


def knobs(**given):
    return types.SimpleNamespace(
        **{'protocol': 'speakers_k', 'folds': 5, 'valid_speakers': 2, 'folds_file': '', **given}
    )


def test_a_recording_named_like_a_variant_is_none_where_no_variants_were_asked_for():
    u = people(6)
    u.id[3] = f'{u.id[2]}+noise'

    def tested(*given):
        return np.concatenate(
            [f.test for f in protocols.make_folds(u, knobs(folds=2, valid_speakers=1), (), *given)]
        )

    assert 3 in tested() and 3 not in tested(('noise',))


@settings(max_examples=60)
@given(
    speakers=st.integers(6, 30),
    k=st.integers(2, 5),
    valid=st.integers(0, 2),
    song=st.integers(0, 2),
)
def test_speakers_k_partitions_speakers(speakers, k, valid, song):
    u = people(speakers, song=song)
    made = protocols.make_folds(u, knobs(folds=k, valid_speakers=valid), ('song',))
    tested = np.concatenate([f.test for f in made])
    assert sorted(tested) == sorted(
        np.flatnonzero(u.channel != 'song')
    )  # every scored utterance once
    sizes = []
    for f in made:
        sides = [set(u.speaker[s]) for s in (f.train, f.valid, f.test)]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert len(sides[1]) == valid
        assert not np.isin(u.channel[np.concatenate([f.valid, f.test])], 'song').any()
        sizes.append(len(sides[2]))
    assert max(sizes) - min(sizes) <= 1


def test_folds_and_validation_are_balanced_by_sex():
    u = people(20)
    for f in protocols.make_folds(u, knobs()):
        for side in (f.valid, f.test):
            sexes = [u.sex[np.flatnonzero(u.speaker == s)[0]] for s in set(u.speaker[side])]
            assert sexes.count('female') == sexes.count('male')


def test_train_only_channels_come_from_training_speakers_alone():
    u = people(song=2)
    for f in protocols.make_folds(u, knobs(), ('song',)):
        song = f.train[u.channel[f.train] == 'song']
        assert len(song) and not set(u.speaker[song]) & (
            set(u.speaker[f.test]) | set(u.speaker[f.valid])
        )


def test_leave_one_corpus_out():
    """Each corpus is tested once, whole; validation speakers are of the others."""
    u = people(9)
    u.corpus = np.array([int(s[1:]) % 3 for s in u.speaker])
    made = protocols.make_folds(u, knobs(protocol='leave_one_corpus_out'))
    for corpus, fold in enumerate(made):
        assert (np.sort(fold.test) == np.flatnonzero(u.corpus == corpus)).all()
        assert len(set(u.speaker[fold.valid])) == 2
        assert corpus not in u.corpus[np.concatenate([fold.train, fold.valid])]
    assert len(made) == 3
    with pytest.raises(InputError, match=r'needs at least 2 corpora, got 1; name more'):
        protocols.make_folds(people(9), knobs(protocol='leave_one_corpus_out'))


def test_validation_speakers_come_from_the_corpora_in_turn():
    """The first sex begins with the first corpus, the second sex with the second."""
    u = people(18)
    u.corpus = np.array([int(s[1:]) // 6 for s in u.speaker])
    made = protocols.make_folds(u, knobs(folds=9, valid_speakers=2))
    for fold in made[:1]:
        sexes = {u.sex[i]: int(u.corpus[i]) for i in fold.valid}
        assert sexes == {'female': 0, 'male': 1}


def test_leave_one_speaker_out():
    made = protocols.make_folds(people(6), knobs(protocol='leave_one_speaker_out'))
    assert len(made) == 6 and all(len(set(people(6).speaker[f.test])) == 1 for f in made)


def test_leaky_random_shares_speakers_and_covers_everything_once():
    u = people()
    made = protocols.make_folds(u, knobs(protocol='leaky_random'))
    assert sorted(np.concatenate([f.test for f in made])) == list(range(60))
    assert all(set(u.speaker[f.test]) & set(u.speaker[f.train]) for f in made)
    assert all(not set(f.train) & set(f.test) for f in made)
    assert protocols.is_leaky('leaky_random') and not protocols.is_leaky('speakers_k')


def test_a_fold_that_would_leak_is_refused_by_name():
    u = people()
    leaking = folds.Fold('fold7', np.arange(0, 30), np.arange(30, 36), np.arange(27, 60))
    with pytest.raises(InputError, match=r'fold7 would leak: speaker s0\d .*leaky_random'):
        folds.check(leaking, u)
    folds.check(leaking, u, leaky=True)


def test_one_recording_on_two_sides_is_a_leak():
    u = people()
    u.source_sha256[59] = u.source_sha256[0]
    fold = folds.Fold('fold0', np.arange(0, 30), np.arange(30, 36), np.arange(36, 60))
    with pytest.raises(InputError, match='recording h0 is in training and test'):
        folds.check(fold, u)


def test_a_class_without_training_examples_is_named():
    u = people()
    u.emotion[50] = 'rare'
    with pytest.raises(InputError, match='tests rare but has no training example'):
        folds.check(folds.Fold('fold0', np.arange(0, 30), np.arange(30, 36), np.arange(36, 60)), u)


def test_from_file(tmp_path):
    path = tmp_path / 'folds.json'
    path.write_text(json.dumps({'test': [['s00', 's01'], ['s02']], 'valid': [['s02'], ['s03']]}))
    made = protocols.make_folds(people(), knobs(protocol='from_file', folds_file=str(path)))
    assert [sorted(set(people().speaker[f.valid])) for f in made] == [['s02'], ['s03']]
    path.write_text(json.dumps({'test': [['s00']], 'valid': [['s00']]}))
    with pytest.raises(InputError, match='would leak'):
        protocols.make_folds(people(), knobs(protocol='from_file', folds_file=str(path)))
    path.write_text(json.dumps({'test': [['nobody']]}))
    with pytest.raises(InputError, match='unknown speakers nobody'):
        protocols.make_folds(people(), knobs(protocol='from_file', folds_file=str(path)))
    path.write_text('[')
    with pytest.raises(InputError, match='cannot be read'):
        protocols.make_folds(people(), knobs(protocol='from_file', folds_file=str(path)))


@pytest.mark.parametrize(
    'given, message',
    [
        (
            {'protocol': 'speaker_k'},
            r"members\.protocol must be one of .*speakers_k, .*, got 'speaker_k'",
        ),
        ({'folds': 11}, 'members.folds must be 2 to 10 with 10 speakers, got 11'),
        ({'valid_speakers': 9}, 'no speaker to train on'),
    ],
)
def test_impossible_folds_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        protocols.make_folds(people(), knobs(**given))


def test_a_holdout_is_random_by_utterance_with_the_shares_asked_for():
    u = people(10)
    (fold,) = protocols.make_folds(
        u, knobs(protocol='leaky_holdout', test_share=0.25, valid_share=0.1)
    )
    n = len(u.speaker)
    assert len(fold.test) == round(n / 4) and len(fold.valid) == round(n / 10)
    assert sorted([*fold.train, *fold.valid, *fold.test]) == list(range(n))
    assert set(u.speaker[fold.test]) & set(u.speaker[fold.train])  # the leak
    with pytest.raises(InputError, match='leave nothing to test or to train'):
        protocols.make_folds(u, knobs(protocol='leaky_holdout', test_share=0.6, valid_share=0.5))


def test_a_split_by_position_tests_what_it_never_trained():
    """60 files a speaker, sorted by emotion: 2 of 9 test files are of a trained class."""
    emotions = np.repeat(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'], [4, 8, 8, 8, 8, 8, 8, 8])
    n = 3 * 60
    u = types.SimpleNamespace(
        speaker=np.repeat(['x_1', 'x_2', 'x_3'], 60).astype(object),
        sex=np.full(n, 'male', object),
        corpus=np.zeros(n, int),
        emotion=np.tile(emotions, 3).astype(object),
        channel=np.full(n, 'speech', object),
        source_sha256=np.arange(n).astype(str).astype(object),
        id=np.array([f'{i % 60:02d}' for i in range(n)], object),
    )  # fmt: skip
    (fold,) = protocols.make_folds(u, knobs(protocol='leaky_position'))
    assert [len(s) for s in (fold.train, fold.valid, fold.test)] == [126, 27, 27]
    trained = set(u.emotion[fold.train])
    assert {'g', 'h'}.isdisjoint(trained)
    assert np.mean(np.isin(u.emotion[fold.test], list(trained))) == pytest.approx(2 / 9)
    assert not np.isin(u.emotion[fold.valid], list(trained)).any()


@pytest.mark.parametrize('protocol', ['speakers_k', 'leave_one_speaker_out'])
def test_one_speaker_names_the_protocol_for_it(protocol):
    with pytest.raises(
        InputError, match=r"s00 is the only speaker.*build more .*members\.protocol='leaky_random'"
    ):
        protocols.make_folds(people(1, each=20), knobs(protocol=protocol))
    assert protocols.make_folds(
        people(1, each=20), knobs(protocol='leaky_random')
    )  # what the message offers


@pytest.mark.parametrize('speakers, k, offered', [(2, 2, 0), (3, 3, 1), (4, 2, 1)])
def test_too_many_validation_speakers_name_the_largest_number(speakers, k, offered):
    u = people(speakers, each=12)
    with pytest.raises(
        InputError, match=rf'no speaker to train on.*set members\.valid_speakers={offered}'
    ):
        protocols.make_folds(u, knobs(folds=k, valid_speakers=5))
    assert protocols.make_folds(u, knobs(folds=k, valid_speakers=offered))


def test_one_voice_under_two_speakers_is_a_leak_by_its_file_names():
    """A published corpus and a folder of its files, whose owner calls the actors otherwise."""
    u = people(6, each=2, emotions=2)
    u.id[0], u.id[2] = '03-01-01-01-01-01-07', 'mine/happy/03-01-03-01-02-01-07'
    with pytest.raises(
        InputError, match=r'would leak: voice \(by file names\) ravdess_07 is in .*leaky_random'
    ):
        protocols.make_folds(u, knobs(folds=6, valid_speakers=0))
    protocols.make_folds(u, knobs(protocol='leaky_random', folds=2))


@pytest.mark.parametrize('speakers, k', [(6, 3), (7, 3), (10, 5), (9, 2)])
def test_all_speakers_but_one_of_each_fold_can_validate(speakers, k):
    """The turn that begins in the middle of the speakers goes on with the first."""
    u = people(speakers)
    valid = speakers - -(-speakers // k) - 1
    for f in protocols.make_folds(u, knobs(folds=k, valid_speakers=valid)):
        assert len(set(u.speaker[f.valid])) == valid and len(f.train)
        assert not set(u.speaker[f.valid]) & (set(u.speaker[f.test]) | set(u.speaker[f.train]))


def test_lists_may_name_utterances(tmp_path):
    """By id, or corpus/id where two corpora share it; a train list leaves the others out."""
    u, path = people(), tmp_path / 'folds.json'
    of = {s: u.id[u.speaker == s].tolist() for s in ('s00', 's01', 's02')}

    def folds_of(**lists):
        path.write_text(json.dumps(lists))
        return protocols.make_folds(u, knobs(protocol='from_file', folds_file=str(path)))

    (fold,) = folds_of(test=[[*of['s00'], 's01']], valid=[['own/12', *of['s02'][1:]]])
    assert set(u.speaker[fold.test]) == {'s00', 's01'} and set(u.speaker[fold.valid]) == {'s02'}
    assert len(fold.train) == 42
    (fold,) = folds_of(test=[of['s00']], valid=[[]], train=[of['s01'][:3]])
    assert u.id[fold.train].tolist() == of['s01'][:3] and not len(fold.valid)
    with pytest.raises(InputError, match=r'would leak: speaker s00 is in training and test'):
        folds_of(test=[of['s00'][:2]])
    with pytest.raises(InputError, match=r'unknown speakers own/999; .* and ids, e\.g\. 0$'):
        folds_of(test=[['own/999']])
    with pytest.raises(InputError, match='2 test lists and 1 train lists'):
        folds_of(test=[['s00'], ['s01']], train=[['s02']])
    u.corpus[30:], u.names = 1, ('own', 'other')
    u.id[30:] = u.id[:30]
    with pytest.raises(InputError, match='names 0, which is in 2 corpora; write corpus/id'):
        folds_of(test=[['0']])
    (fold,) = folds_of(test=[[f'other/{i}' for i in of['s00']]])
    assert set(u.speaker[fold.test]) == {'s05'}
