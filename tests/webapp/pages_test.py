"""Every page in Streamlit's own test harness, with a real run and a real store."""

import io
import pathlib

import numpy as np
import pytest
import soundfile

pytest.importorskip('streamlit')

from streamlit.testing.v1 import AppTest

from ser_jax.webapp import about_page, place, session, sounds, start, texts
from ser_jax.webapp.store import Lesson, Store, Verdict, now
from tests.conftest import EMOTIONS, tone

PAGES = ('predict', 'teach', 'history', 'suggestions', 'about')
RATE = 16000


@pytest.fixture
def store(run, tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv(place.RUN, str(run))
    monkeypatch.setenv(place.DATA, str(tmp_path / 'data'))
    # The gate would refuse tones, which are no voice; its answer has a test of its own.
    monkeypatch.setattr('ser_jax.audio.voice_activity.open_gate', _no_gate)
    return Store(tmp_path / 'data')


def _no_gate(choice, log):
    return None


def opened(name: str) -> AppTest:
    at = AppTest.from_file(str(pathlib.Path(start.__file__)), default_timeout=120).run()
    return at.switch_page(f'{name}_page.py').run()


def sound(emotion: int = 0, take: int = 0, seconds: float = 6.0) -> bytes:
    random = np.random.default_rng(10 * take + emotion)
    samples = np.resize(tone(20, emotion, take), round(seconds * RATE))
    loud = np.repeat(random.uniform(0.02, 1, 12), -(-len(samples) // 12))[: len(samples)]
    return sounds.as_wav((samples * loud).astype(np.float32))


def shown(at: AppTest) -> str:
    assert not at.exception, at.exception
    parts = [*at.title, *at.header, *at.subheader, *at.markdown, *at.caption, *at.info]
    parts += [*at.error, *at.success, *at.warning]
    return '\n'.join(str(p.value) for p in parts)


@pytest.mark.parametrize('name', PAGES)
def test_an_empty_page_shows_no_error(store, name):
    at = opened(name)
    assert at.title and not at.error and shown(at)


@pytest.mark.parametrize('name', PAGES)
def test_a_synthetic_model_says_so_on_every_page(store, name, monkeypatch):
    monkeypatch.setattr(session, '_is_synthetic', lambda trained: True)
    (warning,) = opened(name).warning
    assert 'make best' in warning.value and '\n' not in warning.value


def test_a_recording_gets_a_verdict_that_is_saved_without_audio(store):
    at = opened('predict')
    at.audio_input[0].set_value(('a.wav', sound(), 'audio/wav')).run()
    text = shown(at)
    assert 'Piece by piece' in text and '%' in text and not at.error
    (saved,) = store.verdicts()
    assert saved.audio is None and saved.emotion in EMOTIONS and saved.seconds == 6.0
    at.run()
    assert len(store.verdicts()) == 1  # once, however often the page is drawn


def test_audio_and_history_are_kept_by_consent_alone(store):
    store.set(session.KEEP_AUDIO, session.YES)
    at = opened('predict')
    at.audio_input[0].set_value(('a.wav', sound(), 'audio/wav')).run()
    assert store.verdicts()[0].audio
    at = opened('about')
    at.toggle[1].set_value(False).run()
    assert store.verdicts()[0].audio is None
    at.toggle[0].set_value(False).run()
    at = opened('predict')
    at.audio_input[0].set_value(('b.wav', sound(1), 'audio/wav')).run()
    assert len(store.verdicts()) == 1 and not at.exception


@pytest.mark.parametrize('content', [b'', b'no sound at all', sound(seconds=0.2)])
def test_junk_is_refused_in_words(store, content):
    at = opened('predict')
    at.audio_input[0].set_value(('a.wav', content, 'audio/wav')).run()
    assert not at.exception and store.verdicts() == []
    if content:
        assert at.error


def test_silence_is_refused_in_words(store):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(RATE * 5), RATE, format='WAV')
    at = opened('predict')
    at.audio_input[0].set_value(('a.wav', buffer.getvalue(), 'audio/wav')).run()
    assert 'microphone' in at.error[0].value


def lessons(takes) -> list[Lesson]:
    found = []
    for e, emotion in enumerate(EMOTIONS):
        for take in takes:
            found.append(Lesson(0, now(), emotion, 'x', 6.0, sound(e, take)))
    return found


def test_a_lesson_is_recorded_kept_and_deleted(store):
    at = opened('teach')
    at.selectbox[0].select(EMOTIONS[1]).run()
    at.audio_input[0].set_value(('a.wav', sound(1), 'audio/wav')).run()
    next(b for b in at.button if b.label == 'Keep').click().run()
    (kept,) = store.lessons()
    assert kept.emotion == EMOTIONS[1] and not at.exception
    next(b for b in at.button if b.label == f'Delete lesson {kept.id}').click().run()
    assert store.lessons() == [] and not at.exception


def test_personalizing_makes_a_version_to_switch_to_and_from(store):
    store.add_lessons(lessons(range(3)))
    at = opened('teach')
    next(b for b in at.button if b.label == 'Personalize').click().run()
    text = shown(at)
    assert 'before' in text and 'after' in text and not at.error
    if versions := place.versions(store.voices):  # kept only if better
        assert session.active(store) == versions[-1]
        at = opened('predict')
        at.button_group[0].set_value(session.GENERAL).run()
        assert session.active(store) == session.GENERAL and not at.exception


def test_too_few_lessons_are_answered_in_words(store):
    store.add_lessons(lessons([0])[:1])
    at = opened('teach')
    next(b for b in at.button if b.label == 'Personalize').click().run()
    assert 'too few' in at.error[0].value and not at.exception


def test_history_shows_exports_and_deletes(store):
    for day in (1, 2):
        made = f'2026-01-0{day}T10:00:00+00:00'
        store.add_verdict(
            Verdict(0, made, 'recorded', 5.0, 'sad', 0.7, {'happy': 0.3, 'sad': 0.7}, 'general')
        )
    at = opened('history')
    assert 'Trend' in shown(at) and '2 answers' in shown(at)
    at.text_input[0].set_value('after a long day').run()
    assert store.verdicts()[0].note == 'after a long day'
    next(b for b in at.button if b.label == 'Delete').click().run()
    assert len(store.verdicts()) == 1 and not at.exception


def test_suggestions_have_sources_and_help(store):
    text = shown(opened('suggestions'))
    assert text.count('Source: [') == 6 and texts.HELP in text


def test_deleting_my_data_deletes_it(store):
    store.add_lessons(lessons([0]))
    at = opened('about')
    next(b for b in at.button if b.label == 'Yes, delete everything').click().run()
    assert about_page.DELETED in shown(at)
    assert store.lessons() == [] and store.verdicts() == []


def test_a_run_that_is_gone_is_named_in_words(store, monkeypatch, tmp_path):
    monkeypatch.setenv(place.RUN, str(tmp_path / 'gone'))
    at = opened('predict')
    assert 'gone' in at.error[0].value and not at.exception
