"""Whisper's encoder: independent of padding and batch; equal to NumPy's and to CTranslate2's."""

import math
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.audio import front_ends
from ser_jax.audio.mel import mel_bank
from ser_jax.audio.whisper_mel import WHISPER_MEL, WHISPER_MEL_128, WhisperMel
from ser_jax.contract import InputError
from ser_jax.models.encoders import weight_files, whisper

RATE = 16000


@pytest.fixture(scope='module')
def encoder() -> whisper.Encoder:
    """The smallest encoder with random, perturbed weights."""
    made = whisper.Encoder('whisper_tiny', rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)
    state = nnx.state(made)

    def perturbed(x):
        return x + 0.1 * jnp.asarray(random.standard_normal(x.shape), jnp.float32)

    nnx.update(made, jax.tree.map(perturbed, state))
    return made


@pytest.fixture(scope='module')
def states(encoder):
    """The compiled encoder: (mel, length) -> all hidden states, lengths."""
    graph, state = nnx.split(encoder)
    compiled = jax.jit(lambda s, mel, length: nnx.merge(graph, s)(mel, length, range(5)))
    return lambda mel, length: compiled(state, mel, jnp.asarray(length))


def mel(frames: int, count: int = 1) -> np.ndarray:
    random = np.random.default_rng(frames)
    return random.standard_normal((count, frames, 80)).astype(np.float32)


@pytest.mark.parametrize('length', [1, 2, 37, 60])
def test_padding_and_batch_never_change_a_state(states, length):
    whole = mel(60, 3)
    alone, count = states(whole[:1, :length], [length])
    assert count[0] == -(-length // 2)
    garbage = whole.copy()
    garbage[0, length:] = 9.0
    padded = np.pad(garbage, ((0, 0), (0, 21), (0, 0)), constant_values=-7.0)
    together, counts = states(padded, [length, 60, 11])
    assert counts[0] == count[0]
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(b[0, : count[0]], a[0, : count[0]], atol=2e-4)


def reference(encoder, x: np.ndarray) -> list[np.ndarray]:
    """The hidden states of one recording [F 80] by NumPy, written from the paper."""

    def norm(layer, x):
        z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return z * np.asarray(layer.scale[...]) + np.asarray(layer.bias[...])

    def dense(layer, x):
        return x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])

    def gelu(x):
        return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2

    def convolve(x, kernel, bias, stride):
        padded = np.pad(x, ((1, 1), (0, 0)))
        rows = range(0, len(x), stride)
        return gelu(
            np.stack([np.einsum('ki,kio->o', padded[f : f + 3], kernel) for f in rows]) + bias
        )

    x = convolve(x, *(np.asarray(v[...]) for v in (encoder.conv1, encoder.bias1)), 1)
    x = convolve(x, *(np.asarray(v[...]) for v in (encoder.conv2, encoder.bias2)), 2)
    width = x.shape[1]
    rate = np.exp(-np.log(10000) / (width // 2 - 1) * np.arange(width // 2))
    angle = np.arange(len(x))[:, None] * rate
    x = x + np.concatenate([np.sin(angle), np.cos(angle)], 1)
    perturbation = np.asarray(encoder.positions[...])[: len(x)]
    x = x - np.concatenate([np.sin(angle), np.cos(angle)], 1) + perturbation
    states = [x]
    for block in encoder.blocks:
        q, k, v = np.split(dense(block.qkv, norm(block.norm_attention, x)), 3, 1)
        heads = []
        for at in range(0, width, 64):
            score = q[:, at : at + 64] @ k[:, at : at + 64].T / 8
            weight = np.exp(score - score.max(1, keepdims=True))
            heads.append(weight / weight.sum(1, keepdims=True) @ v[:, at : at + 64])
        x = x + dense(block.out, np.concatenate(heads, 1))
        x = x + dense(block.down, gelu(dense(block.up, norm(block.norm_dense, x))))
        states.append(x)
    states[-1] = norm(encoder.norm, states[-1])
    return states


def test_every_state_is_that_of_the_paper(encoder, states):
    x = mel(41)
    ours, _ = states(x, [41])
    for layer, (a, b) in enumerate(zip(ours, reference(encoder, x[0]), strict=True)):
        np.testing.assert_allclose(a[0], b, atol=2e-5 * np.abs(b).max(), err_msg=str(layer))


def test_positions_are_sinusoids():
    table = whisper.sinusoids(1500, 384)
    assert table.shape == (1500, 384) and not table[0, :192].any() and (table[0, 192:] == 1).all()
    np.testing.assert_allclose(table[7, 0], np.sin(7), rtol=1e-6)


def test_parts_of_an_encoder_go_together(encoder, states):
    """States after a block follow from the state before it, as adaptation resumes from a cache."""
    x, length = jnp.asarray(mel(41)), jnp.array([41])
    whole, count = encoder(x, length, range(5))
    resumed = encoder.resume(whole[2], count, 2, (3, 4))
    for a, b in zip(resumed, whole[3:], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'name': 'whisper_huge'}, "encoder 'whisper_huge' is not known; known are whisper_tiny"),
        ({'name': 'whisper_tiny', 'layers': 5}, 'whisper_tiny has layers 0 to 4; got 5'),
    ],
)
def test_unknown_encoders_and_layers_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        whisper.Encoder(**arguments, rngs=nnx.Rngs(0))


def test_more_than_thirty_seconds_are_refused(encoder):
    with pytest.raises(InputError, match=r'windows of at most 30 s, got 40 s'):
        encoder(jnp.zeros((1, 4000, 80)), jnp.array([4000]), (0,))


def librosa_mel(samples: np.ndarray, bands: int) -> np.ndarray:
    """The published features of samples followed by silence up to 30 s, by librosa."""
    import librosa

    padded = np.pad(samples, (0, 480_000 - len(samples)))
    spectrum = librosa.stft(padded, n_fft=400, hop_length=160, pad_mode='reflect')[:, :-1]
    filters = librosa.filters.mel(sr=RATE, n_fft=400, n_mels=bands)
    decades = np.log10(np.maximum(filters @ np.abs(spectrum) ** 2, 1e-10))
    return ((np.maximum(decades, decades.max() - 8) + 4) / 4).T


@pytest.mark.parametrize('front', [WHISPER_MEL, WHISPER_MEL_128], ids=lambda f: f.name)
@pytest.mark.parametrize('size', [4000, 16000, 52853])
def test_features_are_the_published_ones(front, size):
    random = np.random.default_rng(size)
    samples = (0.1 * random.standard_normal(size) + 0.2 * np.sin(np.arange(size) * 0.05)).astype(
        np.float32
    )
    expected = librosa_mel(samples, front.bands)
    padded = np.pad(samples, (0, 777))[None]
    found, length = jax.jit(front.traced)(padded, jnp.array([size]))
    assert length[0] == size // 160
    # float32 rounding of the spectrum shows in bands far below the loudest.
    np.testing.assert_allclose(found[0, : length[0]], expected[: length[0]], atol=1e-4)
    silent = front._replace(silence_s=0.5)
    longer, more = jax.jit(silent.traced)(padded, jnp.array([size]))
    assert more[0] == size // 160 + 50
    np.testing.assert_allclose(longer[0, : more[0]], expected[: more[0]], atol=1e-4)


def test_the_bank_of_large_v3_has_128_bands():
    assert mel_bank(RATE, 400, 128, 0.0, RATE / 2).shape == (201, 128)
    assert (
        front_ends.by_name('whisper_mel_128').layout.bands == whisper.SIZES['whisper_large_v3'][2]
    )


def test_a_sound_shorter_than_a_hop_has_one_frame():
    assert WhisperMel().stored(np.ones(20, np.float32)).shape == (1, 80)


def real(name: str) -> pathlib.Path:
    """The real weights, where they are installed."""
    path = weight_files.find(name)
    if path is None:
        pytest.skip(f'the weights of {name} are not installed; python -m ser_jax.weights {name}')
    return path


@pytest.mark.slow
def test_the_real_encoder_equals_that_of_ctranslate2():
    path = real('whisper_base')
    ctranslate2 = pytest.importorskip('ctranslate2')
    random = np.random.default_rng(0)
    samples = (0.1 * random.standard_normal((1, 480_000))).astype(np.float32)
    features, length = WHISPER_MEL.traced(samples, jnp.array([480_000]))
    theirs = ctranslate2.models.Whisper(
        os.fspath(path.parent), device='cpu', compute_type='float32'
    )
    view = ctranslate2.StorageView.from_array(np.array(features[0].T, order='C')[None])
    expected = np.asarray(theirs.encode(view))
    encoder = nnx.eval_shape(lambda: whisper.Encoder('whisper_base', rngs=nnx.Rngs(0)))
    weight_files.load_file(encoder, path)
    graph, state = nnx.split(encoder)
    ours, _ = jax.jit(lambda s, x, n: nnx.merge(graph, s)(x, n, (6,)))(state, features, length)
    np.testing.assert_allclose(ours[0], expected, atol=1e-4 * np.abs(expected).max())
