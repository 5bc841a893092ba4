"""Requests a second and latencies of the server, with micro-batches and without, in one run.

    python benchmarks/serving.py [--run=DIRECTORY] [--member=NAME] [--clients=1,8,32]
        [--seconds=4] [--duration=10] [--rounds=3]

Two servers, processes of `python -m ser_jax.serve` that differ in --max_batch (16 and 1), take
turns on the same machine. Clients are threads of this process with a connection each; each sends
its next recording of 4 s (16-bit wav) when it has the answer to the last. Latencies are those that
the clients see, from the request to the whole answer; decoding is part of them. Without --run a run
of one member is trained for one epoch on a small corpus.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import http.client
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import bench
import corpora
import numpy as np
import soundfile

SERVERS = {'in batches of up to 16': 16, 'one by one': 1}
LEAST = 3.0  # times the requests a second of the server without batches, at 32 clients
_BOUNDARY = 'recording'


def main() -> None:
    args = bench.arguments(
        __doc__,
        _more,
        clients=('1,8,32', '1,2'),
        seconds=(4.0, 1.0),
        duration=(10.0, 0.3),
        rounds=(3, 1),
        files=(48, 48),
    )
    bench.report('serving', args, measure)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--run', help='directory of a trained run')
    parser.add_argument('--member', default='', help='one of its members')


def measure(args) -> Iterator[bench.Row]:
    """Yield a row for each number of clients."""
    for module in ('fastapi', 'uvicorn', 'prometheus_client', 'python_multipart', 'websockets'):
        if not bench.has(module):
            yield bench.skipped('serving', 'all of it', module)
            return
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        run = args.run or _trained(pathlib.Path(scratch), args.files)
        flags = [f'--run={run}', f'--member={args.member}']
        ports = {}
        for name, most in SERVERS.items():
            most = min(most, 2) if args.quick else most
            ports[name] = stack.enter_context(_serving([*flags, f'--max_batch={most}']))
        body = _form(args.seconds)
        for clients in bench.numbers(args.clients):
            latencies: dict[str, list[float]] = {name: [] for name in SERVERS}
            variants = {}
            for name, port in ports.items():
                variants[name] = functools.partial(
                    _second_per_request, port, body, clients, args.duration, latencies[name]
                )
            times = bench.medians(bench.rounds(variants, args.rounds))
            yield _row(args.seconds, clients, times, latencies)


def _row(
    seconds: float, clients: int, times: dict[str, float], latencies: dict[str, list[float]]
) -> bench.Row:
    words = []
    for name, found in latencies.items():
        p50, p95 = np.percentile(found, (50, 95))
        rate = f'{1 / times[name]:.0f} requests/s'
        words.append(f'{name}: {rate}, p50 {bench.readable(p50)}, p95 {bench.readable(p95)}')
    ours, peer = times.items()
    work = f'{clients} clients, recordings of {seconds:g} s, time per request'
    return bench.against(
        'serving', work, ours, peer, LEAST if clients == 32 else None, note='; '.join(words)
    )


def _second_per_request(
    port: int, body: bytes, clients: int, duration_s: float, latencies: list[float]
) -> float:
    """Return the time per request of all clients together; append the latencies."""
    began = time.perf_counter()
    client = functools.partial(_client, port, body, began + duration_s)
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        found = [f.result() for f in [pool.submit(client) for _ in range(clients)]]
    passed = time.perf_counter() - began
    for one in found:
        latencies.extend(one)
    return passed / sum(map(len, found))


def _client(port: int, body: bytes, end: float) -> list[float]:
    """Send requests until `end`; return their latencies."""
    connection, found = http.client.HTTPConnection('127.0.0.1', port, timeout=120), []
    headers = {'Content-Type': f'multipart/form-data; boundary={_BOUNDARY}'}
    while not found or time.perf_counter() < end:
        began = time.perf_counter()
        connection.request('POST', '/v1/predict', body, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f'status {response.status}: {content.decode()}')
        found.append(time.perf_counter() - began)
    connection.close()
    return found


def _form(seconds: float) -> bytes:
    """Return a form with a recording of noise."""
    file, random = io.BytesIO(), np.random.default_rng(0)
    samples = 0.05 * random.standard_normal(round(seconds * 16000))
    soundfile.write(file, samples, 16000, format='WAV')
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    return head.encode() + file.getvalue() + f'\r\n--{_BOUNDARY}--\r\n'.encode()


@contextlib.contextmanager
def _serving(flags: list[str]) -> Iterator[int]:
    """Run a server; yield its port once it is ready."""
    paths = [str(bench.ROOT), os.environ.get('PYTHONPATH', '')]
    process = subprocess.Popen(
        [sys.executable, '-m', 'ser_jax.serve', '--port=0', '--max_concurrent=64', *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))},
    )
    try:
        assert process.stdout
        found = re.search(r'http://127.0.0.1:(\d+)', process.stdout.readline())
        if not found:
            raise RuntimeError('the server did not start')
        port = int(found[1])
        while not _is_ready(port):
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.communicate()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=120)
    connection.request('GET', '/ready')
    return connection.getresponse().status == 200


def _trained(scratch: pathlib.Path, files: int) -> pathlib.Path:
    """Return a run of the shipped network, of one member and one epoch."""
    from ser_jax import train

    config = corpora.config(corpora.built(scratch, files))
    config.members.only, config.augment.scored_shifts = (0,), 0
    train.train(config, scratch / 'run')
    return scratch / 'run'


if __name__ == '__main__':
    main()
