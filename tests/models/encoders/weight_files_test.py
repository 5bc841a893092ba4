"""Files of weights of wav2vec 2.0, HuBERT, WavLM: every name of every age; pickles are refused."""

import pathlib
import re

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from ser_jax import assemble, train
from ser_jax import weights as weights_verb
from ser_jax.contract import InputError
from ser_jax.inference import Clip, Predictor
from ser_jax.models import encoders
from ser_jax.models.encoders import published, transformer, wav2vec2, wavlm, weight_files
from tests.conftest import small_config, tone

SMALL = wav2vec2.Size(2, 64, channels=16, groups=4, reach=8)
SIZES = {
    'hubert_base': SMALL,
    'wav2vec2_large': SMALL._replace(norm_first=True, biased=True),
    'wavlm_large': SMALL._replace(norm_first=True),
}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, size in SIZES.items():
        monkeypatch.setitem(encoders.by_name(name).sizes, name, size)


def made(name: str, seed: int = 0, layers: int | None = None):
    encoder = encoders.by_name(name)(name, layers, rngs=nnx.Rngs(seed))
    random = np.random.default_rng(seed)

    def perturbed(x):
        return x + 0.1 * random.standard_normal(x.shape).astype(np.float32)

    nnx.update(encoder, jax.tree.map(perturbed, nnx.state(encoder)))
    return encoder


def turned(rule, value: np.ndarray) -> list[np.ndarray]:
    """The tensors of a file that a rule makes into a value."""
    if rule.function is transformer.joined:
        return [part.T for part in np.split(value, 3, -1)]
    if len(rule.sources) == 2:  # the norm and the direction, whose length is arbitrary
        weight = value.transpose(2, 1, 0)
        return [np.sqrt((weight**2).sum((0, 1), keepdims=True)), 3 * weight]
    if rule.function is wavlm.GATES[-1].function:
        return [value.reshape(1, -1, 1, 1)]
    return [value.transpose(*range(value.ndim)[::-1]) if rule.function else value]


def tensors_of(encoder) -> dict[str, np.ndarray]:
    """The tensors of an encoder by the names of transformers, by the rules turned round."""
    tensors = {}
    for keys, value in jax.tree_util.tree_flatten_with_path(nnx.state(encoder))[0]:
        path = '/'.join(str(getattr(k, 'key', getattr(k, 'name', k))) for k in keys)
        path = path.removesuffix('/value')
        rule = next(r for r in encoder.names('').rules if re.fullmatch(r.path, path))
        groups = re.fullmatch(rule.path, path).groups()
        for source, tensor in zip(rule.sources, turned(rule, np.asarray(value)), strict=True):
            tensors[source.format(*groups)] = np.ascontiguousarray(tensor)
    return tensors


def write(encoder, path: pathlib.Path, prefix: str = '', new: bool = False) -> None:
    tensors = {prefix + name: value for name, value in tensors_of(encoder).items()}
    if new:
        at = f'{prefix}encoder.pos_conv_embed.conv.'
        for i, name in enumerate(('weight_g', 'weight_v')):
            tensors[f'{at}parametrizations.weight.original{i}'] = tensors.pop(at + name)
    path.parent.mkdir(parents=True, exist_ok=True)
    unread = ('masked_spec_embed', 'quantizer.codevectors', 'project_q.weight', 'lm_head.bias')
    tensors |= dict.fromkeys((prefix + unread[0], *unread[1:]), np.zeros(3, np.float32))
    safetensors.numpy.save_file(tensors, path)


def assert_equal(one, other):
    def close(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)

    jax.tree.map(close, nnx.state(one), nnx.state(other))


@pytest.mark.parametrize('new', [False, True])
@pytest.mark.parametrize('name', SIZES)
def test_files_with_and_without_a_head_of_both_ages_are_read(name, new, tmp_path):
    encoder = made(name)
    for prefix in ('', f'{name.split("_")[0]}.'):
        write(encoder, tmp_path / 'x.safetensors', prefix, new)
        other = made(name, 1)
        read = weight_files.load_file(other, tmp_path / 'x.safetensors')
        assert read == len(tensors_of(encoder))
        assert_equal(encoder, other)


@pytest.mark.parametrize('layers', [0, 1])
@pytest.mark.parametrize('name', SIZES)
def test_an_encoder_of_fewer_blocks_reads_its_part(name, layers, tmp_path):
    write(made(name), tmp_path / 'x.safetensors')
    few = made(name, 1, layers)
    weight_files.load_file(few, tmp_path / 'x.safetensors')
    expected = dict(nnx.to_flat_state(nnx.state(made(name))))
    for path, value in nnx.to_flat_state(nnx.state(few)):
        np.testing.assert_allclose(value[...], expected[path][...], rtol=1e-5, atol=1e-7)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / 'x.safetensors'
    write(made('hubert_base'), path)
    for name in ('wav2vec2_large', 'wavlm_large'):
        with pytest.raises(InputError, match=r'x\.safetensors lacks .* weights of another network'):
            weight_files.load_file(made(name), path)
    write(made('wavlm_large'), path)
    with pytest.raises(InputError, match=r'weights of another network'):
        weight_files.load_file(made('hubert_base'), path)


@pytest.mark.parametrize('file', ['pytorch_model.bin', 'model.bin', 'x.pt'])
def test_pickles_are_refused_with_the_way_to_convert_them(file, tmp_path):
    (tmp_path / file).write_bytes(b'\x80\x02}')
    message = r'is not read: .*AutoModel\.from_pretrained.*weights hubert_base --from=NEW'
    for given in (tmp_path, tmp_path / file):
        with pytest.raises(InputError, match=message) as e:
            weights_verb.get('hubert_base', str(given), tmp_path / 'own')
        assert '\n' not in str(e.value)
    assert not (tmp_path / 'own').exists()


def test_encoders_of_which_no_file_is_pinned_offer_a_local_one_only(tmp_path):
    for name in [*wav2vec2.SIZES, *wavlm.SIZES]:
        assert not published.PUBLISHED[name].files
        for source in ('', 'https://mirror.test/x'):
            with pytest.raises(InputError, match=rf'no \.safetensors of {name} is known'):
                weights_verb.get(name, source, tmp_path)
    assert published.licence('hubert_base') == 'Apache 2.0'


@pytest.mark.slow
def test_from_a_file_of_weights_to_an_answer(data_dir, tmp_path, monkeypatch):
    """From samples in int16 shards, and from a clip: both arrive in [-1, 1]."""
    write(made('hubert_base'), tmp_path / 'hub' / 'x.safetensors')
    lines = []
    weights_verb.get(
        'hubert_base', str(tmp_path / 'hub' / 'x.safetensors'), tmp_path / 'own', lines.append
    )
    assert re.fullmatch(r'hubert_base: \d+ tensors, [\d,]+ parameters; all imported', lines[0])
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path / 'own'))
    monkeypatch.setenv('SER_JAX_ACTIVATIONS', str(tmp_path / 'derived'))
    c = small_config(data_dir)
    c.features.source = c.features.input = 'waveform'
    c.features.normalize, c.train.epochs, c.members.only = 'none', 1, (0,)
    c.model = {'name': 'speech_encoder', 'encoder': 'hubert_base', 'layers': (1, 2)}
    c.train.select, c.members.valid_speakers, c.train.eval_window_s = 'last', 0, 30.0
    run = assemble.open_run(c)
    first = run.utterances.id.tolist().index('s0_happy_0')
    encoder = made('hubert_base')
    samples = tone(0, 1, 0)
    states, length = encoder(samples[None], np.array([len(samples)]), (0, 1, 2))
    assert int(length[0]) == (len(samples) - 400) // 320 + 1
    pooled = np.concatenate([np.asarray(x[0]).mean(0) for x in states])
    np.testing.assert_allclose(run.utterances.flat[first], pooled, atol=0.02)
    train.train(c, tmp_path / 'run')
    (answer,) = Predictor.open(tmp_path / 'run').predict([Clip(samples, 16000)])
    assert max(answer.probabilities) > 0.3


def test_weights_are_found_where_transformers_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path / 'nowhere'))
    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path))
    for name, stored in {
        'hubert_base': 'models--facebook--hubert-base-ls960',
        'whisper_large_v3': 'models--openai--whisper-large-v3',
    }.items():
        assert weight_files.find(name) is None
        path = tmp_path / stored / 'snapshots' / 'a' / 'model.safetensors'
        path.parent.mkdir(parents=True)
        path.write_bytes(b'x')
        assert weight_files.find(name) == path
    assert "from_pretrained('openai/whisper-base')" in published.conversion('whisper_base')
