"""State of a server: its runs, decoders, batcher and metrics; from an upload to an answer."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ser_jax.audio.clips import Clip
from ser_jax.contract import InputError
from ser_jax.inference import Predictor
from ser_jax.serving import batcher, schemas
from ser_jax.serving.decoding import Decoded, Decoders
from ser_jax.serving.failures import Failure, of_input
from ser_jax.serving.limits import Limits
from ser_jax.serving.metrics import Metrics

# (mono samples [T], rate) -> an object with text, engine, language, confidence and reason
Transcriber = Callable[[np.ndarray, int], Any]


class Wanted(NamedTuple):
    """Options of a request."""

    run: str | None = None
    text: str = ''
    transcribe: bool = False


class Service:
    """Runs that are served, and the work on them.

    Args:
      predictors: runs by name; the first answers if a request names none.
      limits: bounds of requests.
      transcriber: recognizer of words; None = requests for a transcript are refused.
    """

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        limits: Limits,
        transcriber: Transcriber | None = None,
    ):
        if not predictors:
            raise InputError('no run to serve; give --run=DIRECTORY')
        self.predictors, self.limits = dict(predictors), limits
        self.metrics = Metrics()
        self.is_ready, self.open_streams = False, 0
        self._transcriber = transcriber
        for predictor in self.predictors.values():
            predictor.span = batcher.span

    def start(self) -> None:
        """Start the threads and processes, and compile the buckets in the background."""
        self.batcher = batcher.Batcher(self.limits.max_batch, self.metrics.observe_batch)
        self.decoders = Decoders(self.limits)
        self._texts = ThreadPoolExecutor(1, 'transcribing')
        self.metrics.watch(lambda: self.batcher.waiting, lambda: self.decoders.restarts)
        self._stopping = False
        self._warming = threading.Thread(target=self._warm_up, name='warming up', daemon=True)
        self._warming.start()

    def close(self) -> None:
        """End all threads and processes."""
        self.is_ready, self._stopping = False, True
        self.batcher.close()
        self.decoders.close()
        self._texts.shutdown(cancel_futures=True)
        self._warming.join()

    def _warm_up(self) -> None:
        """Start the decoders and compile every bucket, then become ready."""
        self.decoders.start()
        rows = [1 << i for i in range(self.limits.max_batch.bit_length())]
        for predictor in self.predictors.values():
            for seconds in _lengths(predictor.window_s):
                for n in rows:
                    if self._stopping:
                        return
                    call = self.batcher.call(predictor.warm_up, (seconds,), (n,))
                    with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                        call.exception()
                    if call.cancelled():
                        return
        self.is_ready = True
        self.metrics.ready.set(1)

    def predictor(self, name: str | None) -> tuple[str, Predictor]:
        """Return name and predictor of a run.

        Raises:
          Failure: 404, there is none of this name.
        """
        if name is None:
            return next(iter(self.predictors.items()))
        if name not in self.predictors:
            raise Failure(404, 'there is no run of this name', 'see /v1/runs', 'unknown_run')
        return name, self.predictors[name]

    async def answer(self, file: BinaryIO, name: str, wanted: Wanted) -> schemas.Prediction:
        """Return the answer for an uploaded file.

        Args:
          name: of the recording in messages.

        Raises:
          Failure: the upload is unusable, or an option does not fit the run.
        """
        run, predictor = self.predictor(wanted.run)
        self.check(wanted)
        began = time.monotonic()
        decoded = await self.decoders.decode(file, name, predictor.rate_hz)
        self.metrics.decoding.observe(time.monotonic() - began)
        self.metrics.audio.inc(decoded.seconds)
        clip = Clip(decoded.samples, predictor.rate_hz, wanted.text, name)
        try:
            answer = await asyncio.wrap_future(self.batcher.predict(predictor, clip))
        except InputError as e:
            raise self.failure(e) from e
        body = schemas.prediction(
            answer,
            run=run,
            duration_s=decoded.seconds,
            calibrated=predictor.calibrated,
            transcript=await self._transcript(decoded, predictor.rate_hz, wanted),
        )
        self.metrics.answers.labels(run, body.emotion or 'withheld').inc()
        return body

    def check(self, wanted: Wanted) -> None:
        """Raise Failure if an option does not fit the run or the server."""
        run, predictor = self.predictor(wanted.run)
        if wanted.text and not predictor.reads_text:
            remedy = 'leave it out, or name a run that reads text (/v1/runs)'
            raise Failure(422, f'a text is given, but run {run} reads none', remedy)
        if wanted.transcribe and self._transcriber is None:
            remedy = 'leave it out, or use a server with a recognizer'
            raise Failure(422, 'a transcript is requested, but this server makes none', remedy)

    def failure(self, error: InputError) -> Failure:
        """Return the failure for an InputError without the runs' paths."""
        message = str(error)
        for name, predictor in self.predictors.items():
            message = message.replace(str(predictor.trained.directory), f'run {name}')
        return of_input(InputError(message))

    async def _transcript(self, decoded: Decoded, rate_hz: int, wanted: Wanted):
        if not wanted.transcribe or self._transcriber is None:
            return None
        loop, call = asyncio.get_running_loop(), self._transcriber
        return schemas.transcript(
            await loop.run_in_executor(self._texts, call, decoded.samples, rate_hz)
        )

    def runs(self) -> schemas.Runs:
        """Return the description of all runs."""
        found = []
        for name, predictor in self.predictors.items():
            info = schemas.RunInfo(
                name=name,
                emotions=list(predictor.emotions),
                members=len(predictor.members),
                rate_hz=predictor.rate_hz,
                window_s=predictor.window_s,
                reads_text=predictor.reads_text,
                calibrated=predictor.calibrated,
                protocol=predictor.trained.protocol,
            )
            found.append(info)
        return schemas.Runs(runs=found)


def _lengths(window_s: float) -> list[float]:
    """Return lengths of recordings that reach every bucket, longest first."""
    # A little shorter than the bucket: a front end gives one frame more than hops.
    return [0.98 * window_s / (1 << i) for i in range(batcher.BUCKETS)]
