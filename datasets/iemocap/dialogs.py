"""Texts of IEMOCAP's dialogs: lines of EmoEvaluation and transcriptions by utterance."""

import re
from collections.abc import Iterable, Iterator

from ser_jax.corpora import builder, text_files

# Their files; with group 1: evaluations.
TEXTS = re.compile(
    r'[/:](?:(EmoEvaluation)|transcriptions)/Ses0[1-5][FM]_(?:impro|script)[^/]*\.txt$'
)
# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
EVALUATION = re.compile(r'\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(Ses\w+)\s+(\w+)\s+\[.*')
TRANSCRIPT = re.compile(r'(Ses\w+) \[[^\]]*\]:(.*)', re.DOTALL)


def evaluations(
    found: Iterable[text_files.Document],
) -> tuple[dict[str, list[str]], list[builder.Skipped]]:
    """Return labels by utterance, several if lines differ, and the damaged lines."""
    labels: dict[str, list[str]] = {}
    faults = []
    for source, line in _lines(found):
        if parts := EVALUATION.fullmatch(line):
            labels_of_utterance = labels.setdefault(parts[1], [])
            if parts[2] not in labels_of_utterance:
                labels_of_utterance.append(parts[2])
        elif line.startswith('['):  # others are headings and the votes of single evaluators
            faults.append(builder.Skipped(source, 'ignored', 'damaged line in EmoEvaluation'))
    return labels, faults


def transcripts(
    found: Iterable[text_files.Document],
) -> tuple[dict[str, str], list[builder.Skipped]]:
    """Return texts by utterance, '' if lines differ, and the lines that are damaged or differ."""
    texts: dict[str, str] = {}
    faults = []
    for source, line in _lines(found):
        if not (parts := TRANSCRIPT.fullmatch(line)):
            if line.startswith('Ses'):  # others are remarks without an utterance
                faults.append(builder.Skipped(source, 'ignored', 'damaged line in transcriptions'))
        elif texts.setdefault(parts[1], parts[2].strip()) != parts[2].strip():
            texts[parts[1]] = ''
            reason = 'differs from another transcript of its utterance; neither is used'
            faults.append(builder.Skipped(source, 'ignored', reason))
    return texts, faults


def _lines(found: Iterable[text_files.Document]) -> Iterator[tuple[str, str]]:
    for document in found:
        for number, line in enumerate(re.split(r'\r\n?|\n', document.text), 1):
            yield f'{document.source}:{number}', line
