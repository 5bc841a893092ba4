"""Counters and histograms of a server in the text format of Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Metrics of one server; none of them holds names, texts or sounds of a request."""

    def __init__(self):
        registry = CollectorRegistry()
        self._registry = registry
        ProcessCollector(registry=registry)
        self.requests = Counter(
            'ser_jax_requests', 'Requests', ('route', 'method', 'status'), registry=registry
        )
        self.seconds = Histogram(
            'ser_jax_request_seconds', 'Time from headers to answer', ('route',),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.in_work = Gauge('ser_jax_requests_in_work', 'Uploads in work', registry=registry)
        self.streams = Gauge('ser_jax_streams', 'Open streams', registry=registry)
        self.waiting = Gauge('ser_jax_waiting', 'Recordings waiting', registry=registry)
        self.restarts = Gauge(
            'ser_jax_decoder_restarts', 'Decoders that crashed or were too slow', registry=registry
        )
        self.ready = Gauge('ser_jax_ready', '1 once all buckets are compiled', registry=registry)
        self.audio = Counter('ser_jax_audio_seconds', 'Length of the recordings', registry=registry)
        self.answers = Counter(
            'ser_jax_answers', 'Answers by emotion', ('run', 'emotion'), registry=registry
        )
        self.decoding = self._times('ser_jax_decode_seconds', 'Decoding of a recording')
        self.wait = self._times('ser_jax_wait_seconds', 'Wait of the oldest request of a batch')
        self.predicting = self._times('ser_jax_predict_seconds', 'Prediction of a batch')
        self.batch_requests = self._sizes('ser_jax_batch_requests', 'Recordings of a batch')
        self.batch_windows = self._sizes('ser_jax_batch_windows', 'Windows of a batch')

    def _times(self, name: str, words: str) -> Histogram:
        return Histogram(name, words, buckets=_SECONDS, registry=self._registry)

    def _sizes(self, name: str, words: str) -> Histogram:
        return Histogram(name, words, buckets=_SIZES, registry=self._registry)

    def watch(self, waiting: Callable[[], float], restarts: Callable[[], float]) -> None:
        """Read two gauges from functions."""
        self.waiting.set_function(waiting)
        self.restarts.set_function(restarts)

    def observe_batch(self, requests: int, windows: int, wait_s: float, work_s: float) -> None:
        """Count a batch of the network."""
        self.batch_requests.observe(requests)
        self.batch_windows.observe(windows)
        self.wait.observe(wait_s)
        self.predicting.observe(work_s)

    def text(self) -> bytes:
        """Return all metrics."""
        return generate_latest(self._registry)
