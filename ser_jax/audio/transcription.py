"""Speech to text: transcripts with their engine, language and confidence.

The engines are in `transcription_engines.py`. No speech and little confidence give an empty text
with a reason, rather than invented words.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np

from ser_jax.audio import wav
from ser_jax.audio.clips import Clip, checked_samples
from ser_jax.audio.voice_activity import UNKNOWN, VoiceGate

RATE_HZ = 16_000  # of every engine
ENGINES = ('auto', 'whisper', 'vosk', 'pocketsphinx')  # of the flag --asr
TYPED = 'typed'
NO_SPEECH, UNSURE = 'no speech', 'too uncertain'
LANGUAGE = 0.5  # probability of a detected language below which words are invented


class Segment(NamedTuple):
    """Part of a transcript."""

    start_s: float
    end_s: float
    text: str
    confidence: float  # 0 to 1; nan if the engine gives none


class EngineOutput(NamedTuple):
    """Output of an engine.

    Attributes:
      segments: in order of time.
      language: ISO 639-1 code, '' if it is not known.
      certainty: probability of the language; 1 if it was given.
    """

    segments: list[Segment]
    language: str
    certainty: float = 1.0


class Transcriber(Protocol):
    """Engine that turns speech into text.

    Attributes:
      name: for display.
      identity: name, model and settings; equal identities give equal transcripts.
      least: confidence below which a segment is dropped.
    """

    name: str
    identity: str
    least: float

    def segments(self, samples: np.ndarray, language: str) -> EngineOutput:
        """Return the text of mono samples [T] at 16 kHz; language '' = detect it if possible."""
        ...


class Transcript(NamedTuple):
    """Text of a recording.

    Attributes:
      text: '' if there is none; see `reason`.
      engine: name of the engine, or 'typed'.
      language: ISO 639-1 code, '' if it is not known.
      confidence: 0 to 1; mean over the segments by length; nan if the engine gives none.
      reason: of an empty text.
    """

    text: str
    engine: str
    language: str = ''
    confidence: float = 1.0
    reason: str = ''

    def described(self) -> str:
        """Return the text with its engine and language, or the reason for none."""
        if not self.text:
            return f'no transcript ({self.reason or "empty"})'
        if self.engine == TYPED:
            return f'"{self.text}" (typed)'
        facts = [self.engine, self.language]
        if not math.isnan(self.confidence):
            facts.append(f'{100 * self.confidence:.0f} %')
        return f'"{self.text}" ({", ".join(filter(None, facts))})'


def typed(text: str) -> Transcript:
    """Return the transcript that a user has typed."""
    text = ' '.join(text.split())
    return Transcript(text, TYPED, reason='' if text else 'empty')


def transcribe(
    engine: Transcriber,
    samples: np.ndarray,
    rate_hz: int,
    gate: VoiceGate | None = None,
    language: str = '',
) -> Transcript:
    """Return the transcript of samples [T] or [T, channels], floats in [-1, 1] or int16.

    Args:
      engine: the engine.
      samples: the recording.
      rate_hz: its rate.
      gate: leaves out segments without speech, which engines fill with invented words.
      language: ISO 639-1 code; '' = detect it if the engine can.

    Raises:
      InputError: the array is no sound, or the rate is out of range.
    """
    samples = checked_samples(Clip(samples, rate_hz))
    nothing = Transcript('', engine.name, language, 0.0, NO_SPEECH)
    if wav.defect(samples):
        return nothing
    voice = gate.judge(samples, rate_hz) if gate else None
    if voice and voice.kind == UNKNOWN:
        return nothing
    output = engine.segments(wav.prepare(samples, rate_hz, RATE_HZ), language)
    segments = [s for s in output.segments if s.text.strip()]
    if voice:
        segments = [s for s in segments if _overlaps(s, voice.spans)]
    if not segments:
        return nothing._replace(language=output.language)
    sure = [s for s in segments if not s.confidence < engine.least]  # nan passes
    if not sure or output.certainty < LANGUAGE:
        return nothing._replace(language=output.language, reason=UNSURE)
    text = ' '.join(' '.join(s.text for s in sure).split())
    length = [max(s.end_s - s.start_s, 0.01) for s in sure]
    confidence = float(np.average([s.confidence for s in sure], weights=length))
    return Transcript(text, engine.name, output.language, confidence)


def _overlaps(segment: Segment, spans: tuple[tuple[float, float], ...]) -> bool:
    return any(start < segment.end_s and segment.start_s < end for start, end in spans)
