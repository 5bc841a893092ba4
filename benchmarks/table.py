"""The benchmarks as one table: the program of `make bench`.

    python benchmarks/table.py [--stages=features,step] [--quick] [--output=benchmarks/results]

Every stage is a script of this folder and runs in a process of its own, one after another. The
table is written as `<machine>_<date>.json` and `.md`. A stage that fails gets a row with the
reason, and the exit code is then 1; a peer that is not installed gets a row too, and is no failure.
Requirements for the other kind of device are listed as not measured.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import bench

HERE = pathlib.Path(__file__).resolve().parent
# Requirements by kind of device, for the rows of the kind that is absent.
STAGES = {
    'features': {'cpu': '>= 2 x librosa, >= 1 x PyTorch', 'gpu': '8.85 h in <= 20 ms on an H200'},
    'shards': {},
    'feed': {},
    'step': {
        'cpu': ">= 0.9 x PyTorch's best, >= 1 x its default",
        'gpu': '>= 1.5 x at B 32, >= 1 x at B 256',
    },
    'bilstm': {
        'cpu': '>= 0.9 x PyTorch',
        'gpu': '>= 0.8 x in float32, >= 1 x for 8 members at once',
    },
    'study': {'cpu': '>= 1 x PyTorch', 'gpu': '>= 10 x PyTorch'},
    'evaluate': {'cpu': '>= 1 x one after another', 'gpu': '>= 5 x one after another'},
    'encoder': {},
    'predict': {'cpu': "p50 <= 1.2 x ONNX Runtime's", 'gpu': "throughput >= PyTorch's"},
    'start': {},
    'memory': {},
}
# Experiments and conclusions for CPU rows that miss their requirement; printed below the table as
# long as such a row exists. Measured on 2 cores of an AMD EPYC, November 2026.
FINDINGS = {
    'features': (
        'Repeated alone on the same day: 3.6 x librosa and 1.12 x PyTorch with jax 0.12, 3.0 x '
        'and 0.95 x with 0.10.2. Batches of 8 recordings fit in the cache (32 take almost three '
        'times as long); blocks of one hop side by side instead of gathered frames gained a '
        'third.'
    ),
    'shards': (
        "Both cores are busy during inspection: a recording takes 0.55 ms in soxr's resampler, "
        '0.55 in the log-mel, 0.3 in libsndfile, 0.3 in SHA-256 and 0.3 in inspection, then 0.6 '
        "in TFDS's writer and in reading back, which have one thread. Reading by path instead "
        'of through Python, requesting field names once and inspecting two chunks ahead instead '
        "of one gained nothing measurable. librosa's loop neither writes nor hashes nor "
        'inspects. Run alone, on two days: 1.15 to 1.8 x.'
    ),
    'step': (
        "XLA's convolutions dominate: jax 0.12 (Python 3.12) runs them twice as fast as 0.10.2, "
        'near the GEMM rate. Gains: the gradient of strided convolutions as a product over '
        'patches (a third of it), the gradient by the kernel over 16 utterances at a time (up '
        'to a half), BatchNorm sums without a masked copy (38 to 6 ms in the benchmark '
        'network), one malloc arena (15 %), no buffer returned to the system (a fifth of the '
        'benchmark network at B 256), a hand-written gradient of the recurrence. No gain: '
        'im2col and unfolded GEMMs, shifted GEMMs for the gradient by the kernel (slower), the '
        'first layer over patches, unrolled scans, XLA flags (oneDNN, XNNPACK, vector width, '
        'schedulers), inline dispatch. Two virtual devices: 1.17 x, before the others. The rest '
        "is the gradient by the kernel, which takes up to twice as long as PyTorch's oneDNN, "
        'and passes over memory between operations.'
    ),
    'bilstm': (
        'The large products run near the GEMM rate and take half of the time. The rest is two '
        'loops over F small steps of about 60 microseconds, ten operations each. Gains: '
        'stacking the directions, a hand-written gradient (one product for the recurrent '
        'weights), reversing sequences outside of the loop (5 %), keeping the activated gates '
        '(up to 8 %). No gain: unrolling, a loop for each direction, the batch as the last '
        'axis, one tanh for all gates, factors of the gradient computed before the loop.'
    ),
    'study': (
        'As for the step; in addition, every validation utterance is scored in five shifted '
        'bands after every epoch, which is half of the time. Included: batches of about equal '
        'size instead of full ones and a rest (for PyTorch too), and one member on each of two '
        'virtual devices.'
    ),
    'predict': (
        'Of 1.2 ms for one clip (jax 0.10.2; 0.9 with 0.12) 0.4 are the 51 steps of the LSTM, 8 '
        'microseconds each, mostly overhead; unrolling gained nothing. Weights as constants of '
        'the program would save 0.1 ms, inline dispatch 0.06. ONNX Runtime has the LSTM as one '
        'operation. From samples to prediction, weights that stay on the device between clips '
        'gained a third.'
    ),
    'memory': (
        'Training, streamed: on two days the peak was highest at 2 h and lower at 4 (1389, '
        '1534, 1306 MB before), so it varies by a tenth and does not grow.'
    ),
}
LIMIT_S = 3600


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--stages', default=','.join(STAGES), help='stages to run, in order; default: all'
    )
    parser.add_argument(
        '--quick', action='store_true', help='tiny sizes: shows that it runs, measures nothing'
    )
    parser.add_argument(
        '--output', type=pathlib.Path, default=HERE / 'results', help='folder for the table'
    )
    args = parser.parse_args()
    stages = [s for s in args.stages.split(',') if s]
    if unknown := [s for s in stages if s not in STAGES]:
        parser.error(f'--stages has {unknown[0]}; known are {", ".join(STAGES)}')
    found, failed, load = [], False, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as scratch:
        for stage in stages:
            began = time.perf_counter()
            print(f'{stage} ...', end=' ', flush=True)
            one = run(stage, args.quick, pathlib.Path(scratch))
            failed |= 'failed' in one
            found.append(one)
            words = one.get('failed') or f'{len(one["rows"])} rows'
            print(f'{words}, {time.perf_counter() - began:.0f} s', flush=True)
    written = write(found, args.output, args.quick, load)
    print(f'table: {written}')
    sys.exit(int(failed))


def run(stage: str, quick: bool, scratch: pathlib.Path) -> dict:
    """Return the JSON of a stage's script, or {'stage', 'failed', 'rows'} if it did not finish."""
    path = scratch / f'{stage}.json'
    command = [
        sys.executable,
        str(HERE / f'{stage}.py'),
        f'--json={path}',
        *(['--quick'] if quick else []),
    ]
    # By default, compiled programs are cached until the table is complete.
    environment = {'JAX_COMPILATION_CACHE_DIR': str(scratch / 'xla'), **os.environ}
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
        if done.returncode == 0:
            return json.loads(path.read_text())
        output = (done.stderr.strip() or done.stdout.strip() or 'no output').splitlines()
        print(done.stderr, file=sys.stderr)
        return _failure(stage, f'failed: {output[-1][:200]}')
    return _failure(stage, f'failed: still running after {LIMIT_S} s')


def _failure(stage: str, words: str) -> dict:
    return {'stage': stage, 'failed': words, 'rows': [bench.alone(stage, '', '', words)._asdict()]}


def write(found: list[dict], output: pathlib.Path, quick: bool, load: float) -> pathlib.Path:
    """Write the table as .json and .md; return the path of the .md. `load`: before the start."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    whole = next(
        (f for f in found if 'machine' in f),
        {'machine': 'unknown machine', 'devices': [], 'backend': ''},
    )
    accelerators = sorted({d.split(':', 1)[1] for d in whole['devices'] if not d.startswith('cpu')})
    slug = re.sub('[^a-z0-9]+', '-', ' '.join([*accelerators, whole['machine']]).lower()).strip('-')
    output.mkdir(parents=True, exist_ok=True)
    path = output / f'{slug}_{date}{"_quick" * quick}.md'
    facts = {
        k: whole[k] for k in ('machine', 'devices', 'backend', 'python', 'versions') if k in whole
    }
    facts['load_before'] = round(load, 2)
    stages = [_stored(one) for one in found]
    content = {**facts, 'date': date, 'quick': quick, 'stages': stages}
    path.with_suffix('.json').write_text(json.dumps(content, indent=1) + '\n')
    path.write_text(markdown(found, facts, date, quick))
    return path


def _stored(one: dict) -> dict:
    """Return the fields of a stage that the table's JSON file has."""
    return {k: v for k, v in one.items() if k in ('stage', 'failed', 'limits', 'rows')}


def markdown(found: list[dict], facts: dict, date: str, quick: bool) -> str:
    """Return the table as Markdown, below the machine and versions it was measured with."""
    versions = ', '.join(f'{k} {v}' for k, v in facts.get('versions', {}).items())
    devices = ', '.join(facts.get('devices', []))
    lines = ['# Benchmarks', '', f'{facts["machine"]}; {devices}; {versions}; {date}.', '']
    if quick:
        lines += ['**Tiny sizes (`--quick`): shows that it runs, measures nothing.**', '']
    if facts['load_before'] > 0.5:  # waiting threads suffer most: PyTorch's
        lines += [
            f'**The machine was busy (load {facts["load_before"]}): these figures are not '
            'reliable.**',
            '',
        ]
    lines += [
        'Figures are ratios of medians, theirs to ours, measured in turn in one run. The limit is '
        'the least time in which this machine could do the work, by its GEMM rate or its memory '
        'bandwidth, as measured in the same run:',
        _limits(found) + '.',
        '',
        '| stage | work | ours | peer | ratio | must reach | reached | fraction of the limit |',
        '|---|---|---|---|---|---|---|---|',
    ]
    other = {'cpu': 'gpu', 'gpu': 'cpu'}.get(facts.get('backend', ''), '')
    for one in found:
        lines += [_line(bench.Row(**row)) for row in one['rows']]
        if must := STAGES[one['stage']].get(other):
            device = {'cpu': 'on a CPU', 'gpu': 'on a GPU'}[other]
            lines.append(f'| {one["stage"]} | {device} |  |  | *not measured* | {must} | – | – |')
    explained = []
    for one in found:
        missed = any(row['reached'] is False for row in one['rows'])
        if missed and one['stage'] in FINDINGS:
            explained.append(one['stage'])
    if facts.get('backend') == 'cpu' and explained:
        lines += ['', '## Missed requirements: experiments and findings', '']
        lines += [f'- **{stage}**: {FINDINGS[stage]}' for stage in explained]
    return '\n'.join(lines) + '\n'


def _limits(found: list[dict]) -> str:
    limits = [f['limits'] for f in found if 'limits' in f]
    if not limits:
        return 'not measured'
    flops = sorted(x['flops_s'] / 1e9 for x in limits)
    moved = sorted(x['bytes_s'] / 1e9 for x in limits)
    return f'{flops[0]:.0f} to {flops[-1]:.0f} GFLOP/s, {moved[0]:.1f} to {moved[-1]:.1f} GB/s'


def _line(row: bench.Row) -> str:
    reached = {None: '–', True: 'yes', False: '**no**'}[row.reached]
    limit = f'{100 * row.limit_fraction:.2g} %' if row.limit_fraction else '–'
    cells = [
        row.stage,
        row.work + (f' ({row.note})' if row.note else ''),
        _timed(row.ours, row.ours_s),
        _timed(row.peer, row.peer_s),
        row.figure,
        row.must or '–',
        reached,
        limit,
    ]
    return '| ' + ' | '.join(c.replace('|', '/').replace('\n', ' ') for c in cells) + ' |'


def _timed(name: str, seconds: float | None) -> str:
    return name if seconds is None else f'{name}, {bench.readable(seconds)}'


if __name__ == '__main__':
    main()
