"""Classical systems on the folds of one of our configs: functionals and pooled Whisper states.

    python benchmarks/functionals.py --config=configs/whisper.py [--against=runs/whisper]
        [--output=FILE.csv] [--cache=FOLDER]

eGeMAPSv02 (88) and ComParE_2016 (6,373 functionals, both by openSMILE) with an RBF SVM, and the
states of our frozen encoder averaged over time, read from the cache of the config, with LDA and
SVM; classifiers are scikit-learn's. All train on the training side of a fold, validation speakers
included, because no choice is made: C is 3, gamma 'scale', features are standardized by the
training side, classes weigh the same. LDA has Ledoit and Wolf's shrinkage; its log-probabilities
are averaged over the layers of `model.layers`, which the SVM reads side by side. Seeds change
nothing, so each fold is trained once.

A score is UAR with its 95 % interval by speaker, as in every evaluation; the difference is paired,
by the same speakers drawn for both, to the run of --against or else to the best method here.
Parameters of an SVM are its support vectors and their coefficients. Functionals are computed once
per recording and kept in --cache. What is not installed is named.
"""

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import bench
import numpy as np
import pyarrow as pa
import pyarrow.parquet

SETS = ('eGeMAPSv02', 'ComParE_2016')
C = 3.0


class Trained(NamedTuple):
    """Predictions of a method for the test sides of all folds, and its cost."""

    name: str
    predictions: pa.Table
    parameters: int  # of one fold, mean
    seconds: float  # of training one fold, mean


def main() -> None:
    from ser_jax.contract import InputError

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', required=True, help='a config file, as main takes it')
    parser.add_argument('--against', type=pathlib.Path, help='folder of an evaluated run')
    parser.add_argument('--output', type=pathlib.Path, help='also write the scores to this file')
    parser.add_argument(
        '--cache', type=pathlib.Path, default='~/.cache/ser_jax/functionals', help='of functionals'
    )
    args = parser.parse_args()
    try:
        compare(args)
    except InputError as e:
        sys.exit(f'error: {e}')


def compare(args) -> None:
    """Train and score all methods; print the table, write the scores."""
    from ser_jax import assemble, cli, config_file
    from ser_jax.scoring import scores

    cli.prepare_jax()
    config = config_file.load(args.config)
    reference = against(args.against) if args.against else None
    run = assemble.open_run(config)
    methods = []
    for name, features, build in systems(run, args.cache.expanduser()):
        methods.append(train(name, features, build, run))
        print(f'{name}: {methods[-1].seconds:.1f} s a fold', file=sys.stderr, flush=True)
    if not methods:
        sys.exit('error: nothing to compare; install opensmile, or give a config with an encoder')
    tables = [m.predictions for m in methods]
    found = scores.scores_by(pa.concat_tables(tables))
    print('\n'.join(markdown(methods, found, reference, str(args.against or ''))))
    if args.output:
        scores.write_csv(found, args.output)


def systems(run, cache: pathlib.Path) -> Iterator[tuple[str, np.ndarray, Callable]]:
    """Yield (name, features [N D], constructor of a classifier) of each method that can run."""
    if not bench.has('sklearn'):
        sys.exit('error: scikit-learn is not installed')
    if bench.has('opensmile'):
        recordings = samples_of(run)
        for name in SETS:
            yield f'{name} + SVM', functionals(name, recordings, cache), support_vectors
    else:
        print(f'skipped: {", ".join(SETS)}: opensmile is not installed', file=sys.stderr)
    derivation = run.learner.derivation or {}
    if not derivation.get('pooled'):
        print('skipped: states of an encoder: the config has none averaged', file=sys.stderr)
        return
    states = np.stack([np.asarray(run.utterances.read(i)[0]) for i in range(len(run.utterances))])
    parts = np.split(states.astype(np.float64), len(derivation['layers']), 1)
    used = [parts[derivation['layers'].index(n)] for n in run.config.model.layers]
    name = f'{derivation["encoder"]} layers {", ".join(map(str, run.config.model.layers))}'
    width = used[0].shape[1]
    yield f'{name} + LDA', np.concatenate(used, 1), lambda: Discriminants(width)
    yield f'{name} + SVM', np.concatenate(used, 1), support_vectors


def samples_of(run) -> list[np.ndarray]:
    """Return the samples of the run's utterances, float32 at 16 kHz, from the waveform shards.

    Raises:
      InputError: the corpora are not built as waveform, or lack an utterance of the run.
    """
    from ser_jax.contract import InputError
    from ser_jax.data import selection

    config = run.config.copy_and_resolve_references()
    config.features.update({'source': 'waveform', 'input': '', 'trim_db': 0.0})
    config.data.resident_gb = 0.0
    opened, _ = selection.open_utterances(config)
    corpora = np.array(opened.names, object)[opened.corpus]
    place = {key: i for i, key in enumerate(zip(corpora, opened.id, strict=True))}
    recordings = []
    for corpus, id in zip(run.utterances.corpus, run.utterances.id, strict=True):
        key = run.utterances.names[corpus], id
        if key not in place:
            raise InputError(
                f'{key[0]}/{id} is not in the waveform shards; build the corpus again, and give a '
                'config without data.variants'
            )
        recordings.append(opened.read(place[key]).astype(np.float32) / 32768)
    return recordings


def functionals(name: str, recordings: list[np.ndarray], cache: pathlib.Path) -> np.ndarray:
    """Return openSMILE's functionals [N D] of recordings, from a file in `cache` where it can."""
    import opensmile

    from ser_jax.data.cache import content_key

    path, known = cache / f'{name}.npz', {}
    if path.exists():
        with np.load(path) as stored:
            known = dict(zip(stored['key'].tolist(), stored['value'], strict=True))
    keys = [content_key(r) for r in recordings]
    missing = {k: i for i, k in enumerate(keys) if k not in known}
    smile = opensmile.Smile(getattr(opensmile.FeatureSet, name))
    began = time.perf_counter()
    for key, i in missing.items():
        row = smile.process_signal(recordings[i], 16000).to_numpy(np.float32)[0]
        known[key] = np.nan_to_num(row, posinf=0.0, neginf=0.0)
    if missing:
        passed = time.perf_counter() - began
        print(f'{name}: {len(missing)} recordings in {passed:.0f} s', file=sys.stderr, flush=True)
        cache.mkdir(parents=True, exist_ok=True)
        whole = path.with_name(f'{name}.new.npz')
        np.savez(whole, key=np.array(list(known)), value=np.stack(list(known.values())))
        os.replace(whole, path)
    return np.stack([known[k] for k in keys])


def support_vectors():
    """Return an RBF SVM on standardized features."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(C=C, gamma='scale', class_weight='balanced'))


class Discriminants:
    """Linear discriminants of adjacent parts of the features, log-probabilities averaged.

    Args:
      width: features of each part.
    """

    def __init__(self, width: int):
        self.width, self.parts = width, []

    def fit(self, features: np.ndarray, label: np.ndarray) -> 'Discriminants':
        """Fit one discriminant per part of features [n D] with labels [n]."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        self.classes_ = np.unique(label)
        priors = np.full(len(self.classes_), 1 / len(self.classes_))
        for part in self._split(features):
            one = LinearDiscriminantAnalysis(solver='lsqr', shrinkage='auto', priors=priors)
            self.parts.append(one.fit(part, label))
        return self

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the labels [n] of features [n D]."""
        pairs = zip(self.parts, self._split(features), strict=True)
        return self.classes_[sum(one.predict_log_proba(part) for one, part in pairs).argmax(1)]

    def _split(self, features: np.ndarray) -> list[np.ndarray]:
        return np.split(features, features.shape[1] // self.width, 1)


def parameters(classifier) -> int:
    """Return the number of values that a fitted classifier needs to predict."""
    if isinstance(classifier, Discriminants):
        return sum(one.coef_.size + one.intercept_.size for one in classifier.parts)
    scaler, svm = (step for _, step in classifier.steps)
    fitted = svm.support_vectors_.size + svm.dual_coef_.size + svm.intercept_.size
    return fitted + scaler.mean_.size + scaler.scale_.size


def train(name: str, features: np.ndarray, build: Callable, run) -> Trained:
    """Train a classifier on every fold of a run; return its predictions for the test sides."""
    folds = {}
    for member in run.members:
        folds.setdefault(member.fold, member)
    parts, sizes, seconds = [], [], []
    for member in folds.values():
        at = np.concatenate([member.train, member.valid]).astype(int)
        began = time.perf_counter()
        classifier = build().fit(features[at], run.utterances.emotion[at].astype(str))
        seconds.append(time.perf_counter() - began)
        sizes.append(parameters(classifier))
        parts.append(rows(name, run, member, classifier.predict(features[member.test])))
    return Trained(name, pa.concat_tables(parts), round(np.mean(sizes)), float(np.mean(seconds)))


def rows(name: str, run, member, predicted: np.ndarray) -> pa.Table:
    """Return the predictions of one fold in the form of an evaluation's table."""
    utterances, at = run.utterances, member.test
    same = {'run': name, 'config': name, 'protocol': run.config.members.protocol}
    same |= {'member': f'fold{member.fold}', 'fold': np.int32(member.fold), 'seed': np.int32(0)}
    same |= {'modality': 'audio'}
    columns = {key: np.full(len(at), value) for key, value in same.items()}
    columns['corpus'] = np.array(utterances.names, object)[utterances.corpus[at]]
    for field in ('id', 'speaker', 'sex', 'emotion'):
        columns[field] = getattr(utterances, field)[at]
    return pa.table(columns | {'predicted': predicted.astype(object)})


def against(directory: pathlib.Path) -> pa.Table:
    """Return the predictions of an evaluated run, those of its answers.

    Raises:
      InputError: it was not evaluated.
    """
    from ser_jax.contract import InputError
    from ser_jax.learn.prediction import answering

    path = directory / 'predictions.parquet'
    if not path.is_file():
        raise InputError(
            f'{path} is missing; make it with python -m ser_jax.evaluate --runs={directory}'
        )
    table = pa.parquet.read_table(path)
    modality = table['modality'].to_numpy()
    return table.filter(pa.array(modality == answering(set(modality))))


def markdown(methods: list[Trained], found: list, reference: pa.Table | None, to: str) -> list[str]:
    """Return the lines of a table: a row per method and corpus, with difference to a reference."""
    from ser_jax.scoring import scores

    by_name = {m.name: m for m in methods}
    if reference is None:
        best = max(methods, key=lambda m: np.mean([s.uar.value for s in found if s.run == m.name]))
        reference, to = best.predictions, best.name
    lines = [
        f'| method | parameters | training, s a fold | UAR, 95 % by speaker | difference to {to} |',
        '|---|---|---|---|---|',
    ]
    for score in found:
        one = by_name[score.run]
        a, b = (_of(t, score.corpus) for t in (one.predictions, reference))
        difference = '–' if reference is one.predictions else scores.paired_interval(a, b)
        label = one.name + (f', {score.corpus}' if len(found) > len(methods) else '')
        cells = [label, f'{one.parameters:,}', f'{one.seconds:.2f}', score.uar, difference]
        lines.append('| ' + ' | '.join(map(str, cells)) + ' |')
    return lines


def _of(table: pa.Table, corpus: str) -> pa.Table:
    return table.filter(pa.array(table['corpus'].to_numpy() == corpus))


if __name__ == '__main__':
    main()
