"""Calibration of a run (calibration.json): temperatures that `evaluate` fits for `predict`."""

import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from ser_jax.contract import InputError
from ser_jax.scoring.score import Score
from ser_jax.scoring.temperatures import CROSSED, ERROR

FILE = 'calibration.json'


def describe(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """Return the calibration of the scores of one run: answer -> modality -> its facts.

    Scores of corpora that the run was not trained on have no part in it.
    """
    content: dict[str, dict[str, Any]] = {}
    for s in scores:
        if s.calibrated is None or s.protocol.split(',')[0] == CROSSED:
            continue
        c, of_answer = s.calibrated, content.setdefault(s.answer, {})
        # Of several test corpora the first stands for all: temperatures are fitted on all of them.
        of_answer.setdefault(
            s.modality,
            {
                'temperature': c.temperature,
                'fitted_on': c.fitted_on,
                'utterances': c.utterances,
                'speakers': c.speakers,
                'ece': _number(s.ece),
                'calibrated_ece': _number(c.ece),
                'allowed_error': ERROR,
                'threshold': _number(c.selection.threshold),
                'answered': c.selection.answered,
                'error': _number(c.selection.error),
            },
        )
    return content


def write(
    directory: pathlib.Path, scores: Sequence[Score], log: Callable[[str], None] = print
) -> None:
    """Write the calibration of a run; a run that is not writable is reported through `log`."""
    path, content = directory / FILE, describe(scores)
    try:
        if content:
            path.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
        else:
            path.unlink(missing_ok=True)
    except OSError as e:
        log(
            f'{path} cannot be written ({e.strerror or e}); predictions of this run stay '
            'uncalibrated'
        )


def read(directory: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Return the content of a run's calibration; {} if it has none.

    Raises:
      InputError: the file is damaged.
    """
    path = directory / FILE
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        for of_answer in content.values():
            for facts in of_answer.values():
                if not 0 < float(facts['temperature']) < math.inf:
                    raise ValueError(f'temperature {facts["temperature"]}')
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        raise InputError(
            f'{path} is damaged ({type(e).__name__}: {" ".join(str(e).split())[:120]}); score the '
            f'run again (python -m ser_jax.evaluate --runs={directory}) or remove the file'
        ) from e
    return content


def temperatures(directory: pathlib.Path, members: int) -> dict[str, float]:
    """Return the temperature of each modality for answers of so many members; {} without any.

    A run whose members never share an utterance has those of single members alone.
    """
    content = read(directory)
    of_answer = content.get('mean' if members > 1 else 'member') or content.get('member', {})
    return {modality: float(facts['temperature']) for modality, facts in of_answer.items()}


def _number(value: float) -> float | None:
    """Return a float for JSON, None for nan."""
    return None if math.isnan(value) else value
