"""Xception (Chollet 2017) of keras.applications: 20,861,480 parameters without its top.

timm's `legacy_xception` (`style='torch'`) differs in the normalization's epsilon and in the sides
that its pooling pads.
"""

import re
from functools import partial

import jax
from flax import nnx

from ser_jax.models.backbones.layers import (
    Backbone,
    Conv2D,
    Norm,
    SeparableConv,
    groups,
    max_pool_3x3,
    scaled,
)


class Xception(Backbone):
    """Xception, [B 299 299 3] -> [B 10 10 2048]; 14 units, `block1` to `block14`."""

    size = 299
    mode = 'tf'

    def __init__(self, width: float = 1.0, style: str = 'keras', **options):
        super().__init__(style)
        options['style'] = style
        wide = partial(scaled, width=width)
        channels = self.add('block1', Stem(wide(32), wide(64), **options), wide(64))
        for i, filters in ((2, 128), (3, 256), (4, 728)):
            channels = self.add(
                f'block{i}',
                Block(i, channels, (wide(filters),) * 2, i - 1, **options),
                wide(filters),
            )
        for i in range(5, 13):
            channels = self.add(
                f'block{i}', Block(i, channels, (channels,) * 3, 0, **options), channels
            )
        channels = self.add(
            'block13', Block(13, channels, (channels, wide(1024)), 4, **options), wide(1024)
        )
        self.add('block14', Last(channels, wide(1536), wide(2048), **options), wide(2048))

    def torch_name(self, layer: str) -> str:
        """Return e.g. `block4.rep.4` for `block5_sepconv2`, `block1.skip` for `conv2d_1`.

        `ser_jax.models.weights` adds the names of the depthwise and the pointwise half.
        """
        if found := re.fullmatch(r'(conv2d|batch_normalization)_(\d)', layer):
            block = (1, 2, 3, 12)[int(found[2]) - 1]
            return f'block{block}.skip{"" if found[1] == "conv2d" else "bn"}'
        number, place, norm = groups(r'block(\d+)_(?:sep)?conv(\d)(_bn)?', layer)
        if number in ('1', '14'):
            return f'{"bn" if norm else "conv"}{int(place) + (2 if number == "14" else 0)}'
        # A block's list has (relu, conv, norm) per place; the first block's lacks its first relu.
        return f'block{int(number) - 1}.rep.{3 * int(place) - 2 + bool(norm) - (number == "2")}'


class Stem(nnx.Module):
    """Two 3 x 3 convolutions without padding, the first with stride 2."""

    def __init__(self, first: int, second: int, style: str, **options):
        self.block1_conv1 = Conv2D(3, first, 3, 2, 'VALID', **options)
        self.block1_conv1_bn = Norm(first, _epsilon(style))
        self.block1_conv2 = Conv2D(first, second, 3, 1, 'VALID', **options)
        self.block1_conv2_bn = Norm(second, _epsilon(style))

    def __call__(self, x):
        x = jax.nn.relu(self.block1_conv1_bn(self.block1_conv1(x)))
        return jax.nn.relu(self.block1_conv2_bn(self.block1_conv2(x)))


class Block(nnx.Module):
    """ReLUs and separable convolutions, added to the input.

    With a `shortcut` (the number in Keras of its convolution) the block halves the size.
    """

    def __init__(
        self,
        number: int,
        inputs: int,
        filters: tuple[int, ...],
        shortcut: int,
        style: str,
        **options,
    ):
        self.number, self.shortcut, self.places = number, shortcut, len(filters)
        self.padding = 'SAME' if style == 'keras' else (1, 1)
        if shortcut:
            setattr(
                self, f'conv2d_{shortcut}', Conv2D(inputs, filters[-1], 1, 2, 'VALID', **options)
            )
            setattr(self, f'batch_normalization_{shortcut}', Norm(filters[-1], _epsilon(style)))
        for place, outputs in enumerate(filters, 1):
            setattr(
                self, f'block{number}_sepconv{place}', SeparableConv(inputs, outputs, **options)
            )
            setattr(self, f'block{number}_sepconv{place}_bn', Norm(outputs, _epsilon(style)))
            inputs = outputs

    def __call__(self, x):
        new = x
        for place in range(1, self.places + 1):
            # The input of the second block has passed the stem's ReLU.
            new = jax.nn.relu(new) if place > 1 or self.number > 2 else new
            name = f'block{self.number}_sepconv{place}'
            new = getattr(self, f'{name}_bn')(getattr(self, name)(new))
        if not self.shortcut:
            return new + x
        old = getattr(self, f'batch_normalization_{self.shortcut}')(
            getattr(self, f'conv2d_{self.shortcut}')(x)
        )
        return max_pool_3x3(new, self.padding) + old


class Last(nnx.Module):
    """Two separable convolutions, each followed by normalization and ReLU."""

    def __init__(self, inputs: int, first: int, second: int, style: str, **options):
        self.block14_sepconv1 = SeparableConv(inputs, first, **options)
        self.block14_sepconv1_bn = Norm(first, _epsilon(style))
        self.block14_sepconv2 = SeparableConv(first, second, **options)
        self.block14_sepconv2_bn = Norm(second, _epsilon(style))

    def __call__(self, x):
        x = jax.nn.relu(self.block14_sepconv1_bn(self.block14_sepconv1(x)))
        return jax.nn.relu(self.block14_sepconv2_bn(self.block14_sepconv2(x)))


def _epsilon(style: str) -> float:
    return 1e-3 if style == 'keras' else 1e-5
