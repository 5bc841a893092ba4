"""Labels of GoEmotions: the 27 emotions or neutral, and Ekman's six or neutral."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from ser_jax.corpora import builder, text_files

# Ekman's emotion of each label, as published by the authors.
EKMAN = {
    'anger': ('anger', 'annoyance', 'disapproval'),
    'disgust': ('disgust',),
    'fear': ('fear', 'nervousness'),
    'joy': (
        *('joy', 'amusement', 'approval', 'excitement', 'gratitude', 'love', 'optimism'),
        *('relief', 'pride', 'admiration', 'desire', 'caring'),
    ),
    'neutral': ('neutral',),
    'sadness': ('sadness', 'disappointment', 'embarrassment', 'grief', 'remorse'),
    'surprise': ('surprise', 'realization', 'confusion', 'curiosity'),
}
EKMAN_OF: dict[str, str] = {}
for _coarse, _labels in EKMAN.items():
    EKMAN_OF.update(dict.fromkeys(_labels, _coarse))
# The number of a label is its index.
LABELS = {'original': (*sorted(EKMAN_OF.keys() - {'neutral'}), 'neutral'), 'ekman': tuple(EKMAN)}


def label_lists(
    found: Iterable[text_files.Document],
) -> dict[PurePosixPath, tuple[str, ...]]:
    """Return the labels of labels.txt or emotions.txt by folder.

    Raises:
      InputError: two files of one folder differ.
    """
    words_of: dict[PurePosixPath, tuple[str, ...]] = {}
    for d in found:
        words = tuple(d.text.split())
        if words_of.setdefault(PurePosixPath(d.source).parent, words) != words:
            raise builder.InputError(
                f'{d.source} and another file in its folder list different labels; keep one'
            )
    return words_of
