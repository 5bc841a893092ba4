"""A page that runs the ONNX file in the browser (onnxruntime-web), without a server.

It works when opened as a file: browsers refuse to fetch files beside such a page, so the model and
the runtime are scripts.
"""

import base64
import json
import re
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from ser_jax.contract import InputError
from ser_jax.exporting import onnx_file
from ser_jax.exporting.program import Program

FILE = 'web'
PAGE, MODEL, RUNTIME, SCRIPT = 'index.html', 'model.js', 'runtime.js', 'ort.wasm.min.js'
MODULE, BINARY = 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm'
VERSION = '1.30.0'
PUBLIC = f'https://cdn.jsdelivr.net/npm/onnxruntime-web@{VERSION}/dist/{SCRIPT}'
INTEGRITY = 'sha384-Bw6URI+Gvoadw0do7/QrSHUC9D1vCYYK5OSqChFyhyV5mzPL4oe2rOAFljAnS8Sq'  # of it
_PLACE = '<!-- runtime -->'


def write(program: Program, folder: Path, metadata: dict, runtime: str = '') -> None:
    """Write the folder FILE.

    Args:
      program: the run.
      folder: that gets the folder.
      metadata: shown by the page.
      runtime: folder `dist` of the npm package onnxruntime-web, which is copied; '' = the page
        loads it from PUBLIC.

    Raises:
      InputError: `runtime` lacks a file, or see `onnx_file.write`.
    """
    dist = Path(runtime).expanduser() if runtime else None
    if dist:
        check_runtime(dist)
    target = folder / FILE
    target.mkdir()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        onnx_file.write(program, Path(temporary), metadata)
        content = (Path(temporary) / onnx_file.FILE).read_bytes()
    source = f'onnxruntime-web {_version(dist)}, beside this page' if dist else PUBLIC
    model = {'metadata': metadata, 'runtime': source, 'onnx': _text(content)}
    _script(target / MODEL, 'serModel', model)
    page = resources.files('ser_jax.exporting').joinpath('page.html').read_text(encoding='utf-8')
    if dist:
        (target / SCRIPT).write_bytes((dist / SCRIPT).read_bytes())
        module = (dist / MODULE).read_text(encoding='utf-8')
        binary = _text((dist / BINARY).read_bytes())
        _script(target / RUNTIME, 'serRuntime', {'module': module, 'wasm': binary})
        tags = f'<script src="{SCRIPT}"></script>\n<script src="{RUNTIME}"></script>'
    else:
        tags = f'<script src="{PUBLIC}" integrity="{INTEGRITY}" crossorigin="anonymous"></script>'
    (target / PAGE).write_text(page.replace(_PLACE, tags), encoding='utf-8')


def check_runtime(dist: Path) -> None:
    """Raise InputError unless a folder has the files of onnxruntime-web."""
    missing = [name for name in (SCRIPT, MODULE, BINARY) if not (dist / name).is_file()]
    if missing:
        raise InputError(
            f'--onnxruntime_web={dist} has no {missing[0]}; npm install onnxruntime-web@{VERSION} '
            'and give node_modules/onnxruntime-web/dist'
        )


def _version(dist: Path) -> str:
    path = dist.parent / 'package.json'
    return json.loads(path.read_text(encoding='utf-8'))['version'] if path.is_file() else ''


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode('ascii')


def _script(path: Path, name: str, value: dict) -> None:
    """Write a script that sets a global variable."""
    path.write_text(f'window.{name} = {json.dumps(value)};\n', encoding='utf-8')


def opened(folder: Path) -> Callable | None:
    """Return the model in the page as a function of (samples, length), in onnxruntime."""
    text = (folder / FILE / MODEL).read_text(encoding='utf-8')
    (value,) = re.findall(r'^window\.serModel = (.*);$', text, re.DOTALL | re.MULTILINE)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        content = base64.b64decode(json.loads(value)['onnx'])
        (Path(temporary) / onnx_file.FILE).write_bytes(content)
        return onnx_file.opened(Path(temporary))
