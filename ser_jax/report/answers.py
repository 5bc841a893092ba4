"""Predictions for recordings: the most probable emotions as text, JSON and CSV, printable names."""

import csv
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """Predicted class probabilities of one recording and of its windows."""

    probabilities: np.ndarray  # [C], mean over the windows, weighted by length
    windows: list[tuple[float, float, np.ndarray]]  # (start_s, end_s, [C]), in order of time


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
    row = lambda p: {e: round(float(x), 4) for e, x in zip(emotions, p, strict=True)}
    if path.suffix == '.json':
        path.write_text(
            json.dumps(
                [
                    {
                        'file': name,
                        'emotion': emotions[int(h.probabilities.argmax())],
                        'probabilities': row(h.probabilities),
                        'windows': [
                            {'start_s': round(s, 2), 'end_s': round(e, 2), 'probabilities': row(p)}
                            for s, e, p in h.windows
                        ],
                    }
                    for name, h in answers.items()
                ],
                indent=1,
                allow_nan=False,
            )
        )
        return
    # File names that are not UTF-8 cannot be encoded; backslashreplace escapes them.
    with path.open('w', newline='', encoding='utf-8', errors='backslashreplace') as f:
        table = csv.writer(f)
        table.writerow(['file', 'start_s', 'end_s', 'emotion', *emotions])
        for name, h in answers.items():
            whole = (h.windows[0][0], h.windows[-1][1], h.probabilities)
            for start, end, p in [whole, *(h.windows if len(h.windows) > 1 else [])]:
                table.writerow(
                    [
                        name,
                        f'{start:.2f}',
                        f'{end:.2f}',
                        emotions[int(p.argmax())],
                        *(f'{x:.4f}' for x in p),
                    ]
                )
