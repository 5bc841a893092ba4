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
    order = np.argsort(-probabilities)[: 1 if len(emotions) == 2 else most]
    order = order[probabilities[order] > 0]
    return ', '.join(f'{emotions[i]} {100 * probabilities[i]:.0f} %' for i in order)


def write(path: pathlib.Path, answers: dict[str, Answer], emotions: Sequence[str]) -> None:
    """Write the predictions as JSON or CSV, chosen by the suffix of `path`.

    JSON nests the windows in their recording. CSV has one row per recording and, if it has several
    windows, one per window.
    """
    if path.suffix == '.json':
        content = [_entry(name, answer, emotions) for name, answer in answers.items()]
        path.write_text(json.dumps(content, indent=1, allow_nan=False))
        return
    # File names that are not UTF-8 cannot be encoded; backslashreplace escapes them.
    with path.open('w', newline='', encoding='utf-8', errors='backslashreplace') as f:
        table = csv.writer(f)
        table.writerow(['file', 'start_s', 'end_s', 'emotion', *emotions])
        for name, answer in answers.items():
            windows = answer.windows
            whole = (windows[0][0], windows[-1][1], answer.probabilities)
            for start, end, p in [whole, *(windows if len(windows) > 1 else [])]:
                times = (f'{start:.2f}', f'{end:.2f}')
                emotion = emotions[int(p.argmax())]
                table.writerow([name, *times, emotion, *(f'{x:.4f}' for x in p)])


def _entry(name: str, answer: Answer, emotions: Sequence[str]) -> dict:
    """Return the JSON object of one recording."""
    return {
        'file': name,
        'emotion': emotions[int(answer.probabilities.argmax())],
        'probabilities': _rounded(answer.probabilities, emotions),
        'windows': [
            {
                'start_s': round(start, 2),
                'end_s': round(end, 2),
                'probabilities': _rounded(p, emotions),
            }
            for start, end, p in answer.windows
        ],
    }


def _rounded(probabilities: np.ndarray, emotions: Sequence[str]) -> dict[str, float]:
    return {e: round(float(p), 4) for e, p in zip(emotions, probabilities, strict=True)}
