"""Run by itself: NAME OUT → OUT/weights.h5 in the layout of Keras' published files, OUT/seen.npz: pictures, features.

Keras 3 on its JAX backend; weights and running statistics are random.
"""

import os
import pathlib
import sys

os.environ['KERAS_BACKEND'] = 'jax'

import h5py
import keras
import numpy as np
from keras.src.legacy.saving import legacy_h5_format


def draw(random, weight):
    """Values that keep activations in range and leave no statistic at its default."""
    kind, shape = weight.path.rsplit('/', 1)[-1], weight.shape
    if kind in ('gamma', 'moving_variance'):
        return random.uniform(0.5, 1.5, shape)
    if 'kernel' in kind:
        return (
            random.standard_normal(shape) * (2 / np.prod(shape[:2] if kind.startswith('depth') else shape[:3])) ** 0.5
        )
    return 0.3 * random.standard_normal(shape)


def main(name, out):
    out = pathlib.Path(out)
    make = {'densenet201': 'DenseNet201', 'inception_v3': 'InceptionV3', 'resnet50': 'ResNet50', 'xception': 'Xception'}
    keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()  # so that unnamed layers are not numbered from 1
    model = getattr(keras.applications, make[name])(include_top=False, weights=None, input_shape=(None, None, 3))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(draw(random, weight))
    with h5py.File(out / 'weights.h5', 'w') as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    seen = {'count': model.count_params()}
    package = getattr(keras.applications, name.removesuffix('201'))
    for size in ((224, 224), (139, 170)):
        images = random.uniform(0, 255, (1, *size, 3)).astype(np.float32)
        seen[f'images_{size[0]}'] = images
        seen[f'prepared_{size[0]}'] = package.preprocess_input(images.copy())
        seen[f'features_{size[0]}'] = np.asarray(model(seen[f'prepared_{size[0]}'], training=False))
    seen['from_700'] = sum(int(np.prod(w.shape)) for layer in model.layers[700:] for w in layer.trainable_weights)
    np.savez(out / 'seen.npz', **seen)


if __name__ == '__main__':
    main(*sys.argv[1:])
