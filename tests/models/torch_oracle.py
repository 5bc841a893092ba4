"""Run by itself: NAME OUT → OUT/weights.safetensors as torchvision or timm name them, OUT/seen.npz: pictures, features.

Weights and running statistics are random; classifiers are saved too, as in the published files.
"""

import pathlib
import sys

import numpy as np
import safetensors.torch
import timm
import torch
import torchvision


def network(name):
    """The network, and a function from pictures [B 3 H W] to its last feature map."""
    if name == 'xception':
        model = timm.create_model('legacy_xception')
        return model, model.forward_features
    if name == 'inception_v3':
        model = torchvision.models.inception_v3(init_weights=False, aux_logits=True)
        parts = [m for n, m in model.named_children() if n not in ('AuxLogits', 'avgpool', 'dropout', 'fc')]
    elif name == 'resnet50':
        model = torchvision.models.resnet50()
        parts = list(model.children())[:-2]
    else:
        model = torchvision.models.densenet201()
        parts = [model.features, torch.nn.ReLU()]
    return model, torch.nn.Sequential(*parts)


@torch.no_grad()
def main(name, out):
    out, draw = pathlib.Path(out), torch.Generator().manual_seed(0)
    model, features = network(name)
    model.eval()
    for key, tensor in model.state_dict().items():
        if key.endswith('running_var') or (key.endswith('weight') and tensor.ndim == 1):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=draw))
        elif tensor.ndim == 4:
            tensor.copy_(torch.randn(tensor.shape, generator=draw) * (2 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=draw))
    safetensors.torch.save_file(model.state_dict(), out / 'weights.safetensors')
    seen = {}
    for size in ((224, 224), (139, 170)):
        images = torch.rand((1, 3, *size), generator=draw) * 2 - 1
        seen[f'prepared_{size[0]}'] = images.permute(0, 2, 3, 1).numpy()
        seen[f'features_{size[0]}'] = features(images).permute(0, 2, 3, 1).numpy()
    np.savez(out / 'seen.npz', **seen)


if __name__ == '__main__':
    main(*sys.argv[1:])
