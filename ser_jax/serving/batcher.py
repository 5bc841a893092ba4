"""Micro-batches: windows of waiting requests are predicted together, in power-of-two buckets.

One thread runs the network. While it is busy, requests wait; when it is free, it takes the oldest
and those behind it that fit the same bucket. A request that finds it idle never waits. It is a
thread and not a task, so that a batcher belongs to no event loop and callers can be threads too.
"""

import collections
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from ser_jax.audio.clips import Clip
from ser_jax.contract import Answer, InputError
from ser_jax.inference import Predictor
from ser_jax.serving.limits import LARGEST_BATCH

BUCKETS = 3  # lengths of windows: 1, 1/2 and 1/4 of the longest; each is compiled for each number


def span(longest: int, most: int) -> int:
    """Return the padded length of windows: the shortest of `most`, most/2 ... that holds them."""
    size = most
    for _ in range(BUCKETS - 1):
        if size // 2 < longest:
            return size
        size //= 2
    return size


class _Job(NamedTuple):
    """Waiting call of the thread.

    Attributes:
      key: jobs of one key can run together; None for those that run alone.
      bucket: padded length of the windows as a share of the longest.
      windows: number of windows.
    """

    future: Future
    run: Callable[[list], list]
    clip: Any
    key: Any
    bucket: float
    windows: int
    since: float


class Batcher:
    """Thread that predicts for all requests of all runs.

    Args:
      max_batch: windows predicted together.
      observe: receives the requests, windows, seconds of waiting of the oldest, and seconds of work
        of every batch.
    """

    def __init__(
        self,
        max_batch: int = LARGEST_BATCH,
        observe: Callable[[int, int, float, float], None] = lambda *_: None,
    ):
        self._most, self._observe = max_batch, observe
        self._jobs: collections.deque[_Job] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name='predicting', daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of jobs that have not begun."""
        return len(self._jobs)

    def predict(self, predictor: Predictor, clip: Clip) -> Future[Answer]:
        """Return the future answer for a clip; a cancelled one is not computed."""
        seconds, longest = len(clip.samples) / clip.rate_hz, predictor.window_s
        share = min(1.0, max(seconds / longest, 2.0 ** (1 - BUCKETS)))
        bucket = 2.0 ** math.ceil(math.log2(share))
        windows = 1 if seconds <= longest else math.ceil(2 * seconds / longest) - 1
        return self._add(predictor.predict, clip, id(predictor), bucket, windows)

    def call(self, function: Callable, *args: Any) -> Future:
        """Return the future result of a function that runs alone in the thread."""

        def run(_: list) -> list:
            return [function(*args)]

        return self._add(run, None, None, 1.0, self._most)

    def close(self) -> None:
        """End the thread after the batch in work; cancel the rest."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                job.future.cancel()
            self._jobs.clear()
            self._changed.notify()
        self._thread.join()

    def _add(self, run, clip, key, bucket: float, windows: int) -> Future:
        future: Future = Future()
        with self._changed:
            if self._closed:
                future.cancel()
                return future
            self._jobs.append(_Job(future, run, clip, key, bucket, windows, time.monotonic()))
            self._changed.notify()
        return future

    def _work(self) -> None:
        while jobs := self._next():
            jobs = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if not jobs:
                continue
            began = time.monotonic()
            _run(jobs)
            windows = sum(job.windows for job in jobs)
            if jobs[0].key is not None:
                self._observe(len(jobs), windows, began - jobs[0].since, time.monotonic() - began)

    def _next(self) -> list[_Job]:
        """Wait for jobs; return the oldest and those that fit its bucket, [] at the end."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return []
                self._changed.wait()
            first = self._jobs.popleft()
            taken, room = [first], self._most - first.windows
            rest: collections.deque[_Job] = collections.deque()
            while self._jobs and room > 0 and first.key is not None:
                job = self._jobs.popleft()
                fits = job.key == first.key and job.bucket <= first.bucket and job.windows <= room
                if fits:
                    taken.append(job)
                    room -= job.windows
                else:
                    rest.append(job)
            self._jobs.extendleft(reversed(rest))
            return taken


def _run(jobs: list[_Job]) -> None:
    """Run jobs together; if their input is refused, each alone, so that one fails alone."""
    try:
        results = jobs[0].run([job.clip for job in jobs])
    except InputError as e:
        if len(jobs) == 1:
            jobs[0].future.set_exception(e)
            return
        for job in jobs:
            _run([job])
        return
    except BaseException as e:  # raised again where the result is awaited
        for job in jobs:
            job.future.set_exception(e)
        return
    for job, result in zip(jobs, results, strict=True):
        job.future.set_result(result)
