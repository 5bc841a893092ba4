"""The synthetic script and voice: reproducible, balanced, disjoint, published directions."""

import collections
import hashlib
import itertools
import re
import subprocess
import sys

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_jax.audio import features, wav
from ser_jax.contract import InputError
from ser_jax.corpora import espeak, synthetic_script, synthetic_voice

SCRIPT = synthetic_script.script()
OWNERS = {
    word: e
    for e, slots in synthetic_script.LEXICON.items()
    for words in slots.values()
    for word in words
}


def words(text: str) -> list[str]:
    return re.findall('[a-z]+', text.lower())


def emotions_of(text: str) -> set[str]:
    return {OWNERS[w] for w in words(text) if w in OWNERS}


def test_counts_are_balanced():
    assert len(SCRIPT) == len({line.id for line in SCRIPT}) == 12 * 8 * 12
    assert set(
        collections.Counter((line.speaker.id, line.emotion) for line in SCRIPT).values()
    ) == {12}
    assert collections.Counter(s.sex for s in synthetic_script.SPEAKERS) == {'female': 6, 'male': 6}
    assert all(s.id[0] == s.sex[0] for s in synthetic_script.SPEAKERS)
    assert len({s.voice for s in synthetic_script.SPEAKERS}) == len(synthetic_script.SPEAKERS)


def test_a_seed_names_one_script_and_part_of_it_is_the_same():
    assert synthetic_script.script() == SCRIPT
    few = {line.id for line in synthetic_script.script(sentences=3)}
    assert synthetic_script.script(sentences=3) == [line for line in SCRIPT if line.id in few]
    one = synthetic_script.SPEAKERS[7]
    assert synthetic_script.script(speakers=[one]) == [
        line for line in SCRIPT if line.speaker == one
    ]
    other = synthetic_script.script(seed=1)
    assert {line.text for line in other} != {line.text for line in SCRIPT}
    assert all(a.prosody != b.prosody for a, b in zip(SCRIPT, other, strict=True))


@settings(max_examples=8)
@given(st.integers(0, 2**32), st.integers(1, 14))
def test_no_sentence_is_shared(seed, sentences):
    speakers_of = collections.defaultdict(set)
    lines = synthetic_script.script(seed, sentences)
    # The corpus of another seed may be in use beside it: its speakers keep to the same sentences.
    for line in lines + SCRIPT:
        speakers_of[line.text].add(line.speaker.id)
    assert all(len(s) == 1 for s in speakers_of.values())
    assert len({line.text for line in lines}) == len(lines)


def test_words_match_are_neutral_or_contradict():
    conditions = collections.defaultdict(collections.Counter)
    contradicting = collections.Counter()
    for line in SCRIPT:
        conditions[line.speaker.id, line.emotion][line.condition] += 1
        found = emotions_of(line.text)
        if line.condition == 'match':
            assert found == {line.emotion}
        elif line.condition == 'neutral':
            assert not found
        else:
            assert len(found) == 1 and line.emotion not in found
            contradicting[found.pop()] += 1
    assert all(c == {'match': 7, 'neutral': 3, 'contradict': 2} for c in conditions.values())
    # Uniform over the seven other emotions: 24 expected, standard deviation 4.5.
    assert set(contradicting) == set(synthetic_script.EMOTIONS)
    assert all(abs(n - 24) < 4 * 4.5 for n in contradicting.values())


def test_lexicons_are_complete_and_disjoint():
    assert (
        set(synthetic_script.LEXICON)
        == set(synthetic_script.EMOTIONS)
        == set(synthetic_script.MEANS)
    )
    listed = [w for slots in synthetic_script.LEXICON.values() for ws in slots.values() for w in ws]
    assert len(listed) == len(set(listed))
    for slots in synthetic_script.LEXICON.values():
        assert {slot: len(ws) for slot, ws in slots.items()} == {
            'adjective': 6,
            'verb': 3,
            'noun': 3,
        }
    of_all = (c for cs in synthetic_script.CARRIERS.values() for c in cs)
    carriers = [*synthetic_script.FRAMES, *synthetic_script.PLAIN_FRAMES, *of_all]
    spoken = {w for c in carriers for w in words(re.sub(r'\{\w+\}', '', c))}
    assert spoken and not spoken & set(OWNERS)


def test_lexicon_words_recur_across_speakers():
    speakers_of = collections.defaultdict(set)
    for line in SCRIPT:
        for w in words(line.text):
            speakers_of[w].add(line.speaker.id)
    assert min(len(speakers_of[w]) for w in OWNERS) >= 3


@pytest.fixture(scope='module')
def measured():
    """Letter duration, level, F0 and brightness of 4 lines of each speaker and emotion."""
    return [(line, _measure(line)) for line in synthetic_script.script(sentences=4)]


def _measure(line):
    samples, rate_hz = synthetic_voice.perform(line)
    power = np.abs(librosa.stft(samples, n_fft=1024, hop_length=256)) ** 2
    level = 10 * np.log10(power.sum(0) + 1e-12)
    voiced = level > level.max() - 15
    f0 = librosa.yin(samples, fmin=60, fmax=500, sr=rate_hz, frame_length=1024, hop_length=256)[
        voiced
    ]
    hz = np.fft.rfftfreq(1024, 1 / rate_hz)
    high, low = power[hz > 1500].sum(), power[hz < 800].sum()
    return {
        'seconds a letter': samples.size / rate_hz / len(line.text),
        'level dB': 10 * np.log10(np.mean(samples**2)),
        'semitones': 12 * np.log2(np.median(f0) / 100),
        'brightness dB': 10 * np.log10(high / low),
        'samples': samples,
        'rate_hz': rate_hz,
    }


@pytest.mark.parametrize(
    ('measure', 'more', 'less', 'difference'),
    [
        ('seconds a letter', 'sad', 'neutral', 0.007),
        ('seconds a letter', 'neutral', 'happy', 0.003),
        ('seconds a letter', 'neutral', 'angry', 0.003),
        ('seconds a letter', 'disgust', 'neutral', 0.005),
        ('level dB', 'angry', 'neutral', 3),
        ('level dB', 'neutral', 'sad', 3),
        ('level dB', 'happy', 'calm', 3),
        ('semitones', 'fearful', 'sad', 4),
        ('semitones', 'fearful', 'neutral', 2),
        ('semitones', 'surprised', 'neutral', 2),
        ('brightness dB', 'angry', 'neutral', 2),
        ('brightness dB', 'neutral', 'sad', 2),
    ],
)
def test_prosody_has_the_published_direction(measured, measure, more, less, difference):
    def mean(emotion):
        return np.mean([m[measure] for line, m in measured if line.emotion == emotion])

    assert mean(more) - mean(less) > difference


@pytest.mark.parametrize('measure', ['seconds a letter', 'level dB', 'semitones', 'brightness dB'])
def test_no_measure_sets_an_emotion_apart(measured, measure):
    """Emotions that are neighbors on a measure overlap there."""
    of = [
        np.array([m[measure] for line, m in measured if line.emotion == e])
        for e in synthetic_script.EMOTIONS
    ]
    of.sort(key=np.mean)
    assert all(
        np.percentile(low, 90) > np.percentile(high, 10) for low, high in itertools.pairwise(of)
    )


def test_recordings_are_short_16_bit_speech(measured):
    for _, m in measured:
        samples = m['samples']
        assert samples.dtype == np.float32
        assert np.abs(samples).max() < 1
        assert np.array_equal(np.rint(samples * 32768) / 32768, samples)
        assert 0.8 < samples.size / m['rate_hz'] < 6
        assert (
            np.count_nonzero(samples) > 0.5 * samples.size
        )  # a microphone's noise fills the pauses


def test_a_performance_is_the_same_in_any_order_and_process(measured):
    lines = [line for line, _ in measured[::37]]
    expected = {line.id: hashlib.sha256(m['samples']).hexdigest() for line, m in measured[::37]}
    assert {
        line.id: hashlib.sha256(synthetic_voice.perform(line)[0]).hexdigest()
        for line in reversed(lines)
    } == expected
    script = (
        'import hashlib, sys\n'
        'from ser_jax.corpora import synthetic_script, synthetic_voice\n'
        'for line in synthetic_script.script():\n'
        '    if line.id in sys.argv:\n'
        '        samples = synthetic_voice.perform(line)[0]\n'
        '        print(line.id, hashlib.sha256(samples).hexdigest())\n'
    )
    command = [sys.executable, '-c', script, *expected]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert dict(row.split() for row in out.stdout.splitlines()) == expected


def test_without_espeak_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(espeak, '_worker', None)
    monkeypatch.setitem(sys.modules, 'espeakng_loader', None)
    with pytest.raises(InputError, match=r'ser_jax\[synthetic\]'):
        synthetic_voice.perform(SCRIPT[0])


def _unseen_speakers(inputs, pipeline) -> np.ndarray:
    """Return probabilities by classifiers trained without the speaker, one pair at a time."""
    emotion = np.array([line.emotion for line in SCRIPT])
    pair = np.array([line.speaker.id[1] for line in SCRIPT])
    out = np.zeros((len(SCRIPT), len(synthetic_script.EMOTIONS)))
    for p in np.unique(pair):
        pipeline.fit(inputs[pair != p], emotion[pair != p])
        out[pair == p] = pipeline.predict_proba(inputs[pair == p])
    return out


def _uar(probability: np.ndarray) -> float:
    emotion = [line.emotion for line in SCRIPT]
    guess = np.array(sorted(synthetic_script.EMOTIONS))[probability.argmax(1)]
    return recall_score(emotion, guess, average='macro')


def _bag_of_words():
    return _unseen_speakers(
        np.array([line.text for line in SCRIPT]),
        make_pipeline(CountVectorizer(), LogisticRegression(max_iter=500)),
    )


def test_words_alone_predict_some_emotions_of_unseen_speakers():
    assert 0.4 < _uar(_bag_of_words()) < 0.7


@pytest.mark.slow
def test_voice_alone_predicts_some_emotions_and_both_predict_more():
    samples = [wav.prepare(*synthetic_voice.perform(line)) for line in SCRIPT]
    rows = []
    for y, bands in zip(samples, features.extract(samples), strict=True):
        f0 = librosa.yin(
            y,
            fmin=60,
            fmax=500,
            sr=features.RATE_HZ,
            frame_length=1024,
            hop_length=features.LOG_MEL.hop,
        )
        loud = bands.max(1) > bands.max() - 30
        pitch = 12 * np.log2(f0[loud[: len(f0)].nonzero()] / 100)
        level = bands.mean(1)[loud]
        rows.append(
            [
                *(*bands[loud].mean(0), *bands[loud].std(0), len(bands), loud.sum()),
                *(
                    level.std(),
                    np.abs(np.diff(level)).mean(),
                    pitch.std(),
                    np.abs(np.diff(pitch)).mean(),
                ),
                *np.percentile(pitch, [10, 25, 50, 75, 90]),
            ]
        )
    voice = _unseen_speakers(
        np.array(rows), make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=500))
    )
    text = _bag_of_words()
    assert 0.4 < _uar(voice) < 0.75
    assert _uar(voice * text) > max(_uar(voice), _uar(text)) + 0.05
