"""Distribution of members over devices: group sizes, the mesh, transfer of arrays."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ser_jax.contract import InputError

MOST = 64  # members that share a compiled step


def at_once(members: int, each: int = MOST) -> int:
    """Return how many of `members` share a step: at most `each`, if possible equal per device."""
    devices, most = jax.device_count(), min(each, members)
    return most - most % devices or most


def scored_at_once(members: int) -> int:
    """Return how many of `members` are scored together: one on a CPU, where stacking is slower."""
    return 1 if jax.default_backend() == 'cpu' else at_once(members)


def device_mesh(members: int, batch_size: int, devices: Sequence | None = None) -> Mesh:
    """Return a mesh (members, batch) over as many devices as divide these two, along members first.

    The remaining devices stay idle.

    Raises:
      InputError: devices would stay idle although there are several processes, all of which must
        take part.
    """
    devices = list(devices or jax.devices())
    pairs = itertools.product(_divisors(members), _divisors(batch_size))
    used, along = max((m * b, m) for m, b in pairs if m * b <= len(devices))
    if used < len(devices) and jax.process_count() > 1:
        raise InputError(
            f'{members} members at once with train.batch_size={batch_size} divide over {used} of '
            f'{len(devices)} devices; set one of them (members.at_once) so that they divide over '
            'all'
        )
    across = used // along
    devices = devices[:used]
    return Mesh(
        np.array(devices).reshape(along, across),
        ('members', 'batch'),
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
    )


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def put(tree, mesh: Mesh, spec: P):
    """Put host arrays on the mesh; every process holds the whole array and transfers its shards."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, sharding, lambda at: x[at]), tree
    )
