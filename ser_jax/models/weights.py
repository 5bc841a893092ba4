"""Pretrained weights of the trunks: location of the files and loading into a trunk's variables.

Two kinds of files are read: Keras' `.h5` (groups by layer, as keras.applications publishes them)
into trunks of style 'keras', and `.safetensors` of timm or torchvision into those of style 'torch'.
A missing tensor and an unexpected one are both errors.
"""

import itertools
import os
import pathlib
import re
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ser_jax.contract import InputError
from ser_jax.models.backbones import BACKBONES, Backbone
from ser_jax.models.pretrained import read_safetensors

FOLDER = '$SER_JAX_WEIGHTS or ~/.cache/ser_jax/weights'


class Published(NamedTuple):
    """File of keras.applications without its top.

    URL and md5 are in keras/src/applications/*.py of Keras 3.
    """

    url: str
    size: int  # bytes, as Keras prints them during the download
    md5: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rsplit('/', 1)[-1]


_KERAS = 'https://storage.googleapis.com/tensorflow/keras-applications'
_NO_TOP = 'weights_tf_dim_ordering_tf_kernels_notop.h5'
PUBLISHED = {
    'densenet201': Published(
        f'{_KERAS}/densenet/densenet201_{_NO_TOP}', 74_836_368, 'c13680b51ded0fb44dff2d8f86ac8bb1'
    ),
    'inception_v3': Published(
        f'{_KERAS}/inception_v3/inception_v3_{_NO_TOP}',
        87_910_968,
        'bcbd6486424b2319ff4ef7d526e38f63',
    ),
    'resnet50': Published(
        f'{_KERAS}/resnet/resnet50_{_NO_TOP}', 94_765_736, '4d473c1dd8becc155b73f8504c6f6626'
    ),
    'xception': Published(
        f'{_KERAS}/xception/xception_{_NO_TOP}', 83_683_744, 'b0042744bf5b25fce3cb969f33bebb97'
    ),
}
TIMM = {name: {'xception': 'legacy_xception'}.get(name, name) for name in BACKBONES}

# Names of weights in Keras, Keras 1 and torch.
_KERAS_1 = {
    'W': 'kernel',
    'b': 'bias',
    'running_mean': 'moving_mean',
    'running_std': 'moving_variance',
}
_TORCH = {
    'kernel': 'weight',
    'bias': 'bias',
    'gamma': 'weight',
    'beta': 'bias',
    'moving_mean': 'running_mean',
    'moving_variance': 'running_var',
    'depthwise_kernel': 'conv1.weight',
    'pointwise_kernel': 'pointwise.weight',
}
# Ignored tensors of a file: heads for ImageNet's classes, and torch's batch counters.
_KERAS_HEADS = re.compile(r'predictions|fc1000')
_TORCH_HEADS = re.compile(r'(classifier|fc|head|last_linear|AuxLogits)\..*|.*num_batches_tracked')
_NUMBERED = re.compile(r'(?:conv2d|convolution2d|batch_?normalization)(?:_(\d+))?')


def folder() -> pathlib.Path:
    """Return the default folder of the weights."""
    return pathlib.Path(
        os.environ.get('SER_JAX_WEIGHTS') or '~/.cache/ser_jax/weights'
    ).expanduser()


def find(
    name: str, style: str = 'keras', directory: str | os.PathLike | None = None
) -> pathlib.Path | None:
    """Return the weights file of a trunk in a folder, None if there is none.

    Keras' file has its published name; timm's is `densenet201.*`, is in a folder of such a name, or
    has the layout of the hub's cache.
    """
    place = pathlib.Path(directory).expanduser() if directory else folder()
    if style == 'keras':
        path = place / PUBLISHED[name].name
        return path if path.is_file() else None
    timm = TIMM[name]
    patterns = (
        f'{timm}.safetensors',
        f'{timm}.*.safetensors',
        f'{timm}/model.safetensors',
        f'{timm}.*/model.safetensors',
        f'models--timm--{timm}.*/snapshots/*/model.safetensors',
    )
    for pattern in patterns:
        if paths := sorted(path for path in place.glob(pattern) if path.is_file()):
            return paths[0]
    return None


def need(name: str, style: str = 'keras') -> pathlib.Path:
    """Return the weights file of a trunk.

    Raises:
      InputError: it is missing; the message has the command to get it.
    """
    if path := find(name, style):
        return path
    keras = style == 'keras'
    file = PUBLISHED[name].name if keras else f'{TIMM[name]}.safetensors'
    raise InputError(
        f'{folder()} lacks the pretrained weights of {name}; expected {file}; python -m '
        f'ser_jax.weights {name}{"" if keras else " --from=FILE"}'
    )


def load(backbone: Backbone, path: str | os.PathLike) -> int:
    """Load the tensors of a file into a trunk; nothing changes unless all of them fit.

    Returns:
      The number of tensors.

    Raises:
      InputError: the file cannot be read or is of the other style, or a tensor is missing,
        unexpected or of another shape.
    """
    path = pathlib.Path(path)
    name = type(backbone).__name__
    style, tensors = _read(path)
    if style != backbone.style:
        raise InputError(
            f'{path} holds weights of style {style}; expected {backbone.style}, or make it '
            f'style={style!r}'
        )
    variables = {
        _name_in_file(backbone, layer, weight): v for _, layer, weight, v in backbone.weights()
    }
    missing = sorted(variables.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - variables.keys())
    problems = [f'lacks {len(missing)} tensors, first {missing[0]}'] if missing else []
    if unexpected:
        problems.append(f'holds {len(unexpected)} unknown ones, first {unexpected[0]}')
    if problems:
        raise InputError(
            f'{path} {" and ".join(problems)}; expected the {len(variables)} of {name}; fetch it '
            'again'
        )
    ready = {}
    for key, variable in variables.items():
        tensor = tensors[key]
        if style == 'torch' and tensor.ndim == 4:
            depthwise = variable.shape[-1] == 1
            tensor = tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        if tensor.shape != variable.shape:
            raise InputError(
                f'{path}: {key} is of shape {tensor.shape}; expected {tuple(variable.shape)} in '
                f'{name}; is it another network?'
            )
        ready[key] = np.asarray(tensor, np.float32)
    for key, variable in variables.items():
        variable[...] = jnp.asarray(ready[key])
    return len(ready)


def _read(path: pathlib.Path) -> tuple[str, dict[str, np.ndarray]]:
    """Return the style of a file by its suffix, and its tensors by name."""
    if path.suffix == '.h5':
        return 'keras', _read_keras(path)
    if path.suffix == '.safetensors':
        tensors = read_safetensors(path)
        return 'torch', {n: t for n, t in tensors.items() if not _TORCH_HEADS.fullmatch(n)}
    raise InputError(f"{path} is not a file of weights; expected Keras' .h5 or timm's .safetensors")


def _name_in_file(backbone: Backbone, layer: str, weight: str) -> str:
    return (
        f'{layer}/{weight}'
        if backbone.style == 'keras'
        else f'{backbone.torch_name(layer)}.{_TORCH[weight]}'
    )


def _read_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the tensors of a legacy `.h5` by `layer/weight`.

    Layers with Keras' automatic numbers are renumbered from 1, as published.
    """
    try:
        import h5py
    except ImportError as e:
        raise InputError(
            f"{path} is read with h5py, which is not installed; pip install -e '.[weights]'"
        ) from e
    try:
        with h5py.File(path, 'r') as f:
            root = f.get('model_weights', f)
            layers = {}
            for layer in _strings(root, 'layer_names'):
                weights = _strings(root[layer], 'weight_names')
                if weights and not _KERAS_HEADS.fullmatch(layer):
                    layers[layer] = {_weight(layer, w): root[layer][w][()] for w in weights}
    except (OSError, KeyError, RuntimeError) as e:
        raise InputError(
            f"{path} cannot be read ({e}); expected Keras' .h5 of weights; fetch it again"
        ) from e
    if not layers:
        raise InputError(
            f"{path} holds no layers; expected Keras' .h5 of weights (not .weights.h5); fetch it "
            f'again'
        )
    return _by_published_name(layers)


def _by_published_name(layers: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the tensors by `layer/weight`, the layers with automatic numbers renumbered from 1."""
    published: dict[str, str] = {}
    for kind, first in (('conv2d', 'c'), ('batch_normalization', 'b')):
        # The first number depends on layers that the process created before; the order does not.
        found = [m for layer in layers if layer[0] == first and (m := _NUMBERED.fullmatch(layer))]
        found.sort(key=lambda m: int(m[1] or 0))
        published |= {m[0]: f'{kind}_{i}' for i, m in enumerate(found, 1)}
    tensors: dict[str, np.ndarray] = {}
    for layer, weights in layers.items():
        # DenseNet's stem was published as `conv1/conv`.
        name = published.get(layer) or layer.replace('/', '_')
        tensors |= {f'{name}/{weight}': tensor for weight, tensor in weights.items()}
    return tensors


def _strings(group, attribute: str) -> list[str]:
    """Return a list of names, also if split by Keras: an HDF5 attribute is at most 64 KiB."""
    parts = [attribute] if attribute in group.attrs else []
    if not parts:
        while (part := f'{attribute}{len(parts)}') in group.attrs:
            parts.append(part)
    names = itertools.chain.from_iterable(group.attrs[part] for part in parts)
    return [n.decode() if isinstance(n, bytes) else str(n) for n in names]


def _weight(layer: str, name: str) -> str:
    """Return `gamma` of `conv1/bn/gamma:0`; Keras 1's `bn_running_std:0` contains a variance."""
    last = name.split(':')[0].rsplit('/', 1)[-1].removeprefix(f'{layer}_')
    return _KERAS_1.get(last, last)
