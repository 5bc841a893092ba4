"""A frozen encoder from its file to an answer: cached, refused with other weights, never stored."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
import soundfile
from flax import nnx
from ml_collections import ConfigDict

from ser_jax import assemble, evaluate, predict, train
from ser_jax import weights as weights_verb
from ser_jax.contract import InputError, Inputs
from ser_jax.data import speaker_statistics
from ser_jax.inference import Clip, Predictor
from ser_jax.learn.arrays import CorpusData
from ser_jax.models.encoders import weight_files, whisper
from ser_jax.runs.trained import open_trained
from tests.conftest import EMOTIONS, small_config, tone
from tests.models.pretrained_test import model_bin
from tests.resume_test import interrupted_after
from tests.train_test import assert_bitwise, kept

SIZE = whisper.Size(2, 64)


@pytest.fixture(scope='module', autouse=True)
def tiny():
    """Whisper tiny made still smaller: two blocks of one head."""
    before, whisper.SIZES['whisper_tiny'] = whisper.SIZES['whisper_tiny'], SIZE
    yield
    whisper.SIZES['whisper_tiny'] = before


def write_weights(path: pathlib.Path, seed: int) -> None:
    """A file of CTranslate2 with random weights, by the rules turned round."""
    encoder = whisper.Encoder('whisper_tiny', rngs=nnx.Rngs(seed))
    leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.state(encoder))
    tensors = {'decoder/embeddings/weight': np.zeros((3, 4), np.float16)}
    for keys, value in leaves:
        name = '/'.join(str(getattr(k, 'key', getattr(k, 'name', k))) for k in keys)
        for rule in whisper.CTRANSLATE2:
            if found := whisper.re.fullmatch(rule.path, name.removesuffix('/value')):
                tensor = np.asarray(value, np.float32)
                turned = tensor.transpose(*range(tensor.ndim)[::-1]) if rule.function else tensor
                tensors[rule.sources[0].format(*found.groups())] = np.ascontiguousarray(turned)
                break
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model_bin(tensors))


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp('weights')
    write_weights(folder / 'whisper_tiny' / 'model.bin', 0)
    return folder


@pytest.fixture
def config(data_dir, weights, tmp_path, monkeypatch) -> ConfigDict:
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(weights))
    monkeypatch.setenv('SER_JAX_ACTIVATIONS', str(tmp_path / 'derived'))
    c = small_config(data_dir)
    c.features.source, c.features.input = 'waveform', 'whisper_mel'
    c.features.normalize = 'none'
    c.model = ConfigDict(
        {'name': 'speech_encoder', 'encoder': 'whisper_tiny', 'layers': (1, 2), 'hidden': 8}
    )
    c.train.epochs = 1
    return c


def test_from_a_file_of_weights_to_an_answer(config, tmp_path):
    """Prediction runs the whole network, evaluation the cached states in float16."""
    train.train(config, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    rows = evaluate.evaluate([trained], say=print).to_pylist()
    member = [r for r in rows if r['member'] == 'fold0_seed0']
    assert np.mean([r['emotion'] == r['predicted'] for r in member]) > 0.6  # tones are separable
    predictor = Predictor.open(trained, ['fold0_seed0'])
    for row in member[:4]:
        s, emotion, take = row['id'].split('_')
        samples = tone(int(s[1:]), trained.emotions.index(emotion), int(take))
        soundfile.write(tmp_path / 'x.wav', samples, 16000, subtype='FLOAT')
        answer = predict.predict_file(predictor, tmp_path / 'x.wav')
        expected = [row[f'p_{e}'] for e in trained.emotions]
        np.testing.assert_allclose(answer.probabilities, expected, atol=0.02)


def test_frozen_variables_are_stored_once_and_in_no_checkpoint(config, tmp_path):
    train.train(config, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    kept = trained.variables(trained.finished)
    assert set(kept.params) == set() and set(kept.stats) == {'kernel', 'bias'}
    frozen = trained.learner.frozen_variables()
    assert all(not name.startswith('encoder') for name in {*kept.params, *kept.stats})
    predictor = Predictor.open(trained)
    (*_, on_device), *_ = predictor._stored
    for name, value in on_device.items():
        assert value.shape == frozen[name].shape  # no axis of members
    environment = json.loads((tmp_path / 'run' / 'environment.json').read_text())
    assert environment['pretrained'] == 'whisper_tiny, MIT'
    assert len(environment['begins_with']) == 64


def test_other_or_missing_weights_are_refused(config, weights, tmp_path, monkeypatch):
    train.train(config, tmp_path / 'run')
    other = tmp_path / 'other'
    write_weights(other / 'whisper_tiny' / 'model.bin', 1)
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(other))
    for act in (evaluate.evaluate, lambda runs: Predictor(*runs)):
        with pytest.raises(InputError, match='was trained with other pretrained weights'):
            act([open_trained(tmp_path / 'run')])
    with pytest.raises(InputError, match='weights'):
        train.train(config, tmp_path / 'run')
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path / 'nowhere'))
    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path / 'nowhere'))
    with pytest.raises(InputError, match=r'get them with: python -m ser_jax\.weights whisper_tiny'):
        Predictor.open(tmp_path / 'run')


def test_states_are_computed_once_for_all_heads(config, tmp_path):
    first = assemble.open_run(config).utterances
    config.model.layers = (0, 2)  # averages of all layers are cached
    config.model.shrinkage = 0.2
    counted = []
    original = assemble.derived._fill
    assemble.derived._fill = lambda *a: counted.append(1) or original(*a)
    try:
        again = assemble.open_run(config).utterances
    finally:
        assemble.derived._fill = original
    assert not counted
    np.testing.assert_array_equal(first.flat, again.flat)


DERIVE = """
import sys, numpy as np
from ml_collections import ConfigDict
from ser_jax import assemble
from ser_jax.models.encoders import whisper
whisper.SIZES['whisper_tiny'] = whisper.Size(2, 64)
run = assemble.open_run(ConfigDict(eval(sys.argv[1])))
np.save(sys.argv[2], run.utterances.flat)
"""


def test_several_devices_derive_the_same_states(config, tmp_path):
    """Three devices compute the recordings of a batch in parallel."""
    given = []
    for count in (1, 3):
        made = {'JAX_NUM_CPU_DEVICES': str(count), 'JAX_PLATFORMS': 'cpu'}
        made['SER_JAX_ACTIVATIONS'] = str(tmp_path / f'derived{count}')
        path = tmp_path / f'{count}.npy'
        command = [sys.executable, '-c', DERIVE, repr(config.to_dict()), str(path)]
        subprocess.run(command, check=True, env=os.environ | made, capture_output=True)
        given.append(np.load(path).astype(np.float32))
    assert len(given[0]) == 72
    np.testing.assert_allclose(given[1], given[0], atol=2e-2)


ADAPTED = {'one block': {'adapted': 1}, 'LoRA': {'adapted': 2, 'rank': 2}, 'all': {'adapted': 3}}


SLOW = [
    pytest.param(head, marks=pytest.mark.slow)
    for head in ('mean', 'attentive', 'bilstm', 'one block', 'all')
]


@pytest.mark.parametrize('head', ['linear', 'LoRA', *SLOW])
def test_heads_and_adapted_encoders_learn(config, tmp_path, head):
    config.model.update(ADAPTED.get(head, {}))
    config.model.head = 'attentive' if head in ADAPTED else head
    config.train.epochs, config.members.only = 12, (0,)
    config.model.dropout, config.train.eval_window_s = 0.0, 30.0
    config.optim.learning_rate = 0.02
    train.train(config, tmp_path / 'run')
    records = [json.loads(x) for x in (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()]
    losses = [r['train_loss'] for r in records if r['kind'] == 'epoch']
    assert losses[-1] < 0.7 * losses[0]
    trained = open_trained(tmp_path / 'run')
    rows = evaluate.evaluate([trained], say=print).to_pylist()
    (answer,) = Predictor.open(trained).predict([clip(rows[0]['id'])])
    expected = [rows[0][f'p_{e}'] for e in trained.emotions]
    np.testing.assert_allclose(answer.probabilities, expected, atol=0.02)


@pytest.mark.parametrize('how', ADAPTED)
def test_only_what_is_adapted_is_trained_and_stored(config, how):
    """A low-rank update changes nothing at first; no frozen variable is in the state."""
    config.model.update(ADAPTED[how] | {'head': 'attentive', 'layers': (0, 1, 2)})
    run = assemble.open_run(config)
    assert run.learner.derived == (how != 'all')
    learner = assemble.build_learner(config, len(run.emotions), 0, run.steps)
    state = learner.init(jax.random.key(0))
    inside = {''.join(n.split('/')[1:3]) for n in state.variables.params if 'encoder' in n}
    expected = (
        {'blocks1', 'normscale', 'normbias'} if how == 'one block' else {'blocks0', 'blocks1'}
    )
    assert expected <= inside and ('conv1' in str(inside)) == (how == 'all')
    names = [n for n in state.variables.params if n.startswith('encoder')]
    assert all('lora' in n for n in names) == (how == 'LoRA')
    frozen = learner.frozen_variables()
    assert not set(frozen) & set(state.variables.params)

    config.model.update({'adapted': 0, 'rank': 0})
    plain = assemble.build_learner(config, len(run.emotions), 0, run.steps)
    head = {n: x for n, x in state.variables.params.items() if not n.startswith('encoder')}
    variables = state.variables._replace(params=head)
    features = np.random.default_rng(0).standard_normal((2, 60, 80)).astype(np.float32)
    supported = np.ones((2, len(run.emotions)), bool)
    inputs = Inputs(features, np.array([60, 31]), None, supported)
    answers = []
    for one, values in ((learner, state.variables), (plain, variables)):
        zeros = np.zeros(2, np.int32)
        corpus = CorpusData(None, zeros, zeros, zeros, zeros, supported, one.frozen_variables())
        answers.append(one.apply(values, inputs, corpus).probabilities['audio'])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-6)


def test_training_resumes_bitwise_with_low_rank_updates(config, tmp_path, monkeypatch):
    config.model.update(ADAPTED['LoRA'] | {'head': 'mean'})
    config.train.epochs, config.train.checkpoint_every, config.members.only = 4, 1, (0,)
    train.train(config, tmp_path / 'whole')
    with interrupted_after(2, monkeypatch):
        train.train(config, tmp_path / 'broken')
    train.train(config, tmp_path / 'broken')
    assert_bitwise(kept(tmp_path / 'whole'), kept(tmp_path / 'broken'))


@pytest.mark.parametrize('knob, value', [('trainable', 'hed/'), ('rates', ('hed/=0.1',))])
def test_a_pattern_without_a_parameter_is_refused_before_anything_is_written(
    config, tmp_path, knob, value
):
    config.model.head = 'attentive'
    config.optim[knob] = value
    with pytest.raises(InputError, match=rf"optim.{knob}.*'hed/' matches no parameter"):
        train.train(config, tmp_path / 'run')
    assert not (tmp_path / 'run' / 'config.json').exists()


def test_adapted_blocks_and_speaker_statistics_exclude_each_other(config):
    config.model.update({'head': 'mean', 'adapted': 1})
    config.features.speaker_norm = 'all'
    with pytest.raises(InputError, match=r'needs a frozen encoder; .* model\.adapted, now 1, to 0'):
        assemble.open_run(config)


def test_variants_of_samples_are_trained_on_and_never_scored(config, tmp_path):
    plain = assemble.open_run(config)
    config.data.variants = ('speed_92', 'speed_108', 'noise')
    run = assemble.open_run(config)
    u = run.utterances
    assert len(u) == 4 * len(plain.utterances) and list(u.id[:2]) == [
        u.id[0],
        f'{u.id[0]}+speed_92',
    ]
    np.testing.assert_array_equal(u.read(0), plain.utterances.read(0))
    assert np.abs(u.read(1).astype(np.float32) - u.read(0)).max() > 0.01
    for member in run.members:
        assert not any('+' in i for i in u.id[member.test])
        assert sum('+' in i for i in u.id[member.train]) == 0.75 * len(member.train)
    config.data.resident_gb = 0.0
    streamed = assemble.open_run(config).utterances
    np.testing.assert_array_equal(streamed.read(2), u.read(2))
    train.train(config, tmp_path / 'run')
    evaluate.evaluate([open_trained(tmp_path / 'run')], say=print)


def clip(id: str) -> Clip:
    """The tone of the corpus with an id."""
    speaker, emotion, take = id.split('_')
    return Clip(tone(int(speaker[1:]), EMOTIONS.index(emotion), int(take)), 16000)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'model.encoder': 'whisper_hug'}, "model.encoder='whisper_hug' is not known; known are"),
        ({'model.layers': (1, 3)}, 'whisper_tiny has the layers 0 to 2'),
        ({'model.layers': (1, 1)}, 'must name different layers'),
        ({'model.head': 'magic'}, "model.head='magic' is not known; known are discriminant"),
        ({'train.epochs': 2}, 'train.epochs must be 1 for a model that is fitted in closed form'),
        ({'features.normalize': 'train'}, "set features.normalize='none'"),
        ({'augment.gain_db': 3.0}, 'augment'),
        ({'features.source': 'log_mel'}, 'is computed from samples'),
        ({'features.input': 'log_mel'}, "reads whisper_mel, got log_mel; set features.input='whi"),
        ({'model.adapted': 1}, 'model.adapted=1 needs a head that is trained on frames'),
        ({'model.rank': 4}, 'model.rank=4 adapts no block; set model.adapted'),
        ({'features.speaker_norm': 'enrolled:0'}, "must be 'none', 'enrolled:k'"),
        ({'features.speaker_norm': 'enrolled:12'}, 'leaves no recording of .* to score: it has 12'),
    ],
)
def test_impossible_configs_are_refused_in_one_line(config, change, message):
    for name, value in change.items():
        section, knob = name.split('.')
        with config.unlocked():
            config[section][knob] = value
    with pytest.raises(InputError, match=message) as e:
        assemble.open_run(config)
    assert len(str(e.value).split('\n--')[0].strip().splitlines()) == 1


@pytest.mark.parametrize('mode', ['enrolled:2', 'all'])
def test_speaker_statistics_are_the_same_in_training_evaluation_and_prediction(
    config, tmp_path, mode
):
    config.features.speaker_norm = mode
    run = assemble.open_run(config)
    train.train(config, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    rows = evaluate.evaluate([trained], say=print).to_pylist()
    assert {r['protocol'] for r in rows} == {f'speakers_k, transductive {mode}'}
    member = [r for r in rows if r['member'] == 'fold0_seed0']
    speaker = member[0]['speaker']
    utterances = run.utterances
    used = speaker_statistics.enrolled(utterances, mode, ('speech',), 0)
    ids = set(utterances.id[used & (utterances.speaker == speaker)])
    scored = {r['id'] for r in member if r['speaker'] == speaker}
    assert len(ids) == (2 if mode == 'enrolled:2' else 12)
    assert (ids & scored == set()) == (mode == 'enrolled:2')
    predictor = Predictor.open(trained, ['fold0_seed0'])

    first = next(r for r in member if r['speaker'] == speaker)
    with pytest.raises(InputError, match=r'relative to speakers .* enroll this voice first'):
        predictor.predict([clip(first['id'])])
    with pytest.raises(InputError, match='enroll this voice first'):
        predictor.function()
    predictor.enroll([clip(i) for i in sorted(ids)])
    (answer,) = predictor.predict([clip(first['id'])])
    expected = [first[f'p_{e}'] for e in trained.emotions]
    np.testing.assert_allclose(answer.probabilities, expected, atol=0.02)


def test_enrollment_without_speaker_statistics_is_refused(config, tmp_path):
    train.train(config, tmp_path / 'run')
    predictor = Predictor.open(tmp_path / 'run')
    with pytest.raises(InputError, match='uses no speaker statistics'):
        predictor.enroll([Clip(tone(0, 0, 0), 16000)])


def test_local_weights_are_copied_once_and_never_hidden_by_others(weights, tmp_path):
    given = tmp_path / 'given'
    given.mkdir()
    shutil.copy(weights / 'whisper_tiny' / 'model.bin', given)
    (given / 'vocabulary.txt').write_text('a')
    (given / 'large.bin').write_text('not copied')
    lines = []
    path = weights_verb.get('whisper_tiny', str(given), tmp_path / 'own', lines.append)
    assert path == tmp_path / 'own' / 'whisper_tiny' / 'model.bin'
    assert sorted(p.name for p in path.parent.iterdir()) == ['model.bin', 'vocabulary.txt']
    assert 'is not that of the published file' in lines[0] and 'all imported' in lines[1]
    encoder = whisper.Encoder('whisper_tiny', rngs=nnx.Rngs(3))
    tensors = {}
    for keys, value in jax.tree_util.tree_flatten_with_path(nnx.state(encoder))[0]:
        name = '/'.join(str(getattr(k, 'key', getattr(k, 'name', k))) for k in keys)
        if name.startswith('positions'):
            tensors['model.encoder.embed_positions.weight'] = np.asarray(value)
    safetensors.numpy.save_file(tensors, tmp_path / 'x.safetensors')
    with pytest.raises(InputError, match=r'x\.safetensors lacks encoder\.'):
        weights_verb.get('whisper_tiny', str(tmp_path / 'x.safetensors'), tmp_path / 'own')
    assert weight_files.find('whisper_tiny', tmp_path / 'own') == path
    moved = tmp_path / 'new' / 'whisper_tiny' / 'model.safetensors'
    moved.parent.mkdir(parents=True)
    moved.write_bytes(b'x')
    with pytest.raises(InputError, match=r'model\.safetensors is used already; remove it to use'):
        weights_verb.get('whisper_tiny', str(given), tmp_path / 'new')
