"""Predictions for a running signal, in overlapping windows."""

import numpy as np

from ser_jax.audio import wav
from ser_jax.audio.clips import Clip, check_window, checked_samples, stream_resampler
from ser_jax.contract import InputError, Window
from ser_jax.inference import Predictor


class Stream:
    """Predictions for a running signal, in windows that overlap.

    Every `hop_s` the last `window_s` of the signal are one window; windows before the first full
    one are shorter.

    Args:
      predictor: the run.
      window_s: length of a window, at most one window of the predictor.
      hop_s: time between the ends of two windows.
      rate_hz: rate of the pushed samples; 0 = that of the predictor.
      latest: of several windows that one call completes, predict the last one only, so that a slow
        machine does not fall behind.

    Attributes:
      text: what was said lately, for models that read text; may be set at any time.

    Raises:
      InputError: a length or the rate is out of range.
    """

    def __init__(
        self,
        predictor: Predictor,
        window_s: float = 4.0,
        hop_s: float = 0.5,
        rate_hz: int = 0,
        latest: bool = False,
    ):
        check_window(window_s)
        if not 0.02 <= hop_s <= window_s:
            raise InputError(f'hop_s must be 0.02 to window_s={window_s:g}, got {hop_s:g}')
        self.predictor, self.rate_hz = predictor, rate_hz or predictor.rate_hz
        self.text, self._latest = '', latest
        self._window, self._hop = (round(x * predictor.rate_hz) for x in (window_s, hop_s))
        self._resample = stream_resampler(self.rate_hz, predictor.rate_hz)
        self._buffer = np.zeros(0, np.float32)  # the end of the signal
        self._received, self._next = 0, self._hop  # samples at the predictor's rate

    def push(self, samples: np.ndarray) -> list[Window]:
        """Add samples [T] or [T, channels] and return the windows that they complete.

        A window without usable sound has a `problem` instead of probabilities.

        Raises:
          InputError: the array is no sound.
        """
        return self._push(samples, False)

    def finish(self) -> list[Window]:
        """End the signal and return the windows that remain, the last one up to its end."""
        windows = self._push(np.zeros(0, np.float32), True)
        if self._received > self._next - self._hop:
            windows.append(self._predict(self._received))
            self._next = self._received + self._hop
        return windows

    def _push(self, samples: np.ndarray, last: bool) -> list[Window]:
        samples = checked_samples(Clip(samples, self.rate_hz, source='the stream'))
        samples = self._resample(wav.mono(samples) if samples.ndim > 1 else samples, last)
        self._buffer = np.concatenate([self._buffer, samples])
        self._received += len(samples)
        windows: list[Window] = []
        if self._latest and self._received >= self._next:
            self._next += (self._received - self._next) // self._hop * self._hop
        while self._received >= self._next:
            windows.append(self._predict(self._next))
            self._next += self._hop
        keep = self._window + max(0, self._received - self._next + self._hop)
        self._buffer = self._buffer[max(0, len(self._buffer) - keep) :]
        return windows

    def _predict(self, end: int) -> Window:
        """Return the window that ends at sample `end` of the signal."""
        rate_hz, start = self.predictor.rate_hz, max(0, end - self._window)
        from_end = self._received - len(self._buffer)
        times = start / rate_hz, end / rate_hz
        samples = self._buffer[start - from_end : end - from_end]
        clip = Clip(samples, rate_hz, self.text, 'the stream')
        try:
            (answer,) = self.predictor.predict([clip])
        except wav.SoundError as e:
            nothing = np.full(len(self.predictor.emotions), np.nan, np.float32)
            return Window(*times, nothing, e.kind)
        return Window(*times, answer.probabilities, voice=answer.voice)
