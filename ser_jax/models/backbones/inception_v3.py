"""Inception v3 (Szegedy et al. 2016) of keras.applications: 21,802,784 parameters without its top.

With `style='torch'`, as in torchvision and timm, each normalization has a scale (gamma) and average
pooling counts the padding at edges; timm's conversions of Google's weights have the same layout.
"""

import re

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.models.backbones.layers import (
    Backbone,
    Conv2D,
    Norm,
    average_pool_3x3,
    groups,
    max_pool_3x3,
    scaled,
)

# A step: torchvision's name, filters, kernel. A name with the suffix _1 or without a number begins
# a branch; the input of both _2a and _2b is the output of _1. Keras numbers layers in this order.
_STEM = (
    ('Conv2d_1a_3x3', 32, 3, 2, 'VALID'),
    ('Conv2d_2a_3x3', 32, 3, 1, 'VALID'),
    ('Conv2d_2b_3x3', 64, 3, 1, 'SAME'),
    ('Conv2d_3b_1x1', 80, 1, 1, 'VALID'),
    ('Conv2d_4a_3x3', 192, 3, 1, 'VALID'),
)
_B = (
    ('branch3x3', 384, 3),
    ('branch3x3dbl_1', 64, 1),
    ('branch3x3dbl_2', 96, 3),
    ('branch3x3dbl_3', 96, 3),
)
_D = (
    ('branch3x3_1', 192, 1),
    ('branch3x3_2', 320, 3),
    ('branch7x7x3_1', 192, 1),
    ('branch7x7x3_2', 192, (1, 7)),
    ('branch7x7x3_3', 192, (7, 1)),
    ('branch7x7x3_4', 192, 3),
)
_E = (
    ('branch1x1', 320, 1),
    ('branch3x3_1', 384, 1),
    ('branch3x3_2a', 384, (1, 3)),
    ('branch3x3_2b', 384, (3, 1)),
    ('branch3x3dbl_1', 448, 1),
    ('branch3x3dbl_2', 384, 3),
    ('branch3x3dbl_3a', 384, (1, 3)),
    ('branch3x3dbl_3b', 384, (3, 1)),
    ('branch_pool', 192, 1),
)


def _a(pool: int):
    return (
        ('branch1x1', 64, 1),
        ('branch5x5_1', 48, 1),
        ('branch5x5_2', 64, 5),
        ('branch3x3dbl_1', 64, 1),
        ('branch3x3dbl_2', 96, 3),
        ('branch3x3dbl_3', 96, 3),
        ('branch_pool', pool, 1),
    )


def _c(inner: int):
    return (
        ('branch1x1', 192, 1),
        ('branch7x7_1', inner, 1),
        ('branch7x7_2', inner, (1, 7)),
        ('branch7x7_3', 192, (7, 1)),
        ('branch7x7dbl_1', inner, 1),
        ('branch7x7dbl_2', inner, (7, 1)),
        ('branch7x7dbl_3', inner, (1, 7)),
        ('branch7x7dbl_4', inner, (7, 1)),
        ('branch7x7dbl_5', 192, (1, 7)),
        ('branch_pool', 192, 1),
    )


# torchvision's name, steps, True if it halves the size; `mixed0` to `mixed10` in Keras.
_MIXED = (
    ('Mixed_5b', _a(32), False),
    ('Mixed_5c', _a(64), False),
    ('Mixed_5d', _a(64), False),
    ('Mixed_6a', _B, True),
    ('Mixed_6b', _c(128), False),
    ('Mixed_6c', _c(160), False),
    ('Mixed_6d', _c(160), False),
    ('Mixed_6e', _c(192), False),
    ('Mixed_7a', _D, True),
    ('Mixed_7b', _E, False),
    ('Mixed_7c', _E, False),
)


class InceptionV3(Backbone):
    """Inception v3, [B 299 299 3] -> [B 8 8 2048]; 12 units, `stem` and `mixed0` to `mixed10`.

    Layers are `conv2d_1` to `conv2d_94` and `batch_normalization_1` to `batch_normalization_94`, in
    the order of Keras' source.
    """

    size = 299
    mode = 'tf'

    def __init__(self, width: float = 1.0, style: str = 'keras', **options):
        super().__init__(style)
        options |= {'width': width, 'style': style}
        stem = Stem(**options)
        channels = self.add('stem', stem, stem.outputs)
        paths = [name for name, *_ in _STEM]
        for i, (path, steps, halving) in enumerate(_MIXED):
            mixed = Mixed(len(paths) + 1, channels, steps, halving, **options)
            channels = self.add(f'mixed{i}', mixed, mixed.outputs)
            paths += [f'{path}.{name}' for name, *_ in steps]
        self.paths = tuple(paths)

    def torch_name(self, layer: str) -> str:
        """Return e.g. `Mixed_5b.branch1x1.conv` for `conv2d_6`."""
        kind, number = groups(r'(conv2d|batch_normalization)_(\d+)', layer)
        return f'{self.paths[int(number) - 1]}.{"conv" if kind == "conv2d" else "bn"}'


class _Numbered(nnx.Module):
    """Pairs of convolution and normalization, numbered as in Keras."""

    def add(self, number: int, conv: Conv2D, style: str) -> int:
        """Append a convolution and its normalization; return their channels."""
        outputs = conv.kernel.shape[-1]
        setattr(self, f'conv2d_{number}', conv)
        setattr(self, f'batch_normalization_{number}', Norm(outputs, 1e-3, scale=style == 'torch'))
        return outputs

    def step(self, number: int, x):
        return jax.nn.relu(
            getattr(self, f'batch_normalization_{number}')(getattr(self, f'conv2d_{number}')(x))
        )


class Stem(_Numbered):
    """Five convolutions with max pooling after the third and the fifth."""

    def __init__(self, width: float, style: str, **options):
        channels = 3
        for number, (_, filters, kernel, stride, padding) in enumerate(_STEM, 1):
            conv = Conv2D(channels, scaled(filters, width), kernel, stride, padding, **options)
            channels = self.add(number, conv, style)
        self.outputs = channels

    def __call__(self, x):
        for number in range(1, 6):
            x = self.step(number, x)
            x = max_pool_3x3(x) if number in (3, 5) else x
        return x


class Mixed(_Numbered):
    """Concatenated branches; `first` is Keras' number of the first convolution."""

    def __init__(
        self, first: int, inputs: int, steps, halving: bool, width: float, style: str, **options
    ):
        self.first, self.halving, self.count_padding = first, halving, style == 'torch'
        self.plan = tuple((name, _source(name)) for name, *_ in steps)
        sources = {source for _, source in self.plan}
        self.ends = tuple(name for name, _ in self.plan if name not in sources)
        channels = {'x': inputs, 'pool': inputs}
        for number, ((name, source), (_, filters, kernel)) in enumerate(
            zip(self.plan, steps, strict=True), first
        ):
            stride, padding = (2, 'VALID') if halving and name in self.ends else (1, 'SAME')
            conv = Conv2D(
                channels[source], scaled(filters, width), kernel, stride, padding, **options
            )
            channels[name] = self.add(number, conv, style)
        self.outputs = sum(channels[name] for name in self.ends) + (inputs if halving else 0)

    def __call__(self, x):
        given = (
            {'x': x} if self.halving else {'x': x, 'pool': average_pool_3x3(x, self.count_padding)}
        )
        for number, (name, source) in enumerate(self.plan, self.first):
            given[name] = self.step(number, given[source])
        last = [max_pool_3x3(x).astype(given[self.ends[0]].dtype)] if self.halving else []
        return jnp.concatenate([given[name] for name in self.ends] + last, -1)


def _source(name: str) -> str:
    """Return the name of a step's input: `branch3x3_1` for `branch3x3_2a`."""
    if name == 'branch_pool':
        return 'pool'
    found = re.fullmatch(r'(\w+)_(\d)[ab]?', name)
    return f'{found[1]}_{int(found[2]) - 1}' if found and found[2] != '1' else 'x'
