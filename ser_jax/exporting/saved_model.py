"""SavedModel: for TensorFlow, TensorFlow Serving and TensorFlow Lite's converter."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ser_jax.exporting.program import INPUTS, OUTPUTS, Program, package

EXTRA = 'export_tf'
FILE = 'savedmodel'
DEFAULT = 'serving_default'


def write(program: Program, folder: Path, metadata: dict) -> None:
    """Write the folder FILE; the metadata is its asset `metadata.json`."""
    about = folder / 'metadata.json'
    about.write_text(json.dumps(metadata, indent=1))
    try:
        tf = package('tensorflow', EXTRA)
        module = tf.Module()
        module.metadata = tf.saved_model.Asset(str(about))
        module.call = traced(program)
        save(module, {DEFAULT: module.call}, folder / FILE)
    finally:
        about.unlink()


def save(module: Any, functions: dict[str, Any], folder: Path) -> None:
    """Save a module with a signature for each function."""
    tf = package('tensorflow', EXTRA)
    signatures = {name: f.get_concrete_function() for name, f in functions.items()}
    tf.get_logger().setLevel(logging.ERROR)
    tf.saved_model.save(module, str(folder), signatures=signatures)


def traced(program: Program, batch: int | None = None, longest: bool = False) -> Any:
    """Return the program as a function of TensorFlow: (samples, length) -> {'probabilities': ...}.

    Args:
      program: the run.
      batch, longest: as in `Program.shapes`.
    """
    tf, jax2tf = package('tensorflow', EXTRA), package('jax.experimental.jax2tf', EXTRA)

    def named(samples, length):
        return dict(zip(OUTPUTS, program.function(samples, length), strict=True))

    fixed = longest or not program.any_length
    sizes = [batch, program.longest if fixed else None]
    names = ['b' if batch is None else str(batch), str(program.longest) if fixed else 't']
    limits = [] if fixed else [f't >= {program.shortest}', f't <= {program.longest}']
    converted = jax2tf.convert(
        named,
        polymorphic_shapes=[', '.join(names), names[0]],
        polymorphic_constraints=limits,
        with_gradient=False,
    )
    types = (tf.float32, tf.int32)
    signature = [
        tf.TensorSpec(s, d, name=n)
        for s, d, n in zip((sizes, sizes[:1]), types, INPUTS, strict=True)
    ]

    @tf.function(autograph=False, input_signature=signature)
    def call(samples, length):
        return converted(samples, length)

    return call


def opened(folder: Path) -> Callable | None:
    """Return the file as a function of (samples, length)."""
    tf = package('tensorflow', EXTRA)
    module = tf.saved_model.load(str(folder / FILE))

    def apply(samples, length):
        call = module.signatures[DEFAULT]
        return call(samples=tf.constant(samples), length=tf.constant(length))[OUTPUTS[0]].numpy()

    return apply
