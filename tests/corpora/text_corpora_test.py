"""Corpora of texts, built, opened, relabeled and split into folds like all others."""

import dataclasses

import numpy as np
import pytest

from ser_jax.config import base
from ser_jax.contract import InputError, Recording
from ser_jax.corpora import builder
from ser_jax.data import protocols, utterances

WORDS = {'happy': 'what a fine kite', 'sad': 'the kite is gone'}


class NotesBuilder(builder.CorpusBuilder, skip_registration=True):
    """Twelve notes in two taxonomies, one of them empty and one there twice."""

    name = 'notes'
    BUILDER_CONFIGS = [builder.TEXT, dataclasses.replace(builder.TEXT, name='coarse')]  # noqa: RUF012
    TOLERANCE = 0.2

    def recordings(self, dl_manager):
        texts = [(e, f'{t} {n}') for n in range(6) for e, t in WORDS.items()]
        for at, (emotion, text) in enumerate([*texts, ('happy', ' \n'), texts[0]]):
            if self.builder_config.name == 'coarse':
                emotion = {'happy': 'positive', 'sad': 'negative'}[emotion]
            where = f'note{at:02d}'
            yield Recording(
                where,
                f'notes_{where}',
                emotion,
                emotion,
                None,
                f'{where}.txt',
                text=text,
                channel='text',
            )


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp('notes')
    for config in ('text', 'coarse'):
        NotesBuilder(config=config, data_dir=root).download_and_prepare()
    return str(root)


@pytest.mark.parametrize('resident_gb', [4.0, 0.0])
@pytest.mark.parametrize('trim_db', [0.0, 30.0])
def test_texts_open_without_audio(built, resident_gb, trim_db):
    opened = utterances.open_corpora(('notes',), built, 'text', resident_gb, trim_db)
    assert list(opened.id) == [
        f'note{i:02d}' for i in range(12)
    ]  # neither the empty nor the second of two
    assert opened.text[1] == 'the kite is gone 0' and set(opened.channel) == {'text'}
    assert not opened.length.any() and not opened.seconds.any() and not opened.rate_hz.any()
    assert opened.flat.shape == (0, 64) and opened.read(3).shape == (0, 64)
    mean, std = utterances.normalization(opened, np.arange(12))
    assert np.isfinite(mean).all() and (std > 0).all()


def test_texts_are_dealt_to_folds(built):
    config = base()
    config.members.folds = 3
    opened = utterances.open_corpora(('notes',), built, 'text')
    made = protocols.make_folds(opened, config.members)
    assert sorted(i for f in made for i in f.test) == list(range(12))


def test_a_config_of_its_own_is_named_behind_a_slash(built):
    opened = utterances.open_corpora(('notes/coarse',), built, 'text')
    assert opened.names == ('notes/coarse',) and opened.facts[0].name == 'notes'
    assert set(opened.emotion) == {'positive', 'negative'} == set(opened.facts[0].emotions)
    both = utterances.open_corpora(('notes', 'notes/coarse'), built, 'text')
    assert len(both) == 24 and len(set(both.fingerprints.values())) == 2


def test_words_of_a_spoken_corpus_can_be_opened_alone(data_dir):
    spoken = utterances.open_corpora(('synthetic/log_mel',), str(data_dir))
    words = utterances.open_corpora(('synthetic/log_mel',), str(data_dir), 'text', resident_gb=0.0)
    np.testing.assert_array_equal(words.text, spoken.text)
    assert words.fingerprints == spoken.fingerprints and not words.length.any()


def test_missing_fields_are_one_line(built, data_dir):
    with pytest.raises(InputError, match='holds no log_mel'):
        utterances.open_corpora(('notes/text',), built)
    with pytest.raises(
        InputError,
        match=r"'synthetic' \(text\) is not built in .*; built configs are synthetic/log_mel,",
    ):
        utterances.open_corpora(('synthetic',), str(data_dir), 'text')
    with pytest.raises(
        InputError, match=r'build WHERE_ITS_BUILDER_IS --manual_dir=\S+ --config=fine --data_dir'
    ) as e:
        utterances.open_corpora(('notes/fine',), built, 'text')
    assert '\n' not in str(e.value)
