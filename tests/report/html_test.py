"""The report is one well-formed page, loads nothing, shows all notes and escapes external names."""

import dataclasses
import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from ser_jax.report import html, markdown
from ser_jax.scoring import scores

_VOID = {'meta', 'link', 'img', 'br', 'hr', 'input', 'wbr', 'path', 'use', 'image', 'rect'}


class Page(HTMLParser):
    """Tags, ids, loads and visible words of a page; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.loads, self.words = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith('on')
            if name == 'id':
                self.ids.append(value)
            if name in ('src', 'href', 'xlink:href', 'data', 'srcset', 'action'):
                (self.links if (value or '').startswith('#') else self.loads).append(value)

    def handle_endtag(self, tag):
        if tag not in _VOID:
            assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if 'style' not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r'\s+', ' ', ' '.join(self.words))


@pytest.fixture(scope='module')
def source(tmp_path_factory, predictions, scored, records):
    path = tmp_path_factory.mktemp('report') / 'report.html'
    histories = {run: records for run in ('runs/honest', 'runs/quickstart')}
    environment, configs = (
        {'jax': '0.10.2', 'machine': {'cores': 2}},
        {'runs/honest': {'a': {'b': 7}}},
    )
    html.write(path, scored, predictions, histories, environment, configs)
    return path.read_text(encoding='utf-8')


def test_the_page_is_well_formed_and_loads_nothing(source):
    page = Page(source)
    assert 'script' not in page.tags and 'link' not in page.tags and 'iframe' not in page.tags
    assert [x for x in page.loads if not x.startswith('data:image/png')] == []
    assert '@import' not in source and 'url(http' not in source
    assert len(page.ids) == len(set(page.ids))
    assert {x[1:] for x in page.links} <= set(page.ids)
    assert len(source) < 1_000_000


def test_every_section_is_there(source):
    page = Page(source)
    for words in (
        'How to read this page',
        'Speaker-independent',
        'Learning curves',
        'speakers, audio',
        'calibration, audio',
        'Confident mistakes',
        'machine.cores',
        'a.b',
        'intervals by speaker',
        'Fused minus text',
    ):
        assert words in page.text, words
    # Forest, confusion, calibration, errors by answered share, speakers, curves.
    assert page.tags.count('svg') == 1 + 5 + 5 + 5 + 3 + 2
    assert page.tags.count('li') == 3 and 'that it was not trained on' in page.text


def test_every_number_has_its_note_and_protocol(source, scored):
    rows = re.findall(r'<tr>(.*?)</tr>', source, re.S)
    for s in scored:
        value = f'{s.uar.value:.3f} <span class="ci">[{s.uar.low:.3f}, {s.uar.high:.3f}]'
        headline = [
            r
            for r in rows
            if value in r and s.protocol in r and f'>{s.name}<' in r and s.corpus in r
        ]
        assert headline
        assert (
            f'<td class="n">{s.utterances}</td>' in headline[0]
            and f'<td class="n">{s.seeds}</td>' in headline[0]
        )
        for row in (r for r in rows if value in r and s.note):
            assert s.note in row
    assert '>inflated</strong>' in source and '>synthetic</strong>' in source


def test_the_mean_of_members_has_rows_of_its_own_and_leads(tmp_path, make):
    table = make('runs/a')
    single, mean = scores.with_means(table, draws=50)
    for name, write in {'r.html': html.write, 'r.md': markdown.write}.items():
        write(tmp_path / name, [single, mean], *([table] if name == 'r.html' else []))
        text = (tmp_path / name).read_text(encoding='utf-8')
        assert text.count('audio, mean of members') >= 1 and 'the mean of 4 models' in text
        for s in (single, mean):
            assert f'{s.uar.value:.3f}' in text and f'{s.calibrated.ece:.3f}' in text
    assert text.count('recognizes') == 1  # one sentence for each run
    page = Page((tmp_path / 'r.html').read_text(encoding='utf-8'))
    assert page.tags.count('svg') == 1 + 1 + 2 + 1 + 1  # confusion of the mean alone


def test_a_page_of_honest_scores_never_calls_one_inflated(tmp_path, make):
    table = make('runs/a')
    html.write(tmp_path / 'r.html', scores.scores_by(table, draws=50), table)
    text = (tmp_path / 'r.html').read_text(encoding='utf-8')
    assert 'class="note' not in text.split('<body>')[1]


def test_names_from_outside_are_escaped(tmp_path, make, records):
    evil = '<script>alert("x")</script>'
    table = make(f'runs/{evil}', config=evil)
    for column in ('id', 'speaker', 'protocol'):
        cells = [f'{evil}{v}' for v in table[column].to_pylist()]
        table = table.set_column(table.column_names.index(column), column, pa.array(cells))
    got = scores.scores_by(table, draws=50)
    html.write(
        tmp_path / 'r.html',
        got,
        table,
        {got[0].run: records},
        {evil: evil},
        {got[0].run: {evil: [evil]}},
    )
    text = (tmp_path / 'r.html').read_text(encoding='utf-8')
    assert 'script' not in Page(text).tags
    assert '<script' not in text and '&lt;script' in text


def test_nothing_scored_is_a_page_too(tmp_path, predictions):
    html.write(tmp_path / 'r.html', [], predictions.slice(0, 0))
    assert 'There are no scores yet' in Page((tmp_path / 'r.html').read_text(encoding='utf-8')).text


def test_the_most_confident_mistakes_are_those_of_every_seed(predictions, scored):
    found = html._mistakes(predictions, scored[0])
    assert 0 < len(found) <= 6
    confidences = [m['confidence'] for m in found]
    assert confidences == sorted(confidences, reverse=True)
    rows = predictions.filter(pa.compute.equal(predictions['run'], scored[0].run)).to_pylist()
    for m in found:
        predicted = {r['predicted'] for r in rows if r['id'] == m['id']}
        assert m['emotion'] not in predicted and set(m['predictions']) == predicted


def test_the_same_scores_write_the_same_page(tmp_path, make):
    table = make('runs/a')
    got = scores.scores_by(table, draws=50)
    pages = []
    for name in 'ab':
        html.write(tmp_path / name, got, table)
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_systems_are_named_by_folder_and_model(scored):
    assert html.system_name(scored[2]) == 'quickstart (fusion)'
    assert html.system_name(dataclasses.replace(scored[2], run='runs/fusion_7/')) == 'fusion_7'
