"""wav2vec 2.0, HuBERT, WavLM: independent of padding and batch; equal to NumPy's; part trained."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_jax.audio import front_ends
from ser_jax.contract import InputError
from ser_jax.models import encoders
from ser_jax.models.encoders import sample_convolutions, wav2vec2, wavlm

SMALL = wav2vec2.Size(2, 128, channels=16, groups=4, reach=16)
SIZES = {
    'hubert_base': SMALL,
    'hubert_large': SMALL._replace(norm_first=True, biased=True),
    'wavlm_base': SMALL._replace(standardized=False),
    'wavlm_large': SMALL._replace(norm_first=True),
}


def small(name: str, layers: int | None = None, trained: int = 0):
    """An encoder of small dimensions, every weight of which is moved off its initial value."""
    kind = encoders.by_name(name)
    made = kind(name, layers, trained, size=SIZES[name], rngs=nnx.Rngs(0))
    random = np.random.default_rng(0)

    def perturbed(x):
        return x + 0.1 * jnp.asarray(random.standard_normal(x.shape), jnp.float32)

    nnx.update(made, jax.tree.map(perturbed, nnx.state(made)))
    return made


@pytest.fixture(scope='module', params=SIZES)
def encoder(request):
    return small(request.param)


def compiled(encoder):
    """The compiled encoder: (samples, length) -> all hidden states, lengths."""
    graph, state = nnx.split(encoder)
    layers = range(len(encoder.blocks) + 1)
    run = jax.jit(lambda s, x, n: nnx.merge(graph, s)(x, n, layers))
    return lambda samples, length: run(state, jnp.asarray(samples), jnp.asarray(length))


@pytest.fixture(scope='module')
def states(encoder):
    return compiled(encoder)


def recording(size: int) -> np.ndarray:
    random = np.random.default_rng(size)
    return (0.05 + 0.1 * random.standard_normal(size)).astype(np.float32)


def test_padding_and_batch_never_change_a_state(states):
    """In an order and a buffer with other garbage after the end, and alone without padding."""
    sizes = [1, 399, 400, 719, 720, 4000]
    small, large = np.full((6, 4000), 0.9, np.float32), np.full((6, 5000), -7.0, np.float32)
    for i, size in enumerate(sizes):
        small[i, :size] = large[5 - i, :size] = recording(size)
    one, count = states(small, sizes)
    other, counts = states(large, sizes[::-1])
    alone, _ = states(recording(4000)[None], [4000])
    assert count.tolist() == [max(1, (size - 400) // 320 + 1) for size in sizes]
    assert counts.tolist() == count.tolist()[::-1]
    for layer, (a, b, c) in enumerate(zip(one, other, alone, strict=True)):
        for i, frames in enumerate(count.tolist()):
            x, y = np.asarray(a[i, :frames]), np.asarray(b[5 - i, :frames])
            np.testing.assert_allclose(y, x, atol=1e-5 * np.abs(x).max(), err_msg=f'{layer} {i}')
        np.testing.assert_allclose(c[0], x, atol=1e-5 * np.abs(x).max(), err_msg=str(layer))


def test_a_recording_shorter_than_a_frame_is_followed_by_zeros():
    encode, short = compiled(small('wavlm_base')), recording(123)
    one, length = encode(short[None], [123])
    other, _ = encode(np.pad(short, (0, 277))[None], [400])
    assert length.tolist() == [1]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_empty_slot_has_no_frame_and_finite_states(states):
    found, length = states(np.zeros((2, 800), np.float32), [0, 800])
    assert length.tolist() == [0, 2] and all(np.isfinite(x).all() for x in found)


@given(st.integers(400, 20_000_000))
@settings(max_examples=200)
def test_frames_are_those_of_the_convolutions(size):
    frames = size
    for taps, stride in zip(sample_convolutions.TAPS, sample_convolutions.STRIDES, strict=True):
        frames = (frames - taps) // stride + 1
    assert frames == (size - sample_convolutions.RECEPTIVE) // 320 + 1


def test_loudness_and_offset_do_not_matter_where_recordings_are_standardized():
    x = recording(3000)[None]
    encode = compiled(small('hubert_large'))
    one, _ = encode(x, [3000])
    other, _ = encode(0.5 * x + 0.1, [3000])
    np.testing.assert_allclose(one[-1], other[-1], atol=2e-4)


def value(variable) -> np.ndarray:
    return np.asarray(variable[...], np.float64)


def normed(layer, x, axis: int = -1):
    mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * value(layer.scale) + value(layer.bias)


def dense(layer, x):
    return x @ value(layer.kernel) + value(layer.bias)


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def convolved(x, kernel, stride: int):
    at = range(0, len(x) - len(kernel) + 1, stride)
    return np.stack([np.einsum('ki,kio->o', x[f : f + len(kernel)], kernel) for f in at])


def gated_bias(block, encoder, x):
    """WavLM's bias [H F F], written from the paper's equations."""
    frames, heads = len(x), block.heads
    gates = dense(block.gate, x.reshape(frames, heads, 64)).reshape(frames, heads, 2, 4).sum(-1)
    update, reset = np.moveaxis(1 / (1 + np.exp(-gates)), -1, 0)
    scale = 1 + update + (1 - update) * 1 - update * (1 - reset * value(block.gate_scale))
    bias = np.empty((heads, frames, frames))
    for i in range(frames):
        for j in range(frames):
            bias[:, i, j] = value(encoder.distances)[abs(j - i) + 160 * (j > i)] * scale[i]
    return bias


def attended(block, encoder, x):
    frames = len(x)
    q, k, v = np.split(dense(block.qkv, x).reshape(frames, -1, 64), 3, 1)
    score = np.einsum('qhd,khd->hqk', q, k) / 8
    if isinstance(encoder, wavlm.Encoder):
        score += gated_bias(block, encoder, x)
    weight = np.exp(score - score.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    return dense(block.out, np.einsum('hqk,khd->qhd', weight, v).reshape(frames, -1))


def reference(encoder, samples: np.ndarray) -> list[np.ndarray]:
    """All hidden states of one recording by NumPy, written from the papers."""
    x = samples.astype(np.float64)[:, None]
    if encoder.standardized:
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-7)
    for i, layer in enumerate(encoder.convolutions):
        x = convolved(x, value(layer.kernel), layer.stride)
        if encoder.norm_first:
            x = normed(layer.norm, x + (value(layer.bias) if layer.bias is not None else 0))
        elif i == 0:
            x = normed(layer.norm, x, axis=0)
        x = gelu(x)
    x = dense(encoder.project, normed(encoder.norm_features, x))
    padded, kernel = np.pad(x, ((8, 7), (0, 0))), value(encoder.position_kernel)
    width = x.shape[1] // SMALL.groups
    parts = [slice(g * width, (g + 1) * width) for g in range(SMALL.groups)]
    positions = np.concatenate([convolved(padded[:, p], kernel[..., p], 1) for p in parts], 1)
    x = x + gelu(positions + value(encoder.position_bias))
    states = [x if encoder.norm_first else normed(encoder.norm, x)]
    for block in encoder.blocks:
        x = states[-1]
        if encoder.norm_first:
            x = x + attended(block, encoder, normed(block.norm_attention, x))
            x = x + dense(block.down, gelu(dense(block.up, normed(block.norm_dense, x))))
        else:
            x = normed(block.norm_attention, x + attended(block, encoder, x))
            x = normed(block.norm_dense, x + dense(block.down, gelu(dense(block.up, x))))
        states.append(x)
    if encoder.norm_first:
        states[-1] = normed(encoder.norm, states[-1])
    return states


def test_every_state_is_that_of_the_papers(encoder, states):
    samples = recording(4000)
    ours, _ = states(samples[None], [4000])
    for layer, (a, b) in enumerate(zip(ours, reference(encoder, samples), strict=True)):
        np.testing.assert_allclose(a[0], b, atol=2e-5 * np.abs(b).max(), err_msg=str(layer))


def test_parts_of_an_encoder_go_together(encoder, states):
    """States after a block follow from the state before it, as adaptation resumes from a cache."""
    whole, count = states(recording(4000)[None], [4000])
    resumed = encoder.resume(whole[1], count, 1, (1, 2))
    for a, b in zip(resumed, whole[1:], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_fewer_layers_give_the_same_states(encoder, states):
    """The first block alone, without those after it and without the final normalization."""
    few = small(encoder.name, layers=1)
    nnx.update(few, part_of(nnx.state(encoder), nnx.state(few)))
    expected, _ = states(recording(4000)[None], [4000])
    found, _ = compiled(few)(recording(4000)[None], [4000])
    assert len(found) == 2
    for a, b in zip(found, expected, strict=False):
        np.testing.assert_allclose(a, b, atol=1e-5)


def part_of(whole, part):
    """The values of `whole` at the paths of `part`."""
    values = dict(nnx.to_flat_state(whole))
    return nnx.from_flat_state([(path, values[path]) for path, _ in nnx.to_flat_state(part)])


@pytest.mark.parametrize('name', SIZES)
@pytest.mark.parametrize('trained', [0, 1, 2, 3])
def test_the_last_blocks_are_trained_and_the_others_frozen(name, trained):
    encoder = small(name, trained=trained)
    for i, block in enumerate(encoder.blocks):
        assert isinstance(block.up.kernel, nnx.Param) == (i >= 2 - trained)
    assert isinstance(encoder.position_kernel, nnx.Param) == (trained > 2)
    norm = trained > 0 if encoder.norm_first else trained > 2
    assert isinstance(encoder.norm.scale, nnx.Param) == norm
    if isinstance(encoder, wavlm.Encoder):
        assert isinstance(encoder.distances, nnx.Param) == (trained >= 2)


@pytest.mark.parametrize('name', ['hubert_base', 'wavlm_large'])
def test_the_gradient_of_silence_and_of_an_empty_slot_is_finite(name):
    graph, param, rest = nnx.split(small(name, trained=3), nnx.Param, ...)

    @jax.jit
    def gradient(p, x):
        def loss(p):
            found, _ = nnx.merge(graph, p, rest)(x, jnp.array([0, 500]), (2,))
            return jnp.square(found[0]).mean()

        return jax.grad(loss)(p)

    grad = jax.tree.leaves(gradient(param, jnp.zeros((2, 800))))
    assert all(np.isfinite(x).all() for x in grad) and any(np.any(x) for x in grad)


def test_buckets_of_distances_are_exact_near_and_alike_far():
    distance = np.arange(-2000, 2001)
    found = wavlm.buckets(distance)
    assert found.min() == 0 and found.max() == 319
    np.testing.assert_array_equal(found[2000 - 79 : 2001], np.arange(79, -1, -1))
    assert (found[distance >= 800] == 319).all() and (found[distance <= -800] == 159).all()
    assert (np.diff(found[distance <= 0]) <= 0).all() and (np.diff(found[distance > 0]) >= 0).all()


@pytest.mark.parametrize(
    'name, layers, message',
    [
        ('hubert_huge', None, "encoder 'hubert_huge' is not known; known are wav2vec2_base"),
        ('hubert_base', 13, 'hubert_base has layers 0 to 12; got 13'),
    ],
)
def test_unknown_encoders_and_layers_are_refused(name, layers, message):
    with pytest.raises(InputError, match=message):
        wav2vec2.Encoder(name, layers, rngs=nnx.Rngs(0))


def test_every_encoder_reads_a_front_end_that_exists():
    for name, kind in encoders.ENCODERS.items():
        wanted = kind.sizes[name].front_end
        assert wanted in front_ends.FRONT_ENDS
