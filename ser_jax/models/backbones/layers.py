"""Parts of the published trunks: Keras' layers with Keras' names, and the chain of their units.

Batch normalization always uses the moving statistics: both published systems call their trunk with
`training=False`, also for fine-tuning. Weights have Keras' names (kernel, gamma, moving_mean ...),
so that a path is unit/layer/weight, e.g. `conv5_block32/conv5_block32_1_conv/kernel`.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.contract import InputError

STYLES = ('keras', 'torch')
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's RGB in [0, 1]
_MEAN_BGR = (103.939, 116.779, 123.68)


class Frozen(nnx.BatchStat):
    """Pretrained weight that is not trained: stored as a batch statistic, never differentiated."""


class Conv2D(nnx.Module):
    """Convolution over [B H W I]; its weights are zeros without `rngs`.

    Padding is 'SAME', 'VALID' or (before, after) for both axes.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding='SAME',
        bias: bool = False,
        *,
        dtype=jnp.float32,
        rngs: nnx.Rngs | None = None,
    ):
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.kernel = nnx.Param(_draw((*size, inputs, outputs), size[0] * size[1] * inputs, rngs))
        if bias:
            self.bias = nnx.Param(jnp.zeros(outputs))
        self.stride, self.dtype = (stride, stride), dtype
        self.padding = padding if isinstance(padding, str) else (tuple(padding),) * 2
        self.biased = bias

    def __call__(self, x):
        x, kernel = x.astype(self.dtype), self.kernel[...].astype(self.dtype)
        x = jax.lax.conv_general_dilated(
            x, kernel, self.stride, self.padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )
        return x + self.bias[...].astype(self.dtype) if self.biased else x


class SeparableConv(nnx.Module):
    """Depthwise 3 x 3 convolution, then 1 x 1 over channels; the size is unchanged.

    The depthwise one is nine shifted products: XLA's grouped convolution takes many times longer on
    a CPU.
    """

    def __init__(
        self, inputs: int, outputs: int, *, dtype=jnp.float32, rngs: nnx.Rngs | None = None
    ):
        self.depthwise_kernel = nnx.Param(_draw((3, 3, inputs, 1), 9, rngs))
        self.pointwise_kernel = nnx.Param(_draw((1, 1, inputs, outputs), inputs, rngs))
        self.dtype = dtype

    def __call__(self, x):
        x = x.astype(self.dtype)
        deep = self.depthwise_kernel[..., 0].astype(self.dtype)
        height, width = x.shape[1:3]
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = sum(
            padded[:, i : i + height, j : j + width] * deep[i, j]
            for i, j in itertools.product(range(3), range(3))
        )
        return x @ self.pointwise_kernel[0, 0].astype(self.dtype)


class Norm(nnx.Module):
    """Batch normalization by the moving statistics; `scale=False`: no gamma, as in Inception."""

    def __init__(self, features: int, epsilon: float, scale: bool = True):
        if scale:
            self.gamma = nnx.Param(jnp.ones(features))
        self.beta = nnx.Param(jnp.zeros(features))
        self.moving_mean = nnx.BatchStat(jnp.zeros(features))
        self.moving_variance = nnx.BatchStat(jnp.ones(features))
        self.epsilon, self.scale = epsilon, scale

    def __call__(self, x):
        factor = jax.lax.rsqrt(self.moving_variance[...] + self.epsilon)
        factor = factor * self.gamma[...] if self.scale else factor
        return x * factor.astype(x.dtype) + (
            self.beta[...] - self.moving_mean[...] * factor
        ).astype(x.dtype)


class Backbone(nnx.Module):
    """Trunk as a chain of named units, each of which maps one tensor [B H W C] to another.

    Every trunk takes `width` (a multiplier of its channels), `style`, and the options of `Conv2D`:
    `dtype` and `rngs`.

    Attributes:
      names: names of the units in order; each unit is an attribute of that name.
      channels: output channels of each unit.
      size: height and width of the images that it was trained on.
      mode: kind of pixel preprocessing (`preprocess`).
      style: 'keras', or 'torch' to compute as the networks of torchvision and timm do.
    """

    size = 224
    mode = 'torch'

    def __init__(self, style: str = 'keras'):
        if style not in STYLES:
            raise InputError(f'style={style!r} is not known; known are {", ".join(STYLES)}')
        self.style = style
        self.names: tuple[str, ...] = ()
        self.channels: tuple[int, ...] = ()

    def add(self, name: str, unit: nnx.Module, channels: int) -> int:
        """Append a unit and return its channels."""
        setattr(self, name, unit)
        self.names, self.channels = (*self.names, name), (*self.channels, channels)
        return channels

    @property
    def outputs(self) -> int:
        """D, the channels of the last unit."""
        return self.channels[-1]

    def __call__(self, x, first: int = 0, last: int | None = None):
        """Apply units `first` to `last` - 1, by default all of them: [B H W 3] -> [B h w D]."""
        for name in self.names[first:last]:
            x = getattr(self, name)(x)
        return x

    def preprocess(self, pixels):
        """Scale RGB [B H W 3] from 0 ... 255 as the weights expect; torch's never use BGR."""
        x = jnp.asarray(pixels, jnp.float32)
        if self.mode == 'tf':
            return x / 127.5 - 1
        if self.mode == 'caffe' and self.style == 'keras':
            return x[..., ::-1] - jnp.asarray(_MEAN_BGR)
        return (x / 255 - jnp.asarray(_MEAN)) / jnp.asarray(_STD)

    def torch_name(self, layer: str) -> str:
        """Return the name in torchvision or timm of the layer with Keras' name `layer`."""
        raise NotImplementedError

    def weights(self) -> Iterator[tuple[str, str, str, nnx.Variable]]:
        """Yield (unit, layer, weight, variable) of all variables in the order of creation."""
        for unit in self.names:
            for layer, module in vars(getattr(self, unit)).items():
                if isinstance(module, nnx.Module):
                    for weight, variable in vars(module).items():
                        if isinstance(variable, nnx.Variable):
                            yield unit, layer, weight, variable


def freeze(backbone: Backbone, trainable: Sequence[str]) -> int:
    """Turn the parameters of all layers without a prefix in `trainable` into `Frozen` ones.

    A prefix is that of Keras' name of a layer (`conv5_block32_1_conv`) or of a unit (`mixed10`).

    Returns:
      The number of units before the first one with trained parameters; all units if there is none.

    Raises:
      InputError: an entry of `trainable` is no prefix of any name.
    """
    unused = set(trainable)
    units = set()
    for unit, layer, weight, variable in list(backbone.weights()):
        if not isinstance(variable, nnx.Param):
            continue
        used = {t for t in trainable if layer.startswith(t) or unit.startswith(t)}
        unused -= used
        if used:
            units.add(backbone.names.index(unit))
        else:
            setattr(getattr(getattr(backbone, unit), layer), weight, Frozen(variable[...]))
    if unused:
        raise InputError(
            f'trainable={sorted(unused)[0]!r} begins no layer of the trunk; its last units are '
            f'{", ".join(backbone.names[-3:])}'
        )
    return min(units, default=len(backbone.names))


def groups(pattern: str, layer: str) -> tuple[str, ...]:
    """Return the groups of a pattern that matches the whole name of a layer.

    Raises:
      ValueError: the name is not that of a layer.
    """
    found = re.fullmatch(pattern, layer)
    if found is None:
        raise ValueError(f'{layer!r} does not match {pattern}')
    return found.groups()


def scaled(channels: int, width: float) -> int:
    """Return `width` times the channels, rounded to a multiple of 8; unchanged for 1.0."""
    return channels if width == 1 else max(8, 8 * round(channels * width / 8))


def max_pool_3x3(x, padding: tuple[int, int] | str = (0, 0)):
    """Max-pool with window 3 x 3 and stride 2.

    Padding is (before, after), or 'SAME' as in Keras, which depends on the size. Written as a
    maximum over shifted slices: the gradient of XLA's window reduction is slow on a CPU.
    """
    if isinstance(padding, str):
        sides = [(0, 1) if n % 2 == 0 else (1, 1) for n in x.shape[1:3]]
    else:
        sides = [padding, padding]
    low = jnp.finfo(x.dtype).min
    x = jnp.pad(x, ((0, 0), *sides, (0, 0)), constant_values=low)
    rows, columns = (x.shape[1] - 1) // 2, (x.shape[2] - 1) // 2
    x = functools.reduce(jnp.maximum, [x[:, i : i + 2 * rows - 1 : 2] for i in range(3)])
    slices = [x[:, :, j : j + 2 * columns - 1 : 2] for j in range(3)]
    return functools.reduce(jnp.maximum, slices)


def average_pool_3x3(x, count_padding: bool):
    """Average-pool with window 3 x 3 and stride 1; the size is unchanged.

    At the edges the mean is over the pixels inside (Keras), or includes zero padding (torch).
    """
    height, width = x.shape[1:3]
    ones = jnp.ones((1, height, width, 1), x.dtype)

    def total(x):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = sum(x[:, i : i + height] for i in range(3))
        return sum(x[:, :, j : j + width] for j in range(3))

    return total(x) / (9 if count_padding else total(ones))


def average_pool_2x2(x):
    """Average-pool by 2 x 2; an odd last row or column is dropped."""
    height, width = x.shape[1] // 2, x.shape[2] // 2
    return x[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2, -1).mean((2, 4))


def _draw(shape: tuple[int, ...], inputs: int, rngs: nnx.Rngs | None):
    """Draw weights of variance 2 / inputs (He et al. 2015); zeros without `rngs`.

    Zeros take no time to draw; they are replaced by the weights of a file.
    """
    return (
        jnp.zeros(shape)
        if rngs is None
        else (2 / inputs) ** 0.5 * jax.random.normal(rngs.params(), shape)
    )
