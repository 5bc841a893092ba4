"""Environment of a run: versions, devices and machine behind its numbers."""

import os
import platform
from importlib import metadata

from ser_jax.contract import InputError

PACKAGES = (
    'ser_jax',
    'jax',
    'jaxlib',
    'flax',
    'optax',
    'orbax-checkpoint',
    'tensorflow-datasets',
    'numpy',
    'librosa',
)


def describe() -> dict:
    """Return the Python and package versions, devices and processor of this process.

    Raises:
      InputError: a package is not installed, most likely ser_jax itself, run from its folder.
    """
    import jax

    try:
        packages = {p: metadata.version(p) for p in PACKAGES}
    except metadata.PackageNotFoundError as e:
        raise InputError(
            f'{e.name} is not installed; in the repository: python -m pip install -e .'
        ) from e
    return {
        'python': platform.python_version(),
        'packages': packages,
        'devices': [f'{d.platform}:{d.device_kind}' for d in jax.devices()],
        'processes': jax.process_count(),
        'machine': machine(),
    }


def machine() -> str:
    """Return the processor's name, the number of cores this process may use, and the system."""
    name = platform.processor() or platform.machine()
    try:
        with open('/proc/cpuinfo') as f:
            name = next(
                (line.split(':', 1)[1].strip() for line in f if line.startswith('model name')), name
            )
    except OSError:
        pass
    return f'{name}, {cores()} cores, {platform.system()}'


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
