"""Tokenization by a word vocabulary, fitted on the training side and saved with the run."""

import collections
import itertools
import re
from collections.abc import Iterable, Sequence

import numpy as np

PADDING, UNKNOWN = 0, 1


def words(text: str) -> list[str]:
    """Return the lower-case words of a text, apostrophes kept: "Don't go!" -> ["don't", "go"]."""
    return re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+", text.lower().replace('’', "'"))


def vocabulary(texts: Iterable[str], most: int = 20_000, at_least: int = 2) -> list[str]:
    """Return the words that occur `at_least` times, most frequent first, at most `most`.

    The id of a word is its index + 2.
    """
    counts = collections.Counter(itertools.chain.from_iterable(map(words, texts)))
    frequent = [(w, n) for w, n in counts.items() if n >= at_least]
    return [w for w, _ in sorted(frequent, key=lambda wn: (-wn[1], wn[0]))[:most]]


def encode(texts: Sequence[str] | np.ndarray, vocabulary: Sequence[str], width: int) -> np.ndarray:
    """Return token ids, int32 [B, width], truncated at `width`.

    PADDING follows the last word; UNKNOWN stands for words outside the vocabulary.
    """
    place = {w: i + 2 for i, w in enumerate(vocabulary)}
    ids = np.full((len(texts), width), PADDING, np.int32)
    for row, text in enumerate(texts):
        tokens = [place.get(w, UNKNOWN) for w in words(text)[:width]]
        ids[row, : len(tokens)] = tokens
    return ids
