"""Export: `python -m ser_jax.export --run=runs/x --format=onnx,tflite --output=exported`.

Write a run as files that other runtimes execute: samples in, probabilities out. Each file is opened
in its own runtime, if that is installed, and compared with the run.
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
from types import ModuleType

from absl import flags

from ser_jax import cli
from ser_jax.audio.clips import check_window
from ser_jax.contract import InputError
from ser_jax.exporting import (
    hub,
    metadata,
    onnx_file,
    parity,
    program,
    saved_model,
    stablehlo,
    tflite,
    web,
)
from ser_jax.inference import Predictor

FORMATS: dict[str, ModuleType] = {
    'stablehlo': stablehlo,
    'onnx': onnx_file,
    'savedmodel': saved_model,
    'tflite': tflite,
    'hub': hub,
    'web': web,
}


def export(
    predictor: Predictor, formats: list[str], output: pathlib.Path, runtime: str = ''
) -> dict:
    """Write a run to a new folder, whole or not at all; return the content of its manifest.

    Args:
      predictor: of the run and the members that are exported.
      formats: keys of FORMATS.
      output: the folder; it must not exist, or be empty.
      runtime: folder with the files of onnxruntime-web, for `web`; '' = the page loads them.

    Raises:
      InputError: the folder is not free, the run cannot be exported, a package is missing, or an
        exported file differs from the run.
    """
    check_output(output)
    of_run = program.of_run(predictor)
    facts = metadata.describe(of_run)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f'.{output.name}.', dir=output.parent))
    try:
        differences = {}
        for name in formats:
            differences[name] = _write(name, of_run, temporary, facts, runtime)
        labels = json.dumps(facts['classes'], indent=1) + '\n'
        (temporary / metadata.LABELS).write_text(labels, encoding='utf-8')
        manifest = facts | {
            'formats': formats,
            'largest_differences': differences,
            'sha256': metadata.checksums(temporary),
        }
        text = json.dumps(manifest, indent=1) + '\n'
        (temporary / metadata.MANIFEST).write_text(text, encoding='utf-8')
        temporary.chmod(0o755)
        os.replace(temporary, output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return manifest


def _write(
    name: str, of_run: program.Program, folder: pathlib.Path, facts: dict, runtime: str
) -> float | None:
    """Write one format and compare it; return the largest difference, None without a runtime."""
    begin, form = time.perf_counter(), FORMATS[name]
    extra = {'runtime': runtime} if form is web else {}
    form.write(of_run, folder, facts, **extra)
    written = time.perf_counter() - begin
    path = folder / form.FILE
    files = [p for p in path.rglob('*') if p.is_file()] if path.is_dir() else [path]
    size = sum(p.stat().st_size for p in files) / 1e6
    call = form.opened(folder)
    if call is None:
        print(f'{name}: {form.FILE}, {size:.1f} MB, {written:.0f} s; its runtime is not installed')
        return None
    largest = parity.difference(of_run, call)
    print(f'{name}: {form.FILE}, {size:.1f} MB, {written:.0f} s; differs by {largest:.1g} at most')
    if largest > parity.TOLERANCE:
        print(
            f'warning: {name} differs from the run by more than {parity.TOLERANCE:g}; classes '
            f'with probabilities within {largest:.1g} of each other may change places',
            file=sys.stderr,
        )
    return largest


def check_output(output: pathlib.Path) -> None:
    """Raise InputError unless a folder can be made at `output`."""
    if os.path.lexists(output) and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f'--output={output} exists; give a new folder, or remove it')


def check_formats(formats: list[str]) -> list[str]:
    """Return the formats, each once.

    Raises:
      InputError: none is given, or one is not known.
    """
    if not formats or (wrong := [f for f in formats if f not in FORMATS]):
        got = ','.join(wrong) if formats else ''
        raise InputError(f'--format must be some of {",".join(FORMATS)}, got {got!r}')
    return list(dict.fromkeys(formats))


def main(argv: list[str]) -> None:
    """Write the formats of the run and print a line for each."""
    values = flags.FLAGS
    if argv[1:]:
        raise InputError(f'unexpected argument {argv[1]!r}; the run is given as --run=')
    if not values.run:
        raise InputError('--run is missing; e.g. --run=runs/fusion')
    check_window(values.window_s)
    formats = check_formats(values.format)
    run = pathlib.Path(values.run)
    output = pathlib.Path(values.output or f'exported/{run.resolve().name}')
    check_output(output)
    cli.prepare_jax()
    members = [values.member] if values.member else ()
    predictor = Predictor.open(run, members, values.window_s)
    manifest = export(predictor, formats, output, values.onnxruntime_web)
    print(f'exported: {output} ({len(manifest["members"])} models of {run}, mean)')
    if manifest['research_only']:
        print('licence:  for research only, as a corpus of its training demands')
    if 'web' in formats:
        print(f'next:     open {output / web.FILE / web.PAGE} in a browser')


def define_flags() -> None:
    """Define the flags of this verb; only at its start, so that verbs can be imported together."""
    flags.DEFINE_string('run', None, 'The directory of a trained run.')
    flags.DEFINE_string('member', '', "One of its members, e.g. fold0_seed0; '' = the mean of all.")
    flags.DEFINE_list('format', ['onnx'], f'Formats to write: {", ".join(FORMATS)}.')
    flags.DEFINE_string('output', '', "A new folder; '' = exported/ and the name of the run.")
    flags.DEFINE_float(
        'window_s', 0.0, 'Longest recording, s; 0 = as the run was scored.', lower_bound=0
    )
    flags.DEFINE_string(
        'onnxruntime_web',
        '',
        "For web: folder `dist` of the npm package; '' = the page loads it from a public server.",
    )


if __name__ == '__main__':
    define_flags()
    cli.run(main)
