"""`evaluate --explain`: the choice of answers, and the page with audio, pictures and words."""

import base64
import html.parser
import io
import re
import shutil
import sys
import types

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from ml_collections import ConfigDict

from ser_jax import evaluate, train
from ser_jax.contract import CorpusInfo
from ser_jax.explore.playback import Playback
from ser_jax.report import explanations as page
from ser_jax.report.explanations import Explanation, Section, band_centers_hz
from ser_jax.runs import explained_answers, explanations
from ser_jax.runs.trained import open_trained
from ser_jax.scoring.agreement import Agreement
from tests import forked
from tests.conftest import ROOT, ToneBuilder, small_config, tone


@pytest.fixture(scope='module')
def runs(data_dir, tmp_path_factory):
    """A folder of runs: log-mel with trimmed silence and two seeds, and samples with text."""
    root = tmp_path_factory.mktemp('runs')
    for name in ('conv_bilstm', 'fusion'):
        c = small_config(data_dir)
        c.members.only, c.train.epochs = (0,), 6
        if name == 'conv_bilstm':
            c.features.trim_db, c.members.seeds = 30.0, (0, 1)
        else:
            c.features.source, c.features.normalize = 'waveform', 'window'
        with c.unlocked():
            c.model.name = name
        train.train(c, root / name)
    return root


class Parsed(html.parser.HTMLParser):
    """Tags of a page, checked to be closed in order."""

    VOID = ('meta', 'link', 'br', 'hr', 'img', 'input', 'wbr')

    def __init__(self, text: str):
        super().__init__()
        self.open, self.seen, self.links = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.links += [v for k, v in attributes if k in ('src', 'href', 'xlink:href')]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)
        self.links += [v for k, v in attributes if k in ('src', 'href', 'xlink:href')]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_written_beside_the_report_and_needs_nothing_else(runs, tmp_path):
    flags = f'--runs={runs}/*', f'--output={tmp_path}', '--explain=2'
    done = forked.run(
        [sys.executable, '-m', 'ser_jax.evaluate', *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f'explanations: {tmp_path / "explanations.html"}' in done.stdout
    text = (tmp_path / 'explanations.html').read_text()
    parsed = Parsed(text)
    assert 'script' not in parsed.seen and parsed.seen.count('audio') == 4
    assert parsed.seen.count('svg') == 4 and parsed.seen.count('h3') == 4
    assert all(link.startswith(('#', 'data:')) for link in parsed.links)
    assert 'prefers-color-scheme: dark' in text and 'seed 0' in text
    assert re.search(r'cannot be told from those of random weights|depend on the training', text)
    assert 'the of number' not in text and '<td>number</td>' in text  # words of the tone corpus
    sounds = [link for link in parsed.links if link.startswith('data:audio')]
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sounds[0].split(',')[1])))
    assert rate_hz == 16000 and 0.3 < len(samples) / rate_hz < 1.3 and np.abs(samples).max() > 0.1


@pytest.mark.parametrize('name', ['conv_bilstm', 'fusion'])
def test_the_explained_score_is_that_of_the_evaluation(runs, name):
    trained = open_trained(runs / name)
    table = evaluate.evaluate([trained], say=lambda _: None)
    explainer = explanations.Explainer(trained, {})
    rows = [r for r in table.to_pylist() if r['modality'] == explainer.modality][::7]
    for row in rows:
        index = explainer.index[f'synthetic/{row["id"]}']
        example = explainer._example(index, row['member'])
        network = explainer._network(row['member'])
        for emotion, name in enumerate(trained.emotions):
            log_p = explainer.attribution.log_probability(network, example, emotion)
            assert np.exp(log_p) == pytest.approx(row[f'p_{name}'], abs=1e-5)


def test_without_samples_the_page_gives_the_reason(runs, data_dir, tmp_path):
    shutil.copytree(data_dir / 'synthetic' / 'log_mel', tmp_path / 'synthetic' / 'log_mel')
    trained = open_trained(runs / 'conv_bilstm')
    explainer = explanations.Explainer(trained, {}, str(tmp_path))
    samples, remark = explainer.playback(0)
    assert samples is None
    assert remark.startswith('without audio: no build of synthetic holds samples')
    assert '--config=waveform' in remark and str(tmp_path) in remark


def test_the_audio_is_what_the_model_reads(runs, data_dir):
    explainer = explanations.Explainer(open_trained(runs / 'conv_bilstm'), {})
    opened = explainer.utterances
    for index in (0, 5, 11):
        samples, remark = explainer.playback(index)
        assert not remark and abs(len(samples) / 160 - opened.length[index]) <= 1
    other = Playback(opened.select(np.arange(len(opened)) < 3), str(data_dir), 0.0)
    speaker, emotion, take = str(opened.id[1]).split('_')
    number = ('neutral', 'happy', 'sad', 'angry').index(emotion)
    whole, _ = other(1)
    np.testing.assert_allclose(whole, tone(int(speaker[1:]), number, int(take)), atol=1e-4)


def test_a_model_without_a_spectrogram_has_moments_alone(data_dir, tmp_path):
    ToneBuilder(config='mfcc_curve', data_dir=data_dir).download_and_prepare()
    c = small_config(data_dir)
    c.features.source, c.features.normalize = 'mfcc_curve', 'none'
    c.model = ConfigDict({'name': 'speech_emotion_analyzer'})
    c.members.only, c.train.epochs = (0,), 1
    train.train(c, tmp_path / 'run')
    trained, lines = open_trained(tmp_path / 'run'), []
    table = evaluate.evaluate([trained], say=lambda _: None)
    explanations.write(tmp_path, [trained], table, {}, 1, say=lines.append)
    assert any('only moments are explained' in line for line in lines)
    text = (tmp_path / explanations.PAGE).read_text()
    assert 'Only moments are explained, not frequencies' in text
    assert 'of which the model reads an excerpt' in text and Parsed(text).seen.count('svg') == 1


# The parts of a run that the choice reads.
RUN = types.SimpleNamespace(
    directory='runs/x',
    emotions=('angry', 'happy', 'sad'),
    folds={'fold0_seed0': {'test': [f'c/{i}' for i in range(60)]}, 'fold1_seed0': {'test': []}},
)


def predictions(random) -> pa.Table:
    rows = []
    for i in range(60):
        truth, p = RUN.emotions[i % 3], random.dirichlet(np.ones(3))
        for member, place in (('fold0_seed0', i), ('fold1_seed0', i)):
            row = {'run': 'runs/x', 'corpus': 'c', 'id': str(place), 'emotion': truth}
            row |= {'member': member, 'modality': 'audio', 'condition': 'clean'}
            q = p if member == 'fold0_seed0' else p[::-1]
            rows.append(row | {f'p_{e}': v for e, v in zip(RUN.emotions, q, strict=True)})
            noisy = dict(rows[-1], condition='white_10db', p_angry=5.0)
            rows.append(noisy)
    return pa.Table.from_pylist(rows)


def test_mistakes_and_successes_alternate_and_emotions_are_balanced():
    table = predictions(np.random.default_rng(3))
    chosen = explained_answers.choose(table, RUN, 12, seed=5)
    again = explained_answers.choose(table, RUN, 12, seed=5)
    assert [c.place for c in chosen] == [c.place for c in again] and len(chosen) == 12
    assert [c.truth == c.answer for c in chosen] == [False, True] * 6
    for kind in (chosen[::2], chosen[1::2]):
        assert sorted(c.truth for c in kind) == ['angry'] * 2 + ['happy'] * 2 + ['sad'] * 2
        for emotion in RUN.emotions:  # the most confident first
            p = [c.probabilities.max() for c in kind if c.truth == emotion]
            assert p == sorted(p, reverse=True)
    assert all(c.members == ['fold0_seed0'] and c.probabilities.max() <= 1 for c in chosen)
    assert len(explained_answers.choose(table, RUN, 1000)) == 60
    assert len({c.place for c in explained_answers.choose(table, RUN, 1000)}) == 60


def section(licence: str, research_only: bool, samples) -> Section:
    frames = np.random.default_rng(0).normal(size=(100, 64))
    columns, patches = np.linspace(0, 100, 11).astype(int), frames[:10, :8]
    one = Explanation(
        'c/<b>1</b>', 'c_1', 'sad', 'happy', {'sad': 0.1, 'happy': 0.9}, ['fold0_seed0'], frames,
        0.01, frames, patches, patches[:, 0], columns, [('tears', 0.4), ('the', -0.1)], samples,
        '', 1.0, Agreement(0.4, 0.4, 0.5, 0.5),
    )  # fmt: skip
    corpora = [CorpusInfo('c', 'The C corpus', licence, research_only, ('sad', 'happy'))]
    return Section(
        0, 'runs/x', 'fusion', 'speakers_k', 'log_mel', True, 'fused', corpora, [one], one.agreement
    )


def test_a_page_with_recordings_names_their_licence(tmp_path):
    samples = np.zeros(1600, np.float32)
    for licence, research_only, sound, expected in [
        ('EULA', True, samples, 'do not publish the page'),
        ('CC BY-NC-SA 4.0', False, samples, 'only if the licence allows'),
        ('', False, samples, None),
        ('EULA', True, None, None),
    ]:
        page.write(tmp_path / 'x.html', [section(licence, research_only, sound)], 0, 64)
        text = (tmp_path / 'x.html').read_text()
        assert ('This page holds recordings of The C corpus' in text) is bool(expected)
        assert not expected or expected in text
        Parsed(text)
        assert '<b>1</b>' not in text and '&lt;b&gt;' in text
        assert 'cannot be told from those of random weights' in text
        assert text.index('<td>tears</td>') < text.index('<td>the</td>')


def test_frequencies_are_those_of_the_bands():
    for name in ('log_mel', 'whisper_mel', 'whisper_mel_128', 'log_mel_40', 'vsr_spectrogram'):
        centers = band_centers_hz(name)
        assert (np.diff(centers) >= 0).all() and 20 < centers[0] < 120 and centers[-1] > 7000, name
    for name in ('waveform', 'mfcc_curve', 'log_mel_40_published', 'linear_spectrogram'):
        assert band_centers_hz(name) is None
