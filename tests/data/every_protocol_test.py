"""One property over all protocols: nobody and nothing is on two sides, but where they say leaky."""

import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.audio.variants import source_of
from ser_jax.contract import InputError
from ser_jax.corpora import file_names
from ser_jax.data import protocols
from tests.data import published_corpora

PROTOCOLS = sorted(protocols.PROTOCOLS)
HOLD_OUTS = {'cremad/tfds', 'meld/official', 'leaky_holdout', 'leaky_augmented',
             'leaky_label_pairing', 'leaky_position'}  # fmt: skip
ALONE = {'tess/cross2': 0}  # most validation speakers that leave someone to train on
SCARCE = (
    'no fold of|needs at least|must be 2 to|is the only speaker|no speaker to train on|share '
    'sessions|has no utterance to|no training example'
)


def knobs(name, folder, **given):
    return types.SimpleNamespace(
        protocol=name, folds_file=str(folder / 'folds.json'), folds=given.get('folds', 3),
        valid_speakers=given.get('valid', 1), test_share=0.25, valid_share=0.1,
    )  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Lists for from_file: every third speaker of EMO-DB, by name and by the ids of utterances."""
    folder = tmp_path_factory.mktemp('lists')
    speakers = sorted({row[1] for row in published_corpora.rows('emodb')})
    of_first = [row[0] for row in published_corpora.rows('emodb') if row[1] == speakers[0]]
    tests = [speakers[i::3] for i in range(3)]
    tests[0] = [*(f'emodb/{id}' for id in of_first), *tests[0][1:]]
    (folder / 'folds.json').write_text(str({'test': tests}).replace("'", '"'))
    return folder


def sides_of(u, fold):
    return [set(side.tolist()) for side in (fold.train, fold.valid, fold.test)]


def shared(u, fold):
    """The kinds of identity that are on two sides of a fold."""
    kinds = {
        'speaker': u.speaker,
        'recording': u.source_sha256,
        'voice': file_names.voices(u.id, u.speaker),
        'session': file_names.sessions(u.id),
        'sibling': np.array([source_of(i) for i in u.id], object),
        'utterance': np.arange(len(u.id)).astype(str),
    }
    found = set()
    for kind, values in kinds.items():
        sets = [set(values[list(side)]) - {''} for side in sides_of(u, fold)]
        if len(set.union(*sets)) < sum(map(len, sets)):
            found.add(kind)
    return found


@pytest.mark.parametrize('name', PROTOCOLS)
def test_a_whole_corpus_is_tested_once(name, folder):
    """By cross-validation every utterance, by a single split at most once; variants never."""
    corpora = {'corpora': ('emodb',)} if name == 'from_file' else {}
    variants = ('noise',)
    if corpora:
        u = published_corpora.utterances(**corpora, variants=variants)
    else:
        u = published_corpora.under(name, variants=variants)
    members = knobs(name, folder, valid=ALONE.get(name, 1))
    made = protocols.make_folds(u, members, (), variants)
    tested = np.concatenate([fold.test for fold in made])
    is_variant = np.array(['+' in id for id in u.id])
    if not protocols.splits_variants(name):
        assert not is_variant[tested].any()
    assert len(set(tested)) == len(tested)
    if name not in HOLD_OUTS:
        assert set(tested) == set(np.flatnonzero(~is_variant))
    leaks = set.union(*(shared(u, fold) for fold in made))
    assert 'utterance' not in leaks
    assert bool(leaks) == protocols.is_leaky(name)


@pytest.mark.parametrize('name', [p for p in PROTOCOLS if not protocols.is_leaky(p)])
@settings(max_examples=8, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from((0.4, 0.7, 0.95)),
    valid=st.integers(0, 2),
    folds=st.integers(2, 5),
    planted=st.sampled_from(('nothing', 'nothing', 'copy', 'voice', 'session')),
)
def test_no_one_is_on_two_sides_of_any_part_of_any_corpus(
    folder, name, seed, share, valid, folds, planted
):
    random = np.random.default_rng(seed)
    protocol = protocols.PROTOCOLS[name]
    corpora = ('emodb',) if name == 'from_file' else published_corpora.corpora_of(protocol)
    drawn: dict[str, bool] = {}

    def keep(row):
        return drawn.setdefault(row[1], random.random() < share)

    classes, merge = protocol.classes or published_corpora.SEVEN[:6], protocol.merge
    u = published_corpora.utterances(corpora, keep, classes, merge, variants=('noise',))
    if not len(u.id):
        return
    plant(u, planted, random)
    try:
        made = protocols.make_folds(u, knobs(name, folder, valid=valid, folds=folds), (), ['noise'])
    except InputError as e:
        reason = str(e)
        scarce = any(word in reason for word in SCARCE.split('|')) or 'unknown speakers' in reason
        assert scarce or (planted != 'nothing' and 'would leak' in reason), reason
        return
    assert not set.union(*(shared(u, fold) for fold in made))
    tested = np.concatenate([fold.test for fold in made])
    assert len(set(tested)) == len(tested)
    if not protocol.lists and name != 'from_file':
        assert len(tested) == sum('+' not in id for id in u.id)


def plant(u, planted, random):
    """Let two utterances have one content, one published voice, or one session."""
    sources = np.flatnonzero(['+' not in id for id in u.id])
    a, b = random.choice(sources, 2)
    if planted == 'copy':
        u.source_sha256[a] = u.source_sha256[b]
    elif planted == 'voice':
        u.id[a], u.id[b] = '03-01-01-01-01-01-07', 'mine/03-01-03-01-02-01-07'
    elif planted == 'session':
        u.id[a], u.id[b] = 'Ses01F_impro09_F000', 'Ses01F_impro09_M001'


@pytest.mark.parametrize('planted', ['copy', 'voice', 'session'])
@pytest.mark.parametrize('name', ['ravdess/emobox6', 'emodb/loso10', 'leave_one_corpus_out'])
def test_a_planted_leak_is_refused(name, planted, tmp_path):
    u = published_corpora.under(name)
    last = len(u.id) - 1
    class_of_first = np.flatnonzero(u.emotion == u.emotion[last])[0]
    plant(u, planted, types.SimpleNamespace(choice=lambda *_: (class_of_first, last)))
    with pytest.raises(InputError, match='would leak'):
        protocols.make_folds(u, knobs(name, tmp_path))
