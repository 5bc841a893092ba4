"""Predictions of an evaluation: a row per (run, member, modality, utterance)."""

import numpy as np
import pyarrow as pa

from ser_jax import assemble
from ser_jax.data.batches import Member
from ser_jax.data.utterances import Utterances
from ser_jax.learn.prediction import Prediction
from ser_jax.runs.trained import Trained
from ser_jax.scoring.rows import CLEAN, TEST


def rows(
    trained: Trained,
    utterances: Utterances,
    member: Member,
    prediction: Prediction,
    protocol: str,
    side: str = TEST,
    condition: str = CLEAN,
) -> pa.Table:
    """Return the predictions of one member as rows of the table."""
    index = prediction.utterance
    run = {
        'run': str(trained.directory),
        'config': assemble.title(trained.config),
        'protocol': protocol,
        'member': member.name,
        'fold': np.int32(member.fold),
        'seed': np.int32(member.seed),
        'side': side,
        'condition': condition,
    }
    planned = np.array([_planned(trained, name) for name in utterances.names], np.int32)
    parts = []
    for modality, probabilities in prediction.probabilities.items():
        same = {**run, 'modality': modality}
        columns = {name: np.full(len(index), value) for name, value in same.items()}
        columns |= {
            'planned': planned[utterances.corpus[index]],
            'corpus': np.array(utterances.names, object)[utterances.corpus[index]],
            'id': utterances.id[index],
            'speaker': utterances.speaker[index],
            'sex': utterances.sex[index],
            'emotion': utterances.emotion[index],
            'predicted': np.array(trained.emotions, object)[probabilities.argmax(1)],
            'seconds': utterances.seconds[index].astype(np.float32),
        }
        columns |= {f'p_{e}': probabilities[:, c] for c, e in enumerate(trained.emotions)}
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def _planned(trained: Trained, corpus: str) -> int:
    """Return the number of members that a complete run has to score a corpus.

    They are those whose test side has recordings of it; of a corpus that no member was to be tested
    on, all.
    """
    tested = 0
    for fold in trained.folds.values():
        tested += any(id.startswith(f'{corpus}/') for id in fold['test'])
    return tested or len(trained.folds)
