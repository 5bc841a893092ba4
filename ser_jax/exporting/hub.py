"""A folder for a model hub: weights of all members in one file, settings, card, and a loader."""

import dataclasses
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ser_jax import assemble
from ser_jax.config import completed
from ser_jax.contract import CorpusInfo, InputError
from ser_jax.exporting.program import Program, of_run, package
from ser_jax.inference import Predictor
from ser_jax.learn.state import Variables
from ser_jax.report import model_card
from ser_jax.runs import calibration, run_files
from ser_jax.runs.trained import Trained

EXTRA = 'export'
FILE = 'hub'
WEIGHTS, SETTINGS, CARD, LOADER = 'model.safetensors', 'config.json', 'README.md', 'load.py'
LOADER_CODE = '''"""The most probable emotions of recordings: `python load.py RECORDING.wav ...`."""

import pathlib
import sys

from ser_jax.exporting.hub import open_folder
from ser_jax.predict import predict_file

predictor = open_folder(pathlib.Path(__file__).parent)
for path in map(pathlib.Path, sys.argv[1:]):
    print(path, predict_file(predictor, path).ranked()[:3])
'''


class Packed(Trained):
    """A run whose variables, pretrained ones too, come from one file of tensors.

    Attributes:
      tensors: name -> array, those of members [K ...].
    """

    tensors: dict[str, np.ndarray]

    @property
    def finished(self) -> list[str]:
        """All members."""
        return list(self.folds)

    def variables(self, members: list[str]) -> Variables:
        """Return the variables of `members`, stacked on a leading axis."""
        rows = [self.finished.index(m) for m in members]
        found = []
        for kind in Variables._fields:
            found.append({n: a[rows] for n, a in _under(self.tensors, kind).items()})
        return Variables(*found)

    def frozen_variables(self) -> dict:
        """Return the pretrained variables by path."""
        return _under(self.tensors, 'frozen')


def _under(tensors: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """Return the tensors of a kind by path."""
    return {n.removeprefix(f'{kind}/'): a for n, a in tensors.items() if n.startswith(f'{kind}/')}


def write(program: Program, folder: Path, metadata: dict) -> None:
    """Write the folder FILE."""
    numpy = package('safetensors.numpy', EXTRA)
    target, trained = folder / FILE, program.predictor.trained
    members = program.predictor.members
    target.mkdir()
    tensors: dict[str, np.ndarray] = {}
    variables = trained.variables(members)
    for kind, values in {**variables._asdict(), 'frozen': trained.frozen_variables()}.items():
        tensors |= {f'{kind}/{name}': np.asarray(jax.device_get(v)) for name, v in values.items()}
    data = trained.member_data(members, [''])
    tensors |= {'normalization/mean': data.mean, 'normalization/std': data.std}
    tensors = {name: np.ascontiguousarray(v) for name, v in tensors.items()}
    numpy.save_file(tensors, target / WEIGHTS, {'format': 'ser_jax', 'run': metadata['run']})
    (target / WEIGHTS).chmod(0o644)  # the library makes it private
    settings = _settings(trained, members) | {'metadata': metadata}
    (target / SETTINGS).write_text(json.dumps(settings, indent=1) + '\n', encoding='utf-8')
    if metadata['calibration']:
        text = json.dumps(metadata['calibration'], indent=1) + '\n'
        (target / calibration.FILE).write_text(text, encoding='utf-8')
    (target / LOADER).write_text(LOADER_CODE, encoding='utf-8')
    (target / CARD).write_text(card(trained, metadata), encoding='utf-8')


def _settings(trained: Trained, members: list[str]) -> dict[str, Any]:
    emotions = trained.emotions
    return {
        'model_type': 'ser_jax',
        'id2label': {str(i): e for i, e in enumerate(emotions)},
        'label2id': {e: i for i, e in enumerate(emotions)},
        'members': members,
        'protocol': trained.protocol,
        'words': {m: trained.words[m] for m in members},
        'corpora': [dataclasses.asdict(c) for c in trained.corpora],
        'environment': trained.environment,
        'config': run_files.read_one(trained.directory, 'config'),
    }


def open_folder(folder: Path) -> Predictor:
    """Return the predictor of a folder that `write` wrote.

    Raises:
      InputError: it is no such folder, or a file of it is damaged.
    """
    numpy = package('safetensors.numpy', EXTRA)
    damaged = package('safetensors', EXTRA).SafetensorError
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding='utf-8'))
        members, words = settings['members'], settings['words']
        emotions = tuple(settings['label2id'])
        tensors = numpy.load_file(folder / WEIGHTS)
    except (FileNotFoundError, KeyError, ValueError, damaged) as e:
        raise InputError(
            f'{folder} is no folder of an exported run ({type(e).__name__}: {e}); export it again '
            'with --format=hub'
        ) from e
    config = completed(settings['config'])
    mean, std = tensors['normalization/mean'], tensors['normalization/std']
    size = max(len(w) for w in words.values())
    trained = Packed(
        directory=folder,
        config=config,
        protocol=settings['protocol'],
        emotions=emotions,
        folds={m: {} for m in members},
        normalization={m: (mean[i], std[i]) for i, m in enumerate(members)},
        words=words,
        corpora=[_corpus(c) for c in settings['corpora']],
        environment=settings['environment'],
        learner=assemble.build_learner(config, len(emotions), size, 1),
    )
    trained.tensors = tensors
    return Predictor(trained)


def _corpus(stored: dict[str, Any]) -> CorpusInfo:
    return CorpusInfo(**{**stored, 'emotions': tuple(stored['emotions'])})


def opened(folder: Path) -> Callable | None:
    """Return the folder as a function of (samples, length)."""
    call = jax.jit(of_run(open_folder(folder / FILE)).function)
    return lambda samples, length: np.asarray(call(samples, length)[0])


def card(trained: Trained, metadata: dict) -> str:
    """Return the card with the head that model hubs read."""
    path = trained.directory / 'MODEL_CARD.md'
    if path.exists():
        text = path.read_text(encoding='utf-8')
    else:
        text = _unscored(trained)
    tags = ['audio-classification', 'speech-emotion-recognition', 'jax', metadata['model']]
    head = {
        'library_name': 'ser_jax',
        'pipeline_tag': 'audio-classification',
        'tags': tags,
        'license': 'other',
        'license_name': 'research-only' if metadata['research_only'] else 'terms-of-the-corpora',
        'model-index': [{'name': metadata['run'], 'results': _results(metadata)}],
    }
    lines = [f'{name}: {json.dumps(value)}' for name, value in head.items()]  # JSON is YAML
    use = f'    pip install ser_jax safetensors\n    python {LOADER} RECORDING.wav'
    weights = f'`{WEIGHTS}` has the weights of all members and the pretrained ones.'
    return '\n'.join(
        ['---', *lines, '---', '', text.rstrip(), '', '## This folder', '', weights, '', use, '']
    )


def _unscored(trained: Trained) -> str:
    """Return the card of a run that was not evaluated."""
    config = run_files.read_one(trained.directory, 'config')
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / trained.directory.resolve().name / 'MODEL_CARD.md'
        path.parent.mkdir()
        model_card.write(path, config, [], trained.environment, trained.corpora, trained.emotions)
        return path.read_text(encoding='utf-8')


def _results(metadata: dict) -> list[dict[str, Any]]:
    """Return the scores in the form of a hub's index of results."""
    found = []
    for score in metadata['scores']:
        name = f'UAR, {score["protocol"]}'
        metric = {'type': 'recall', 'name': name, 'value': float(score['uar'])}
        found.append(
            {
                'task': {'type': 'audio-classification', 'name': 'Speech emotion recognition'},
                'dataset': {'name': score['corpus'], 'type': score['corpus']},
                'metrics': [metric],
            }
        )
    return found
