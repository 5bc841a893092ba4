"""Bodies of the API: answers, runs, errors, messages of the stream."""

import math
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ser_jax.contract import Answer, Window

UNKNOWN = 'unknown'  # the kind of voice for which answers are withheld
_VOICE = "'voice', 'uncertain' or 'unknown' (no human voice); null without a voice gate"
_PROBABILITIES = {'angry': 0.81, 'happy': 0.12, 'neutral': 0.05, 'sad': 0.02}


class Scored(BaseModel):
    """Emotion with its probability."""

    emotion: str = Field(examples=['angry'])
    probability: float = Field(ge=0, le=1, examples=[0.81])


class WindowAnswer(BaseModel):
    """Answer for one window of a recording or a stream."""

    start_s: float = Field(ge=0, description='beginning of the window, s')
    end_s: float = Field(ge=0, description='end of the window, s')
    probabilities: dict[str, float] | None = Field(
        description='probability of each emotion; null if there is a problem or no human voice',
        examples=[_PROBABILITIES],
    )
    problem: str = Field('', description="reason for no probabilities, e.g. 'silent'")
    voice: str | None = Field(None, description=_VOICE)


class Transcript(BaseModel):
    """Recognized words."""

    text: str = Field(description='empty if there is none; see reason')
    engine: str = Field(description='name of the recognizer')
    language: str = Field('', description='ISO 639-1 code', examples=['en'])
    confidence: float | None = Field(None, description='0 to 1; null if the engine gives none')
    reason: str = Field('', description="reason for an empty text, e.g. 'no speech'")


class Prediction(BaseModel):
    """Answer for one recording."""

    run: str = Field(description='name of the run that gave the answer')
    emotion: str | None = Field(
        description='the most probable emotion; null if there is no human voice',
        examples=['angry'],
    )
    probability: float | None = Field(ge=0, le=1, examples=[0.81])
    top: list[Scored] = Field(description='the three most probable emotions')
    probabilities: dict[str, float] | None = Field(
        description='probability of each emotion', examples=[_PROBABILITIES]
    )
    spread: dict[str, float] | None = Field(
        description='standard deviation of each probability over the members of the run'
    )
    modalities: dict[str, dict[str, float]] = Field(
        description="probabilities by input: 'audio' and, with a text, 'text' and 'fused'"
    )
    windows: list[WindowAnswer] = Field(description='answers by window, in order of time')
    duration_s: float = Field(ge=0, description='length of the recording, s')
    calibrated: bool = Field(description='true if the probabilities are calibrated')
    voice: str | None = Field(None, description=_VOICE)
    transcript: Transcript | None = Field(None, description='null unless requested')


class Error(BaseModel):
    """Reason for no answer."""

    code: str = Field(examples=['unusable_input'])
    message: str = Field(examples=['the recording (.wav): silent'])
    remedy: str = Field(examples=['correct it; see /docs'])


class Problem(BaseModel):
    """Body of every response that is no success."""

    error: Error


class BatchItem(BaseModel):
    """Answer or error for one recording of a batch; the other one is null."""

    answer: Prediction | None = None
    error: Error | None = None


class Batch(BaseModel):
    """Answers in the order of the files."""

    results: list[BatchItem]


class RunInfo(BaseModel):
    """Trained run."""

    name: str
    emotions: list[str]
    members: int = Field(description='models whose mean is the answer')
    rate_hz: int = Field(description='rate that recordings are resampled to')
    window_s: float = Field(description='longest window, s')
    reads_text: bool
    calibrated: bool
    protocol: str = Field(description='division of speakers that the run was scored by')


class Runs(BaseModel):
    """Runs of this server; the first one answers if no run is named."""

    runs: list[RunInfo]


class Status(BaseModel):
    """State of the server."""

    model_config = ConfigDict(json_schema_extra={'examples': [{'status': 'ready'}]})

    status: str = Field(description="'ok' or 'ready'")


def by_emotion(values: np.ndarray, emotions: tuple[str, ...]) -> dict[str, float]:
    """Return probabilities [C] by emotion."""
    return {e: _share(p) for e, p in zip(emotions, values, strict=True)}


def window(found: Window, emotions: tuple[str, ...]) -> WindowAnswer:
    """Return a window as part of a body."""
    voice = getattr(found, 'voice', '')
    withheld = found.problem or voice == UNKNOWN
    return WindowAnswer(
        start_s=round(found.start_s, 3),
        end_s=round(found.end_s, 3),
        probabilities=None if withheld else by_emotion(found.probabilities, emotions),
        problem=found.problem,
        voice=voice or None,
    )


def prediction(answer: Answer, **facts: Any) -> Prediction:
    """Return an answer as a body; it is withheld if there is no human voice.

    Args:
      answer: the answer.
      facts: the fields that are not part of it.
    """
    emotions, voice = answer.emotions, getattr(answer, 'voice', '')
    found: dict[str, Any] = dict.fromkeys(('emotion', 'probability', 'probabilities', 'spread'))
    found |= {'top': [], 'modalities': {}}
    if voice != UNKNOWN:
        found = {
            'emotion': answer.emotion,
            'probability': _share(answer.probability),
            'top': [Scored(emotion=e, probability=_share(p)) for e, p in answer.ranked()[:3]],
            'probabilities': by_emotion(answer.probabilities, emotions),
            'spread': by_emotion(answer.spread, emotions),
            'modalities': {n: by_emotion(p, emotions) for n, p in answer.modalities.items()},
        }
    windows = [window(w, emotions) for w in answer.windows]
    return Prediction(windows=windows, voice=voice or None, **found, **facts)


def transcript(found: Any) -> Transcript:
    """Return the text of a recognizer as part of a body."""
    sure = found.confidence if math.isfinite(found.confidence) else None
    return Transcript(
        text=found.text,
        engine=found.engine,
        language=found.language,
        confidence=sure,
        reason=found.reason,
    )


def _share(value: float) -> float:
    """Return a probability; float32 sums may pass 1 by a rounding error."""
    return min(1.0, float(value))
