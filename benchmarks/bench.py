"""Shared parts of the benchmarks: flags, rounds in turn, limits of the machine, rows, output.

Every figure is a ratio of medians measured in turn in one run, on one machine, unless it is labeled
otherwise. Next to it is the fraction of the machine's limit: the least time in which this machine
could do the work, given the GEMM rate or the memory bandwidth measured in the same run (the slower
of the two), divided by our time.
"""

import argparse
import functools
import importlib.util
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import NamedTuple

os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # PyTorch shares the GPU

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # configs/ is no package
_PACKAGES = ('jax', 'torch', 'librosa', 'onnxruntime', 'ctranslate2', 'transformers', 'numpy')


class Row(NamedTuple):
    """One line of the table."""

    stage: str
    work: str
    ours: str
    peer: str = ''
    ours_s: float | None = None  # median seconds
    peer_s: float | None = None
    ratio: float | None = None  # peer_s / ours_s
    figure: str = ''  # the ratio as text, or another figure
    must: str = ''  # the requirement
    reached: bool | None = None  # None = no requirement, or not measured
    limit_fraction: float | None = None
    note: str = ''


def against(
    stage: str,
    work: str,
    ours: tuple[str, float],
    peer: tuple[str, float],
    least: float | None = None,
    fraction: float | None = None,
    note: str = '',
) -> Row:
    """Return a row of ours against a peer, both (name, seconds); `least` is the required ratio."""
    ratio = peer[1] / ours[1]
    must, reached = ('', None) if least is None else (f'>= {least:g} x', ratio >= least)
    return Row(
        stage,
        work,
        ours[0],
        peer[0],
        ours[1],
        peer[1],
        ratio,
        f'{ratio:.2f} x',
        must,
        reached,
        fraction,
        note,
    )


def alone(
    stage: str,
    work: str,
    ours: str,
    figure: str,
    must: str = '',
    reached: bool | None = None,
    fraction: float | None = None,
    note: str = '',
) -> Row:
    """Return a row of a figure without a peer."""
    return Row(
        stage,
        work,
        ours,
        figure=figure,
        must=must,
        reached=reached,
        limit_fraction=fraction,
        note=note,
    )


def skipped(stage: str, work: str, module: str) -> Row:
    """Return a row of a measurement skipped because a module is missing."""
    return Row(stage, work, '', figure=f'skipped: {module} is not installed')


def has(module: str) -> bool:
    """Return True if a module is installed."""
    return importlib.util.find_spec(module) is not None


def on_gpu() -> bool:
    """Return True if jax computes on a GPU."""
    import jax

    return jax.default_backend() == 'gpu'


def least(cpu: float | None = None, gpu: float | None = None) -> float | None:
    """Return the required ratio for the device that jax computes on."""
    return gpu if on_gpu() else cpu


def rounds(
    variants: dict[str, Callable[[], float | None]],
    count: int,
    warm: bool = True,
    pause_s: float = 0.0,
) -> dict[str, list[float]]:
    """Return the seconds of each variant in each of `count` rounds, in which all take turns.

    A variant that returns a number has timed itself. With `warm` all run once before, uncounted.
    `pause_s` before each turn lets the threads of the previous variant go to sleep.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(-warm, count):
        for name, run in variants.items():
            time.sleep(pause_s)
            began = time.perf_counter()
            measured = run()
            passed = time.perf_counter() - began
            if number >= 0:
                times[name].append(passed if measured is None else measured)
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Return the median seconds of each variant."""
    return {name: statistics.median(t) for name, t in times.items()}


def best(median: dict[str, float]) -> tuple[str, float]:
    """Return the fastest variant: (name, seconds)."""
    return min(median.items(), key=lambda item: item[1])


class Limits(NamedTuple):
    """The most that this machine can do, as measured."""

    flops_s: float  # float32 multiplications and additions a second, of a big product on all cores
    bytes_s: float  # read and written a second, of a big copy

    def fraction(self, seconds: float, flops: float = 0, moved: float = 0) -> float:
        """Return the least time for `flops` and `moved` bytes, as a fraction of `seconds`."""
        return max(flops / self.flops_s, moved / self.bytes_s) / seconds


@functools.cache
def limits(quick: bool = False) -> Limits:
    """Measure the machine's limits by jax: the best of five products and of five copies."""
    import jax
    import jax.numpy as jnp

    size, count = (256, 1 << 20) if quick else (8192, 1 << 28) if on_gpu() else (2048, 1 << 26)
    matrix, vector = jnp.ones((size, size)), jnp.ones(count)
    product, copied = jax.jit(lambda x: x @ x), jax.jit(lambda x: x + 1)
    times = rounds(
        {'product': lambda: _done(product(matrix)), 'copy': lambda: _done(copied(vector))},
        2 if quick else 5,
    )
    return Limits(2 * size**3 / min(times['product']), 8 * count / min(times['copy']))


def _done(value) -> None:
    value.block_until_ready()


def arguments(doc: str, more: Callable | None = None, **sizes) -> argparse.Namespace:
    """Parse --quick, --json and a flag for each of `sizes`, (usual, quick); `more` adds others."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--quick', action='store_true', help='tiny sizes: shows that it runs, measures nothing'
    )
    parser.add_argument('--json', type=pathlib.Path, help='also write the rows to this file')
    for name, (usual, quick) in sizes.items():
        parser.add_argument(f'--{name}', type=type(usual), help=f'{usual}; with --quick {quick}')
    if more:
        more(parser)
    args = parser.parse_args()
    for name, pair in sizes.items():
        if getattr(args, name) is None:
            setattr(args, name, pair[args.quick])
    return args


def numbers(words: str) -> list[int]:
    """Return the integers of a list: '32,256' -> [32, 256]."""
    return [int(word) for word in words.split(',')]


def machine() -> dict:
    """Return the source of the figures: processor, accelerators, versions."""
    import jax

    from ser_jax.runs import environment

    versions = {p: metadata.version(p) for p in _PACKAGES if has(p)}
    return {
        'machine': environment.machine(),
        'devices': [f'{d.platform}:{d.device_kind}' for d in jax.devices()],
        'backend': jax.default_backend(),
        'python': platform.python_version(),
        'versions': versions,
    }


def report(
    stage: str, args: argparse.Namespace, measure: Callable[[argparse.Namespace], Iterable[Row]]
) -> None:
    """Run a benchmark; print a line per row, then one line of JSON; write that to --json's file."""
    from ser_jax import cli

    cli.prepare_jax()  # with its malloc thresholds: freed buffers cost PyTorch as much as us
    facts = machine()
    print(f'{facts["machine"]}; {", ".join(facts["devices"])}; {facts["versions"]}', flush=True)
    rows = []
    try:
        for row in measure(args):
            rows.append(row._replace(reached=None) if args.quick else row)
            print(line(rows[-1]), flush=True)
    except ModuleNotFoundError as e:
        if (e.name or '').split('.')[0] in ('ser_jax', 'configs'):
            raise
        rows.append(skipped(stage, 'all of it' if not rows else 'the rest', e.name or str(e)))
        print(line(rows[-1]), flush=True)
    if limits.cache_info().currsize:
        facts['limits'] = limits(args.quick)._asdict()
    found = json.dumps(
        {'stage': stage, **facts, 'quick': args.quick, 'rows': [r._asdict() for r in rows]}
    )
    print(found)
    if args.json:
        args.json.write_text(found)


def line(row: Row) -> str:
    """Return a row as one line of text."""
    parts = [f'{row.stage}: {row.work}', _timed(row.ours, row.ours_s)]
    parts += [f'against {_timed(row.peer, row.peer_s)}'] if row.peer else []
    parts.append(row.figure)
    if row.must:
        parts.append(
            f'must {row.must}'
            + ('' if row.reached is None else (': reached' if row.reached else ': NOT'))
        )
    parts += [f'{100 * row.limit_fraction:.1f} % of the limit'] if row.limit_fraction else []
    return ' | '.join(p for p in [*parts, row.note] if p)


def _timed(name: str, seconds: float | None) -> str:
    return name if seconds is None else f'{name} {readable(seconds)}'


def readable(seconds: float) -> str:
    """Return seconds as text: '1.23 s' or '4.56 ms'."""
    return f'{seconds:.2f} s' if seconds >= 1 else f'{1000 * seconds:.2f} ms'
