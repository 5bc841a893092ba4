"""Predictions for recordings: the most probable emotions as text, JSON and CSV, printable names."""

import csv
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from ser_jax.contract import Answer, Window

UNKNOWN = 'unknown'  # no human voice: the answer is withheld
NOT_A_VOICE = 'not a human voice'


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


def described(probabilities: np.ndarray, emotions: Sequence[str], voice: str = '') -> str:
    """Return `ranked`, or words in its place or before it if the voice is unknown or uncertain."""
    if voice == UNKNOWN:
        return NOT_A_VOICE
    doubt = 'perhaps not a human voice; ' if voice == 'uncertain' else ''
    return doubt + ranked(probabilities, emotions)


def write(
    path: pathlib.Path,
    answers: dict[str, Answer],
    emotions: Sequence[str],
    transcripts: Mapping[str, str] | None = None,
) -> None:
    """Write the predictions as JSON or CSV, chosen by the suffix of `path`.

    JSON nests the windows in their recording. CSV has one row per recording and, if it has several
    windows, one per window. The answer for a recording or window that is not a human voice is
    withheld: null in JSON, an empty cell in CSV.

    Args:
      path: a .json or .csv file.
      answers: by name of the recording.
      emotions: the C classes.
      transcripts: texts of the recordings, where there are any.
    """
    texts = transcripts or {}
    if path.suffix == '.json':
        records = [_record(name, answer, texts.get(name, '')) for name, answer in answers.items()]
        path.write_text(json.dumps(records, indent=1, allow_nan=False))
        return
    # File names that are not UTF-8 cannot be encoded; backslashreplace escapes them.
    with path.open('w', newline='', encoding='utf-8', errors='backslashreplace') as f:
        table = csv.writer(f)
        head = ['file', 'start_s', 'end_s', 'voice', 'emotion', *emotions]
        table.writerow([*head, 'text'] if transcripts is not None else head)
        for name, answer in answers.items():
            windows = answer.windows
            start_s, end_s = windows[0].start_s, windows[-1].end_s
            whole = Window(start_s, end_s, answer.probabilities, voice=answer.voice)
            for i, window in enumerate([whole, *(windows if len(windows) > 1 else [])]):
                row = [name, *_cells(window, emotions)]
                if transcripts is not None:
                    row.append('' if i else texts.get(name, ''))
                table.writerow(row)


def _cells(window: Window, emotions: Sequence[str]) -> list[str]:
    """Return the cells of a window: its times, kind of voice, emotion and probabilities."""
    times, p = [f'{window.start_s:.2f}', f'{window.end_s:.2f}'], window.probabilities
    if window.voice == UNKNOWN:
        return [*times, window.voice, *[''] * (1 + len(emotions))]
    return [*times, window.voice, emotions[int(p.argmax())], *(f'{x:.4f}' for x in p)]


def _record(name: str, answer: Answer, text: str) -> dict:
    """Return an answer as JSON, with its windows."""
    windows = [
        {
            'start_s': round(w.start_s, 2),
            'end_s': round(w.end_s, 2),
            'voice': w.voice or None,
            'probabilities': _rounded(w.probabilities, answer.emotions, w.voice),
        }
        for w in answer.windows
    ]
    record = {
        'file': name,
        'voice': answer.voice or None,
        'emotion': None if answer.voice == UNKNOWN else answer.emotion,
        'probabilities': _rounded(answer.probabilities, answer.emotions, answer.voice),
        'windows': windows,
    }
    return record | {'text': text} if text else record


def _rounded(
    probabilities: np.ndarray, emotions: Sequence[str], voice: str
) -> dict[str, float] | None:
    if voice == UNKNOWN:
        return None
    return {e: round(float(p), 4) for e, p in zip(emotions, probabilities, strict=True)}
