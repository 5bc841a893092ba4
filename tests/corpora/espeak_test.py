"""The eSpeak NG driver: samples depend on the request alone; bad requests raise errors."""

import concurrent.futures
import hashlib
import os
import signal
import subprocess
import sys

import librosa
import numpy as np
import pytest

from ser_jax.contract import InputError
from ser_jax.corpora import espeak

# Voices with flutter, echo, roughness, breath and Klatt synthesis, which keep state in the library.
VOICES = ('en-us+f1', 'en+f2', 'en-us+m7', 'en-us+whisper', 'en-us+klatt2', 'en+croak')
REQUESTS = [
    (text, voice, {'rate': rate, 'pitch': pitch, 'range': 90 - pitch, 'word_gap': gap})
    for text in ('The driver waited by the river.', 'Who moved the blue box, and when?')
    for voice in VOICES
    for rate, pitch, gap in ((120, 30, 3), (230, 70, 0))
]


def say(request):
    text, voice, settings = request
    return espeak.speak(text, voice, **settings)[0].tobytes()


def test_order_does_not_matter():
    first = [say(r) for r in REQUESTS]
    shuffled = np.random.default_rng(0).permutation(len(REQUESTS))
    assert {int(i): say(REQUESTS[i]) for i in shuffled} == dict(enumerate(first))
    assert len(set(first)) == len(first)


def test_threads_take_turns():
    expected = [say(r) for r in REQUESTS[:8]]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(say, REQUESTS[:8] * 4)) == expected * 4


def test_another_process_and_its_forked_copies_give_the_same_samples():
    script = (
        'import hashlib, os\n'
        'from ser_jax.corpora import espeak\n'
        'def say():\n'
        '    samples, _ = espeak.speak("Who moved the blue box?", "en+f2")\n'
        '    print(hashlib.sha256(samples).hexdigest(), flush=True)\n'
        'say()\n'
        'child = os.fork()\n'
        'say()\n'
        'os._exit(0) if child == 0 else os.waitpid(child, 0)\n'
        'say()\n'
    )
    out = subprocess.run(
        [sys.executable, '-c', script], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    here = hashlib.sha256(espeak.speak('Who moved the blue box?', 'en+f2')[0]).hexdigest()
    assert out.split() == [here] * 4


def test_samples_are_speech_at_the_stated_rate():
    samples, rate_hz = espeak.speak('The driver waited by the river.', 'en-us+m3')
    assert samples.dtype == np.int16
    assert rate_hz == 22050
    assert 1 < samples.size / rate_hz < 4
    assert 0.02 < np.sqrt(np.mean((samples / 32768) ** 2)) < 0.5


@pytest.mark.parametrize('voice', ['en-us+f1', 'en+m2'])
def test_settings_move_what_they_name(voice):
    def pitch_hz(**settings):
        samples, rate_hz = espeak.speak('Anna moved away in May.', voice, **settings)
        f0 = librosa.yin(
            samples / 32768, fmin=50, fmax=500, sr=rate_hz, frame_length=2048, hop_length=256
        )
        loud = librosa.feature.rms(y=samples / 32768, frame_length=2048, hop_length=256)[0]
        return f0[loud > 0.3 * loud.max()]

    def seconds(**settings):
        samples, rate_hz = espeak.speak('Anna moved away in May.', voice, **settings)
        return samples.size / rate_hz

    def power(**settings):
        return np.mean(
            espeak.speak('Anna moved away in May.', voice, **settings)[0].astype(float) ** 2
        )

    assert seconds(rate=120) > 1.2 * seconds(rate=175) > 1.2 * seconds(rate=250)
    assert seconds(word_gap=20) > 1.2 * seconds()
    assert (
        np.median(pitch_hz(pitch=80))
        > 1.2 * np.median(pitch_hz())
        > 1.2 * np.median(pitch_hz(pitch=20))
    )
    assert np.std(np.log(pitch_hz(range=90))) > 2 * np.std(np.log(pitch_hz(range=5)))
    assert power(volume=100) > 2 * power(volume=50)


def test_the_library_stays_out_of_this_process():
    espeak.speak('Hello.')
    assert espeak._worker.pid != os.getpid()
    maps = '/proc/self/maps'
    if not os.path.exists(maps):
        pytest.skip('only Linux lists what a process has loaded')
    with open(maps) as f:
        assert 'libespeak' not in f.read()


@pytest.mark.parametrize(
    ('text', 'voice', 'settings', 'message'),
    [
        ('Hello.', 'en-us+nobody', {}, 'en-us\\+nobody.*no such voice.*en\\+m3'),
        ('Hello.', 'tlh', {}, "'tlh'.*no such voice"),
        ('Hello.', 'en-us', {'rate': 20}, 'rate=20.*rate 80 to 450'),
        ('Hello.', 'en-us', {'pitch': float('nan')}, 'pitch=nan.*pitch 0 to 99'),
        ('Hello.', 'en-us', {'tempo': 100}, 'tempo=100; expected rate 80 to 450'),
        (' \n', 'en-us', {}, 'empty text.*word'),
    ],
)
def test_bad_requests_are_named_and_the_next_one_is_answered(text, voice, settings, message):
    with pytest.raises(InputError, match=message) as e:
        espeak.speak(text, voice, **settings)
    assert '\n' not in str(e.value)
    assert espeak.speak('Hello.')[0].size


def test_no_wheel_names_the_extra(monkeypatch):
    monkeypatch.setattr(espeak, '_worker', None)
    monkeypatch.setitem(sys.modules, 'espeakng_loader', None)
    with pytest.raises(InputError, match=r"pip install 'ser_jax\[synthetic\]'"):
        espeak.speak('Hello.')


def test_a_worker_that_died_is_named_and_replaced():
    expected = say(REQUESTS[0])
    os.kill(espeak._worker.pid, signal.SIGKILL)
    with pytest.raises(InputError, match='worker ended before its reply'):
        espeak.speak('Hello.')
    assert say(REQUESTS[0]) == expected


def test_an_interrupted_call_leaves_no_samples_for_the_next(monkeypatch):
    expected = say(REQUESTS[0])

    def interrupt(request):
        espeak._worker.stdin.write(request)
        espeak._worker.stdin.flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(espeak, '_ask', interrupt)
        with pytest.raises(KeyboardInterrupt):
            espeak.speak('Something else entirely.')
    assert say(REQUESTS[0]) == expected


@pytest.mark.parametrize('end', ['', 'os._exit(0)', 'os.kill(os.getpid(), signal.SIGKILL)'])
def test_the_worker_ends_with_its_caller(end):
    script = (
        f'import os, signal\nfrom ser_jax.corpora import espeak\nespeak.speak("Hello.")\n{end}\n'
    )
    # The worker keeps stderr open while it runs, so `run` returns only after both have ended.
    out = subprocess.run([sys.executable, '-c', script], stderr=subprocess.PIPE, timeout=60)
    assert out.returncode == (-signal.SIGKILL if 'SIGKILL' in end else 0)
    assert not out.stderr
