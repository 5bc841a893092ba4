"""Answers for recordings: the likeliest emotions in words, JSON and CSV, printable names."""

import csv
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """Answer of a model for one recording."""

    probabilities: np.ndarray  # [C], the length-weighted mean of the windows
    windows: list[tuple[float, float, np.ndarray]]  # (start_s, end_s, [C]), in time


def printable(text: str) -> str:
    """Text with line breaks, control characters and bytes that are not UTF-8 escaped."""
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


def ranked(probabilities: np.ndarray, emotions: Sequence[str], most: int = 3) -> str:
    """The likeliest emotions in words: 'happy 61 %, surprised 22 %, calm 9 %'; of two the verdict alone, 'negative 71 %'.

    What has no probability at all, as a class that no corpus showed, is not named.
    """
    order = [
        i
        for i in np.argsort(-probabilities)[: 1 if len(emotions) == 2 else most]
        if probabilities[i] > 0
    ]
    return ', '.join(f'{emotions[i]} {100 * probabilities[i]:.0f} %' for i in order)


def write(path: pathlib.Path, answers: dict[str, Answer], emotions: Sequence[str]) -> None:
    """Writes the answers as JSON (with the windows) or CSV (a line per recording and window), by the file's ending."""
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
    # Names that are not UTF-8 cannot be written as they are.
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
