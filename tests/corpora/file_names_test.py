"""Published names are read as their makers explain them, and nothing else is taken for one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_jax.corpora import file_names
from ser_jax.emotions import EMOTIONS

SAID = {
    '03-01-06-01-02-01-12': ('ravdess', 'ravdess_12', 'female', 'fearful', '06'),
    '03-02-04-02-01-02-23': ('ravdess', 'ravdess_23', 'male', 'sad', '04'),
    '1001_DFA_ANG_XX': ('cremad', 'cremad_1001', 'male', 'angry', 'ANG'),
    '1091_IEO_SAD_HI': ('cremad', 'cremad_1091', 'female', 'sad', 'SAD'),
    '1040_ITH_SAD_X': ('cremad', 'cremad_1040', 'male', 'sad', 'SAD'),
    'OAF_back_angry': ('tess', 'tess_oaf', 'female', 'angry', 'angry'),
    'YAF_youth_ps': ('tess', 'tess_yaf', 'female', 'surprised', 'ps'),
    'OA_bite_neutral': (
        'tess',
        'tess_oaf',
        'female',
        'neutral',
        'neutral',
    ),  # as published, its F is missing
    'DC_a01': ('savee', 'savee_dc', 'male', 'angry', 'a'),
    'JK/sa15': ('savee', 'savee_jk', 'male', 'sad', 'sa'),
    'DC_a01 - Copy': ('savee', 'savee_dc', 'male', 'angry', 'a'),
    'jk/n30 (2)': ('savee', 'savee_jk', 'male', 'neutral', 'n'),
    'su03': ('savee', '', 'male', 'surprised', 'su'),  # whose it is, its folder would tell
    '03a01Fa': ('emodb', 'emodb_03', 'male', 'happy', 'F'),
    '16b10Lb': ('emodb', 'emodb_16', 'female', 'boredom', 'L'),
}


@pytest.mark.parametrize('name', SAID)
def test_names_are_read_as_published(name):
    assert file_names.parse(name)[:5] == SAID[name]


@pytest.mark.parametrize(
    'name',
    ['03-01-09-01-01-01-01', '03-01-01-01-01-01-25', '01-01-06-01-02-01-12', '1092_DFA_ANG_XX',
     '1001_DFA_SUR_XX',
     '1001_DFB_ANG_XX', '03-02-07-01-01-01-01', '03-01-01-02-01-01-01', 'OAF_back_calm', 'KLM_a01',
     'DC_a16', 'a31', 'n31',
     'happy', '02a01Fa', '03a01Xa', '03a03Wa', '03b04Wa', '03-01-06-01-02-01-1\u0662', ''],
)  # fmt: skip
def test_what_only_looks_alike_is_no_name(name):
    assert file_names.parse(name) is None


@given(st.text(string.ascii_letters + string.digits + '-_/', max_size=24))
def test_reading_never_fails(name):
    file_names.parse(name)


@pytest.mark.parametrize('corpus', ['ravdess', 'cremad', 'tess', 'savee', 'emodb'])
@given(st.data())
def test_whatever_fits_a_pattern_is_read_in_our_words(corpus, data):
    name = data.draw(st.from_regex(getattr(file_names, corpus.upper()), fullmatch=True))
    named = file_names.parse(name)
    assert named.corpus == corpus and named.emotion in EMOTIONS and named.sex in ('female', 'male')
    assert named.speaker.isascii() and (named.text or corpus == 'savee')


def test_the_facts_are_as_many_as_published():
    assert len(file_names.CREMAD_WOMEN) == 43 and len(file_names.CREMAD_SENTENCES) == 12
    assert (
        len(file_names.EMODB_SPEAKERS) == 10
        and len(file_names.EMODB_TEXTS) == 10
        and len(file_names.EMODB_MEN) == 5
    )
    assert [
        len(x)
        for x in (file_names.RAVDESS_EMOTIONS, file_names.CREMAD_EMOTIONS, file_names.TESS_EMOTIONS)
    ] == [8, 6, 7]
