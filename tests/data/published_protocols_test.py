"""Published protocols: their lists, the knobs they fix, and parts of their corpora."""

import collections
import json
import pathlib
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax import build
from ser_jax.config import base
from ser_jax.contract import InputError
from ser_jax.corpora import file_names
from ser_jax.data import coverage, protocol_knobs, protocols
from ser_jax.emotions import EMOTIONS
from tests.data import published_corpora

DATASETS = pathlib.Path(__file__).parents[2] / 'datasets'
PUBLISHED = sorted(name for name, p in protocols.PROTOCOLS.items() if p.published)
LISTED = sorted(name for name, p in protocols.PROTOCOLS.items() if p.lists)
# From the publications, by the numbers of the actors.
EMOBOX = ((1, 11, 20, 21), (4, 10, 12, 14), (8, 9, 19, 23), (3, 5, 7, 24), (2, 15, 16, 18),
          (6, 13, 17, 22))  # fmt: skip
SUBJECT = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24),
           (1, 4, 9, 22))  # fmt: skip
SUBJECT_VALID = ((3, 6), (10, 11), (8, 17), (1, 14), (2, 5))


def lists(name):
    return protocols.PROTOCOLS[name].lists


def actors(entries):
    return tuple(int(entry.rpartition('_')[2]) for entry in entries)


def config(protocol, **knobs):
    c = base()
    c.members.protocol = protocol
    c.data.corpora = protocols.PROTOCOLS[protocol].corpora or ('ravdess', 'emodb')
    c.model = ConfigDict({'name': 'conv_bilstm'})
    for name, value in knobs.items():
        section, knob = name.split('_', 1)
        c[section][knob] = value
    return c


def settled(protocol, **knobs):
    return protocol_knobs.settled(config(protocol, **knobs), base())


def test_ravdess_and_savee_have_the_published_folds():
    assert tuple(actors(f.test) for f in lists('ravdess/emobox6')) == EMOBOX
    assert tuple(actors(f.test) for f in lists('ravdess/subject5')) == SUBJECT
    assert tuple(actors(f.valid) for f in lists('ravdess/subject5')) == SUBJECT_VALID
    tests = [f.test for f in lists('savee/loso4')]
    assert tests == [('savee_je',), ('savee_kl',), ('savee_dc',), ('savee_jk',)]


def test_emo_superb_tests_each_fifth_and_validates_on_the_next():
    folds = lists('cremad/emosuperb5')
    bounds = ((1001, 1018), (1019, 1036), (1037, 1054), (1055, 1072), (1073, 1091))
    for i, (first, last) in enumerate(bounds):
        assert actors(folds[i].test) == tuple(range(first, last + 1))
        assert folds[i].valid == folds[(i + 1) % 5].test


def test_the_split_of_tfds_is_the_one_that_its_builder_computes():
    from tensorflow_datasets.audio import crema_d

    shares = [('train', 0.7), ('validation', 0.1), ('test', 0.2)]  # as in its _split_generators
    speakers = [(str(n), str(n)) for n in range(1001, 1092)]
    split = crema_d._get_inter_splits_by_group(speakers, shares, 0)
    (fold,) = lists('cremad/tfds')
    assert {str(n) for n in actors(fold.test)} == split['test']
    assert {str(n) for n in actors(fold.valid)} == split['validation']


def test_four_si_deals_the_speakers_of_each_sex_in_turn():
    folds = lists('four/si')
    for corpus, sex_of in (('ravdess', file_names.ravdess_sex), ('cremad', file_names.cremad_sex)):
        for sex in ('female', 'male'):
            known = [s for s in protocols.published_corpora()[corpus]['speakers']
                     if sex_of(actors([s])[0]) == sex]  # fmt: skip
            for i, fold in enumerate(folds):
                assert [s for s in fold.test if s in known] == known[i::4]
    savee = [[s for s in fold.test if s.startswith('savee')] for fold in folds]
    assert savee == [['savee_dc'], ['savee_je'], ['savee_jk'], ['savee_kl']]
    tess = [[s for s in fold.test if s.startswith('tess')] for fold in folds]
    assert tess == [['tess_oaf'], ['tess_yaf'], [], []]


@pytest.mark.parametrize('name', [name for name in LISTED if name != 'meld/official'])
def test_lists_name_known_speakers_and_test_each_of_them_once(name):
    protocol = protocols.PROTOCOLS[name]
    known = set()
    for corpus in protocol.corpora:
        known |= {*protocols.published_corpora()[corpus]['speakers']}
    tested = collections.Counter()
    for fold in protocol.lists:
        assert set(fold.entries()) <= known and not {*fold.test} & {*(fold.valid or ())}
        tested.update(fold.test)
    assert set(tested.values()) == {1}
    assert name == 'cremad/tfds' or set(tested) == known


def test_published_speakers_and_counts_are_those_of_the_builders():
    for corpus, stored in protocols.published_corpora().items():
        builder = build.builder_class(DATASETS / corpus / f'{corpus}_dataset_builder.py')
        counts = builder.PUBLISHED_COUNTS
        assert sorted(stored['speakers']) == sorted(counts.speakers['speech'])
        assert stored['utterances']['speech'] == counts.utterances['speech']


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_published_protocol_is_defined_whole(name):
    protocol = protocols.PROTOCOLS[name]
    assert protocol.source and protocol.title and protocol.version >= 1
    assert protocol.channels == ('speech',) and protocol.supported == 'run'
    order = [EMOTIONS.index(c) for c in protocol.classes]
    assert order == sorted(order) and len(order) > 1
    assert set(protocol.corpora) <= {p.name for p in DATASETS.iterdir()}


@pytest.mark.parametrize('name', PUBLISHED)
def test_a_published_protocol_sets_its_knobs_once_and_for_all(name):
    protocol, c = protocols.PROTOCOLS[name], settled(name)
    assert (c.data.emotions, c.data.merge) == (protocol.classes, protocol.merge)
    again = protocol_knobs.settled(c, base())
    assert again.to_json() == c.to_json()
    stored = ConfigDict(json.loads(c.to_json()))  # lists for tuples
    assert protocol_knobs.settled(stored, base()).to_json() == c.to_json()


def test_other_protocols_leave_the_config_alone():
    for name in set(protocols.PROTOCOLS) - set(PUBLISHED):
        given = config(name, data_emotions=('sad', 'happy'), members_folds=7)
        assert protocol_knobs.settled(given, base()) is given


@pytest.mark.parametrize(
    'knobs, message',
    [
        ({'data_emotions': ('sad', 'happy')}, r"data\.emotions=\('sad', 'happy'\) with members"),
        ({'data_merge': ('calm:sad',)}, r"data\.merge=\('calm:sad',\) with .* data\.merge=\(\);"),
        ({'data_channels': ('song',)}, r"data\.channels=\('song',\) with"),
        ({'data_train_only_channels': ('song',)}, r'data\.train_only_channels'),
        ({'data_labels': 'valence'}, r"data\.labels='valence' with .* data\.labels='emotion'; le"),
        ({'data_supported': 'corpus'}, r"data\.supported='corpus' with"),
        ({'data_corpora': ('emodb',)}, r'splits ravdess, got .*--config\.data\.corpora=ravdess,$'),
        ({'data_corpora': ()}, r'--config\.data\.corpora=ravdess,$'),
        ({'members_folds': 10}, r'members\.folds=10 has no effect .* 6 fixed folds; set it to 5'),
        ({'members_folds_file': 'x.json'}, r"folds_file='x.json' has no effect .* set it to ''"),
    ],
)
def test_a_knob_that_the_protocol_fixes_is_refused_with_both_values(knobs, message):
    with pytest.raises(InputError, match=message):
        settled('ravdess/emobox6', **knobs)


def test_the_same_value_in_another_order_is_accepted():
    classes = protocols.PROTOCOLS['ravdess/emobox6'].classes
    assert settled('ravdess/emobox6', data_emotions=classes[::-1]).data.emotions == classes
    assert settled('ravdess/emobox6', members_folds=6).members.folds == 6


def cover(name, keep=None, corpora=()):
    c = settled(name)
    c.members.valid_speakers = 0
    classes, merge = c.data.emotions, c.data.merge
    corpora = corpora or published_corpora.corpora_of(protocols.PROTOCOLS[name])
    u = published_corpora.utterances(corpora, keep, classes, merge)
    made, left_out = protocols.lay_out(u, c.members)
    return coverage.covered(u, c, left_out), made


def whole(monkeypatch, corpora):
    """Let one utterance for each speaker and emotion be all that was published."""
    published = {}
    for corpus in corpora:
        counts = collections.Counter(row[3] for row in published_corpora.rows(corpus))
        speakers = sorted({row[1] for row in published_corpora.rows(corpus)})
        published[corpus] = {'speakers': speakers, 'utterances': {'speech': counts}}
    monkeypatch.setattr(protocols, 'published_corpora', lambda: published)


@pytest.mark.parametrize('name', LISTED)
def test_a_whole_corpus_is_not_partial(name, monkeypatch):
    whole(monkeypatch, [c for c in protocols.PROTOCOLS[name].corpora if c != 'meld'])
    covered, made = cover(name)
    assert not covered.partial and not list(covered.lines(name))
    assert len(made) == len(lists(name))


def test_missing_speakers_and_their_folds_are_named(monkeypatch):
    whole(monkeypatch, ['savee'])
    covered, made = cover('savee/loso4', lambda row: row[1] != 'savee_kl')
    assert covered.partial and covered.speakers == ('savee_kl',)
    assert [fold.name for fold in made] == ['fold0', 'fold2', 'fold3']  # the names stay
    lines = list(covered.lines('savee/loso4'))
    assert 'savee/loso4: 1 speakers not built: savee_kl' in lines
    assert 'savee/loso4: fold1 has no utterance to test; left out' in lines
    assert 'partial' in lines[-1]


def test_a_missing_class_is_named(monkeypatch):
    whole(monkeypatch, ['emodb'])
    covered, made = cover('emodb/loso10', lambda row: row[3] != 'boredom')
    assert covered.partial and covered.classes == ('boredom',) and len(made) == 10


def test_missing_corpora_are_named(monkeypatch):
    whole(monkeypatch, ['ravdess', 'cremad', 'savee', 'tess'])
    covered, made = cover('four/si', corpora=('savee', 'ravdess'))
    assert covered.corpora == ('cremad', 'tess') and 'tess_oaf' in covered.speakers
    assert len(made) == 4


def test_missing_utterances_make_it_partial_beyond_a_hundredth(monkeypatch):
    whole(monkeypatch, ['ravdess'])  # 192 utterances
    few = cover('ravdess/emobox6', lambda row: row[0] != '03-01-01-01-01-01-01')[0]
    assert not few.partial
    gone = ('03-01-01-01-01-01-01', '03-01-02-01-01-01-02')
    more = cover('ravdess/emobox6', lambda row: row[0] not in gone)[0]
    assert more.partial and more.utterances == {'ravdess': [190, 192]}


def test_a_fold_without_a_training_example_of_a_class_is_left_out(monkeypatch):
    whole(monkeypatch, ['tess'])
    covered, made = cover('tess/cross2', lambda row: row[0] != 'OAF_back_sad')
    assert [fold.name for fold in made] == ['fold0']
    assert covered.folds == {'fold1': 'fold1 tests sad but has no training example of it'}


def test_validation_lists_that_are_not_built_are_replaced_in_words(monkeypatch):
    whole(monkeypatch, ['ravdess'])
    gone = ('ravdess_03', 'ravdess_06')
    covered, made = cover('ravdess/subject5', lambda row: row[1] not in gone)
    assert covered.validation == ('fold0',) and not len(made[0].valid) and len(made[1].valid)
    assert any('no validation speaker of fold0' in line for line in covered.lines('x'))


def test_nothing_that_can_be_run_is_refused():
    with pytest.raises(
        InputError,
        match=r'no fold of .*emodb/loso10.* \(e\.g\. fold0 has no utterance to train\); build',
    ):
        cover('emodb/loso10', lambda row: row[1] == 'emodb_03')


def test_a_speaker_outside_of_the_lists_is_refused(monkeypatch):
    whole(monkeypatch, ['emodb'])
    c = settled('emodb/loso10')
    u = published_corpora.under('emodb/loso10')
    u.speaker[u.speaker == 'emodb_03'] = 'emodb_99'
    with pytest.raises(InputError, match=r'1 speakers that .* does not have, e\.g\. emodb_99'):
        coverage.covered(u, c)


def test_across_corpora_known_ones_can_be_partial_and_others_not(monkeypatch):
    whole(monkeypatch, ['ravdess', 'emodb'])
    name = 'cross_corpus/leave_one_corpus_out'
    assert not cover(name)[0].partial
    covered, made = cover(name, lambda row: row[1] != 'ravdess_24')
    assert covered.speakers == ('ravdess_24',) and len(made) == 3


def test_the_definition_of_a_run_is_whole(monkeypatch):
    c = settled('savee/loso4')
    covered = cover('savee/loso4', lambda row: row[1] != 'savee_kl')[0]
    record = json.loads(json.dumps(coverage.definition(covered, c, ())))
    assert record['name'] == 'savee/loso4' and record['version'] == 1 and record['partial']
    assert record['folds'][1] == {'test': ['savee_kl']} and len(record['folds']) == 4
    assert record['missing']['speakers'] == ['savee_kl'] and record['source']
    assert record['classes'] == list(protocols.PROTOCOLS['savee/loso4'].classes)
    assert not record['leaky'] and not record['transductive']


def test_leaks_are_declared():
    assert protocols.is_leaky('meld/official') and protocols.is_leaky('leaky_random')
    assert not protocols.is_leaky('emodb/loso10')
    assert protocols.is_leaky('leaky_of_another_version') and not protocols.is_leaky('another')


def test_meld_has_its_published_sides():
    u = published_corpora.under('meld/official')
    members = types.SimpleNamespace(protocol='meld/official', valid_speakers=2)
    (fold,) = protocols.make_folds(u, members)
    for side in ('train', 'dev', 'test'):
        indices = getattr(fold, {'dev': 'valid'}.get(side, side))
        assert {id.partition('/')[0] for id in u.id[indices]} == {side}
    assert len(fold.train) + len(fold.valid) + len(fold.test) == len(u.id)
    speakers = [set(u.speaker[side]) for side in (fold.train, fold.test)]
    assert 'meld_Ross' in speakers[0] & speakers[1]


def test_speakers_that_share_sessions_stay_together():
    """Pairs of IEMOCAP are dealt whole; MELD's dialogs join everybody."""
    u = published_corpora.utterances(('iemocap',))
    members = types.SimpleNamespace(protocol='speakers_k', folds=5, valid_speakers=1)
    for fold in protocols.make_folds(u, members):
        for side in (fold.valid, fold.test):
            assert {s[-1] for s in u.speaker[side]} == {'F', 'M'}
            assert len(set(u.speaker[side])) == 2
    members.folds = 6
    with pytest.raises(InputError, match='2 to 5 with 5 groups of speakers that share sessions'):
        protocols.make_folds(u, members)
    members.protocol = 'leave_one_speaker_out'
    made = protocols.make_folds(u, members)
    assert len(made) == 10 and len(set(u.speaker[made[0].train])) == 6  # not the partner
    members.protocol, members.folds = 'speakers_k', 2
    with pytest.raises(InputError, match=r"share sessions or dialogs.*protocol='meld/official'"):
        protocols.make_folds(published_corpora.utterances(('meld',)), members)


def test_the_old_name_across_corpora_has_the_same_folds():
    u = published_corpora.under('cross_corpus/leave_one_corpus_out')
    made = []
    for name in ('cross_corpus/leave_one_corpus_out', 'leave_one_corpus_out'):
        made.append(protocols.make_folds(u, types.SimpleNamespace(protocol=name, valid_speakers=2)))
    for a, b in zip(*made, strict=True):
        assert all(np.array_equal(getattr(a, s), getattr(b, s)) for s in ('train', 'valid', 'test'))
