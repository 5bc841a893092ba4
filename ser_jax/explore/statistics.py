"""Tables of opened corpora: counts, durations, sampling rates, levels and words.

A table is a list of dicts with equal keys, ready for a CSV file or a page. `ALL` stands for all
corpora together, `ANY` for all emotions together; rows of texts without audio have no durations,
rates or levels.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from ser_jax.audio import features
from ser_jax.contract import CHANNELS, SEXES
from ser_jax.data.text import words
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import ordered
from ser_jax.explore import counts
from ser_jax.explore.counts import classes

ALL, ANY = 'all corpora', 'all'
QUANTILES = tuple(round(0.1 * q, 1) for q in range(1, 10))
COVERED = 0.8  # share of recordings that a rate or length must cover
USUAL_HZ = (8000, 16000, 22050, 44100, 48000)  # common target rates of resampling
MEASURES = ('seconds', 'rate_hz', 'level_db', 'peak', 'silence')


def tables(corpora: Sequence[Utterances]) -> dict[str, list[dict]]:
    """Return all tables by name, each over all corpora; see the functions of this module."""
    makers = {
        'corpora': totals,
        'counts': counts.by_attributes,
        'emotions': counts.by_emotion,
        'speakers': counts.by_speaker,
        'quantiles': quantiles,
        'rates': rates,
        'frames': frames,
        'measures': measures,
        'words': spoken,
    }
    return {name: make(corpora) for name, make in makers.items()}


def totals(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per corpus: counts, hours, sampling rates, and the rate that covers it."""
    rows = []
    for u in corpora:
        has_audio, sexes = u.seconds > 0, Counter(dict(zip(u.speaker, u.sex, strict=True)).values())
        tokens = [tuple(words(t)) for t in u.text]
        rows.append(
            {
                'corpus': u.names[0],
                'utterances': len(u),
                'recordings': int(has_audio.sum()),
                'hours': float(u.seconds.sum(dtype=np.float64) / 3600),
                'emotions': len(set(u.emotion)),
                'speakers': len(set(u.speaker)),
                **{s: sexes[s] for s in SEXES},
                **{c: int((u.channel == c).sum()) for c in CHANNELS},
                'rates_hz': ' '.join(map(str, sorted(set(u.rate_hz[has_audio].tolist())))),
                f'rate_hz_covering_{100 * COVERED:.0f}': covering_rate(u.rate_hz[has_audio]),
                'seconds_median': _median(u.seconds[has_audio]),
                'level_db_median': _median(u.level_db[has_audio]),
                'clipped': int(u.clipped[has_audio].sum()),
                'silence_mean': float(u.silence[has_audio].mean()) if has_audio.any() else None,
                'sentences': len({t for t in tokens if t}),
                'distinct_words': len(set(itertools.chain.from_iterable(tokens))),
            }
        )
    return rows


def quantiles(corpora: Sequence[Utterances]) -> list[dict]:
    """Return the quantiles .1 to .9 of rate, seconds and samples per corpus, emotion, and over all.

    Samples are counted at 16 kHz and as recorded. `numpy.quantile` interpolates linearly, except
    for rates: `lower`, so that they are rates that occur.
    """
    rows = []
    for corpus, emotion, seconds, rate_hz in _recordings(corpora):
        for q in QUANTILES:
            rows.append({
                'corpus': corpus, 'emotion': emotion, 'quantile': q,
                'rate_hz': int(np.quantile(rate_hz, q, method='lower')),
                'seconds': float(np.quantile(seconds, q)),
                'samples_at_16_khz': float(np.quantile(np.rint(seconds * features.RATE_HZ), q)),
                'samples_as_recorded': float(np.quantile(np.rint(seconds * rate_hz), q)),
            })  # fmt: skip
    return rows


def rates(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per sampling rate: recordings and share at it, and share at or above it."""
    rows = []
    for corpus, emotion, _, rate_hz in _recordings(corpora):
        for rate in sorted(set(rate_hz.tolist())) if emotion == ANY else ():
            rows.append(
                {
                    'corpus': corpus,
                    'rate_hz': rate,
                    'recordings': int((rate_hz == rate).sum()),
                    'share': float((rate_hz == rate).mean()),
                    'share_at_or_above': float((rate_hz >= rate).mean()),
                }
            )
    return rows


def frames(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per target rate: share recorded at or above it, lengths that contain most whole.

    `samples_q` is the length in samples that q % of the recordings do not exceed: 50, 80, 90, 100.
    """
    rows = []
    for corpus, emotion, seconds, rate_hz in _recordings(corpora):
        for rate in sorted({*USUAL_HZ, *rate_hz.tolist()}) if emotion == ANY else ():
            samples = np.rint(seconds * rate)
            lengths = {
                f'samples_{100 * q:.0f}': float(np.quantile(samples, q))
                for q in (0.5, COVERED, 0.9, 1.0)
            }
            rows.append(
                {
                    'corpus': corpus,
                    'rate_hz': rate,
                    'share_at_or_above': float((rate_hz >= rate).mean()),
                    **lengths,
                }
            )
    return rows


def measures(corpora: Sequence[Utterances]) -> list[dict]:
    """Return mean, deviation, extremes and quantiles of every measure by corpus and emotion.

    `clipped` is 0 or 1 per recording, so its mean is the share of clipped recordings.
    """
    rows = []
    for u in corpora:
        has_audio = u.seconds > 0
        for emotion in (ANY, *classes(u)):
            at = has_audio & ((u.emotion == emotion) | (emotion == ANY))
            for measure in (*MEASURES, 'clipped') if at.any() else ():
                values = getattr(u, measure)[at].astype(np.float64)
                low, median, high = np.quantile(values, (0.1, 0.5, 0.9))
                rows.append(
                    {
                        'corpus': u.names[0],
                        'emotion': emotion,
                        'measure': measure,
                        'recordings': len(values),
                        'mean': float(values.mean()),
                        'sd': float(values.std()),
                        'min': float(values.min()),
                        'q10': float(low),
                        'median': float(median),
                        'q90': float(high),
                        'max': float(values.max()),
                    }
                )
    return rows


def spoken(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per corpus and emotion with text: numbers of sentences and words.

    `sentences_only_here` counts sentences that no other emotion of the corpus has: if there are
    many, the words alone predict the emotion. Sentences are compared by their words, so case and
    punctuation do not count.
    """
    rows = []
    for u in corpora:
        tokens = [tuple(words(t)) for t in u.text]
        emotions_of = defaultdict(set)
        for t, e in zip(tokens, u.emotion, strict=True):
            emotions_of[t].add(e)
        for emotion in (ANY, *classes(u)):
            texts = [t for t, e in zip(tokens, u.emotion, strict=True) if t and emotion in (ANY, e)]
            total = sum(map(len, texts))
            if texts:
                rows.append(
                    {
                        'corpus': u.names[0],
                        'emotion': emotion,
                        'texts': len(texts),
                        'sentences': len(set(texts)),
                        'sentences_only_here': sum(len(emotions_of[t]) == 1 for t in set(texts)),
                        'words': total,
                        'distinct_words': len(set(itertools.chain.from_iterable(texts))),
                        'words_per_text': total / len(texts),
                        'words_longest': max(map(len, texts)),
                    }
                )
    return rows


def covering_rate(rate_hz: np.ndarray, share: float = COVERED) -> int | None:
    """Return the highest rate that `share` of the recordings [N] reach without upsampling."""
    return max(
        (int(r) for r in set(rate_hz.tolist()) if (rate_hz >= r).mean() >= share), default=None
    )


def _recordings(corpora: Sequence[Utterances]) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield (corpus, emotion, seconds, rate_hz) of every group that has audio.

    Groups are each corpus and `ALL`, whole (`ANY`) and by emotion.
    """
    parts = [
        (u.names[0], u.emotion, u.seconds.astype(np.float64), u.rate_hz.astype(np.int64))
        for u in corpora
    ]
    if len(parts) > 1:
        _, all_emotions, all_seconds, all_rates = map(list, zip(*parts, strict=True))
        pooled = map(np.concatenate, (all_emotions, all_seconds, all_rates))
        parts.insert(0, (ALL, *pooled))  # type: ignore[arg-type]
    for name, emotion, seconds, rate_hz in parts:
        for e in (ANY, *ordered(emotion.tolist())):
            at = (seconds > 0) & ((emotion == e) | (e == ANY))
            if at.any():
                yield name, e, seconds[at], rate_hz[at]


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None
