"""Sentences about an answer: no stronger than its calibrated probability."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ser_jax.emotions import VALENCE

UNCERTAIN, UNKNOWN = 'uncertain', 'unknown'  # values of `contract.Answer.voice`
# Lowest probability of each wording, strongest first; below the last one nothing is asserted.
STRENGTHS = ((0.9, 'Very probably {}'), (0.7, 'Probably {}'), (0.5, 'Perhaps {}'))
UNSURE = 'Not sure: {} is the best guess'
NOT_A_VOICE = 'This is not a human voice'
_NEAR = 0.2  # difference below which the second class is named
_WORDS = {'surprised': 'surprised', 'disgust': 'disgusted', 'boredom': 'bored'}


class Sentence(NamedTuple):
    """Words about an answer: a headline, and a line about its uncertainty."""

    headline: str
    detail: str


def adjective(emotion: str) -> str:
    """Return the word for a person with an emotion: 'disgust' -> 'disgusted'."""
    *sex, word = emotion.split('_')
    return ' '.join([*sex, _WORDS.get(word, word)])


def percent(probability: float) -> str:
    """Return a probability in words that never are certainty: 1 % to 99 %, rounded down."""
    return f'{min(99, max(1, math.floor(100 * probability + 1e-9)))} %'


def verdict(
    probabilities: Sequence[float],
    emotions: Sequence[str],
    voice: str = '',
    calibrated: bool = True,
    spread: Sequence[float] | None = None,
) -> Sentence:
    """Return the sentences about an answer.

    Args:
      probabilities: of each class [C].
      emotions: the C classes.
      voice: 'voice', 'uncertain', 'unknown', or '' without a gate.
      calibrated: True if probabilities were calibrated on recordings of other speakers.
      spread: standard deviation over the members [C].
    """
    if voice == UNKNOWN:
        return Sentence(NOT_A_VOICE, 'No emotion is given: the recording has no speech in it.')
    order = sorted(range(len(emotions)), key=lambda i: -probabilities[i])
    first = order[0]
    top, name = probabilities[first], adjective(emotions[first])
    pattern = next((words for least, words in STRENGTHS if top >= least), UNSURE)
    headline = pattern.format(name)
    if len(order) > 1 and top - probabilities[order[1]] < _NEAR:
        headline += f'; {adjective(emotions[order[1]])} is not far'
    if voice == UNCERTAIN:
        headline = f'Perhaps not a human voice. If it is: {headline[0].lower()}{headline[1:]}'
    return Sentence(headline, ' '.join(_about(top, calibrated, spread, first)))


def _about(top: float, calibrated: bool, spread: Sequence[float] | None, first: int) -> list[str]:
    lines = [f'{percent(top)}:']
    if calibrated:
        lines.append(
            f'of 100 answers as sure as this one, about {percent(top)[:-2]} were right on the '
            'recordings that the model was measured with; in everyday speech expect fewer.'
        )
    else:
        lines.append(
            'this number is not calibrated, so do not read it as a frequency '
            '(python -m ser_jax.evaluate calibrates a run).'
        )
    if spread is not None and spread[first] > 0.1:
        lines.append(
            f'The averaged models disagree (by {100 * spread[first]:.0f} points), so be careful.'
        )
    return lines


def valence(by_emotion: Mapping[str, float]) -> dict[str, float]:
    """Return the probabilities of 'positive' and 'negative'; empty if no class has a valence."""
    sums: dict[str, float] = {}
    for emotion, p in by_emotion.items():
        if side := VALENCE.get(emotion.split('_')[-1]):
            sums[side] = sums.get(side, 0.0) + p
    total = sum(sums.values())
    return {side: sums.get(side, 0.0) / total for side in ('positive', 'negative')} if total else {}


def reading(by_emotion: Mapping[str, float]) -> str:
    """Return the positive or negative reading in words; '' if no class has a valence."""
    sides = valence(by_emotion)
    if not sides:
        return ''
    side = max(sides, key=lambda s: sides[s])
    words = 'neither clearly positive nor negative' if sides[side] < 0.6 else f'rather {side}'
    return f'{words} ({percent(sides["positive"])} positive, {percent(sides["negative"])} negative)'


def change(before, after, gain, kept: bool) -> Sentence:
    """Return the sentences about a taught model, from `scoring` intervals of UAR."""
    numbers = (
        f'Recognized on recordings held out: {100 * before.value:.0f} % before '
        f'[{100 * before.low:.0f}, {100 * before.high:.0f}], {100 * after.value:.0f} % after '
        f'[{100 * after.low:.0f}, {100 * after.high:.0f}] (average over emotions, 95 % intervals).'
    )
    if not kept:
        return Sentence(
            'Not better, so not kept',
            f'{numbers} The general model stays in use; more recordings may help.',
        )
    if gain.low > 0:
        return Sentence('Better with your voice', numbers)
    return Sentence(
        'Perhaps better with your voice',
        f'{numbers} The difference is within its uncertainty: more recordings will show.',
    )
