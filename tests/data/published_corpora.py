"""Utterances under the names of published corpora, whole or in part; no sound."""

import types

import numpy as np

from ser_jax.corpora import file_names
from ser_jax.data import protocols

RAVDESS = file_names.RAVDESS_EMOTIONS
SEVEN = ('neutral', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')


def rows(corpus):
    """(id, speaker, sex, emotion) of one utterance for each speaker and emotion of a corpus."""
    return list(globals()[f'_{corpus}']())


def _ravdess():
    for actor in range(1, 25):
        for e, emotion in enumerate(RAVDESS):
            id = f'03-01-{e + 1:02d}-01-01-01-{actor:02d}'
            yield id, f'ravdess_{actor:02d}', file_names.ravdess_sex(actor), emotion


def _cremad():
    for actor in range(1001, 1092):
        for code, emotion in file_names.CREMAD_EMOTIONS.items():
            id = f'{actor}_DFA_{code}_XX'
            yield id, f'cremad_{actor}', file_names.cremad_sex(actor), emotion


def _emodb():
    for speaker in file_names.EMODB_SPEAKERS:
        for code, emotion in file_names.EMODB_EMOTIONS.items():
            yield f'{speaker}a01{code}a', f'emodb_{speaker}', file_names.emodb_sex(speaker), emotion


def _savee():
    for speaker in file_names.SAVEE_SPEAKERS:
        for code, emotion in file_names.SAVEE_EMOTIONS.items():
            yield f'{speaker}_{code}01', f'savee_{speaker.lower()}', 'male', emotion


def _tess():
    for actress in ('OAF', 'YAF'):
        for code, emotion in file_names.TESS_EMOTIONS.items():
            yield f'{actress}_back_{code}', f'tess_{actress.lower()}', 'female', emotion


def _iemocap():
    for session in range(1, 6):
        for sex in 'FM':
            for turn, emotion in enumerate(SEVEN[:4]):
                id = f'Ses0{session}F_impro01_{sex}{turn:03d}'
                speaker = f'iemocap_Ses0{session}{sex}'
                yield id, speaker, {'F': 'female', 'M': 'male'}[sex], emotion


def _meld():
    for split in ('train', 'dev', 'test'):
        for turn, emotion in enumerate(SEVEN * 3):
            name = ('Rachel', 'Ross', f'{split} waiter')[turn % 3]
            yield f'{split}/dia{turn % 4}_utt{turn}', f'meld_{name}', 'unknown', emotion


def _own():
    for number in range(8):
        for emotion in SEVEN[:6]:
            id, speaker = f'take_{number}_{emotion}', f'own_{number}'
            yield id, speaker, ('female', 'male')[number % 2], emotion


def utterances(corpora, keep=None, classes=(), merge=(), variants=()):
    """The utterances of some corpora as `data.utterances.Utterances` has them.

    Args:
      keep: function of a row; None = all.
      classes, merge: as in the knobs of `data`.
      variants: names; each utterance is followed by one of each.
    """
    merged = dict(text.split(':') for text in merge)
    columns = {name: [] for name in ('id', 'speaker', 'sex', 'emotion', 'corpus', 'source_sha256')}
    for number, corpus in enumerate(corpora):
        for id, speaker, sex, emotion in rows(corpus):
            emotion = merged.get(emotion, emotion)
            if (keep and not keep((id, speaker, sex, emotion))) or emotion not in (
                classes or (emotion,)
            ):
                continue
            for name in (id, *(f'{id}+{v}' for v in variants)):
                values = name, speaker, sex, emotion, number, f'sha of {name}'
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    arrays = {k: np.array(v, int if k == 'corpus' else object) for k, v in columns.items()}
    channel = np.full(len(arrays['id']), 'speech', object)
    return types.SimpleNamespace(names=tuple(corpora), channel=channel, **arrays)


def corpora_of(protocol):
    """Corpora on which a protocol can be run."""
    return protocol.corpora or ('ravdess', 'emodb', 'own')


def under(name, **given):
    """The utterances that a protocol splits, whole."""
    protocol = protocols.PROTOCOLS[name]
    classes, merge = protocol.classes or SEVEN[:6], protocol.merge or ('calm:neutral',)
    return utterances(corpora_of(protocol), classes=classes, merge=merge, **given)
