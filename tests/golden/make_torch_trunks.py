"""Write torch_trunks.npz: names of the tensors of the four trunks in timm (1.0.31, torch 2.13), and
their outputs.

Weights are drawn by `drawn`, as the test draws them again. Run from the root, with torch and timm:

python -m tests.golden.make_torch_trunks
"""

import numpy as np

TIMM = {
    'densenet201': 'densenet201',
    'inception_v3': 'inception_v3',
    'resnet50': 'resnet50',
    'xception': 'legacy_xception',
}
KEPT = 64  # channels whose maps are kept; of all channels the mean over the map is


def drawn(names_and_shapes: list[tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """Weights by name: kernels of He's variance, scales and variances near 1, shifts near 0."""
    random = np.random.default_rng(11)
    tensors = {}
    for name, shape in sorted(names_and_shapes):
        if name.endswith('num_batches_tracked'):
            tensors[name] = np.int64(7)
        elif len(shape) > 1:
            tensors[name] = np.float32(
                random.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
            )
        elif name.endswith(('running_var', '.weight')):
            tensors[name] = np.float32(random.uniform(0.5, 1.5, shape))
        else:
            tensors[name] = np.float32(random.standard_normal(shape) * 0.2)
    return tensors


def pixels(trunk: str) -> np.ndarray:
    """A preprocessed picture [1 H W 3], its sides neither equal nor all odd."""
    return np.random.default_rng(len(trunk)).standard_normal((1, 106, 123, 3)).astype(np.float32)


def main() -> None:
    """Writes the file."""
    import timm
    import torch

    arrays = {}
    for trunk, name in TIMM.items():
        model = timm.create_model(name, pretrained=False).eval()
        shapes = [(n, tuple(t.shape)) for n, t in model.state_dict().items()]
        arrays[f'{trunk}/tensors'] = np.array([f'{n} {"x".join(map(str, s))}' for n, s in shapes])
        model.load_state_dict({n: torch.as_tensor(t) for n, t in drawn(shapes).items()})
        with torch.no_grad():
            found = model.forward_features(
                torch.as_tensor(pixels(trunk).transpose(0, 3, 1, 2))
            ).numpy()
        found = found.transpose(0, 2, 3, 1)
        arrays[f'{trunk}/map'] = found[..., :KEPT]
        arrays[f'{trunk}/mean'] = found.mean((1, 2))
    np.savez_compressed('tests/golden/torch_trunks.npz', **arrays)


if __name__ == '__main__':
    main()
