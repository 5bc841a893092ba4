"""Temperatures and thresholds of a run, fitted on speakers that they are not measured on.

They are fitted on the validation rows of each fold; for runs without validation speakers, on the
test rows of the other folds. `deployed` ones, for recordings of unknown speakers, are fitted on all
of these rows.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ser_jax.scoring import calibration, metrics, rows
from ser_jax.scoring.calibration import Reliability

LEAST_ROWS = 20  # fewer are no basis for a temperature
CROSSED = 'cross_corpus'  # protocol of rows of a corpus that the run was not trained on
ERROR = 0.1  # allowed share of wrong answers above the threshold


class Selection(NamedTuple):
    """Answers above a confidence threshold: their share of all, and their share of errors.

    `threshold` is for new recordings, nan if none keeps the errors below ERROR; the shares are
    measured with the thresholds of the folds.
    """

    threshold: float
    answered: float
    error: float


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """Calibration of one score.

    Attributes:
      temperature: for new recordings.
      fitted_on: 'validation speakers' or 'other folds'.
      utterances, speakers: number of distinct ones that it was fitted on.
      reliability, ece: after scaling each fold by its own temperature.
      selection: of the answers after scaling.
      risk: share of errors [N] among the n most confident answers, n = 1 ... N.
    """

    temperature: float
    fitted_on: str
    utterances: int
    speakers: int
    reliability: Reliability
    ece: float
    selection: Selection
    risk: np.ndarray


def calibrated(table: pa.Table, run: pa.Table) -> Calibrated | None:
    """Return the calibration of the predictions of a score; None if there is no basis for it.

    Args:
      table: test rows of one score.
      run: all clean rows of the same run, modality and kind of answer.
    """
    basis, fitted_on = _basis(run)
    if basis.num_rows < LEAST_ROWS:
        return None
    known = np.array(basis['fold'].to_pylist())
    p, truth = rows.probabilities(basis)
    fits = {}
    for fold in sorted(set(table['fold'].to_pylist())):
        used = truth >= 0
        if fitted_on == 'validation speakers':
            used &= known == fold
        else:
            used &= known != fold
        if used.sum() >= LEAST_ROWS:
            fits[fold] = _fit(p[used], truth[used])
    of_test, true = rows.probabilities(table)
    fold = np.array(table['fold'].to_pylist())
    kept = np.isin(fold, list(fits)) & (of_test.sum(-1) > 0) & (true >= 0)
    if not kept.any():
        return None
    of_test, true, fold = of_test[kept], true[kept], fold[kept]
    for f, (temperature, _) in fits.items():
        if (fold == f).any():
            of_test[fold == f] = calibration.scaled(of_test[fold == f], temperature)
    temperature, threshold = _fit(p[truth >= 0], truth[truth >= 0])
    bins = calibration.reliability(of_test, true)
    wrong, confidence = of_test.argmax(-1) != true, of_test.max(-1)
    answered = confidence >= np.array([fits[f][1] for f in fold])
    return Calibrated(
        temperature=temperature,
        fitted_on=fitted_on,
        utterances=len(set(basis['id'].to_pylist())),
        speakers=len(set(basis['speaker'].to_pylist())),
        reliability=bins,
        ece=calibration.calibration_error(bins),
        selection=Selection(
            threshold,
            float(answered.mean()),
            float(metrics.ratio((wrong & answered).sum(), answered.sum())),
        ),
        risk=_risk(confidence, wrong),
    )


def _basis(run: pa.Table) -> tuple[pa.Table, str]:
    """Return the rows of a run that temperatures are fitted on, and their name."""
    validated = rows.selected(run, rows.VALIDATION)
    if validated.num_rows:
        return validated, 'validation speakers'
    tested = rows.selected(run)
    own = [p.split(',')[0] != CROSSED for p in tested['protocol'].to_pylist()]
    return tested.filter(pa.array(own, pa.bool_())), 'other folds'


def _fit(p: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return the temperature, and the lowest threshold that keeps the errors below ERROR (or nan).

    Args:
      p: probabilities [N, C].
      truth: [N].
    """
    temperature = calibration.best_temperature(p, truth)
    scaled = calibration.scaled(p, temperature)
    confidence, wrong = scaled.max(-1), scaled.argmax(-1) != truth
    allowed = np.flatnonzero(_risk(confidence, wrong) <= ERROR)
    if not len(allowed):
        return temperature, np.nan
    return temperature, float(np.sort(confidence)[::-1][allowed[-1]])


def _risk(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Return the share of errors [N] among the n most confident answers, n = 1 ... N.

    Answers of equal confidence are answered together.
    """
    order = np.argsort(-confidence, kind='stable')
    sorted_confidence = -confidence[order]
    last = np.searchsorted(sorted_confidence, sorted_confidence, side='right') - 1
    risk = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    return risk[last]
