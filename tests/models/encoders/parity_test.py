"""Every hidden state equals that of transformers, through a file of weights, on random weights."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.audio.whisper_mel import WHISPER_MEL
from ser_jax.models import encoders
from ser_jax.models.encoders import wav2vec2, wavlm, weight_files, whisper
from ser_jax.models.encoders.published import PUBLISHED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings('default'),  # of torch
]
DEPTH = 3  # blocks: later ones have the same code
LARGE = {
    'hidden_size': 1024,
    'num_attention_heads': 16,
    'intermediate_size': 4096,
    'feat_extract_norm': 'layer',
    'do_stable_layer_norm': True,
}
# Fields of the published config.json that differ from the defaults of the class.
CONFIGS = {
    'wav2vec2_base': ('Wav2Vec2', {}),
    'wav2vec2_large': ('Wav2Vec2', LARGE | {'conv_bias': True}),
    'hubert_base': ('Hubert', {}),
    'hubert_large': ('Hubert', LARGE | {'conv_bias': True}),
    'wavlm_base': ('WavLM', {}),
    'wavlm_base_plus': ('WavLM', {}),
    'wavlm_large': ('WavLM', LARGE),
}


def perturbed(network, seed: int = 0):
    """Move every weight of a network of torch off its initial value, so that each one counts."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in network.parameters():
            spread = 0.5 * float(value.std(correction=0)) or 0.1  # 0.1 for constants
            value += spread * torch.randn(value.shape, generator=generator)
    return network.eval()


def reference(name: str):
    """The network of transformers with random weights."""
    pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    family, fields = CONFIGS[name]
    config = getattr(transformers, f'{family}Config')(num_hidden_layers=DEPTH, **fields)
    config._attn_implementation = 'eager'
    return perturbed(getattr(transformers, f'{family}Model')(config))


def encoder_of(name: str, path: pathlib.Path):
    """Our encoder of the same depth, filled from a file."""
    kind = encoders.by_name(name)
    size = kind.sizes[name]._replace(layers=DEPTH)
    made = nnx.eval_shape(lambda: kind(name, size=size, rngs=nnx.Rngs(0)))
    weight_files.load_file(made, path)
    return made


def hidden_states(encoder, features, length):
    """All hidden states of the compiled encoder, and their lengths."""
    graph, state = nnx.split(encoder)
    layers = range(len(encoder.blocks) + 1)
    run = jax.jit(lambda s, x, n: nnx.merge(graph, s)(x, n, layers))
    return run(state, features, jnp.asarray(length))


def assert_states_equal(ours, theirs, frames):
    assert len(ours) == len(theirs)
    for layer, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        a, b = np.asarray(a[0, :frames]), b[0].numpy()
        assert a.shape == b.shape
        error = np.abs(a - b).max() / np.abs(b).max()
        assert error <= 1e-5, f'state {layer}: {error}'


@pytest.mark.parametrize('name', CONFIGS)
def test_every_state_is_that_of_transformers(name, tmp_path):
    network = reference(name)
    import torch
    import transformers

    network.save_pretrained(tmp_path)
    encoder = encoder_of(name, tmp_path / 'model.safetensors')
    random = np.random.default_rng(0)
    for size in (400, 5000, 40_017):
        samples = (0.02 + 0.1 * random.standard_normal(size)).astype(np.float32)
        normalize = transformers.Wav2Vec2FeatureExtractor(
            do_normalize=encoder.standardized, return_attention_mask=False
        )
        values = normalize(samples, sampling_rate=16000, return_tensors='pt').input_values
        with torch.no_grad():
            theirs = network(values, output_hidden_states=True)
        padded = np.pad(samples, (0, 3000), constant_values=0.7)[None]
        ours, length = hidden_states(encoder, padded, [size])
        assert int(length[0]) == int(network._get_feat_extract_output_lengths(size))
        # The last of `hidden_states` is normalized in transformers 4, and not in some of 5.
        states = (*theirs.hidden_states[:-1], theirs.last_hidden_state)
        assert_states_equal(ours, states, int(length[0]))


@pytest.mark.parametrize('form', ['old', 'new'])
@pytest.mark.parametrize('prefix', ['', 'wavlm.'])
def test_names_of_files_of_all_ages_are_read(form, prefix, tmp_path):
    network = reference('wavlm_base')
    import safetensors.torch

    new = ('parametrizations.weight.original0', 'parametrizations.weight.original1')
    tensors = {}
    for key, value in network.state_dict().items():
        for there, here in zip(new, ('weight_g', 'weight_v'), strict=True):
            key = key.replace(there, here) if form == 'old' else key
        tensors[prefix + key] = value.contiguous()
    assert any(key.endswith('weight_g') for key in tensors) == (form == 'old')
    tensors['lm_head.weight'] = value.new_zeros(3, 4)
    safetensors.torch.save_file(tensors, tmp_path / 'x.safetensors')
    network.save_pretrained(tmp_path)
    one = encoder_of('wavlm_base', tmp_path / 'x.safetensors')
    other = encoder_of('wavlm_base', tmp_path / 'model.safetensors')
    jax.tree.map(np.testing.assert_array_equal, nnx.state(one), nnx.state(other))


def test_buckets_of_distances_are_those_of_transformers():
    network = reference('wavlm_base')
    import torch

    distance = np.arange(-3000, 3001)
    theirs = network.encoder.layers[0].attention._relative_positions_bucket(torch.tensor(distance))
    np.testing.assert_array_equal(wavlm.buckets(distance), theirs.numpy())


def test_sizes_are_those_of_the_configs():
    for name in [*wav2vec2.SIZES, *wavlm.SIZES]:
        size, (_, fields) = encoders.by_name(name).sizes[name], CONFIGS[name]
        assert size.width == fields.get('hidden_size', 768), name
        assert size.norm_first == fields.get('do_stable_layer_norm', False), name
        assert size.biased == fields.get('conv_bias', False), name
        assert size.layers == (24 if size.norm_first else 12), name
        assert name in PUBLISHED


def test_every_state_of_whisper_is_that_of_transformers(tmp_path):
    """With 30 s of recording, so that the published attention sees no more than ours."""
    torch = pytest.importorskip('torch')
    transformers = pytest.importorskip('transformers')
    size = whisper.SIZES['whisper_tiny']
    config = transformers.WhisperConfig(
        encoder_layers=2, d_model=size.width, encoder_attention_heads=6, encoder_ffn_dim=1536,
        decoder_layers=1, decoder_attention_heads=6, decoder_ffn_dim=64, vocab_size=100,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    config._attn_implementation = 'eager'
    network = perturbed(transformers.WhisperModel(config))
    network.save_pretrained(tmp_path)
    samples = 0.1 * np.random.default_rng(0).standard_normal((1, 480_000)).astype(np.float32)
    features, length = WHISPER_MEL.traced(samples, jnp.array([480_000]))
    with torch.no_grad():
        values = torch.from_numpy(np.asarray(features).transpose(0, 2, 1).copy())
        theirs = network.encoder(values, output_hidden_states=True).hidden_states
    before = whisper.SIZES['whisper_tiny']
    whisper.SIZES['whisper_tiny'] = size._replace(layers=2)
    try:
        encoder = nnx.eval_shape(lambda: whisper.Encoder('whisper_tiny', rngs=nnx.Rngs(0)))
    finally:
        whisper.SIZES['whisper_tiny'] = before
    weight_files.load_file(encoder, tmp_path / 'model.safetensors')
    ours, _ = hidden_states(encoder, features, length)
    assert_states_equal(ours, theirs, 1500)
