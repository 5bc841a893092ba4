"""The one emotion vocabulary: its words, what other words mean in it, their valence, and who supports which.

A corpus *supports* the emotions its actors were asked for, as its builder's EMOTIONS says. A class without support is
masked in loss, scores and screens: no recording of it exists, so nothing can be said about detecting it. No corpus we
know supports `trusting`; it is a word here only because published label sets name it.
"""

from collections.abc import Sequence

import numpy as np

from ser_jax.contract import InputError

EMOTIONS = (
    'neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised', 'boredom', 'trusting',
)  # fmt: skip

# Sadness is negative. Surprise is positive: the corpora that direct it ask for a pleasant one or leave it open.
VALENCE = {
    'neutral': 'positive', 'calm': 'positive', 'happy': 'positive', 'surprised': 'positive', 'trusting': 'positive',
    'sad': 'negative', 'angry': 'negative', 'fearful': 'negative', 'disgust': 'negative', 'boredom': 'negative',
    'positive': 'positive', 'negative': 'negative',
}  # fmt: skip

# Other words for ours, as corpora, folders and manifests write them.
SYNONYMS = {
    'neutrality': 'neutral', 'calmness': 'calm', 'happiness': 'happy', 'joy': 'happy', 'joyful': 'happy',
    'sadness': 'sad', 'anger': 'angry', 'fear': 'fearful', 'afraid': 'fearful', 'scared': 'fearful',
    'disgusted': 'disgust', 'surprise': 'surprised', 'suprised': 'surprised', 'suprise': 'surprised',
    'ps': 'surprised', 'pleasant surprise': 'surprised', 'pleasant surprised': 'surprised', 'bored': 'boredom',
    'trust': 'trusting',
}  # fmt: skip


def word(text: str) -> str:
    """The emotion that a label means: ours where there is one, else the label itself in lower case.

    `Happiness` -> `happy`, `Pleasant_Surprise` -> `surprised`, `Frustration` -> `frustration`.
    """
    plain = ' '.join(text.replace('_', ' ').replace('-', ' ').lower().split())
    return SYNONYMS.get(plain, plain)


def ordered(words: Sequence[str]) -> tuple[str, ...]:
    """Each of `words` once: ours in the order of EMOTIONS, then the others by name."""
    return (*(e for e in EMOTIONS if e in words), *sorted(set(words) - set(EMOTIONS)))


def supported(supports: Sequence[Sequence[str]], emotions: Sequence[str]) -> np.ndarray:
    """bool [corpora, C]: which of `emotions` each corpus supports, `supports` being a list of words for each."""
    return np.array([[e in support for e in emotions] for support in supports], bool)


def answerable(by: str, corpora: Sequence, emotions: Sequence[str], trained_on: Sequence = ()) -> np.ndarray:
    """Return which of `emotions` an answer for a recording of each corpus is chosen from: bool [corpora, C].

    Never among them: a class that no corpus of the run supports, since no example of it was trained on.

    Args:
      by: `data.supported`: 'run' for all classes of the run, 'corpus' for those that the recording's corpus supports too.
      corpora: `contract.CorpusInfo` of each corpus. trained_on: those of the run, where `corpora` are others.
    """
    shown = supported([c.emotions for c in corpora], emotions)
    trained = supported([c.emotions for c in trained_on or corpora], emotions).any(0)
    return shown & trained if by == 'corpus' else np.broadcast_to(trained, shown.shape)


def relabeling(labels: str, merge: Sequence[str], words: Sequence[str]) -> dict[str, str]:
    """Return the class of each of `words` in an experiment; missing words are left out of it.

    Args:
      labels: 'emotion'; 'valence': negative against positive, words of unknown valence left out; 'sex_emotion': as
        'emotion', the sex is put before by who knows it.
      merge: 'from:to' texts, e.g. ('calm:neutral',), applied before valence.

    Raises:
      InputError: `labels` is neither, or a merge is not written so or begins with a word that is not there.
    """
    if labels not in ('emotion', 'valence', 'sex_emotion'):
        raise InputError(f'data.labels={labels!r} is not known; known are emotion, valence, sex_emotion')
    new = {w: w for w in words}
    for text in merge:
        old, colon, into = (part.strip() for part in text.partition(':'))
        if not (colon and old and into) or old not in {*new, *EMOTIONS}:  # a word of ours may be missing in a corpus
            what = f'data.merge names {old!r}' if colon else f'data.merge={text!r} is not understood'
            raise InputError(f'{what}; expected from:to, e.g. calm:neutral, of {", ".join(ordered(words))}')
        if old in new:
            new[old] = into
    return {w: VALENCE[n] for w, n in new.items() if n in VALENCE} if labels == 'valence' else new
