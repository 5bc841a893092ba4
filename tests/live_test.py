"""Live prediction: windows, smoothing, transcripts at pauses, lost devices, what is displayed."""

import io
import time

import numpy as np
import pytest
import rich.console
from hypothesis import given
from hypothesis import strategies as st

from ser_jax import live
from ser_jax.audio import microphone
from ser_jax.audio.microphone import DeviceLost, FileSource
from ser_jax.audio.transcription import Transcript
from ser_jax.audio.voice_activity import VoiceGate
from ser_jax.contract import InputError, Window
from ser_jax.report.live_display import Panel, State
from ser_jax.stream import Stream
from tests.audio.transcription_test import Loud
from tests.predict_test import Constant

RATE = 16_000


def signal(*parts: tuple[float, float]) -> np.ndarray:
    """(level, seconds) after one another."""
    pieces = [level * np.sin(0.3 * np.arange(round(s * RATE))) for level, s in parts]
    return np.concatenate(pieces).astype(np.float32)


def gated(probabilities=(0.7, 0.3)) -> Constant:
    predictor = Constant(probabilities)
    predictor.gate = VoiceGate(Loud())
    return predictor


def played(predictor, source, **given) -> tuple[live.Summary, list[str]]:
    """The summary and the lines of a session."""
    file = io.StringIO()
    console = rich.console.Console(file=file, soft_wrap=True)
    return live.run(predictor, source, console=console, **given), file.getvalue().splitlines()


def test_a_file_gives_a_line_for_each_window_and_a_summary():
    summary, lines = played(gated(), FileSource(signal((0.5, 3.2)), RATE, speed=0))
    windows = [line for line in lines if ' s  ' in line]
    assert [float(line.split()[0]) for line in windows] == [0.5, 1, 1.5, 2, 2.5, 3, 3.2]
    assert all('sad 70 %' in line for line in windows)  # with two classes, the likelier one
    assert summary.kinds == {'voice': 7} and len(summary.latency_s) == 6
    assert lines[-3:-1] == ['3.2 s in 7 windows: 7 voice', 'mean: sad 70 %']
    assert lines[-1].startswith('latency: median ') and 'real-time factor 0.' in lines[-1]


def test_windows_without_a_voice_have_no_answer():
    sound = signal((0, 4), (0.5, 1), (0, 6))
    summary, lines = played(gated(), FileSource(sound, RATE, 0), window_s=1.0)
    by_end = {float(li.split()[0]): li for li in lines if ' s  ' in li}
    assert 'silent' in by_end[2.0] and 'sad 70 %' in by_end[5.0] and 'silent' in by_end[9.0]
    assert summary.kinds['voice'] >= 2 and summary.kinds['silent'] >= 12


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from(['voice', 'unknown', 'uncertain']))))
def test_smoothed_probabilities_lie_between_those_of_the_windows(items):
    smoother, seen = live.Smoother(), []
    for i, (p, kind) in enumerate(items):
        window = Window(0.5 * i, 0.5 * i + 4, np.array([p, 1 - p]), voice=kind)
        mean = smoother.update(window)
        seen = [*seen, p] if kind != 'unknown' else seen
        if mean is not None:
            assert min(seen) - 1e-9 <= mean[0] <= max(seen) + 1e-9 and sum(mean) == pytest.approx(1)
        else:
            assert kind == 'unknown'


def test_smoothing_begins_anew_after_a_pause():
    smoother = live.Smoother()
    first = Window(0, 4, np.array([1.0, 0.0]), voice='voice')
    later = Window(5, 9, np.array([0.0, 1.0]), voice='voice')
    assert smoother.update(first)[0] == 1 and smoother.update(later)[0] == 0
    near = later._replace(end_s=9.5, probabilities=np.array([1.0, 0.0]))
    assert smoother.update(near)[0] == pytest.approx(live.SMOOTHING)
    for end_s in (10.0, 12.0):
        assert smoother.update(near._replace(end_s=end_s, voice='unknown')) is not None
    assert smoother.update(near._replace(end_s=13.0, voice='unknown')) is None


class Recorder:
    """Stands in for an engine of speech to text: the text is the length of the speech."""

    def __init__(self):
        self.heard = []

    def __call__(self, samples, rate_hz):
        self.heard.append((np.abs(samples) > 0.1).sum() / rate_hz)
        return Transcript(f'{len(self.heard)} parts', 'scripted', 'en', 0.9)


def test_speech_is_transcribed_at_pauses_once_and_whole():
    listener, sound = Recorder(), signal((0, 2), (0.5, 2), (0, 2), (0.5, 3), (0, 2), (0.5, 1))
    _, lines = played(gated(), FileSource(sound, RATE, speed=8), listener=listener)
    loud = np.mean(np.abs(np.sin(0.3 * np.arange(RATE))) * 0.5 > 0.1)
    np.testing.assert_allclose(np.array(listener.heard) / loud, [2, 3, 1], atol=0.1)
    said = [line.strip() for line in lines if 'scripted' in line]
    assert said == [f'"{i} parts" (scripted, en, 90 %)' for i in (1, 2, 3)]


def test_long_speech_and_a_session_without_a_gate_are_transcribed_in_parts():
    listener = Recorder()
    played(Constant(), FileSource(signal((0.5, 25)), RATE, speed=25), listener=listener)
    assert len(listener.heard) == 3
    loud = np.mean(np.abs(np.sin(0.3 * np.arange(RATE))) * 0.5 > 0.1)
    assert sum(listener.heard) == pytest.approx(25 * loud, abs=0.1)


def test_the_latest_transcript_is_an_input_for_a_while(monkeypatch):
    monkeypatch.setattr(live, '_VALID_S', 2.0)
    predictor, texts = gated(), []
    predict = predictor.predict
    monkeypatch.setattr(
        predictor, 'predict', lambda clips: texts.append(clips[0].text) or predict(clips)
    )
    sound = signal((0.5, 1), (0, 1.5), (0.5, 6))
    played(predictor, FileSource(sound, RATE, speed=4), listener=Recorder())
    assert '1 parts' in texts and texts[-1] == ''


class Flaky:
    """A device that gives a second, is lost, and gives another one."""

    rate_hz, live = RATE, True

    def __init__(self, stays_away=False):
        self._openings, self._stays_away = 0, stays_away

    def blocks(self):
        self._openings += 1
        if self._openings == 2 or (self._openings > 2 and self._stays_away):
            raise DeviceLost('no such microphone')
        for _ in range(10):
            time.sleep(0.01)
            yield signal((0.5, 0.1))
        if self._openings == 1:
            raise DeviceLost('the microphone has failed')


def test_a_microphone_that_disappears_is_waited_for(monkeypatch):
    monkeypatch.setattr(microphone, 'RETRY_S', 0.05)
    summary, lines = played(gated(), Flaky())
    assert 'the microphone has failed; waiting for it' in lines
    assert summary.lost == 1 and summary.seconds == pytest.approx(2)
    ends = [float(line.split()[0]) for line in lines if ' s  ' in line]
    assert (
        ends == sorted(ends) and ends[-1] == 2.0 and lines[-1] == 'interruptions of the source: 1'
    )


def test_a_microphone_that_stays_away_ends_in_one_line_after_the_summary(monkeypatch, capsys):
    monkeypatch.setattr(microphone, 'RETRY_S', 0.01)
    monkeypatch.setattr(microphone, 'PATIENCE_S', 0.2)
    file = io.StringIO()
    with pytest.raises(InputError, match=r'did not come back in .* s; connect it'):
        live.run(gated(), Flaky(True), console=rich.console.Console(file=file))
    assert '1.0 s in 2 windows' in file.getvalue()


def test_a_slow_machine_drops_windows_rather_than_falling_behind():
    class Slow(Constant):
        def predict(self, clips):
            time.sleep(0.1)
            return super().predict(clips)

        def warm_up(self, *lengths):
            pass

    summary, lines = played(Slow(), FileSource(signal((0.5, 10)), RATE, speed=10))
    windows = sum(summary.kinds.values())
    assert windows < 18 and max(summary.latency_s) < 1.2  # all 20 would take 2 s
    assert ' 10.0 s  ' in next(line for line in reversed(lines) if ' s  ' in line)


def test_only_the_latest_window_of_a_push_is_predicted_where_asked():
    sound = signal((0.5, 5))
    all_windows = Stream(Constant(), 2.0, 0.5).push(sound)
    (last,) = Stream(Constant(), 2.0, 0.5, latest=True).push(sound)
    assert last[:2] == all_windows[-1][:2]


def test_a_panel_shows_bars_level_transcripts_and_numbers():
    class Live:
        def update(self, drawn, refresh):
            self.drawn = drawn

    panel = Panel(Live(), ('sad', 'happy'))
    window = Window(0, 4.5, np.array([0.2, 0.8]), voice='uncertain')
    panel.state(State(window, np.array([0.2, 0.8]), 0.034, 0.081, 0.5))
    panel.transcript(Transcript('good\x1b[2Jday', 'vosk', 'en', 0.5))
    panel.transcript(Transcript('', 'vosk', 'en', 0.0, 'no speech'))
    panel.note('ready')
    console = rich.console.Console(record=True, file=io.StringIO(), width=100)
    console.print(panel.drawn())
    text = console.export_text()
    for words in ('perhaps not a human voice; happy 80 %', '█' * 24 + '░' * 6, '-6 dB', 'ready'):
        assert words in text, text
    assert '4.5 s   latency 34 ms   real-time factor 0.081' in text
    assert r'"good\x1b[2Jday" (vosk, en, 50 %)' in text and 'no speech' not in text


def test_on_a_terminal_the_panel_is_drawn():
    file = io.StringIO()
    console = rich.console.Console(file=file, force_terminal=True, width=100)
    live.run(gated(), FileSource(signal((0.5, 1)), RATE, 0), console=console)
    assert '█' in file.getvalue() and 'real-time factor' in file.getvalue()
