"""The four ImageNet trunks of the published systems in Flax, with Keras' layer names."""

from ser_jax.contract import InputError
from ser_jax.models.backbones.densenet201 import DenseNet201
from ser_jax.models.backbones.inception_v3 import InceptionV3
from ser_jax.models.backbones.layers import Backbone, Frozen, freeze
from ser_jax.models.backbones.resnet50 import ResNet50
from ser_jax.models.backbones.xception import Xception

BACKBONES = {
    'densenet201': DenseNet201,
    'inception_v3': InceptionV3,
    'resnet50': ResNet50,
    'xception': Xception,
}

__all__ = ['BACKBONES', 'Backbone', 'Frozen', 'by_name', 'freeze']


def by_name(name: str) -> type[Backbone]:
    """Return the trunk class of a name.

    Raises:
      InputError: there is no such trunk.
    """
    if name not in BACKBONES:
        raise InputError(f'{name!r} is not a trunk; known are {", ".join(BACKBONES)}')
    return BACKBONES[name]
