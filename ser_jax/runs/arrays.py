"""States as named arrays: flat dicts, their differences and checksum."""

import hashlib
from typing import Any

import jax
import numpy as np


def flat(tree: Any) -> dict[str, Any]:
    """Return a state as a flat dict by path, readable without the classes of ser_jax or Optax."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def difference(stored: dict[str, tuple], expected: dict[str, tuple]) -> str:
    """Describe how stored shapes and dtypes by name differ from the expected; '' = not at all."""
    parts = []
    for names, verb in (
        (sorted(stored.keys() - expected.keys()), 'has'),
        (sorted(expected.keys() - stored.keys()), 'lacks'),
    ):
        if names:
            more = f' and {len(names) - 1} more' if len(names) > 1 else ''
            parts.append(f'it {verb} {names[0]}{more}')
    other = [k for k in sorted(stored.keys() & expected.keys()) if stored[k] != expected[k]]
    if other:
        (shape, dtype), (expected_shape, expected_dtype) = stored[other[0]], expected[other[0]]
        more = f', and {len(other) - 1} more' if len(other) > 1 else ''
        parts.append(
            f'{other[0]} is {dtype} {shape}, expected {expected_dtype} {expected_shape}{more}'
        )
    return '; '.join(parts)


def checksum(variables: dict[str, dict]) -> str:
    """Return the SHA-256 of named arrays: kinds, names, dtypes, shapes and contents, by name."""
    digest = hashlib.sha256()
    for kind, arrays in sorted(variables.items()):
        for name, x in sorted(arrays.items()):
            x = np.asarray(x)
            digest.update(repr((kind, name, x.dtype.str, x.shape)).encode())
            digest.update(np.ascontiguousarray(x).tobytes())
    return digest.hexdigest()
