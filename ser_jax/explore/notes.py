"""Notes on one corpus for its page: missing classes, imbalance, clues to the emotion."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from ser_jax.data.text import words
from ser_jax.data.utterances import Utterances
from ser_jax.explore.counts import classes


def notes(u: Utterances) -> list[str]:
    """Return the notes on one corpus, a sentence each."""
    return [*_classes(u), *_rates(u), *_levels(u), *_clipping_and_silence(u), *_texts(u)]


def _classes(u: Utterances) -> Iterator[str]:
    """Yield notes on missing, unevenly frequent and one-speaker classes."""
    number = Counter(u.emotion.tolist())
    if missing := [e for e in classes(u) if e not in number]:
        yield f'There is no recording of {", ".join(missing)}; its detection cannot be measured.'
    present = _present(u)
    most, least = max(present, key=number.__getitem__), min(present, key=number.__getitem__)
    if number[most] >= 1.5 * number[least]:
        yield f'{most} has {number[most] / number[least]:.3g} times as many utterances as {least}.'
    total = len(set(u.speaker))
    for e in present if _has_audio(u).any() else ():
        if len(set(u.speaker[u.emotion == e])) == 1 < total:
            yield (
                f'All {number[e]:,} utterances of {e} are of one of {total} speakers: the voice '
                'reveals the label.'
            )


def _rates(u: Utterances) -> Iterator[str]:
    """Yield a note on mixed sampling rates."""
    has_audio = _has_audio(u)
    if len(set(u.rate_hz[has_audio].tolist())) < 2:
        return
    top = u.rate_hz[has_audio].max()
    shares = [float((u.rate_hz[has_audio & (u.emotion == e)] == top).mean()) for e in _audible(u)]
    uneven = max(shares) - min(shares) > 0.1
    reveals = ' and differ between classes: the bandwidth reveals the emotion' if uneven else ''
    yield f'Sampling rates are mixed{reveals}.'


def _levels(u: Utterances) -> Iterator[str]:
    """Yield a note on classes of different loudness."""
    has_audio, audible = _has_audio(u), _audible(u)
    if len(audible) < 2:
        return
    level = {e: float(np.median(u.level_db[has_audio & (u.emotion == e)])) for e in audible}
    loud, soft = max(level, key=level.__getitem__), min(level, key=level.__getitem__)
    if level[loud] - level[soft] >= 6:
        yield (
            f'{loud} is {level[loud] - level[soft]:.0f} dB louder than {soft} (medians): the '
            'loudness reveals the emotion.'
        )


def _clipping_and_silence(u: Utterances) -> Iterator[str]:
    """Yield notes on many clipped recordings and much silence."""
    has_audio = _has_audio(u)
    if not has_audio.any():
        return
    if (clipped := float((u.clipped[has_audio] > 0).mean())) >= 0.01:
        yield (
            f'{100 * clipped:.1f} % of the recordings are clipped: three samples or more in a row '
            'at full scale.'
        )
    if (silence := float(u.silence[has_audio].mean())) >= 0.25:
        yield (
            f'{100 * silence:.0f} % of the time is 40 dB or more below the loudest moment; '
            'features.trim_db trims it at both ends.'
        )


def _texts(u: Utterances) -> Iterator[str]:
    """Yield a note on sentences that belong to one emotion alone."""
    tokens = [tuple(words(t)) for t in u.text]
    emotions_of = defaultdict(set)
    for t, e in zip(tokens, u.emotion, strict=True):
        emotions_of[t].add(e)
    texts = [t for t in tokens if t]
    alone = sum(len(emotions_of[t]) == 1 for t in texts)
    if _has_audio(u).any() and len(_present(u)) > 1 and texts and alone > 0.5 * len(texts):
        yield (
            f'{100 * alone / len(texts):.0f} % of the texts are sentences of one emotion alone: '
            'the words reveal the emotion.'
        )


def _has_audio(u: Utterances) -> np.ndarray:
    return u.seconds > 0


def _present(u: Utterances) -> list[str]:
    """Return the emotions that have utterances."""
    return [e for e in classes(u) if e in set(u.emotion)]


def _audible(u: Utterances) -> list[str]:
    """Return the emotions that have recordings."""
    return [e for e in _present(u) if (_has_audio(u) & (u.emotion == e)).any()]
