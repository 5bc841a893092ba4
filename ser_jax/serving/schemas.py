"""Bodies of the API: answers, runs, errors, messages of the stream."""

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ser_jax.contract import Answer, Window

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
        description='probability of each emotion; null if there is a problem',
        examples=[_PROBABILITIES],
    )
    problem: str = Field('', description="reason for no probabilities, e.g. 'silent'")


class Voice(BaseModel):
    """Result of the voice gate."""

    verdict: str = Field(description="'speech', 'uncertain' or 'unknown' (no voice)")
    share: float = Field(ge=0, le=1, description='share of the recording that is speech')


class Transcript(BaseModel):
    """Recognized words."""

    text: str
    language: str = Field('', description='ISO 639-1 code', examples=['en'])


class Prediction(BaseModel):
    """Answer for one recording."""

    run: str = Field(description='name of the run that gave the answer')
    emotion: str = Field(description='the most probable emotion', examples=['angry'])
    probability: float = Field(ge=0, le=1, examples=[0.81])
    top: list[Scored] = Field(description='the three most probable emotions')
    probabilities: dict[str, float] = Field(
        description='probability of each emotion', examples=[_PROBABILITIES]
    )
    spread: dict[str, float] = Field(
        description='standard deviation of each probability over the members of the run'
    )
    modalities: dict[str, dict[str, float]] = Field(
        description="probabilities by input: 'audio' and, with a text, 'text' and 'fused'"
    )
    windows: list[WindowAnswer] = Field(description='answers by window, in order of time')
    duration_s: float = Field(ge=0, description='length of the recording, s')
    calibrated: bool = Field(description='true if the probabilities are calibrated')
    voice: Voice | None = Field(None, description='voice gate; null if the server has none')
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
    probabilities = None if found.problem else by_emotion(found.probabilities, emotions)
    return WindowAnswer(
        start_s=round(found.start_s, 3),
        end_s=round(found.end_s, 3),
        probabilities=probabilities,
        problem=found.problem,
    )


def voice(found: Any) -> Voice:
    """Return the result of the voice gate as part of a body."""
    return Voice(verdict=found.verdict, share=_share(found.share))


def prediction(answer: Answer, **facts: Any) -> Prediction:
    """Return an answer as a body; `facts` are the fields that are not part of it."""
    emotions = answer.emotions
    top = [Scored(emotion=e, probability=_share(p)) for e, p in answer.ranked()[:3]]
    modalities = {name: by_emotion(p, emotions) for name, p in answer.modalities.items()}
    return Prediction(
        emotion=answer.emotion,
        probability=_share(answer.probability),
        top=top,
        probabilities=by_emotion(answer.probabilities, emotions),
        spread=by_emotion(answer.spread, emotions),
        modalities=modalities,
        windows=[window(w, emotions) for w in answer.windows],
        **facts,
    )


def _share(value: float) -> float:
    """Return a probability; float32 sums may pass 1 by a rounding error."""
    return min(1.0, float(value))
