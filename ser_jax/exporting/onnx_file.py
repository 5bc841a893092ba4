"""ONNX: one file for onnxruntime on servers, phones and in browsers."""

import json
from collections.abc import Callable
from pathlib import Path

import jax

from ser_jax.contract import InputError
from ser_jax.exporting import onnx_jaxpr
from ser_jax.exporting.program import INPUTS, OUTPUTS, Program, installed, package

EXTRA = 'export'
FILE = 'model.onnx'
LARGEST = 2**31 - 1  # bytes of a protobuf


def write(program: Program, folder: Path, metadata: dict) -> None:
    """Write FILE, with the metadata as texts of the model.

    Raises:
      InputError: the network has an operation without a form in ONNX, or is too large.
    """
    onnx = package('onnx', EXTRA)
    closed = jax.make_jaxpr(program.function)(*program.shapes())
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    model = onnx_jaxpr.converted(closed, INPUTS, OUTPUTS, texts)
    if model.ByteSize() > LARGEST:
        raise InputError(
            f'an ONNX file holds at most 2 GiB, the network takes {model.ByteSize() / 2**30:.1f}; '
            'export one member (--member) or --format=stablehlo'
        )
    onnx.save(model, str(folder / FILE))


def opened(folder: Path) -> Callable | None:
    """Return the file as a function of (samples, length); None without onnxruntime."""
    if not installed('onnxruntime'):
        return None
    runtime = package('onnxruntime', EXTRA)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(
        str(folder / FILE), options, providers=['CPUExecutionProvider']
    )
    return lambda samples, length: session.run(
        list(OUTPUTS), dict(zip(INPUTS, (samples, length), strict=True))
    )[0]
