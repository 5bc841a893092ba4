"""The emotion vocabulary: its words, their synonyms and valence, and the classes a corpus supports.

A corpus *supports* the emotions that its actors were asked for: EMOTIONS of its builder. A class
without support is masked in loss, scores and screens: no recording of it exists, so its detection
cannot be measured. No known corpus supports `trusting`; it is in the vocabulary only because
published label sets name it.
"""

from collections.abc import Sequence

import numpy as np

from ser_jax.contract import InputError

EMOTIONS = (
    'neutral',
    'calm',
    'happy',
    'sad',
    'angry',
    'fearful',
    'disgust',
    'surprised',
    'boredom',
    'trusting',
)

# Surprise is positive: the corpora that direct it ask for a pleasant one or leave it open.
# Sadness is negative.
_POSITIVE = ('neutral', 'calm', 'happy', 'surprised', 'trusting', 'positive')
_NEGATIVE = ('sad', 'angry', 'fearful', 'disgust', 'boredom', 'negative')
VALENCE = dict.fromkeys(_POSITIVE, 'positive') | dict.fromkeys(_NEGATIVE, 'negative')

# Synonyms of the words in EMOTIONS, as corpora, folders and manifests write them.
SYNONYMS = {
    'neutrality': 'neutral',
    'calmness': 'calm',
    'happiness': 'happy',
    'joy': 'happy',
    'joyful': 'happy',
    'sadness': 'sad',
    'anger': 'angry',
    'fear': 'fearful',
    'afraid': 'fearful',
    'scared': 'fearful',
    'disgusted': 'disgust',
    'surprise': 'surprised',
    'suprised': 'surprised',
    'suprise': 'surprised',
    'ps': 'surprised',
    'pleasant surprise': 'surprised',
    'pleasant surprised': 'surprised',
    'bored': 'boredom',
    'trust': 'trusting',
}


def word(text: str) -> str:
    """Return the word of EMOTIONS that a label means, else the label itself in lower case.

    `Happiness` -> `happy`, `Pleasant_Surprise` -> `surprised`, `Frustration` -> `frustration`.
    """
    plain = ' '.join(text.replace('_', ' ').replace('-', ' ').lower().split())
    return SYNONYMS.get(plain, plain)


def ordered(words: Sequence[str]) -> tuple[str, ...]:
    """Return each of `words` once: those of EMOTIONS in its order, then the others by name."""
    return (*(e for e in EMOTIONS if e in words), *sorted(set(words) - set(EMOTIONS)))


def supported(supports: Sequence[Sequence[str]], emotions: Sequence[str]) -> np.ndarray:
    """Return the mask of the `emotions` that each corpus supports: bool [corpora, C].

    Args:
      supports: the supported words of each corpus.
      emotions: the C classes.
    """
    rows = [np.isin(list(emotions), list(support)) for support in supports]
    return np.stack(rows) if rows else np.zeros((0, len(emotions)), bool)


def answerable(
    by: str, corpora: Sequence, emotions: Sequence[str], trained_on: Sequence = ()
) -> np.ndarray:
    """Return the mask of the `emotions` allowed as predictions for each corpus: bool [corpora, C].

    A class that no corpus of the run supports is never allowed: it had no training example.

    Args:
      by: `data.supported`: 'run' allows all classes of the run, 'corpus' only those that the
        recording's corpus supports too.
      corpora: `contract.CorpusInfo` of each corpus.
      emotions: the C classes.
      trained_on: `contract.CorpusInfo` of each corpus of the run, if `corpora` are others.
    """
    shown = supported([c.emotions for c in corpora], emotions)
    trained = supported([c.emotions for c in trained_on or corpora], emotions).any(0)
    return shown & trained if by == 'corpus' else np.broadcast_to(trained, shown.shape)


def relabeling(labels: str, merge: Sequence[str], words: Sequence[str]) -> dict[str, str]:
    """Return the class name of each of `words` in an experiment, without the words it excludes.

    Args:
      labels: 'emotion'; 'valence': negative or positive, words of unknown valence are excluded;
        'sex_emotion': as 'emotion', the caller prefixes the sex.
      merge: 'from:to' texts, e.g. ('calm:neutral',), applied before valence.
      words: the emotions of the corpora.

    Raises:
      InputError: `labels` is unknown, or a merge is malformed or begins with an unknown word.
    """
    if labels not in ('emotion', 'valence', 'sex_emotion'):
        raise InputError(
            f'data.labels={labels!r} is not known; known are emotion, valence, sex_emotion'
        )
    new = {w: w for w in words}
    for text in merge:
        old, colon, into = (part.strip() for part in text.partition(':'))
        # A word of EMOTIONS is accepted even if no corpus of the experiment has it.
        if not (colon and old and into) or old not in {*new, *EMOTIONS}:
            what = f'data.merge has {old!r}' if colon else f'data.merge={text!r} has no colon'
            raise InputError(
                f'{what}; expected from:to, e.g. calm:neutral, of {", ".join(ordered(words))}'
            )
        if old in new:
            new[old] = into
    return {w: VALENCE[n] for w, n in new.items() if n in VALENCE} if labels == 'valence' else new
