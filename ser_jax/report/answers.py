"""Predictions for recordings: the most probable emotions as text, JSON and CSV, printable names."""

import csv
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from ser_jax.contract import Answer, Window


def printable(text: str) -> str:
    """Return `text` with line breaks, control characters and bytes that are not UTF-8 escaped."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def ranked(probabilities: np.ndarray, emotions: Sequence[str], most: int = 3) -> str:
    """Return the most probable emotions as text: 'happy 61 %, surprised 22 %, calm 9 %'.

    With two classes the text has only the more probable one: 'negative 71 %'. Classes of
    probability 0, such as a class without training utterances, are left out.
    """
    order = [
        i
        for i in np.argsort(-probabilities)[: 1 if len(emotions) == 2 else most]
        if probabilities[i] > 0
    ]
    return ', '.join(f'{emotions[i]} {100 * probabilities[i]:.0f} %' for i in order)


def write(path: pathlib.Path, answers: dict[str, Answer], emotions: Sequence[str]) -> None:
    """Write the predictions as JSON or CSV, chosen by the suffix of `path`.

    JSON nests the windows in their recording. CSV has one row per recording and, if it has several
    windows, one per window.
    """
    if path.suffix == '.json':
        records = [_record(name, answer) for name, answer in answers.items()]
        path.write_text(json.dumps(records, indent=1, allow_nan=False))
        return
    # File names that are not UTF-8 cannot be encoded; backslashreplace escapes them.
    with path.open('w', newline='', encoding='utf-8', errors='backslashreplace') as f:
        table = csv.writer(f)
        table.writerow(['file', 'start_s', 'end_s', 'emotion', *emotions])
        for name, answer in answers.items():
            windows = answer.windows
            whole = Window(windows[0].start_s, windows[-1].end_s, answer.probabilities)
            for start, end, p, _ in [whole, *(windows if len(windows) > 1 else [])]:
                cells = [f'{start:.2f}', f'{end:.2f}', emotions[int(p.argmax())]]
                table.writerow([name, *cells, *(f'{x:.4f}' for x in p)])


def _record(name: str, answer: Answer) -> dict:
    """Return an answer as JSON, with its windows."""
    windows = [
        {
            'start_s': round(w.start_s, 2),
            'end_s': round(w.end_s, 2),
            'probabilities': _rounded(w.probabilities, answer.emotions),
        }
        for w in answer.windows
    ]
    return {
        'file': name,
        'emotion': answer.emotion,
        'probabilities': _rounded(answer.probabilities, answer.emotions),
        'windows': windows,
    }


def _rounded(probabilities: np.ndarray, emotions: Sequence[str]) -> dict[str, float]:
    return {e: round(float(p), 4) for e, p in zip(emotions, probabilities, strict=True)}
