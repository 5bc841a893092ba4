"""Live prediction: windows of a running signal, smoothed, with transcripts, on a terminal."""

import concurrent.futures
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import rich.console

from ser_jax.audio import voice_activity
from ser_jax.audio.microphone import PATIENCE_S, DeviceLost, Source, arriving
from ser_jax.audio.transcription import Transcript
from ser_jax.audio.voice_activity import UNKNOWN, VoiceGate
from ser_jax.contract import InputError, Window
from ser_jax.inference import Predictor
from ser_jax.report.answers import ranked
from ser_jax.report.live_display import Display, State, display_for
from ser_jax.stream import Stream

Listener = Callable[[np.ndarray, int], Transcript]

SMOOTHING = 0.4  # weight of the newest window
FORGET_S = 3.0  # after so long without a voice, smoothing begins anew
_SPOKEN_S = 10.0  # a transcript is made of at most this much speech ...
_PAUSE_S = 0.6  # ... or at a pause of this length
_WAITING = 3  # transcripts in work or waiting
_VALID_S = 8.0  # a transcript is an input of the model for this long


class Smoother:
    """Exponential mean of the probabilities of successive windows."""

    def __init__(self):
        self._mean, self._at_s = None, -np.inf

    def update(self, window: Window) -> np.ndarray | None:
        """Return the mean after a window; None if none of the last windows is of a voice."""
        if not window.problem and window.voice != UNKNOWN:
            fresh = self._mean is None or window.end_s - self._at_s > FORGET_S
            share = 1.0 if fresh else SMOOTHING
            before = 0.0 if fresh else (1 - share) * self._mean
            self._mean, self._at_s = before + share * window.probabilities, window.end_s
        elif window.end_s - self._at_s > FORGET_S:
            self._mean = None
        return self._mean


class Captions:
    """Transcripts of what was said, made in a thread at pauses.

    Args:
      listener: (samples, rate) -> transcript.
      gate: finds pauses; without one, every 10 s are transcribed.
      rate_hz: of the pushed samples.
    """

    def __init__(self, listener: Listener, gate: VoiceGate | None, rate_hz: int):
        self._listener, self._gate, self._rate_hz = listener, gate, rate_hz
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._pending: list[concurrent.futures.Future] = []
        self._samples = np.zeros(0, np.float32)
        self._judged = 0  # samples at the end of the buffer that are not judged yet
        self._speaking = gate is None

    def push(self, samples: np.ndarray) -> None:
        """Add samples; begin a transcript at a pause."""
        step = round(_PAUSE_S * self._rate_hz)
        for start in range(0, len(samples), step):
            self._add(samples[start : start + step], step)

    def _add(self, samples: np.ndarray, pause: int) -> None:
        """Add at most `pause` samples; look for a pause once so many are new."""
        self._samples = np.concatenate([self._samples, samples])
        self._judged += len(samples)
        if self._judged < pause:
            return
        self._judged, paused = 0, False
        if self._gate:
            kind = self._gate.judge(self._samples[-pause:], self._rate_hz).kind
            paused = self._speaking and kind == UNKNOWN
            self._speaking = self._speaking or kind != UNKNOWN
        if not self._speaking:
            self._samples = self._samples[-pause:]  # the beginning of a word that comes next
        elif paused or len(self._samples) > _SPOKEN_S * self._rate_hz:
            self._begin()

    def _begin(self) -> None:
        """Transcribe the buffer, or keep its last 30 s while others wait."""
        if len(self._pending) >= _WAITING:
            self._samples = self._samples[-30 * self._rate_hz :]
            return
        self._pending.append(self._pool.submit(self._listener, self._samples, self._rate_hz))
        self._samples, self._speaking = self._samples[:0], self._gate is None

    def ready(self) -> Transcript | None:
        """Return the next transcript that is finished."""
        if not self._pending or not self._pending[0].done():
            return None
        return self._pending.pop(0).result()

    def finish(self) -> Iterator[Transcript]:
        """Iterate over the transcripts that remain at the end."""
        while self._pending:
            yield self._pending.pop(0).result()
        if self._speaking and len(self._samples):
            yield self._listener(self._samples, self._rate_hz)
        self._pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Give up what is not finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclasses.dataclass
class Summary:
    """Account of a session."""

    seconds: float = 0.0
    busy_s: float = 0.0
    lost: int = 0
    latency_s: list[float] = dataclasses.field(default_factory=list)
    kinds: Counter = dataclasses.field(default_factory=Counter)
    total: np.ndarray | float = 0.0

    def lines(self, emotions: tuple[str, ...]) -> list[str]:
        """Return the lines that are printed at the end."""
        windows = sum(self.kinds.values())
        kinds = ', '.join(f'{n} {kind}' for kind, n in self.kinds.most_common())
        out = [f'{self.seconds:.1f} s in {windows} windows' + (f': {kinds}' if kinds else '')]
        if isinstance(self.total, np.ndarray):
            out.append(f'mean: {ranked(self.total / self.total.sum(), emotions)}')
        if self.latency_s:
            median, most = np.quantile(self.latency_s, [0.5, 0.95])
            factor = self.busy_s / max(self.seconds, 1e-9)
            out.append(
                f'latency: median {1000 * median:.0f} ms, 95 % {1000 * most:.0f} ms; real-time '
                f'factor {factor:.3f}'
            )
        if self.lost:
            out.append(f'interruptions of the source: {self.lost}')
        return out


class Session:
    """Prediction for one source.

    Args:
      predictor: the run.
      source: the signal.
      listener: makes transcripts; None = none.
      window_s: length of a window.
      hop_s: time between two windows.
      display: shows states, transcripts and notes.
    """

    def __init__(
        self,
        predictor: Predictor,
        source: Source,
        listener: Listener | None,
        window_s: float,
        hop_s: float,
        display: Display,
    ):
        self._predictor, self._source, self._display = predictor, source, display
        self._lengths = window_s, hop_s
        self._smoother, self.summary = Smoother(), Summary()
        self._captions: Captions | None = None
        if listener:
            self._captions = Captions(listener, predictor.gate, source.rate_hz)
        self._said_s = -np.inf
        self._begin()

    def _begin(self) -> None:
        """Begin a stream where the signal begins or goes on after a gap."""
        window_s, hop_s = self._lengths
        self._start_s = self.summary.seconds
        self._stream = Stream(
            self._predictor, window_s, hop_s, self._source.rate_hz, self._source.live
        )

    def run(self) -> Summary:
        """Predict until the signal ends or the user interrupts.

        Raises:
          InputError: the source has disappeared for PATIENCE_S.
        """
        problem = ''
        try:
            for samples, arrived, note in arriving(self._source):
                if note:
                    self._display.note(note)
                    self.summary.lost += 1
                    self._begin()
                    continue
                self._push(samples, arrived)
            self._show(self._stream.finish(), time.monotonic(), 0.0, np.zeros(0))
            for transcript in self._captions.finish() if self._captions else ():
                self._display.transcript(transcript)
        except KeyboardInterrupt:
            pass
        except DeviceLost as e:
            problem = f'{e}, and did not come back in {PATIENCE_S:g} s; connect it and start again'
        finally:
            if self._captions:
                self._captions.close()
        if problem:
            raise InputError(problem)
        return self.summary

    def _push(self, samples: np.ndarray, arrived: float) -> None:
        begin = time.monotonic()
        self.summary.seconds += len(samples) / self._source.rate_hz
        windows = self._stream.push(samples)
        if self._captions:
            self._captions.push(samples)
            if transcript := self._captions.ready():
                self._display.transcript(transcript)
                if transcript.text:
                    self._stream.text, self._said_s = transcript.text, self.summary.seconds
        if self.summary.seconds - self._said_s > _VALID_S:
            self._stream.text = ''
        self.summary.busy_s += time.monotonic() - begin
        self._show(windows, time.monotonic(), arrived, samples)

    def _show(self, windows: list[Window], now: float, arrived: float, samples: np.ndarray) -> None:
        """Count windows and show the state after each."""
        summary = self.summary
        for window in windows:
            times = window.start_s + self._start_s, window.end_s + self._start_s
            window = window._replace(start_s=times[0], end_s=times[1])
            smoothed = self._smoother.update(window)
            latency_s = now - arrived if arrived else 0.0
            if arrived:
                summary.latency_s.append(latency_s)
            summary.kinds[window.problem or _KINDS[window.voice]] += 1
            if not window.problem and window.voice != UNKNOWN:
                summary.total = summary.total + window.probabilities
            peak = float(np.abs(samples).max(initial=0))
            factor = summary.busy_s / max(summary.seconds, 1e-9)
            self._display.state(State(window, smoothed, latency_s, factor, peak))


_KINDS = {
    '': 'predicted',
    voice_activity.VOICE: 'voice',
    voice_activity.UNCERTAIN: 'uncertain',
    UNKNOWN: 'no voice',
}


def run(
    predictor: Predictor,
    source: Source,
    listener: Listener | None = None,
    window_s: float = 4.0,
    hop_s: float = 0.5,
    console: rich.console.Console | None = None,
) -> Summary:
    """Show predictions for a source until it ends or Ctrl-C; print and return the summary.

    Raises:
      InputError: the source has disappeared, or a length is out of range.
    """
    console = console or rich.console.Console(highlight=False, soft_wrap=True)
    with display_for(console, predictor.emotions) as display:
        session = Session(predictor, source, listener, window_s, hop_s, display)
        display.note('preparing')
        predictor.warm_up([x * hop_s for x in range(1, int(window_s / hop_s) + 1)])
        display.note('ready; Ctrl-C ends')
        try:
            session.run()
        finally:
            display.close()
            for line in session.summary.lines(predictor.emotions):
                console.print(line, markup=False)
    return session.summary
