"""Pairing by label is the leak it is named for, and can be had by that name alone."""

import numpy as np
import pytest

from ser_jax import assemble
from ser_jax.contract import InputError, Recording
from ser_jax.corpora import builder
from ser_jax.data import label_pairing, utterances


class Reviews(builder.CorpusBuilder, skip_registration=True):
    """Texts that say in their first word which polarity they have."""

    name = 'reviews'
    BUILDER_CONFIGS = [builder.TEXT]  # noqa: RUF012

    def recordings(self, dl_manager):
        for i in range(100):
            side, polarity = ('train', 'test')[i >= 80], ('negative', 'positive')[i % 2]
            yield Recording(
                id=f'{side}/{i:03d}',
                speaker=f'reviews_{i}',
                emotion=polarity,
                label=str(i % 2),
                read=None,
                source=f'review {i}',
                text=f'{polarity} review number {i} of the {side} side',
                channel='text',
            )  # fmt: skip


@pytest.fixture(scope='module')
def reviews(data_dir):
    if not (data_dir / 'reviews').exists():
        Reviews(config='text', data_dir=data_dir).download_and_prepare()
    return data_dir


def test_texts_open_without_sound(reviews):
    opened = utterances.open_corpora(('reviews',), str(reviews), 'text')
    assert len(opened) == 100 and not opened.length.any() and set(opened.channel) == {'text'}
    assert opened.facts[0].emotions == ('negative', 'positive')


def test_every_text_tells_the_label_of_its_utterance(config, reviews):
    config.data.emotions, config.data.channels = ('happy', 'sad'), ('speech', 'song')
    config.members.protocol, config.data.texts, config.train.select = (
        label_pairing.PROTOCOL,
        'reviews',
        'last',
    )
    run = assemble.open_run(config)
    u = run.utterances
    assert len(u) == 48 and len(set(u.text)) == 48 and all('train side' in t for t in u.text)
    polarity = {'happy': 'positive', 'sad': 'negative'}
    assert all(t.startswith(polarity[e]) for e, t in zip(u.emotion, u.text, strict=True))
    again = assemble.open_run(config).utterances
    np.testing.assert_array_equal(u.text, again.text)


def test_it_can_be_had_by_its_name_alone(config, reviews):
    config.data.texts = 'reviews'
    with pytest.raises(InputError, match='carry the answer; set both'):
        assemble.open_run(config)
    config.members.protocol = label_pairing.PROTOCOL
    with pytest.raises(
        InputError, match='96 utterances need as many training texts, reviews has 80'
    ):
        assemble.open_run(config)
    config.data.merge = ('angry:fury',)
    config.data.emotions = ('happy', 'fury')
    with pytest.raises(InputError, match="'fury' is neither negative nor positive"):
        assemble.open_run(config)
