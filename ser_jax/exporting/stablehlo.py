"""StableHLO: the program as `jax.export` serializes it, for CPU, CUDA and TPU."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from ser_jax.exporting.program import Program, package

EXTRA = 'export'
FILE = 'model.stablehlo'
PLATFORMS = ('cpu', 'cuda', 'tpu')


def write(program: Program, folder: Path, metadata: dict) -> None:
    """Write FILE; metadata is beside it, the format has no place for it."""
    package('flatbuffers', EXTRA)
    exported = jax.export.export(jax.jit(program.function), platforms=PLATFORMS)
    (folder / FILE).write_bytes(bytes(exported(*program.shapes()).serialize()))


def opened(folder: Path) -> Callable | None:
    """Return the file as a function of (samples, length)."""
    call = jax.jit(jax.export.deserialize(bytearray((folder / FILE).read_bytes())).call)
    return lambda samples, length: np.asarray(call(samples, length)[0])
