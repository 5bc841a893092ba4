"""From the published front ends to their networks: built, trained, scored, predicted."""

import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from ser_jax import assemble, evaluate, predict, train
from ser_jax.audio import front_ends, wav
from ser_jax.contract import InputError
from ser_jax.data import utterances
from ser_jax.inference import Clip, Predictor
from ser_jax.report.answers import ranked
from ser_jax.runs.trained import open_trained
from tests.conftest import ToneBuilder, tone

NETWORKS = {
    'mfcc_curve': {'name': 'speech_emotion_analyzer'},
    'stats162': {'name': 'burnwal'},
    'log_mel_40': {'name': 'cnn4_bilstm', 'channels': (4, 4, 8, 8), 'hidden': 8},
    'vsr_spectrogram': {'name': 'shallow_cnn', 'bands': 128, 'steps': 173, 'pooled': True},
}


@pytest.fixture(scope='module')
def built(data_dir):
    """The folder of the tone corpus, with shards of every published front end in use."""
    for source in NETWORKS:
        ToneBuilder(config=source, data_dir=data_dir).download_and_prepare()
    return data_dir


def seed_config(config, source: str) -> ConfigDict:
    """The small config on a published front end, as its network wants it."""
    config.features.source, config.features.normalize = (
        source,
        'none' if source == 'mfcc_curve' else 'train',
    )
    arguments = {k: v for k, v in NETWORKS[source].items() if k != 'bands'}
    config.model = ConfigDict(arguments)
    config.members.only, config.train.epochs = (0,), 2
    return config


@pytest.mark.parametrize('source', NETWORKS)
def test_shards_hold_what_the_front_end_gives(built, source):
    opened = utterances.open_corpora(('synthetic',), str(built), source)
    of = front_ends.by_name(source).layout
    at = list(opened.id).index('s2_sad_1')
    samples = wav.prepare(tone(2, 2, 1), 16000, front_ends.by_name(source).rate_hz)
    np.testing.assert_array_equal(opened.read(at), front_ends.by_name(source).stored(samples))
    assert all(opened.read(i).shape[1] == of.bands for i in range(len(opened)))
    assert of.steps is None or not (opened.length % of.steps).any()


@pytest.mark.slow
@pytest.mark.parametrize('source', NETWORKS)
def test_a_network_trains_is_scored_and_hears_a_file_alike(config, built, source, tmp_path):
    config = seed_config(config, source)
    config.data.labels = 'sex_emotion' if source == 'mfcc_curve' else 'emotion'
    config.optim.name = 'rmsprop' if source == 'mfcc_curve' else 'adam'
    config.optim.weight_decay = 0.0
    config.optim.schedule = 'plateau' if source == 'stats162' else 'constant'
    train.train(config, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    assert len(trained.emotions) == (8 if source == 'mfcc_curve' else 4)
    rows = {r['id']: r for r in evaluate.evaluate([trained], say=print).to_pylist()}
    predictor = Predictor(trained)
    row = rows['s0_happy_1']
    soundfile.write(tmp_path / 'tone.wav', tone(0, 1, 1), 16000, subtype='FLOAT')
    predicted = predict.predict_file(predictor, tmp_path / 'tone.wav')
    np.testing.assert_allclose(
        predicted.probabilities, [row[f'p_{e}'] for e in trained.emotions], atol=1e-6
    )


def test_augmentation_of_decibels_is_refused_where_there_are_none(config, built):
    config = seed_config(config, 'mfcc_curve')
    config.augment.gain_db = 3.0
    with pytest.raises(
        InputError,
        match=r'augment.gain_db needs features in decibels, which these are not; set it to 0',
    ):
        assemble.open_run(config)
    config.augment.gain_db, config.features.trim_db = 0.0, 40.0
    with pytest.raises(InputError, match='only log_mel and waveform are trimmed'):
        assemble.open_run(config)


def test_every_front_end_has_a_layout_and_a_name_of_its_own():
    assert set(front_ends.STORED) < set(front_ends.FRONT_ENDS) and len(front_ends.STORED) == 9
    for source in front_ends.FRONT_ENDS:
        of = front_ends.by_name(source).layout
        samples = (
            np.random.default_rng(0)
            .uniform(-0.1, 0.1, 5 * front_ends.by_name(source).rate_hz)
            .astype(np.float32)
        )
        frames = front_ends.by_name(source).stored(samples)
        assert frames.shape[1:] == ((of.bands,) if of.bands else ())  # samples have no bands
        assert of.steps is None or len(frames) % of.steps == 0
        assert 0 < of.hop_s < 0.05 or of.steps == 1
    with pytest.raises(
        InputError, match=r"features\.source must be one of log_mel, .*, got 'mfcc'"
    ):
        front_ends.by_name('mfcc')


def test_names_without_data_stay_on_the_head_and_are_never_an_answer(config, built, tmp_path):
    config = seed_config(config, 'log_mel_40')
    config.data.emotions = ('neutral', 'sad', 'boredom', 'happy', 'angry', 'trusting')
    with pytest.raises(
        InputError,
        match=r'data.emotions names boredom, trusting, of which synthetic have no example',
    ):
        assemble.open_run(config)
    config.data.unsupported = ('boredom', 'trusting')
    train.train(config, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    assert trained.emotions == tuple(config.data.emotions)
    for row in evaluate.evaluate([trained]).to_pylist():
        assert row['p_boredom'] == row['p_trusting'] == 0
    (answer,) = Predictor(trained).predict([Clip(tone(0, 1, 1), 16000)])
    probabilities = answer.probabilities
    assert probabilities[2] == probabilities[5] == 0 and probabilities.sum() == pytest.approx(
        1, abs=1e-5
    )
    assert 'boredom' not in ranked(probabilities, answer.emotions, 6)


@pytest.mark.slow
def test_a_transfer_model_trained_on_derived_features_predicts_a_file_alike(
    config, built, tmp_path, monkeypatch
):
    monkeypatch.setenv('SER_JAX_ACTIVATIONS', str(tmp_path / 'activations'))
    config = seed_config(config, 'vsr_spectrogram')
    config.data.labels, config.features.normalize = 'valence', 'none'
    config.model = ConfigDict(
        {'name': 'transfer', 'width': 0.1, 'weights': 'random', 'dense': (8,)}
    )
    config.augment.gain_db = 3.0
    with pytest.raises(
        InputError, match=r"set features.normalize='none' and the augment knobs but mixup to 0"
    ):
        assemble.open_run(config)
    config.augment.gain_db = 0.0
    run = assemble.open_run(config)
    assert run.utterances.source == 'derived' and run.learner.derived
    train.train(config, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    rows = {r['id']: r for r in evaluate.evaluate([trained]).to_pylist()}
    assert {r['config'] for r in rows.values()} == {'densenet201_x0.1_random'}
    # Scored on what was computed for training.
    (index,) = (tmp_path / 'activations').glob('*/index.jsonl')
    assert len(index.read_text().splitlines()) == len(set(run.utterances.id))
    soundfile.write(tmp_path / 'tone.wav', tone(0, 1, 1), 16000, subtype='FLOAT')
    predicted = predict.predict_file(Predictor(trained), tmp_path / 'tone.wav')
    row = rows['s0_happy_1']
    np.testing.assert_allclose(
        predicted.probabilities, [row[f'p_{e}'] for e in trained.emotions], atol=1e-3
    )
    assert ranked(predicted.probabilities, trained.emotions).count('%') == 1  # a verdict


def test_weights_that_are_missing_are_asked_for_before_anything_is_written(
    config, built, tmp_path, monkeypatch
):
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path / 'none'))
    config = seed_config(config, 'vsr_spectrogram')
    config.features.normalize = 'none'
    config.model = ConfigDict(
        {'name': 'transfer', 'trunk': 'resnet50', 'trainable': ('conv5_block3',)}
    )
    with pytest.raises(
        InputError,
        match=r'lacks the pretrained weights of resnet50.*python -m ser_jax.weights resnet50',
    ):
        train.train(config, tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
