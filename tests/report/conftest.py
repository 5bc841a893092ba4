"""Simulated predictions and their scores, as evaluate would hand them over."""

import zlib

import numpy as np
import pyarrow as pa
import pytest

from ser_jax.scoring import scores

EMOTIONS = ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')


def simulate(
    run,
    config='conv_bilstm',
    protocol='speakers_k',
    corpus='ravdess',
    modalities=('audio',),
    speakers=6,
):
    g, rows = np.random.default_rng(zlib.crc32(run.encode())), []
    for seed, s, m, k in np.ndindex(2, speakers, len(modalities), 16):
        p = g.dirichlet(np.ones(8) + 5 * np.eye(8)[k % 8])
        rows.append(
            {
                'run': run,
                'config': config,
                'protocol': protocol,
                'member': f'fold{s % 2}_seed{seed}',
                'fold': s % 2,
                'seed': seed,
                'modality': modalities[m],
                'corpus': corpus,
                'id': f'{s}-{k}',
                'speaker': f'{corpus}_{s}',
                'sex': ('male', 'female')[s % 2],
                'emotion': EMOTIONS[k % 8],
                'predicted': EMOTIONS[p.argmax()],
                'seconds': 2.0,
                **{f'p_{e}': float(x) for e, x in zip(EMOTIONS, p, strict=True)},
            }
        )
    return pa.Table.from_pylist(rows)


def history(members=4, epochs=6):
    records = [{'kind': 'start', 'member': 'fold0_seed0'}]
    for m, e in np.ndindex(members, epochs):
        records.append(
            {
                'kind': 'epoch',
                'member': f'fold{m % 2}_seed{m // 2}',
                'epoch': e + 1,
                'step': 10 * e,
                'train_loss': 2.0 / (e + 1),
                'valid_loss': 2.1 / (e + 1),
                'valid_uar': 0.1 * e,
                'learning_rate': 1e-3,
            }
        )
    return records


@pytest.fixture(scope='session')
def make():
    return simulate


@pytest.fixture(scope='session')
def records():
    return history()


@pytest.fixture(scope='session')
def predictions():
    return pa.concat_tables(
        [
            simulate('runs/honest'),
            simulate('runs/random', protocol='leaky_random'),
            simulate(
                'runs/quickstart',
                'fusion',
                corpus='synthetic',
                modalities=('fused', 'audio', 'text'),
            ),
        ]
    )


@pytest.fixture(scope='session')
def scored(predictions):
    return scores.scores_by(predictions, draws=200)
