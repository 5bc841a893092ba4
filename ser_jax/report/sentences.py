"""Sentences about scores, for readers who know none of the field's terms."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ser_jax.scoring.robustness import Effect
from ser_jax.scoring.score import Score


def summary(score: Score) -> str:
    """Return what a score means for a reader: recognized share, speakers, chance, confidence."""
    of = 'synthesized recordings' if score.synthetic else 'recordings'
    voices = (
        'speakers that also occur in training, so a new speaker will get less'
        if score.inflated
        else 'speakers that it was not trained on'
    )
    whose = f'of {score.speakers} {voices}'
    if score.speakers == 1:
        whose = f'of one of the {voices}'
    words = [
        f'{system_name(score)}{_answers(score)} recognizes {_percent(score.uar.value)} of the '
        f'{of} of each emotion ({len(score.recall)} emotions, {score.corpus}, {whose}; 95 % '
        f'interval {_percent(score.uar.low)} to {_percent(score.uar.high)}; guessing gets '
        f'{_percent(score.chance)}).'
    ]
    if score.transductive:
        words.append('It had unlabeled recordings of each of these speakers beforehand.')
    if score.partial:
        words.append('Speakers or emotions of the protocol are missing.')
    if score.incomplete:
        words.append(f'Only {score.members} of {score.planned} models are trained.')
    return ' '.join([*words, *_confidence(score)])


def leading(scores: Sequence[Score]) -> list[Score]:
    """Return the score that stands for each run, corpus and protocol: its answer to users.

    That is the mean of members where it differs from single members, of the first modality.
    """
    chosen: dict[tuple, Score] = {}
    for s in scores:
        key = s.run, s.corpus, s.protocol
        if key not in chosen or (s.answer == 'mean' and s.modality == chosen[key].modality):
            chosen[key] = s
    return list(chosen.values())


def system_name(score: Score | Effect) -> str:
    """Return a run's name for tables: its folder, and its model unless the folder contains it."""
    run = Path(score.run).name or score.run
    return run if score.config in run else f'{run} ({score.config})'


def plain(value: Any) -> Any:
    """Return text for Markdown, with characters that would break a table or form HTML escaped."""
    if not isinstance(value, str):
        return value
    return ' '.join(value.split()).replace('&', '&amp;').replace('<', '&lt;').replace('|', '\\|')


def _answers(score: Score) -> str:
    return f' (the mean of {score.members} models)' if score.answer == 'mean' else ''


def _confidence(score: Score) -> list[str]:
    """Return sentences about calibration and the threshold; none without calibration."""
    c = score.calibrated
    if c is None or math.isnan(score.ece):
        return []
    words = [
        f'Its confidences are off by {_points(score.ece)} on average, by {_points(c.ece)} after '
        f'calibration on {c.fitted_on}.'
    ]
    at = c.selection
    if math.isnan(at.threshold) or math.isnan(at.error):
        return [*words, 'At no confidence are nine of ten answers right.']
    return [
        *words,
        f'Answers with a confidence of {_percent(at.threshold)} or more are given for '
        f'{_percent(at.answered)} of the recordings, of which {_percent(at.error)} are wrong.',
    ]


def _percent(share: float) -> str:
    return '–' if math.isnan(share) else f'{100 * share:.0f} %'


def _points(share: float) -> str:
    return f'{100 * share:.1f} points'
