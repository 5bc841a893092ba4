"""Inspection and feature extraction in threads of this process; `beam` does both on workers."""

import concurrent.futures
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ser_jax.audio import soundness
from ser_jax.contract import Recording
from ser_jax.corpora import inspection, spool
from ser_jax.corpora.feature_configs import FeatureConfig
from ser_jax.corpora.inspection import Inspected, Skipped


def inspect(
    recordings: Sequence[Recording],
    config: FeatureConfig,
    corpus: str,
    chunk: int,
    threads: int,
    folder: str | Path,
) -> tuple[list[Inspected], spool.Spool]:
    """Inspect recordings and compute their features, which are spooled to bound the memory.

    Args:
      recordings: the recordings to read.
      config: form of the features.
      corpus: name of the corpus, for the progress bar.
      chunk: number of recordings per feature extraction.
      threads: number of concurrent reads.
      folder: folder of the spool.

    Returns:
      The results in order, without features; and `spool.packed` features by `id` of the result.
    """
    inspected, finished = [], spool.Spool(folder)
    for results in _chunks(recordings, config, corpus, chunk, threads):
        sound = [result for result in results if result.defect is None]
        features = config.finish([result.prepared for result in sound])
        for result, stored in zip(sound, features, strict=True):
            result.prepared, finished[id(result)] = None, spool.packed(stored)
            if flaw := soundness.flaw(stored):
                result.defect = Skipped(result.recording.source, *flaw)
        inspected.extend(results)
    return inspected, finished


def progress_bar() -> Progress:
    """Return a bar on stderr that counts recordings and estimates the time left."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _chunks(
    recordings: Sequence[Recording], config: FeatureConfig, corpus: str, chunk: int, threads: int
) -> Iterator[list[Inspected]]:
    """Yield chunks in order; threads inspect the next while the caller processes the last."""
    work = functools.partial(inspection.inspect, config.rate_hz, config.prepare)
    with (
        concurrent.futures.ThreadPoolExecutor(threads) as pool,
        progress_bar() as progress,
    ):
        task = progress.add_task(f'inspecting {corpus}', total=len(recordings))
        ahead: list[concurrent.futures.Future] = []
        try:
            for start in range(0, len(recordings) + chunk, chunk):
                current = ahead
                ahead = [pool.submit(work, r) for r in recordings[start : start + chunk]]
                if current:
                    yield [future.result() for future in current]
                    progress.advance(task, len(current))
        finally:
            pool.shutdown(cancel_futures=True)
