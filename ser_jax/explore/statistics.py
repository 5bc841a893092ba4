"""Tables of opened corpora: counts, durations, sampling rates, levels and words.

A table is a list of dicts with equal keys, ready for a CSV file or a page. `ALL` stands for all
corpora together, `ANY` for all emotions together; rows of texts without audio have no durations,
rates or levels.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from ser_jax.audio import features
from ser_jax.contract import CHANNELS, INTENSITIES, SEXES
from ser_jax.data.text import words
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import ordered

ALL, ANY = 'all corpora', 'all'
QUANTILES = tuple(round(0.1 * q, 1) for q in range(1, 10))
COVERED = 0.8  # share of recordings that a rate or length must cover
USUAL_HZ = (8000, 16000, 22050, 44100, 48000)  # common target rates of resampling
MEASURES = ('seconds', 'rate_hz', 'level_db', 'peak', 'silence')


def tables(corpora: Sequence[Utterances]) -> dict[str, list[dict]]:
    """Return all tables by name, each over all corpora; see the functions of this module."""
    makers = {
        'corpora': totals,
        'counts': counts,
        'emotions': emotions,
        'speakers': speakers,
        'quantiles': quantiles,
        'rates': rates,
        'frames': frames,
        'measures': measures,
        'words': spoken,
    }
    return {name: make(corpora) for name, make in makers.items()}


def classes(corpus: Utterances) -> tuple[str, ...]:
    """Return the emotions that a corpus declares or holds, in the order of the vocabulary."""
    return ordered([*corpus.emotion, *(e for f in corpus.facts for e in f.emotions)])


def totals(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per corpus: counts, hours, sampling rates, and the rate that covers it."""
    rows = []
    for u in corpora:
        heard, sexes = u.seconds > 0, Counter(dict(zip(u.speaker, u.sex, strict=True)).values())
        tokens = [words(t) for t in u.text]
        rows.append(
            {
                'corpus': u.names[0],
                'utterances': len(u),
                'recordings': int(heard.sum()),
                'hours': float(u.seconds.sum(dtype=np.float64) / 3600),
                'emotions': len(set(u.emotion)),
                'speakers': len(set(u.speaker)),
                **{s: sexes[s] for s in SEXES},
                **{c: int((u.channel == c).sum()) for c in CHANNELS},
                'rates_hz': ' '.join(map(str, sorted(set(u.rate_hz[heard].tolist())))),
                f'rate_hz_covering_{100 * COVERED:.0f}': covering_rate(u.rate_hz[heard]),
                'seconds_median': _median(u.seconds[heard]),
                'level_db_median': _median(u.level_db[heard]),
                'clipped': int(u.clipped[heard].sum()),
                'silence_mean': float(u.silence[heard].mean()) if heard.any() else None,
                'sentences': len({tuple(t) for t in tokens if t}),
                'distinct_words': len({w for t in tokens for w in t}),
            }
        )
    return rows


def counts(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per combination of corpus, emotion, sex, channel and intensity that occurs."""
    rows = []
    for u in corpora:
        found = Counter(zip(u.emotion, u.sex, u.channel, u.intensity, strict=True))
        place = {e: i for i, e in enumerate(classes(u))}
        order = lambda k, place=place: (
            place[k[0]],
            SEXES.index(k[1]),
            CHANNELS.index(k[2]),
            INTENSITIES.index(k[3]),
        )
        for key in sorted(found, key=order):
            names = dict(zip(('emotion', 'sex', 'channel', 'intensity'), key, strict=True))
            rows.append({'corpus': u.names[0], **names, 'utterances': found[key]})
    return rows


def emotions(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per corpus and emotion, including emotions without utterances.

    Columns: utterances in all and by sex, channel and intensity; share, hours and speakers.
    """
    rows = []
    for u in corpora:
        for e in classes(u):
            at = u.emotion == e
            count = lambda field, words, at=at, u=u: {
                f'{field}_{w}' if w == 'unknown' else w: int((at & (getattr(u, field) == w)).sum())
                for w in words
            }
            rows.append(
                {
                    'corpus': u.names[0],
                    'emotion': e,
                    'utterances': int(at.sum()),
                    'share': float(at.mean()),
                    'hours': float(u.seconds[at].sum(dtype=np.float64) / 3600),
                    'speakers': len(set(u.speaker[at])),
                    **count('sex', SEXES),
                    **count('channel', CHANNELS),
                    **count('intensity', INTENSITIES),
                }
            )
    return rows


def speakers(corpora: Sequence[Utterances]) -> list[dict]:
    """Return a row per speaker: utterances, hours, and utterances of every emotion."""
    known = ordered([e for u in corpora for e in classes(u)])
    rows = []
    for u in corpora:
        sex, hours, found = (
            dict(zip(u.speaker, u.sex, strict=True)),
            defaultdict(float),
            defaultdict(Counter),
        )
        for speaker, emotion, seconds in zip(u.speaker, u.emotion, u.seconds, strict=True):
            hours[speaker] += float(seconds) / 3600
            found[speaker][emotion] += 1
        for s in sorted(found):
            row = {
                'corpus': u.names[0],
                'speaker': s,
                'sex': sex[s],
                'utterances': found[s].total(),
                'hours': hours[s],
            }
            rows.append(row | {e: found[s][e] for e in known})
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
    """Return a row per target rate: share recorded at or above it, lengths that hold most whole.

    `samples_q` is the length in samples that q % of the recordings do not exceed: 50, 80, 90, 100.
    """
    rows = []
    for corpus, emotion, seconds, rate_hz in _recordings(corpora):
        for rate in sorted({*USUAL_HZ, *rate_hz.tolist()}) if emotion == ANY else ():
            samples = np.rint(seconds * rate)
            held = {
                f'samples_{100 * q:.0f}': float(np.quantile(samples, q))
                for q in (0.5, COVERED, 0.9, 1.0)
            }
            rows.append(
                {
                    'corpus': corpus,
                    'rate_hz': rate,
                    'share_at_or_above': float((rate_hz >= rate).mean()),
                    **held,
                }
            )
    return rows


def measures(corpora: Sequence[Utterances]) -> list[dict]:
    """Return mean, deviation, extremes and quantiles of every measure by corpus and emotion.

    `clipped` is 0 or 1 per recording, so its mean is the share of clipped recordings.
    """
    rows = []
    for u in corpora:
        heard = u.seconds > 0
        for emotion in (ANY, *classes(u)):
            at = heard & ((u.emotion == emotion) | (emotion == ANY))
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
            own = [t for t, e in zip(tokens, u.emotion, strict=True) if t and emotion in (ANY, e)]
            total = sum(map(len, own))
            if own:
                rows.append(
                    {
                        'corpus': u.names[0],
                        'emotion': emotion,
                        'texts': len(own),
                        'sentences': len(set(own)),
                        'sentences_only_here': sum(len(emotions_of[t]) == 1 for t in set(own)),
                        'words': total,
                        'distinct_words': len({w for t in own for w in t}),
                        'words_per_text': total / len(own),
                        'words_longest': max(map(len, own)),
                    }
                )
    return rows


def notes(corpus: Utterances) -> list[str]:
    """Return warnings about one corpus: missing classes, imbalance, confounders of emotion."""
    found, heard = [], corpus.seconds > 0
    number, known = (
        Counter(corpus.emotion),
        [e for e in classes(corpus) if e in set(corpus.emotion)],
    )
    if missing := [e for e in classes(corpus) if e not in number]:
        found.append(
            f'No recording of {", ".join(missing)} is here: nothing can be said about detecting it.'
        )
    most, least = max(known, key=number.get), min(known, key=number.get)
    if number[most] >= 1.5 * number[least]:
        found.append(
            f'{most} has {number[most] / number[least]:.3g} times as many utterances as {least}.'
        )
    total = len(set(corpus.speaker))
    for e in known if heard.any() else ():
        voices = len(set(corpus.speaker[corpus.emotion == e]))
        if voices == 1 < total:
            found.append(
                f'All {number[e]:,} utterances of {e} are of one of {total} speakers: voice or '
                f'label tells it.'
            )
    audible = [e for e in known if (heard & (corpus.emotion == e)).any()]
    if len(set(corpus.rate_hz[heard].tolist())) > 1:
        top = corpus.rate_hz[heard].max()
        share = [
            float((corpus.rate_hz[heard & (corpus.emotion == e)] == top).mean()) for e in audible
        ]
        where = (
            ', and not alike in every class: bandwidth tells them apart'
            if max(share) - min(share) > 0.1
            else ''
        )
        found.append(f'Sampling rates are mixed{where}.')
    if len(audible) > 1:
        level = {
            e: float(np.median(corpus.level_db[heard & (corpus.emotion == e)])) for e in audible
        }
        loud, soft = max(level, key=level.get), min(level, key=level.get)
        if level[loud] - level[soft] >= 6:
            found.append(
                f'{loud} is {level[loud] - level[soft]:.0f} dB louder than {soft} (medians): '
                f'loudness tells them apart.'
            )
    if heard.any() and (share := float((corpus.clipped[heard] > 0).mean())) >= 0.01:
        found.append(
            f'{100 * share:.1f} % of the recordings are clipped: three samples or more in a row '
            f'at full scale.'
        )
    if heard.any() and (share := float(corpus.silence[heard].mean())) >= 0.25:
        found.append(
            f'{100 * share:.0f} % of the time lies 40 dB or more under the loudest moment; '
            f'features.trim_db leaves it out.'
        )
    emotions_of = defaultdict(set)
    tokens = [tuple(words(t)) for t in corpus.text]
    for t, e in zip(tokens, corpus.emotion, strict=True):
        emotions_of[t].add(e)
    texts = [t for t in tokens if t]
    alone = sum(len(emotions_of[t]) == 1 for t in texts)
    if heard.any() and len(known) > 1 and texts and alone > 0.5 * len(texts):
        found.append(
            f'{100 * alone / len(texts):.0f} % of the texts are sentences of one emotion alone: '
            f'the words tell it.'
        )
    return found


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
        parts.insert(
            0, (ALL, *(np.concatenate(column) for column in list(zip(*parts, strict=True))[1:]))
        )
    for name, emotion, seconds, rate_hz in parts:
        for e in (ANY, *ordered(emotion)):
            at = (seconds > 0) & ((emotion == e) | (e == ANY))
            if at.any():
                yield name, e, seconds[at], rate_hz[at]


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None
