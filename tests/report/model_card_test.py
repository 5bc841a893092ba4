"""The card names licences, limits and law, and each score has its protocol, interval and note."""

import pytest

from ser_jax.config import base
from ser_jax.contract import CorpusInfo
from ser_jax.report import model_card
from ser_jax.scoring.scores import scores_by

RAVDESS = CorpusInfo(
    'ravdess', 'RAVDESS, Livingstone and Russo (2018)', 'CC BY-NC-SA 4.0', False, ()
)


def card(path, corpora, scores=(), **kwargs):
    config = base().to_dict()
    config['data']['corpora'] = [c.name for c in corpora]
    config['model'] = {'name': 'conv_bilstm', 'hidden': 64}
    model_card.write(path / 'MODEL_CARD.md', config, scores, {'jax': '0.10.2'}, corpora, **kwargs)
    return (path / 'MODEL_CARD.md').read_text(encoding='utf-8')


@pytest.mark.parametrize(
    ('licence', 'research_only'),
    [('CC BY-NC-SA 4.0', False), ('research use only', True), ('ODbL 1.0', False), ('', False)],
)
def test_each_corpus_brings_its_licence(tmp_path, licence, research_only):
    text = card(tmp_path, [CorpusInfo('mine', 'Mine, by Me (2020)', licence, research_only, ())])
    assert f'| mine | Mine, by Me (2020) | {licence or "not stated"}' in text
    assert ('Research use, do not redistribute' in text) == research_only
    assert 'synthetic speech alone' not in text
    assert ('Not for commercial use' in text) == ('NC' in licence or research_only)


def test_one_restricted_corpus_among_others_restricts_the_model(tmp_path):
    text = card(
        tmp_path,
        [RAVDESS, CorpusInfo('savee', 'SAVEE, Haq and Jackson (2010)', 'research only', True, ())],
    )
    assert '**Research use, do not redistribute.** The terms of SAVEE forbid redistribution' in text


def test_a_card_states_that_all_training_speech_is_synthetic(tmp_path):
    assert 'synthetic speech alone' in card(
        tmp_path, [CorpusInfo('synthetic', 'synthetic', 'Generated', False, ())]
    )


def test_scores_come_with_protocol_interval_and_note(tmp_path, scored):
    text = card(tmp_path, [RAVDESS], scored)
    for s in scored:
        line = next(
            x
            for x in text.splitlines()
            if f'| {s.protocol} | {s.modality} | {s.uar} |' in x and s.corpus in x
        )
        assert s.note in line and f'| {s.utterances} | {s.speakers} | {s.seeds} |' in line
    assert '**inflated**' in text and '**synthetic**' in text
    assert (
        '| ravdess | 12 | 12 | 12 | 12 | 12 | 12 | 12 | 12 |' in text
    )  # 6 speakers x 2, whatever the seeds
    assert 'fused minus audio' in text


def test_limits_law_privacy_and_use_are_always_there(tmp_path, scored):
    for scores in ((), scored[:1]):
        text = card(tmp_path, [RAVDESS], scores, emotions=('calm', 'sad'))
        for words in (
            'lie detector',
            'mental health',
            'Article 5(1)(f)',
            '2 February 2025',
            'neither stored nor sent',
            'python -m ser_jax.predict --run=',
            'jax: 0.10.2',
        ):
            assert words in text, words
    assert 'Not evaluated yet' in card(tmp_path, [RAVDESS], emotions=('calm', 'sad'))
    assert 'with the classes calm, sad' in card(tmp_path, [RAVDESS], emotions=('calm', 'sad'))


def test_names_cannot_break_the_table_or_become_html(tmp_path):
    text = card(tmp_path, [CorpusInfo('a|b<script>\nc', '', '', False, ())])
    assert '| a\\|b&lt;script> c |' in text


def test_markdown_tables_have_as_many_cells_in_every_row(tmp_path, scored):
    widths = []
    for line in card(
        tmp_path, [RAVDESS, CorpusInfo('tess', 'TESS', 'NC', True, ())], scored
    ).splitlines():
        if line.startswith('|'):
            widths.append(line.count('|'))
        elif widths:
            assert len(set(widths)) == 1 and len(widths) > 2
            widths = []


@pytest.mark.parametrize(
    ('protocol', 'notes'),
    [
        ('savee/loso4', ()),
        ('savee/loso4, partial', ('Partial',)),
        ('meld/official, speakers shared', ('Inflated',)),
        ('meld/official@2, speakers shared, partial', ('Inflated', 'Partial')),
    ],
)
def test_the_words_of_a_protocol_are_explained(tmp_path, make, protocol, notes):
    scored = scores_by(make('runs/a', protocol=protocol), draws=20)
    text = card(tmp_path, [RAVDESS], scored)
    for word in ('Inflated', 'Partial'):
        assert (f'**{word}**: ' in text) == (word in notes)
    assert all(f'{word.lower()}' in scored[0].note for word in notes)
