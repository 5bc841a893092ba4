"""Personalization: one speaker's scores before, after enrollment, after teaching, and after both.

    python benchmarks/personalization.py --runs=runs [--draws=3] [--only=within,network,across]

`--runs` has the runs best, best_k8 (RAVDESS, `speakers_k`), conv_bilstm, strangers and
strangers-enrolled (docs/encoders.md). Every speaker is answered by the models of the fold that
never trained on it, and personalized alone. Of each speaker a pool is drawn: three recordings of
each emotion, and up to eight neutral ones. All else is the same test for every row of a table.
Enrollment takes k of the pool, teaching the first n of each emotion. Scores are UAR over all
speakers, averaged over draws, with 95 % intervals by speaker. `others` is the change of UAR on the
recordings of other test speakers (up to 80) when the head of a speaker is left on.

The penalty (`personal_head.RIDGE`) of a speaker's fold is chosen on the speakers of the other folds
(`chosen`); the default is the choice on all of RAVDESS. Tables of other corpora use the default.
"""

import argparse
import pathlib
import time
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from ser_jax import assemble
from ser_jax.audio.clips import Clip
from ser_jax.data import selection
from ser_jax.explore.findings import place
from ser_jax.inference import Predictor
from ser_jax.learn import personal_head
from ser_jax.runs.trained import Trained, open_trained
from ser_jax.scoring import intervals
from ser_jax.scoring.metrics import Predictions

RIDGES = (0.0003, 0.001, 0.003, 0.01, 0.03)
TAUGHT, NEUTRAL, OTHERS = 3, 8, 80
SHARE = 8 / 10  # of a mean of 8 recordings, features.speaker_prior 2


class Study(NamedTuple):
    """Recordings of test speakers, and the models that never trained on them."""

    emotions: tuple[str, ...]
    label: np.ndarray  # [N]
    speaker: np.ndarray  # [N]
    corpus: np.ndarray  # [N]
    fold: np.ndarray  # [N]
    values: list[np.ndarray]  # of each seed: states [N L D], or embeddings [N D]
    probabilities: list[np.ndarray]  # of each seed [N C]; of encoders [], they follow from states
    discriminants: tuple  # kernel [folds L D C] and bias of an encoder's folds, without enrollment
    enrolled: tuple  # the same of the run with enrollment


def rows_of(trained: Trained):
    """Return the run's config without variants and enrollment, for opening its corpora."""
    config = trained.config.copy_and_resolve_references()
    config.data.dir, config.data.variants = '', ()
    config.features.speaker_norm = 'none'
    return config


def folds_of(trained: Trained, utterances) -> np.ndarray:
    """Return the fold that tests each utterance's speaker, int [N]; -1 without one."""
    fold = np.full(len(utterances), -1)
    names = [place(utterances, i) for i in range(len(utterances))]
    at = {name: i for i, name in enumerate(names)}
    tested = list(dict.fromkeys(m.split('_seed')[0] for m in trained.finished))
    for k, name in enumerate(tested):
        for tested_one in trained.folds[f'{name}_seed0']['test']:
            fold[utterances.speaker == utterances.speaker[at[tested_one]]] = k
    return fold


def encoder(general: pathlib.Path, enrolled: pathlib.Path) -> Study:
    """Return the study of an encoder with a discriminant, from its cached states."""
    trained = [open_trained(general), open_trained(enrolled)]
    run = assemble.open_run(rows_of(trained[0]))
    u = run.utterances
    flat = [np.asarray(u.read(i), np.float32).mean(0) for i in range(len(u))]
    fits = []
    for t in trained:
        stats = t.variables(t.finished).stats
        fits.append((np.asarray(stats['kernel']), np.asarray(stats['bias'])))
    layers, width = fits[0][0].shape[1:3]
    values = np.stack(flat).reshape(len(u), layers, width)
    return study(trained[0], u, [values], [], *fits)


def network(directory: pathlib.Path) -> Study:
    """Return the study of a network: the members of each fold predict its test speakers."""
    trained = open_trained(directory)
    config = rows_of(trained)
    config.features.source, config.features.input = 'waveform', ''
    u, _ = selection.open_utterances(config)
    fold, values, probabilities = folds_of(trained, u), [], []
    for seed in sorted({m.split('_seed')[1] for m in trained.finished}):
        given, embedding = {}, {}
        for k in np.unique(fold):
            predictor = Predictor(trained, [f'fold{k}_seed{seed}'])
            rows = np.flatnonzero(fold == k)
            clips = [Clip(np.asarray(u.read(i)).reshape(-1), predictor.rate_hz) for i in rows]
            mean = predictor.by_member(clips)[-1]
            given |= dict(zip(rows, mean['audio'][:, 0], strict=True))
            embedding |= dict(zip(rows, mean['embedding'][:, 0], strict=True))
        values.append(np.stack([embedding[i] for i in range(len(u))]))
        probabilities.append(np.stack([given[i] for i in range(len(u))]))
        print(f'seed {seed}: predicted', flush=True)
    return study(trained, u, values, probabilities, (), ())


def study(trained: Trained, u, values, probabilities, discriminants, enrolled) -> Study:
    label = np.array([trained.emotions.index(e) for e in u.emotion])
    corpus = np.array([u.facts[c].name for c in u.corpus])
    fold, speaker = folds_of(trained, u), np.array(u.speaker, str)
    return Study(
        trained.emotions,
        label,
        speaker,
        corpus,
        fold,
        values,
        probabilities,
        discriminants,
        enrolled,
    )


def pool(s: Study, name: str, draw: int) -> tuple[list, np.ndarray, np.ndarray]:
    """Return a speaker's taught recordings by emotion, its neutral ones, and those of the test."""
    own = np.flatnonzero(s.speaker == name)
    random = np.random.default_rng([draw, *name.encode()])
    taught, neutral = [], []
    for c, emotion in enumerate(s.emotions):
        rows = random.permutation(own[s.label[own] == c])
        taught.append(rows[: max(0, min(TAUGHT, len(rows) - 1))])
        if emotion in ('neutral', 'calm'):
            neutral.append(rows[: max(0, min(NEUTRAL, len(rows) - 1))])
    plain = np.concatenate(neutral)[:NEUTRAL]
    return taught, plain, np.setdiff1d(own, np.concatenate([*taught, plain, *neutral]))


class Model(NamedTuple):
    """Probabilities and embeddings of all recordings by one speaker's models."""

    probabilities: list[np.ndarray]  # [N C] of each seed
    embedding: list[np.ndarray]  # [N D]


def answered(
    s: Study, fold: int, rows: np.ndarray, fits: tuple = (), mean: np.ndarray | None = None
) -> Model:
    """Return a fold's answers to some recordings; of encoders, relative to a speaker's mean."""
    if not s.discriminants:
        return Model(s.probabilities, s.values)
    kernel, bias = (x[fold] for x in fits or s.discriminants)
    states = s.values[0][rows] if mean is None else s.values[0][rows] - SHARE * mean
    scores = np.einsum('nld,ldc->nlc', states, kernel, optimize=True) + bias
    log_p = log_softmax(log_softmax(scores, -1).mean(1), -1)
    flat = states.reshape(len(states), -1)
    both = np.zeros((len(s.label), log_p.shape[1])), np.zeros((len(s.label), flat.shape[1]), 'f4')
    both[0][rows], both[1][rows] = np.exp(log_p), flat
    return Model([both[0]], [both[1]])


def taught(s: Study, model: Model, rows: np.ndarray, ridge: float) -> list:
    """Return the heads of each seed, taught by some recordings."""
    pairs = zip(model.probabilities, model.embedding, strict=True)
    return [personal_head.fit(p[rows], e[rows], s.label[rows], ridge) for p, e in pairs]


def choice(model: Model, rows: np.ndarray, heads: list | None = None) -> np.ndarray:
    """Return the chosen class of some recordings, averaged over seeds."""
    total = 0.0
    for k, (p, e) in enumerate(zip(model.probabilities, model.embedding, strict=True)):
        total = total + (personal_head.apply(heads[k], p[rows], e[rows]) if heads else p[rows])
    return total.argmax(1)


class Book:
    """Predictions by row of a table."""

    def __init__(self, s: Study, ridges: tuple[float, ...]):
        self.s, self.ridges, self.found = s, ridges, {}

    def add(self, key, rows: np.ndarray, predicted: np.ndarray, draw: int, speaker: str) -> None:
        at = self.found.setdefault(key, [])
        at.append((rows, predicted, np.full(len(rows), draw), np.full(len(rows), speaker)))

    def predictions(self, key, folds=None) -> Predictions:
        rows, predicted, draw, of = (np.concatenate(x) for x in zip(*self.found[key], strict=True))
        keep = np.ones(len(rows), bool) if folds is None else np.isin(self.s.fold[rows], folds)
        rows, predicted, draw, of = rows[keep], predicted[keep], draw[keep], of[keep]
        return Predictions(self.s.label[rows], predicted, of, draw, rows)

    def uar(self, key, folds=None) -> intervals.Interval:
        return intervals.speaker_bootstrap(
            self.predictions(key, folds), len(self.s.emotions), 1000
        )['uar']

    def gain(self, key, base) -> intervals.Interval:
        pair = self.predictions(key), self.predictions(base)
        return intervals.paired_bootstrap(*pair, len(self.s.emotions), 1000)


def speaker_rows(s: Study, book: Book, others: Book, name: str, draw: int) -> None:
    """Add the predictions of one speaker and one draw."""
    labelled, plain, test = pool(s, name, draw)
    fold = int(s.fold[s.speaker == name][0])
    random = np.random.default_rng([draw, 1, *name.encode()])
    mixed = random.permutation(np.concatenate(labelled))
    rest = random.permutation(np.flatnonzero((s.fold == fold) & (s.speaker != name)))[:OTHERS]
    asked = np.concatenate([mixed, test])
    model = answered(s, fold, np.concatenate([asked, rest]))
    book.add('before', test, choice(model, test), draw, name)
    teach_rows(s, book, others, (model, model), labelled, test, rest, draw, name, 'teach')
    if not s.enrolled:
        return
    states = s.values[0]
    for k in (1, 2, 4, 8, 16):
        known = answered(s, fold, asked, s.enrolled, states[mixed[:k]].mean(0))
        book.add(f'enroll {k}', test, choice(known, test), draw, name)
        if k == 8:
            both = known
    known = answered(s, fold, asked, s.enrolled, states[plain].mean(0))
    book.add('enroll neutral', test, choice(known, test), draw, name)
    teach_rows(s, book, others, (both, None), labelled, test, rest, draw, name, 'both')


def teach_rows(s, book, others, models, labelled, test, rest, draw, name, word) -> None:
    """Add the predictions after teaching with n recordings of each emotion."""
    model, of_others = models
    for n in range(1, TAUGHT + 1):
        rows = np.concatenate([r[:n] for r in labelled])
        for ridge in book.ridges:
            heads = taught(s, model, rows, ridge)
            book.add((word, n, ridge), test, choice(model, test, heads), draw, name)
            if of_others and len(rest):
                others.add((word, n, ridge), rest, choice(model, rest, heads), draw, name)
    if of_others and len(rest):
        others.add('before', rest, choice(model, rest), draw, name)


def chosen(book: Book, word: str, n: int) -> Predictions:
    """Return the predictions with the penalty of each fold chosen on the other folds' speakers."""
    folds, parts = np.unique(book.s.fold), []
    for fold in folds:
        rest = [f for f in folds if f != fold]
        best = max(book.ridges, key=lambda r: book.uar((word, n, r), rest).value)
        parts.append(book.predictions((word, n, best), [fold]))
    return Predictions(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def table(s: Study, title: str, draws: int, nested: bool) -> None:
    """Print the table of a study, one of each of its corpora."""
    print(f'\n## {title}\n')
    for corpus in dict.fromkeys(s.corpus):
        ridges = RIDGES if nested else (personal_head.RIDGE,)
        book, others, began = Book(s, ridges), Book(s, ridges), time.monotonic()
        names = sorted(set(s.speaker[(s.corpus == corpus) & (s.fold >= 0)]))
        for name in names:
            for draw in range(draws):
                speaker_rows(s, book, others, name, draw)
        one(book, others, f'{corpus}, {len(names)} speakers', nested)
        print(f'\n{time.monotonic() - began:.0f} s', flush=True)


def one(book: Book, others: Book, title: str, nested: bool) -> None:
    print(f'\n| {title} | UAR [95 % interval] | to before | others |\n|---|---|---|---|')
    classes = len(book.s.emotions)
    for key in book.found:
        if isinstance(key, str):
            gain = '' if key == 'before' else f'{book.gain(key, "before")}'
            print(f'| {key} | {book.uar(key)} | {gain} | |')
    for word in ('teach', 'both'):
        for n in range(1, TAUGHT + 1):
            if (word, n, book.ridges[0]) not in book.found:
                continue
            for ridge in book.ridges:
                key = (word, n, ridge)
                other = others.gain(key, 'before') if key in others.found else ''
                shown = f'{book.uar(key)} | {book.gain(key, "before")} | {other}'
                print(f'| {word} {n}, ridge {ridge} | {shown} |')
            if nested:
                p = chosen(book, word, n)
                uar = intervals.speaker_bootstrap(p, classes, 1000)['uar']
                print(f'| {word} {n}, chosen | {uar} | | |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--runs', type=pathlib.Path, default=pathlib.Path('runs'))
    parser.add_argument('--draws', type=int, default=3)
    parser.add_argument('--only', default='within,network,across')
    a = parser.parse_args()
    if 'within' in a.only:
        table(encoder(a.runs / 'best', a.runs / 'best_k8'), 'RAVDESS, best', a.draws, True)
    if 'network' in a.only:
        table(network(a.runs / 'conv_bilstm'), 'RAVDESS, conv_bilstm', a.draws, True)
    if 'across' in a.only:
        s = encoder(a.runs / 'strangers', a.runs / 'strangers-enrolled')
        table(s, 'across corpora, strangers', a.draws, False)


if __name__ == '__main__':
    main()
