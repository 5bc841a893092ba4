"""Choice of the answers to explain: confident mistakes and successes over all emotions."""

import itertools
import operator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ser_jax.learn.prediction import answering
from ser_jax.runs.trained import Trained
from ser_jax.scoring.rows import selected

SEED = 0  # of the choice, and of the random weights of the sanity check


class Choice(NamedTuple):
    """One utterance to explain, with the answer of the members that test it."""

    place: str  # corpus/id
    truth: str
    answer: str
    probabilities: np.ndarray  # [C], mean over members
    members: list[str]


def choose(predictions: pa.Table, trained: Trained, count: int, seed: int = SEED) -> list[Choice]:
    """Return utterances of a run's own test sides: confident mistakes and successes in turn.

    Each kind takes the emotions in turn, in an order drawn by `seed`, and of an emotion the most
    confident answer that is left. If one kind runs out, the other fills up.

    Args:
      predictions: rows of any runs, see `runs.predictions`.
      trained: the run.
      count: number of utterances; fewer if there are fewer.
      seed: of the order.
    """
    random = np.random.default_rng(seed)
    kinds = []
    for correct in (False, True):
        same = [c for c in _answers(predictions, trained) if (c.truth == c.answer) is correct]
        emotions = random.permutation(sorted({c.truth for c in same})).tolist()
        ranked = []
        for emotion in emotions:
            of_emotion = [c for c in same if c.truth == emotion]
            ranked.append(sorted(of_emotion, key=lambda c: (-c.probabilities.max(), c.place)))
        rounds = itertools.zip_longest(*ranked)
        kinds.append([c for c in itertools.chain.from_iterable(rounds) if c is not None])
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*kinds))
    return [c for c in in_turn if c is not None][:count]


def _answers(predictions: pa.Table, trained: Trained) -> list[Choice]:
    """Return the mean answer of the members to each utterance on their test sides."""
    rows = selected(predictions).to_pylist()
    clean = [r for r in rows if r['run'] == str(trained.directory)]
    headline = answering({r['modality'] for r in clean})
    tested = {m: set(fold['test']) for m, fold in trained.folds.items()}
    found: dict[str, list[dict]] = {}
    for row in clean:
        place = f'{row["corpus"]}/{row["id"]}'
        own = place in tested.get(row['member'], ())
        if own and row['modality'] == headline:
            found.setdefault(place, []).append(row)
    choices, probabilities = [], operator.itemgetter(*(f'p_{e}' for e in trained.emotions))
    for place, each in found.items():
        p = np.mean([probabilities(row) for row in each], axis=0)
        answer = trained.emotions[int(p.argmax())]
        members = [r['member'] for r in each]
        choices.append(Choice(place, each[0]['emotion'], answer, p, members))
    return choices
