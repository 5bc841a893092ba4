"""Files of weights: found or fetched, and read with every tensor accounted for both ways."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import subprocess
import sys
import threading

import h5py
import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from ser_jax import weights as verb
from ser_jax.contract import InputError
from ser_jax.data.download import Archive
from ser_jax.models import backbones, weights
from ser_jax.models.backbones.trunk import ConvNorm, Plan, Trunk
from ser_jax.models.backbones.xception import Separable
from tests.data.download_test import Server


class Small(Trunk):
    """A few layers of every kind there is: named, numbered, separable, with and without bias and gamma."""

    def __init__(self, layout: str = 'keras', width: float = 1.0, *, rngs: nnx.Rngs):
        plan = Plan(width, layout, epsilon=1e-3, rngs=rngs)
        conv = plan.conv('block1_conv', 'stem.conv', 3, 4, 3, bias=True)
        plan.step('block1', lambda p: ConvNorm(conv, p.norm('block1_bn', 'stem.bn', 4)))
        for i in (1, 2):
            conv = plan.conv(f'conv2d_{i}', f'mid.{i}.conv', 4, 4, (1, 7))
            norm = plan.norm(f'batch_normalization_{i}', f'mid.{i}.bn', 4, scaled=False)
            plan.step(f'mixed{i}', lambda p, c=conv, n=norm: ConvNorm(c, n))
        plan.step('block2', lambda p: Separable(p, 'block2_sepconv1', 'last', 4, 5))
        self.finish(plan, 5)


@pytest.fixture
def small():
    return Small(rngs=nnx.Rngs(0))


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def norm(seed, *words):
    return [(w, np.random.default_rng([seed, i]).uniform(0.5, 1.5, 4).astype(np.float32)) for i, w in enumerate(words)]


STATISTICS = ('moving_mean', 'moving_variance')
KERAS = {  # as Keras stores them: unnamed layers numbered through the session, in the order of the graph
    'input_1': [],
    'block1/conv': [('kernel', numbers(3, 3, 3, 4)), ('bias', numbers(4))],
    'conv2d_10': [('kernel', numbers(1, 7, 4, 4) + 2)],
    'conv2d_9': [('kernel', numbers(1, 7, 4, 4) + 1)],
    'block1/bn': norm(0, 'gamma', 'beta', *STATISTICS),
    'batch_normalization_10': norm(2, 'beta', *STATISTICS),
    'batch_normalization_9': norm(1, 'beta', *STATISTICS),
    'block2_sepconv1': [('depthwise_kernel', numbers(3, 3, 4, 1)), ('pointwise_kernel', numbers(1, 1, 4, 5))],
    'predictions': [('kernel', numbers(5, 7)), ('bias', numbers(7))],
}


def write_keras(path, layers=KERAS, name='{layer}/{word}:0'):
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = [n.encode() for n in layers]
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            named = {name.format(layer=layer, word=word): array for word, array in arrays}
            group.attrs['weight_names'] = [n.encode() for n in named]
            for n, array in named.items():
                group[n] = array
    return path


def torch_names():
    """The same numbers as torch would store them."""
    kernel = lambda layer, word: dict(KERAS[layer])[word].transpose(3, 2, 0, 1)
    stored = {
        'stem.conv.weight': kernel('block1/conv', 'kernel'),
        'stem.conv.bias': KERAS['block1/conv'][1][1],
        'mid.1.conv.weight': kernel('conv2d_9', 'kernel'),
        'mid.2.conv.weight': kernel('conv2d_10', 'kernel'),
        'last.conv1.weight': KERAS['block2_sepconv1'][0][1].transpose(2, 3, 0, 1),
        'last.pointwise.weight': kernel('block2_sepconv1', 'pointwise_kernel'),
        'stem.bn.num_batches_tracked': np.array(3),
        'fc.weight': numbers(7, 5),
    }
    words = {'gamma': 'weight', 'beta': 'bias', 'moving_mean': 'running_mean', 'moving_variance': 'running_var'}
    for ours, theirs in (
        ('stem', 'block1/bn'),
        ('mid.1', 'batch_normalization_9'),
        ('mid.2', 'batch_normalization_10'),
    ):
        stored |= {f'{ours}.bn.{words[word]}': array for word, array in KERAS[theirs]}
    return stored


def write_torch(path, stored):
    safetensors.numpy.save_file({n: np.ascontiguousarray(a) for n, a in stored.items()}, path)
    return path


def test_keras_and_torch_files_give_the_same_arrays(small, tmp_path):
    from_keras = weights.read(small, write_keras(tmp_path / 'a.h5'))
    from_torch = weights.read(Small('torch', rngs=nnx.Rngs(0)), write_torch(tmp_path / 'a.safetensors', torch_names()))
    jax.tree.map(np.testing.assert_array_equal, from_keras, from_torch)
    assert set(from_keras) == {'/'.join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(small))}
    np.testing.assert_array_equal(from_keras['steps/1/conv/kernel'], KERAS['conv2d_9'][0][1])
    np.testing.assert_array_equal(from_keras['steps/2/norm/var'], KERAS['batch_normalization_10'][2][1])
    np.testing.assert_array_equal(
        from_keras['steps/3/depthwise/kernel'][..., 0, :], KERAS['block2_sepconv1'][0][1][..., 0]
    )

    weights.fill(small, from_keras)
    for path, value in nnx.to_flat_state(nnx.state(small)):
        np.testing.assert_array_equal(value[...], from_keras['/'.join(map(str, path))])
    abstract = nnx.eval_shape(lambda: Small(rngs=nnx.Rngs(0)))  # needs no numbers of its own
    assert set(weights.read(abstract, tmp_path / 'a.h5')) == set(from_keras)


def test_files_of_keras_1_number_every_layer(small, tmp_path):
    """As Xception's published file does; the classifier is `dense_2` there."""
    words = {'kernel': 'W', 'bias': 'b', 'moving_mean': 'running_mean', 'moving_variance': 'running_std'}
    kinds = {
        'convolution2d': ('block1/conv', 'conv2d_9', 'conv2d_10'),
        'batchnormalization': ('block1/bn', 'batch_normalization_9', 'batch_normalization_10'),
        'separableconvolution2d': ('block2_sepconv1',),
    }
    old = {'dense_2': [('dense_2_W', numbers(5, 7))]}
    for kind, names in kinds.items():
        for i, name in reversed(list(enumerate(names, 1))):
            layer = f'{kind}_{i}'
            old[layer] = [(f'{layer}_{words.get(word, word)}', array) for word, array in KERAS[name]]
    expected = weights.read(small, write_keras(tmp_path / 'a.h5'))
    found = weights.read(small, write_keras(tmp_path / 'old.h5', old, '{word}:0'))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def without(layer):
    return {n: a for n, a in KERAS.items() if n != layer}


@pytest.mark.parametrize(
    'layers, message',
    [
        ({**KERAS, 'extra': [('kernel', numbers(5, 2))]}, 'no place for extra/kernel; expected'),
        ({**KERAS, 'conv2d_11': [('kernel', numbers(1, 7, 4, 4))]}, 'no place for conv2d_11/kernel; expected'),
        (without('conv2d_10'), 'nothing for conv2d_2/kernel; expected'),
        (without('block1/bn'), 'nothing for block1_bn/gamma, block1_bn/beta, .*moving_variance; expected'),
        (
            {**KERAS, 'block1/bn': norm(0, 'beta', *STATISTICS)},
            'no place for block1/bn/beta, .*; nothing for block1_bn/',
        ),
        ({**KERAS, 'conv2d_9': [('kernel', numbers(7, 1, 4, 4))]}, r'another shape.*: conv2d_1/kernel \(7, 1, 4, 4\);'),
        ({}, r'nothing for block1_conv/kernel, .* and 12 more; expected'),
    ],
)
def test_every_keras_tensor_has_a_place_and_every_place_a_tensor(small, tmp_path, layers, message):
    with pytest.raises(InputError, match=message) as error:
        weights.read(small, write_keras(tmp_path / 'a.h5', layers))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'layer5.0.weight': numbers(2)}, 'no place for layer5.0.weight; expected'),
        ({'mid.2.bn.bias': None}, 'nothing for mid.2.bn.bias; expected'),
        ({'mid.2.bn.bias': numbers(6)}, r'another shape than expected: mid.2.bn.bias \(6,\);'),
    ],
)
def test_every_torch_tensor_has_a_place_and_every_place_a_tensor(tmp_path, change, message):
    stored = {n: a for n, a in (torch_names() | change).items() if a is not None}
    with pytest.raises(InputError, match=message):
        weights.read(Small('torch', rngs=nnx.Rngs(0)), write_torch(tmp_path / 'a.safetensors', stored))


def test_files_that_do_not_fit_are_refused_with_what_to_do(small, tmp_path):
    read = functools.partial(weights.read, small)
    with pytest.raises(InputError, match=r"layout='torch', the trunk is of .*; build the trunk with layout='torch'"):
        read(write_torch(tmp_path / 'a.safetensors', torch_names()))
    with pytest.raises(InputError, match=r'fit width=1 only, not 0\.5; a narrower trunk starts at random'):
        weights.read(Small(width=0.5, rngs=nnx.Rngs(0)), write_keras(tmp_path / 'a.h5'))
    with pytest.raises(InputError, match=r'none.h5: no such file; expected weights, \.h5'):
        read(tmp_path / 'none.h5')
    (tmp_path / 'a.pt').write_bytes(b'x')
    with pytest.raises(InputError, match=r'a.pt: expected weights as \.h5 \(Keras\) or \.safetensors'):
        read(tmp_path / 'a.pt')
    for name, trunk in (('b.h5', small), ('b.safetensors', Small('torch', rngs=nnx.Rngs(0)))):
        (tmp_path / name).write_bytes(b'not what it says')
        with pytest.raises(InputError, match=f'{name}: not a '):
            weights.read(trunk, tmp_path / name)
    with h5py.File(tmp_path / 'c.h5', 'w') as file:  # Keras 3's own format
        file['layers/conv2d/vars/0'] = numbers(3)
    with pytest.raises(InputError, match=r'c\.h5: not a Keras file of weights by layer'):
        read(tmp_path / 'c.h5')


@pytest.mark.parametrize('name', backbones.NAMES)
@pytest.mark.parametrize('layout', ['keras', 'torch'])
def test_every_array_of_a_trunk_has_a_name_of_its_own(name, layout):
    trunk = nnx.eval_shape(lambda: backbones.build(name, layout=layout, rngs=nnx.Rngs(0)))
    slots = list(weights._slots(trunk))
    arrays = len(jax.tree.leaves(nnx.state(trunk)))
    assert arrays == len(slots) == len({s.keras for s in slots}) == len({s.torch for s in slots})


def test_weights_are_found_where_they_are_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setenv('SER_JAX_WEIGHTS', str(tmp_path))
    command = f'python -m ser_jax.weights resnet50 --download_dir={tmp_path}'
    with pytest.raises(InputError, match=f'no weights of resnet50 in {tmp_path}; run: {command} '):
        weights.find('resnet50')
    with pytest.raises(InputError, match=r'resnet50\.safetensors does not exist; save them there from torchvision'):
        weights.find('resnet50', layout='torch')
    for name in ('resnet50.safetensors', 'resnet50.h5', weights.KERAS_FILES['resnet50']):
        (tmp_path / name).write_bytes(b'')
        layout = 'torch' if name.endswith('s') else 'keras'
        assert weights.find('resnet50', layout=layout).name == name
    assert weights.find('resnet50', tmp_path / 'resnet50.h5').name == 'resnet50.h5'
    with pytest.raises(InputError, match='no weights of resnet50 in'):
        weights.find('resnet50', tmp_path / 'elsewhere')


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Has one file of weights, and a first connection that breaks halfway."""
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with contextlib.closing(Server()) as s:
        s.close = lambda: (s.shutdown(), s.server_close())
        threading.Thread(target=s.serve_forever, args=(0.02,), daemon=True).start()
        name = weights.KERAS_FILES['xception']
        s.files[name] = write_keras(tmp_path / 'published.h5').read_bytes()
        s.cuts = [len(s.files[name]) // 2]
        yield s


def test_weights_are_fetched_checked_found_and_read(server, small, tmp_path):
    [(name, content)] = server.files.items()
    archive = Archive(server.url(name), len(content), hashlib.md5(content).hexdigest())
    folder = tmp_path / 'weights'
    assert verb.get(archive, folder) == folder / name
    assert [r for _, r in server.requests] == [None, f'bytes={len(content) // 2}-']
    assert weights.read(small, weights.find('xception', folder))
    with pytest.raises(InputError, match=f'checksum is md5 .*or put {name} from elsewhere into {tmp_path}/other'):
        verb.get(dataclasses.replace(archive, md5='0' * 32), tmp_path / 'other')


def test_what_is_published_is_where_find_looks():
    assert set(verb.PUBLISHED) == set(backbones.NAMES)
    for name in backbones.NAMES:
        assert verb.published(name).name == weights.KERAS_FILES[name] and len(verb.published(name).md5) == 32


@pytest.mark.parametrize('arguments, message', [(['vgg16'], "trunk 'vgg16' is not known"), ([], 'no trunk given')])
def test_the_verb_says_in_one_line_what_is_wrong(arguments, message):
    command = [sys.executable, '-m', 'ser_jax.weights', *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'JAX_PLATFORMS': 'cpu'})
    assert done.returncode == 2 and done.stderr.startswith(f'error: {message}') and done.stderr.count('\n') == 1
