"""Metadata of exported files: classes, inputs, features, calibration, score, licence."""

import csv
import dataclasses
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from ser_jax.exporting.program import Program
from ser_jax.runs import calibration
from ser_jax.runs.trained import Trained

MANIFEST, LABELS = 'manifest.json', 'labels.json'
_SCORE = (
    'corpus',
    'protocol',
    'note',
    'utterances',
    'speakers',
    'uar',
    'uar_low',
    'uar_high',
    'answer',
)


def describe(program: Program) -> dict[str, Any]:
    """Return the metadata of a program: values that JSON holds."""
    predictor, trained = program.predictor, program.predictor.trained
    temperatures = calibration.read(trained.directory) if predictor.calibrated else {}
    return {
        'format': 1,
        'run': trained.directory.resolve().name,
        'model': dict(trained.config.model)['name'],
        'classes': list(predictor.emotions),
        'rate_hz': predictor.rate_hz,
        'inputs': _inputs(program),
        'outputs': {
            'probabilities': 'float32 [batch, classes], in the order of `classes`; the sum is 1'
        },
        'members': list(predictor.members),
        'features': _features(trained),
        'calibration': temperatures,
        'protocol': trained.protocol,
        'scores': scores(trained.directory),
        'corpora': [dataclasses.asdict(c) for c in trained.corpora],
        'research_only': any(c.research_only for c in trained.corpora),
        'licence': _licence(trained),
        'pretrained': trained.environment.get('pretrained', ''),
        'pretrained_sha256': trained.environment.get('begins_with', ''),
        'versions': {name: importlib.metadata.version(name) for name in ('ser_jax', 'jax')},
    }


def _inputs(program: Program) -> dict[str, Any]:
    rate_hz = program.predictor.rate_hz
    return {
        'samples': f'float32 [batch, samples], mono at {rate_hz} Hz in [-1, 1], zero after the end',
        'length': 'int32 [batch], samples of each recording that are not padding',
        'any_length': program.any_length,
        'shortest_samples': program.shortest if program.any_length else program.longest,
        'longest_samples': program.longest,
    }


def _features(trained: Trained) -> dict[str, Any]:
    """Return the settings of the features, and those of the front end that computes them."""
    front = trained.learner.preprocessing.input
    settings = front._asdict() if hasattr(front, '_asdict') else {}
    plain = {k: v for k, v in settings.items() if isinstance(v, (str, int, float, bool))}
    knobs = trained.config.features
    chosen = {k: knobs[k] for k in ('source', 'trim_db', 'normalize', 'speaker_norm')}
    return {**chosen, 'front_end': plain}


def _licence(trained: Trained) -> str:
    terms = '; '.join(f'{c.title}: {c.licence}' for c in trained.corpora)
    only = any(c.research_only for c in trained.corpora)
    limit = ' Use is limited to research.' if only else ''
    return f'The terms of the corpora apply to weights trained on them. {terms}.{limit}'


def scores(directory: Path) -> list[dict[str, str]]:
    """Return the rows of a run's scores for audio, as they were written; [] if it has none."""
    path = directory / 'scores.csv'
    if not path.exists():
        return []
    found = []
    with path.open(encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file):
            if row.get('modality') == 'audio':
                found.append({name: row[name] for name in _SCORE if name in row})
    return found


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder by its path in it."""
    files = sorted(p for p in folder.rglob('*') if p.is_file())
    return {p.relative_to(folder).as_posix(): _digest(p) for p in files}


def _digest(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
