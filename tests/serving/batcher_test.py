"""Micro-batches: answers are those of single calls, failures stay alone, order is fair."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.contract import InputError
from ser_jax.inference import Clip, Predictor
from ser_jax.serving import batcher
from ser_jax.serving.batcher import Batcher
from tests.conftest import tone


@pytest.fixture(scope='module')
def predictor(runs) -> Predictor:
    found = Predictor.open(runs['audio'])
    found.span = batcher.span
    return found


@pytest.fixture
def batches():
    """A batcher and the batches that it has run: (requests, windows, waited, worked)."""
    seen: list[tuple] = []
    made = Batcher(4, lambda *facts: seen.append(facts))
    yield made, seen
    made.close()


def clip(seconds: float, seed: int = 0) -> Clip:
    samples = np.resize(tone(seed % 4, seed % 3, 1), max(1, round(seconds * 16000)))
    return Clip(samples, 16000, source=f'clip {seed}')


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_spans_hold_their_windows_and_are_few(longest, most):
    size = batcher.span(min(longest, most), most)
    assert min(longest, most) <= size <= most
    assert size in {most, most // 2, most // 4}


def blocked(made: Batcher) -> threading.Event:
    """Keep the thread busy until the event is set."""
    release = threading.Event()
    made.call(release.wait)
    return release


def test_waiting_requests_are_predicted_together_and_get_their_own_answers(predictor, batches):
    made, seen = batches
    clips = [clip(1.9, i) for i in range(7)]
    release = blocked(made)
    futures = [made.predict(predictor, c) for c in clips]
    assert made.waiting >= 7
    release.set()
    for one, future in zip(clips, futures, strict=True):
        (alone,) = predictor.predict([one])
        np.testing.assert_allclose(future.result(60).probabilities, alone.probabilities, atol=1e-6)
    time.sleep(0.05)
    assert [facts[:2] for facts in seen] == [(4, 4), (3, 3)]


def test_an_idle_batcher_does_not_wait_for_company(predictor, batches):
    made, seen = batches
    made.predict(predictor, clip(1.9)).result(60)
    time.sleep(0.05)
    assert seen[0][:2] == (1, 1) and seen[0][2] < 0.5


def test_an_unusable_clip_fails_alone(predictor, batches):
    made, _ = batches
    silent = Clip(np.zeros(16000, np.float32), 16000, source='silence')
    release = blocked(made)
    good, bad, other = (made.predict(predictor, c) for c in (clip(1.9), silent, clip(1.8, 1)))
    release.set()
    with pytest.raises(InputError, match='silence: silent'):
        bad.result(60)
    assert good.result(60).emotion and other.result(60).emotion


def test_cancelled_requests_are_not_computed_and_errors_do_not_end_the_thread(predictor, batches):
    made, seen = batches
    release = blocked(made)
    gone = made.predict(predictor, clip(1.9))
    assert gone.cancel()
    broken = made.call(lambda: 1 / 0)
    release.set()
    with pytest.raises(ZeroDivisionError):
        broken.result(60)
    assert not seen and made.predict(predictor, clip(1.0)).result(60).emotion


def test_a_closed_batcher_cancels_what_waits(predictor):
    made = Batcher(4)
    release = blocked(made)
    waiting = made.predict(predictor, clip(1.0))
    threading.Timer(0.2, release.set).start()
    made.close()
    assert waiting.cancelled() and made.predict(predictor, clip(1.0)).cancelled()


@settings(max_examples=10)
@given(st.lists(st.floats(0.2, 6.0), min_size=1, max_size=9))
def test_every_request_is_answered_in_whatever_mixture(predictor, lengths):
    made, windows = Batcher(4), []
    made._observe = lambda requests, count, *_: windows.append((requests, count))
    try:
        futures = [made.predict(predictor, clip(s, i)) for i, s in enumerate(lengths)]
        assert all(future.result(120).emotion for future in futures)
    finally:
        made.close()
    assert sum(requests for requests, _ in windows) == len(lengths)
    assert all(count <= 4 or requests == 1 for requests, count in windows)
