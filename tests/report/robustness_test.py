"""Figures, table and sentences about conditions, on the page and on the model card."""

import numpy as np
import pyarrow as pa
import pytest

from ser_jax.report import html, model_card, robustness
from ser_jax.scoring import robustness as scoring
from ser_jax.scoring import scores
from tests.report.conftest import simulate
from tests.report.html_test import Page


def distorted(run, harm, **keywords):
    """Undistorted rows, and some with conditions in which a share of the answers is `neutral`."""
    clean = simulate(run, **keywords)
    parts, rng = [clean], np.random.default_rng(0)
    for number, name in enumerate(('white_20db', 'white_0db', 'babble_0db', 'telephone')):
        share = harm * (number > 0)
        answer = clean['predicted'].to_pylist()
        answer = ['neutral' if rng.random() < share else a for a in answer]
        part = clean.set_column(clean.column_names.index('predicted'), 'predicted', [answer])
        parts.append(part.append_column('condition', [[name] * len(answer)]))
    return pa.concat_tables(parts, promote_options='default')


CONFIGS = {
    'runs/plain': {'data': {'variants': ()}, 'augment': {'noise_snr_db': (), 'reverb_s': ()}},
    'runs/noisy': {
        'data': {'variants': ('speed_92', 'white_10db')},
        'augment': {'noise_snr_db': (0.0, 20.0), 'reverb_s': (0.2, 0.6)},
    },
}


@pytest.fixture(scope='module')
def table():
    return pa.concat_tables(
        [
            distorted('runs/plain', 0.9),
            distorted('runs/noisy', 0.0),
            distorted('runs/tones', 0.0, corpus='synthetic', modalities=('fused', 'audio', 'text')),
        ],
        promote_options='default',
    )


@pytest.fixture(scope='module')
def effects(table):
    return scoring.effects(table, draws=200)


def test_the_page_has_a_section_with_curves_bars_table_and_sentences(table, effects, tmp_path):
    sections = robustness.variables(effects, CONFIGS)
    html.write(tmp_path / 'report.html', [], table, robust=sections)
    page = Page((tmp_path / 'report.html').read_text())
    assert 'robustness' in page.ids and len(page.ids) == len(set(page.ids)) and not page.loads
    assert '#robustness' in page.links
    assert 'plain (conv_bilstm) loses' in page.text and 'white noise at 0 dB' in page.text
    noisy = 'trained with white_10db, noise 0 … 20 dB, reverberation 0.2 … 0.6 s'
    assert noisy in page.text.replace(' ,', ',').replace('_ ', '_')
    assert f'noisy (conv_bilstm), {noisy} is not shown to lose' in page.text
    for e in effects:
        assert e.condition in page.text and f'{e.uar.value:.3f}' in page.text
    assert page.text.count('not shown to lose') >= 2
    assert [s['corpus'] for s in sections] == ['ravdess', 'synthetic']
    assert all(s['curves'] and s['bars'] for s in sections)
    assert '(synthetic) is not shown' in sections[1]['sentences'][0]


def test_a_page_without_conditions_has_no_section(table, tmp_path):
    html.write(tmp_path / 'report.html', [], table)
    assert 'obustness' not in Page((tmp_path / 'report.html').read_text()).text


def test_curves_have_a_panel_per_noise_and_a_line_per_run_through_its_scores(effects):
    of_corpus = [e for e in effects if e.corpus == 'ravdess']
    labels = {('runs/plain', 'speakers_k'): 'plain', ('runs/noisy', 'speakers_k'): 'noisy'}
    figure = robustness.curves(of_corpus, labels)
    white, babble = figure.axes
    assert (white.get_title(loc='left'), babble.get_title(loc='left')) == ('white', 'babble')
    assert [t.get_text() for t in white.get_xticklabels()] == ['0', '20', 'none']
    assert [line.get_label() for line in white.lines] == ['plain', 'noisy']
    at = {e.condition: e for e in of_corpus if e.run == 'runs/plain'}
    expected = [at['white_0db'].uar.value, at['white_20db'].uar.value, at['white_0db'].clean.value]
    np.testing.assert_allclose(white.lines[0].get_ydata(), expected)
    np.testing.assert_array_equal(white.lines[0].get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(babble.lines[0].get_xdata(), [0, 2])
    bars = robustness.bars(of_corpus, labels).axes[0]
    assert [t.get_text() for t in bars.get_yticklabels()] == ['a telephone band']
    widths = [e.uar.value for e in of_corpus if e.condition == 'telephone']
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], widths)
    noises = [e for e in of_corpus if e.condition != 'telephone']
    assert robustness.bars(noises, labels) is None
    assert robustness.curves([e for e in of_corpus if e not in noises], labels) is None


def test_a_corpus_has_one_answering_modality_in_figures_and_all_in_the_table(effects):
    section = robustness.variables(effects)[1]
    assert {row['e'].modality for row in section['rows']} == {'fused', 'audio'}
    assert len(section['sentences']) == 1


def test_the_card_has_a_line_per_condition(table, effects, tmp_path):
    own = [e for e in effects if e.run == 'runs/plain']
    lines = robustness.card_lines(own)
    assert len(lines) == 5
    assert 'ravdess, speakers_k, audio, 96 utterances of 6 speakers: it loses' in lines[0]
    assert lines[1].startswith('Is not shown to lose with white noise at 20 dB')
    assert lines[2].startswith('Loses ') and '% of the answers change.' in lines[2]
    clean = scoring.tables.selected(table)
    found = [s for s in scores.scores_by(clean, draws=50) if s.run == 'runs/plain']
    config = {'model': {'name': 'conv_bilstm'}, 'data': {}}
    config['members'] = {'protocol': 'speakers_k', 'seeds': (0,)}
    for robust in ((), lines):
        model_card.write(tmp_path / 'card.md', config, found, {}, [], robust=robust)
        text = (tmp_path / 'card.md').read_text()
        assert ('## Robustness' in text) == bool(robust)
        assert all(f'- {line}' in text for line in robust)
    assert robustness.card_lines([]) == [] and robustness.variables([]) == []
    assert robustness.sentences(own)[0].startswith('plain (conv_bilstm) on ravdess loses ')
