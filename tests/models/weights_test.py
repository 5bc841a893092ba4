"""Files of weights: every tensor has its place, in any published layout and numbering."""

import json
import pathlib

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ser_jax.contract import InputError
from ser_jax.models import weights
from ser_jax.models.backbones import BACKBONES, freeze
from tests.golden import make_torch_trunks

GOLDEN = pathlib.Path(__file__).parents[1] / 'golden' / 'torch_trunks.npz'
NARROW = 0.125


def made(name: str, *arguments):
    """A narrow trunk, made by one compiled program."""
    return nnx.jit(lambda: BACKBONES[name](NARROW, *arguments))()


def tensors_of(backbone, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Random tensors by layer and weight, in the order that Keras stores them."""
    random = np.random.default_rng(seed)
    layers = {}
    for _, layer, weight, variable in backbone.weights():
        layers.setdefault(layer, {})[weight] = random.standard_normal(variable.shape).astype(
            np.float32
        )
    return layers


def write_h5(
    path, layers, group: str = '', named=lambda layer, weight: f'{layer}/{weight}:0', cut: int = 1
) -> None:
    """Write a group per layer as keras.applications does; `layer_names` in `cut` attributes."""
    with h5py.File(path, 'w') as f:
        root = f.create_group(group) if group else f
        names = ['input_1', *layers]
        if cut == 1:
            root.attrs['layer_names'] = [n.encode() for n in names]
        else:
            for i, part in enumerate(np.array_split(np.array([n.encode() for n in names]), cut)):
                root.attrs[f'layer_names{i}'] = part
        root.create_group('input_1').attrs['weight_names'] = np.zeros(0, 'S1')
        for layer, content in layers.items():
            of = root.create_group(layer)
            of.attrs['weight_names'] = [named(layer, w).encode() for w in content]
            for weight, tensor in content.items():
                of.create_dataset(named(layer, weight), data=tensor)


def write_safetensors(path, tensors: dict[str, np.ndarray]) -> None:
    header, at = {'__metadata__': {'format': 'pt'}}, 0
    kinds = {'float32': 'F32', 'float16': 'F16', 'bfloat16': 'BF16', 'int64': 'I64'}
    for name, tensor in tensors.items():
        size = tensor.size * tensor.dtype.itemsize
        header[name] = {
            'dtype': kinds[tensor.dtype.name],
            'shape': list(tensor.shape),
            'data_offsets': [at, at + size],
        }
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(
        len(text).to_bytes(8, 'little') + text + b''.join(t.tobytes() for t in tensors.values())
    )


def holds(backbone, layers) -> None:
    for _, layer, weight, variable in backbone.weights():
        np.testing.assert_array_equal(
            variable[...], layers[layer][weight], err_msg=f'{layer}/{weight}'
        )


@pytest.mark.parametrize('name', list(BACKBONES))
@pytest.mark.parametrize('group, cut', [('', 1), ('model_weights', 3)])
def test_a_file_of_keras_fills_every_weight(name, group, cut, tmp_path):
    """Also in a trunk that is frozen, and past a head for ImageNet's classes."""
    backbone = made(name)
    layers = tensors_of(backbone)
    head = {'predictions': {'kernel': np.zeros((3, 5)), 'bias': np.zeros(5)}}
    write_h5(tmp_path / 'w.h5', layers | head, group, cut=cut)
    freeze(backbone, ())
    assert weights.load(backbone, tmp_path / 'w.h5') == sum(map(len, layers.values()))
    holds(backbone, layers)


def test_densenet_s_stem_has_slashes_in_its_names_as_published(tmp_path):
    backbone = made('densenet201')
    layers = tensors_of(backbone)

    def rename(n: str) -> str:
        return n.replace('conv1_', 'conv1/', 1) if n in ('conv1_conv', 'conv1_bn') else n

    write_h5(tmp_path / 'w.h5', {rename(n): content for n, content in layers.items()})
    weights.load(backbone, tmp_path / 'w.h5')
    holds(backbone, layers)


@pytest.mark.parametrize('name', ['inception_v3', 'xception'])
@pytest.mark.parametrize('first', [0, 1, 95])
def test_numbered_layers_are_matched_by_order_wherever_the_count_began(name, first, tmp_path):
    backbone = made(name)
    layers = tensors_of(backbone)

    def rename(layer: str) -> str:
        kind, _, number = layer.rpartition('_')
        if kind not in ('conv2d', 'batch_normalization'):
            return layer
        number = int(number) - 1 + first
        return f'{kind}_{number}' if number else kind

    shuffled = sorted(
        layers, key=lambda n: n[::-1]
    )  # the file's order is Keras' depth order, which is another
    write_h5(tmp_path / 'w.h5', {rename(n): layers[n] for n in shuffled})
    weights.load(backbone, tmp_path / 'w.h5')
    holds(backbone, layers)


def test_keras_1_had_other_words(tmp_path):
    backbone = made('xception')
    layers = tensors_of(backbone)
    words = {'kernel': 'W', 'moving_mean': 'running_mean', 'moving_variance': 'running_std'}

    def old(n: str) -> str:
        n = n.replace('conv2d', 'convolution2d')
        return n.replace('batch_normalization', 'batchnormalization')

    write_h5(
        tmp_path / 'w.h5', {old(n): content for n, content in layers.items()},
        named=lambda layer, weight: f'{layer}_{words.get(weight, weight)}:0',
    )  # fmt: skip
    weights.load(backbone, tmp_path / 'w.h5')
    holds(backbone, layers)


def without(layers, layer: str, weight: str):
    return layers | {layer: {w: t for w, t in layers[layer].items() if w != weight}}


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda t: without(t, 'conv4_block3_2_bn', 'beta'),
            r'lacks 1 tensors, first conv4_block3_2_bn/beta; expected',
        ),
        (
            lambda t: {n: c for n, c in t.items() if n != 'conv5_block1_0_conv'},
            'lacks 2 tensors, first conv5_block1_0_conv/bias;',
        ),
        (
            lambda t: t | {'top': {'kernel': np.zeros(3)}},
            'holds 1 unknown ones, first top/kernel; expected the 318 of',
        ),
        (
            lambda t: without(t, 'conv1_bn', 'gamma') | {'x': {'y': np.zeros(1)}},
            'lacks 1 tensors, first conv1_bn/gamma and holds 1 unknown ones, first x/y',
        ),
        (
            lambda t: t | {'conv1_conv': t['conv1_conv'] | {'kernel': np.zeros((7, 7, 1, 8))}},
            r'conv1_conv/kernel is of shape \(7, 7, 1, 8\); expected \(7, 7, 3, 8\) in ResNet50',
        ),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(change, message, tmp_path):
    backbone = made('resnet50')
    write_h5(tmp_path / 'w.h5', change(tensors_of(backbone)))
    with pytest.raises(InputError, match=message):
        weights.load(backbone, tmp_path / 'w.h5')
    for _, _, weight, variable in backbone.weights():
        assert (variable[...] == (weight in ('gamma', 'moving_variance'))).all()


@pytest.mark.parametrize('name', ['w.h5', 'w.safetensors'])
@pytest.mark.parametrize(
    'content', [b'', b'<html>404</html>' * 99, b'\x10' + b'\0' * 7 + b'{"a": {"dtype": 1}}']
)
def test_other_files_are_refused(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    backbone = made('resnet50', 'keras' if name.endswith('h5') else 'torch')
    with pytest.raises(InputError, match=rf'{name} (cannot be read|is damaged) .*; \w+ it again$'):
        weights.load(backbone, tmp_path / name)


def test_the_new_format_of_keras_is_refused(tmp_path):
    with h5py.File(tmp_path / 'w.h5', 'w') as f:
        f.create_group('layers')
    with pytest.raises(InputError, match=r'holds no layers; expected .* \(not \.weights\.h5\)'):
        weights.load(BACKBONES['resnet50'](NARROW), tmp_path / 'w.h5')


def test_styles_and_endings_are_not_mixed_up(tmp_path):
    write_safetensors(tmp_path / 'w.safetensors', {})
    with pytest.raises(
        InputError, match="holds weights of style torch; expected keras, or make it style='torch'"
    ):
        weights.load(BACKBONES['resnet50'](NARROW), tmp_path / 'w.safetensors')
    with pytest.raises(
        InputError, match=r"w\.pth is not a file of weights; expected Keras' \.h5 or timm's"
    ):
        weights.load(BACKBONES['resnet50'](NARROW), tmp_path / 'w.pth')


def listed(name: str) -> list[tuple[str, tuple[int, ...]]]:
    lines = (line.split(' ') for line in np.load(GOLDEN)[f'{name}/tensors'])
    return [(n, tuple(int(d) for d in shape.split('x') if d)) for n, shape in lines]


@pytest.mark.parametrize('name', list(BACKBONES))
def test_every_tensor_of_timm_has_its_place_and_shape(name):
    """Against the golden list of timm's names and shapes, heads and counters aside."""
    backbone = nnx.eval_shape(lambda: BACKBONES[name](style='torch'))
    theirs = {
        n: sorted(s)
        for n, s in listed(name)
        if not n.startswith(('fc', 'classifier')) and 'num_batch' not in n
    }
    ours = {
        weights._name_in_file(backbone, layer, weight): sorted(variable.shape)
        for _, layer, weight, variable in backbone.weights()
    }
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.parametrize('name', list(BACKBONES))
def test_answers_are_timm_s(name, tmp_path):
    """Drawn weights in a file of timm's layout; golden maps of torch, relative error up to 1e-5."""
    write_safetensors(tmp_path / 'w.safetensors', make_torch_trunks.drawn(listed(name)))
    backbone = BACKBONES[name](style='torch')
    weights.load(backbone, tmp_path / 'w.safetensors')
    found = np.asarray(
        nnx.jit(lambda b, x: b(x))(backbone, jnp.asarray(make_torch_trunks.pixels(name)))
    )
    golden = np.load(GOLDEN)
    expected = golden[f'{name}/map']
    for mine, theirs in (
        (found[..., : expected.shape[-1]], expected),
        (found.mean((1, 2)), golden[f'{name}/mean']),
    ):
        error = np.abs(mine - theirs).max() / np.abs(theirs).max()
        print(name, error)
        assert mine.shape == theirs.shape and error <= 1e-5


@pytest.mark.parametrize('kind', [np.float16, jnp.bfloat16])
def test_half_precision_is_read(kind, tmp_path):
    backbone = made('resnet50', 'torch')
    random = np.random.default_rng(0)
    tensors = {}
    for _, layer, weight, v in backbone.weights():
        shape = v.shape if len(v.shape) == 1 else (v.shape[3], v.shape[2], *v.shape[:2])
        tensors[weights._name_in_file(backbone, layer, weight)] = random.standard_normal(
            shape
        ).astype(kind)
    write_safetensors(tmp_path / 'w.safetensors', tensors)
    weights.load(backbone, tmp_path / 'w.safetensors')
    kernel = backbone.conv2_block1.conv2_block1_2_conv.kernel[...]
    np.testing.assert_array_equal(
        kernel, np.float32(tensors['layer1.0.conv2.weight']).transpose(2, 3, 1, 0)
    )
    assert kernel.dtype == jnp.float32


def test_files_are_found_by_the_names_they_are_published_by(tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path))
    assert weights.folder() == tmp_path and weights.find('xception') is None
    with pytest.raises(
        InputError,
        match=r'expected xception_weights_tf_dim.*; python -m ser_jax\.weights xception$',
    ):
        weights.need('xception')
    with pytest.raises(
        InputError, match=r'expected legacy_xception\.safetensors; .* xception --from=FILE$'
    ):
        weights.need('xception', 'torch')
    for place in (
        'models--timm--legacy_xception.tf_in1k/snapshots/ab12/model.safetensors',
        'legacy_xception.tf_in1k/model.safetensors',
        'legacy_xception.tf_in1k.safetensors',
    ):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
        assert weights.need('xception', 'torch') == path
    path = tmp_path / 'xception_weights_tf_dim_ordering_tf_kernels_notop.h5'
    path.write_bytes(b'')
    assert weights.need('xception') == path and weights.find('resnet50', directory=tmp_path) is None
    monkeypatch.delenv('SER_JAX_WEIGHTS')
    assert weights.folder().parts[-3:] == ('.cache', 'ser_jax', 'weights')
