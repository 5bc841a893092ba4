"""ResNet50 (He et al. 2016) of keras.applications: 23,587,712 parameters without its top.

In Keras a stage's stride is in its first 1 x 1 convolution and every convolution has a bias. With
`style='torch'`, as in torchvision and timm ("v1.5"), it is in the 3 x 3 and there are no biases.
"""

import jax
from flax import nnx

from ser_jax.models.backbones.layers import Backbone, Conv2D, Norm, groups, max_pool_3x3, scaled

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


class ResNet50(Backbone):
    """ResNet50, [B 224 224 3] -> [B 7 7 2048]; 17 units: `conv1` and 16 residual blocks."""

    mode = 'caffe'

    def __init__(self, width: float = 1.0, style: str = 'keras', **options):
        super().__init__(style)
        options['style'] = style
        channels = self.add('conv1', Stem(scaled(64, width), **options), scaled(64, width))
        for stage, (filters, blocks) in enumerate(STAGES, 2):
            filters = scaled(filters, width)
            for i in range(1, blocks + 1):
                name, stride = f'conv{stage}_block{i}', 2 if i == 1 and stage > 2 else 1
                channels = self.add(
                    name, Block(name, channels, filters, stride, i == 1, **options), 4 * filters
                )

    def torch_name(self, layer: str) -> str:
        """Return e.g. `layer4.2.bn2` for `conv5_block3_2_bn`."""
        if layer in ('conv1_conv', 'conv1_bn'):
            return layer.removeprefix('conv1_') + '1'
        stage, block, place, kind = groups(r'conv(\d)_block(\d)_(\d)_(conv|bn)', layer)
        last = f'downsample.{("conv", "bn").index(kind)}' if place == '0' else f'{kind}{place}'
        return f'layer{int(stage) - 1}.{int(block) - 1}.{last}'


class Stem(nnx.Module):
    """7 x 7 convolution with stride 2, then 3 x 3 max pooling with stride 2."""

    def __init__(self, outputs: int, style: str, **options):
        self.conv1_conv = Conv2D(3, outputs, 7, 2, (3, 3), style == 'keras', **options)
        self.conv1_bn = Norm(outputs, _epsilon(style))

    def __call__(self, x):
        return max_pool_3x3(jax.nn.relu(self.conv1_bn(self.conv1_conv(x))), (1, 1))


class Block(nnx.Module):
    """1 x 1, 3 x 3, 1 x 1 to four times the filters, added to the input or its projection."""

    def __init__(
        self,
        name: str,
        inputs: int,
        filters: int,
        stride: int,
        project: bool,
        style: str,
        **options,
    ):
        self.name, self.project = name, project
        keras = style == 'keras'

        def pair(place: int, inputs: int, outputs: int, kernel: int, stride: int):
            conv = Conv2D(
                inputs, outputs, kernel, stride, (kernel // 2, kernel // 2), keras, **options
            )
            setattr(self, f'{name}_{place}_conv', conv)
            setattr(self, f'{name}_{place}_bn', Norm(outputs, _epsilon(style)))

        if project:
            pair(0, inputs, 4 * filters, 1, stride)
        pair(1, inputs, filters, 1, stride if keras else 1)
        pair(2, filters, filters, 3, 1 if keras else stride)
        pair(3, filters, 4 * filters, 1, 1)

    def __call__(self, x):
        shortcut = self._pair(0, x) if self.project else x
        new = jax.nn.relu(self._pair(1, x))
        new = jax.nn.relu(self._pair(2, new))
        return jax.nn.relu(shortcut + self._pair(3, new))

    def _pair(self, place: int, x):
        """Apply a convolution and its normalization."""
        x = getattr(self, f'{self.name}_{place}_conv')(x)
        return getattr(self, f'{self.name}_{place}_bn')(x)


def _epsilon(style: str) -> float:
    return 1.001e-5 if style == 'keras' else 1e-5
