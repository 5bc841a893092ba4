"""DenseNet201 (Huang et al. 2017) of keras.applications: 18,321,984 parameters without its top.

torchvision's differs only in the normalization's epsilon; Keras' weights were made from its own.
"""

import re

import jax
import jax.numpy as jnp
from flax import nnx

from ser_jax.models.backbones.layers import (
    Backbone,
    Conv2D,
    Norm,
    average_pool_2x2,
    groups,
    max_pool_3x3,
    scaled,
)

BLOCKS = (6, 12, 48, 32)
GROWTH = 32


class DenseNet201(Backbone):
    """DenseNet201, [B 224 224 3] -> [B 7 7 1920].

    103 units: `conv1`, 98 dense layers, 3 transitions `pool2` to `pool4`, `bn`.
    """

    def __init__(self, width: float = 1.0, style: str = 'keras', **options):
        super().__init__(style)
        epsilon = 1.001e-5 if style == 'keras' else 1e-5
        growth = scaled(GROWTH, width)
        channels = self.add('conv1', Stem(scaled(64, width), epsilon, **options), scaled(64, width))
        for stage, layers in enumerate(BLOCKS, 2):
            for i in range(1, layers + 1):
                name = f'conv{stage}_block{i}'
                channels = self.add(
                    name, Dense(name, channels, growth, epsilon, **options), channels + growth
                )
            if stage < 5:
                name, half = f'pool{stage}', channels // 2
                channels = self.add(
                    name, Transition(name, channels, half, epsilon, **options), half
                )
        self.add('bn', Last(channels, epsilon), channels)

    def torch_name(self, layer: str) -> str:
        """Return e.g. `features.denseblock4.denselayer32.conv1` for `conv5_block32_1_conv`."""
        if layer in ('conv1_conv', 'conv1_bn', 'bn'):
            return {
                'conv1_conv': 'features.conv0',
                'conv1_bn': 'features.norm0',
                'bn': 'features.norm5',
            }[layer]
        if found := re.fullmatch(r'pool(\d)_(conv|bn)', layer):
            return (
                f'features.transition{int(found[1]) - 1}.{"norm" if found[2] == "bn" else "conv"}'
            )
        stage, block, place, kind = groups(r'conv(\d)_block(\d+)_(\d)_(conv|bn)', layer)
        last = f'norm{int(place) + 1}' if kind == 'bn' else f'conv{place}'
        return f'features.denseblock{int(stage) - 1}.denselayer{block}.{last}'


class Stem(nnx.Module):
    """7 x 7 convolution with stride 2, then 3 x 3 max pooling with stride 2."""

    def __init__(self, outputs: int, epsilon: float, **options):
        self.conv1_conv = Conv2D(3, outputs, 7, 2, (3, 3), **options)
        self.conv1_bn = Norm(outputs, epsilon)

    def __call__(self, x):
        return max_pool_3x3(jax.nn.relu(self.conv1_bn(self.conv1_conv(x))), (1, 1))


class Dense(nnx.Module):
    """Pre-normalized 1 x 1 to four times the growth and 3 x 3 to the growth, after the input."""

    def __init__(self, name: str, inputs: int, growth: int, epsilon: float, **options):
        self.name = name
        setattr(self, f'{name}_0_bn', Norm(inputs, epsilon))
        setattr(self, f'{name}_1_conv', Conv2D(inputs, 4 * growth, 1, **options))
        setattr(self, f'{name}_1_bn', Norm(4 * growth, epsilon))
        setattr(self, f'{name}_2_conv', Conv2D(4 * growth, growth, 3, **options))

    def __call__(self, x):
        new = self._layer('1_conv')(jax.nn.relu(self._layer('0_bn')(x)))
        new = self._layer('2_conv')(jax.nn.relu(self._layer('1_bn')(new)))
        return jnp.concatenate([x.astype(new.dtype), new], -1)

    def _layer(self, suffix: str) -> nnx.Module:
        return getattr(self, f'{self.name}_{suffix}')


class Transition(nnx.Module):
    """Normalization, 1 x 1 convolution to half the channels, average pooling to half the size."""

    def __init__(self, name: str, inputs: int, outputs: int, epsilon: float, **options):
        self.name = name
        setattr(self, f'{name}_bn', Norm(inputs, epsilon))
        setattr(self, f'{name}_conv', Conv2D(inputs, outputs, 1, **options))

    def __call__(self, x):
        x = jax.nn.relu(getattr(self, f'{self.name}_bn')(x))
        return average_pool_2x2(getattr(self, f'{self.name}_conv')(x))


class Last(nnx.Module):
    """The last normalization and ReLU."""

    def __init__(self, inputs: int, epsilon: float):
        self.bn = Norm(inputs, epsilon)

    def __call__(self, x):
        return jax.nn.relu(self.bn(x))
