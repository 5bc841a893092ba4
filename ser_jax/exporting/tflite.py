"""TensorFlow Lite (LiteRT): fixed sizes, for phones and microcontrollers.

A signature for each batch size, which share the weights. The file is also a zip of its metadata, as
is usual for files of this format.
"""

import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ser_jax.contract import InputError
from ser_jax.exporting import saved_model
from ser_jax.exporting.program import OUTPUTS, Program, installed, package

EXTRA = 'export_tf'
FILE = 'model.tflite'
BATCHES = (1, 8)


def write(program: Program, folder: Path, metadata: dict) -> None:
    """Write FILE, with labels.txt and metadata.json inside.

    Raises:
      InputError: the network has an operation that TensorFlow Lite lacks.
    """
    tf = package('tensorflow', EXTRA)
    module, functions = tf.Module(), {}
    for batch in BATCHES:
        functions[f'batch_{batch}'] = saved_model.traced(program, batch, longest=True)
    module.functions = functions
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        saved_model.save(module, functions, Path(temporary))
        converter = tf.lite.TFLiteConverter.from_saved_model(
            temporary, signature_keys=list(functions)
        )
        try:
            content = converter.convert()
        except Exception as e:  # the converter's own type lies in a private module
            if type(e).__name__ != 'ConverterError':
                raise
            reason = ' '.join(str(e).split())[:160]
            raise InputError(
                f'TensorFlow Lite cannot hold this network ({reason}); export it with '
                '--format=onnx or savedmodel'
            ) from e
    (folder / FILE).write_bytes(content)
    with zipfile.ZipFile(folder / FILE, 'a') as inside:
        inside.writestr('labels.txt', '\n'.join(metadata['classes']) + '\n')
        inside.writestr('metadata.json', json.dumps(metadata, indent=1))


def opened(folder: Path) -> Callable | None:
    """Return the file as a function of (samples, length); None without a runtime.

    Rows are put into the smallest batch that holds them, the rest of it is silence.
    """
    module = 'ai_edge_litert.interpreter' if installed('ai_edge_litert') else ''
    if not module:
        return None
    interpreter: Any = package(module, EXTRA).Interpreter(model_path=str(folder / FILE))
    runners = {n: interpreter.get_signature_runner(f'batch_{n}') for n in BATCHES}

    def apply(samples, length):
        batch = next(n for n in BATCHES if n >= len(length))
        size = runners[batch].get_input_details()['samples']['shape'][1]
        rows = np.zeros((batch, size), np.float32)
        rows[: len(length), : samples.shape[1]] = samples
        lengths = np.ones(batch, np.int32)
        lengths[: len(length)] = length
        return runners[batch](samples=rows, length=lengths)[OUTPUTS[0]][: len(length)]

    return apply
