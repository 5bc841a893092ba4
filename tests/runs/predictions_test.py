"""Members that a complete run has to score: of each corpus, those that test recordings of it."""

import types

import pytest

from ser_jax.runs import predictions

FOLDS = {
    'fold0_seed0': {'test': ['tess/a', 'tess/b']},
    'fold1_seed0': {'test': ['tess_song/a', 'savee/a']},
    'fold2_seed0': {'test': ['savee/b']},
}


@pytest.mark.parametrize('corpus, members', [('tess', 1), ('savee', 2), ('tess_song', 1)])
def test_a_corpus_is_scored_by_the_members_that_test_it(corpus, members):
    """Under leave_one_corpus_out each corpus has one fold, and no score of it is incomplete."""
    assert predictions._planned(types.SimpleNamespace(folds=FOLDS), corpus) == members


def test_another_corpus_is_scored_by_every_member():
    assert predictions._planned(types.SimpleNamespace(folds=FOLDS), 'emodb') == 3
