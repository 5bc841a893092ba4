"""Checks of corpora before training; each check yields findings.

They cover mistakes of published systems: duplicate files, labels that follow the speaker or
another field of the file name, sentences that give the label away, classes without recordings.
"""

import collections
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ser_jax.data.utterances import Utterances
from ser_jax.explore import name_checks
from ser_jax.explore.findings import Finding, place
from ser_jax.explore.near_duplicates import Pair

_SKIPPED_SEVERITY = {'duplicate': 'note', 'label conflict': 'error', 'name conflict': 'error'}
_SKIPPED_REMEDY = {
    'label conflict': 'find out which label is right',
    'name conflict': 'keep one recording per name',
}


def corpus_findings(
    u: Utterances, reports: Mapping[str, dict], pairs: Iterable[Pair]
) -> Iterator[Finding]:
    """Yield the findings of all checks of corpora.

    Args:
      u: the opened corpora.
      reports: corpus -> its inspection.json.
      pairs: pairs from `near_duplicates.near_duplicates`.
    """
    yield from same_content(u)
    yield from near_content(u, pairs)
    yield from name_checks.speakers_across_corpora(u)
    yield from name_checks.speakers_alike(u)
    for c, name in enumerate(u.names):
        members = u.select(u.corpus == c)
        yield from left_out(name, reports.get(name, {}))
        yield from support(name, members, u.facts[c].emotions)
        yield from labels_follow_speakers(name, members)
        yield from name_checks.names_contradict(name, members)
        yield from name_checks.odd_names(name, members)
        yield from labels_follow_texts(name, members)
        yield from levels(name, members)


def same_content(u: Utterances) -> Iterator[Finding]:
    """Yield recordings with equal samples (builders keep one of each within a corpus)."""
    groups = collections.defaultdict(list)
    for i, content in enumerate(u.source_sha256):
        groups[content].append(i)
    for group in (g for g in groups.values() if len(g) > 1):
        yield _copies(u, group, 'are the same recording')


def near_content(u: Utterances, pairs: Iterable[Pair]) -> Iterator[Finding]:
    """Yield copies of one recording whose samples differ."""
    for i, j, agreement in pairs:
        yield _copies(u, [i, j], f'agree by {agreement:.3f}: processed copies of one recording')


def _copies(u: Utterances, group: list[int], why: str) -> Finding:
    places, labels = tuple(place(u, i) for i in group), sorted({u.emotion[i] for i in group})
    what = f'{" and ".join(places[:3])} {why}'
    if len(labels) > 1:
        what = f'{what}, labeled {" and ".join(labels)}'
        do = 'find out which label is right, or leave both out'
        return Finding('error', 'label conflict', what, do, places)
    do = 'keep one, or a split may put them on both sides'
    return Finding('warning', 'duplicate', what, do, places)


def left_out(corpus: str, report: Mapping) -> Iterator[Finding]:
    """Yield the items that the builder skipped, by kind."""
    by_kind = collections.defaultdict(list)
    for s in report.get('skipped', ()):
        by_kind[s['kind']].append(f'{s["source"]}' + (f' ({s["detail"]})' if s['detail'] else ''))
    for kind, items in sorted(by_kind.items()):
        yield Finding(
            _SKIPPED_SEVERITY.get(kind, 'warning'),
            f'left out: {kind}',
            f'{corpus}: the build left out {len(items)}, e.g. {items[0]}',
            _SKIPPED_REMEDY.get(kind, 'nothing: the build left it out'),
            tuple(items),
        )


def support(
    corpus: str, u: Utterances, emotions: tuple[str, ...], few: int = 10
) -> Iterator[Finding]:
    """Yield classes with no data or fewer than `few` utterances, and corpora with one label."""
    counts = collections.Counter(u.emotion)
    if missing := [e for e in emotions if not counts[e]]:
        yield Finding(
            'note',
            'class without data',
            f'{corpus} lists {", ".join(missing)} but has no such utterance',
            'nothing: the class is excluded and never shown as detectable',
        )
    if small := {e: n for e, n in counts.items() if n < few}:
        numbers = ', '.join(f'{e} ({n})' for e, n in small.items())
        yield Finding(
            'warning',
            'small class',
            f'{corpus} has fewer than {few} utterances of {numbers}',
            'leave it out (data.emotions) or merge it (data.merge)',
            tuple(small),
        )
    if len(counts) == 1 and len(emotions) > 1 and len(u) >= few:
        yield Finding(
            'error',
            'one label',
            f'all {len(u)} utterances of {corpus} are labeled {next(iter(counts))}; expected '
            f'{len(emotions)} emotions',
            'check which field of the file name was read as the emotion',
        )


def labels_follow_speakers(corpus: str, u: Utterances, share: float = 0.9) -> Iterator[Finding]:
    """Yield corpora whose labels are predictable from the speaker.

    Such corpora are sorted by speaker instead of by emotion, or have one speaker per class.
    """
    if len(set(u.speaker)) < 2 or len(set(u.emotion)) < 2:
        return
    accuracy, baseline = _accuracies(u.speaker, u.emotion)
    per_speaker = len(u) / len(set(u.speaker))
    if per_speaker >= 5 and accuracy >= share and accuracy - baseline > 0.2:
        yield Finding(
            'error',
            'labels follow speakers',
            f'the speaker alone predicts the label of {accuracy:.0%} of {corpus} (the largest '
            f'class: {baseline:.0%})',
            'compare labels with recordings: the folders may be speakers instead of emotions',
        )


def labels_follow_texts(corpus: str, u: Utterances, share: float = 0.9) -> Iterator[Finding]:
    """Yield corpora whose repeated sentences give the label away."""
    n = collections.Counter(u.text)
    repeated = np.array([bool(t) and n[t] > 1 for t in u.text])
    if repeated.sum() < 20 or len(set(u.emotion[repeated])) < 2:
        return
    accuracy, baseline = _accuracies(u.text[repeated], u.emotion[repeated])
    if accuracy >= share and accuracy - baseline > 0.2:
        yield Finding(
            'warning',
            'labels follow texts',
            f'the sentence alone predicts the label of {accuracy:.0%} of {corpus}',
            'score the audio alone: text input contains the label',
        )


def _accuracies(clue: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Return the accuracies of the most frequent label per clue and of the one overall."""
    by_clue: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for c, e in zip(clue, label, strict=True):
        by_clue[c][e] += 1
    right = sum(max(n.values()) for n in by_clue.values())
    return right / len(label), max(collections.Counter(label).values()) / len(label)


def levels(corpus: str, u: Utterances) -> Iterator[Finding]:
    """Yield clipping, near-silence and unusual durations."""
    u = u.select(u.seconds > 0)
    if not len(u):
        return
    clipped = u.clipped > 0
    if clipped.mean() > 0.02:
        most = collections.Counter(u.speaker[clipped]).most_common(3)
        speakers = ', '.join(f'{s} {n}' for s, n in most)
        yield Finding(
            'warning',
            'clipped',
            f'{corpus}: {clipped.mean():.0%} of recordings are clipped ({speakers})',
            'nothing; their loudness carries little information',
            tuple(u.id[clipped]),
        )
    for what, odd, do in (
        ('quieter than -60 dB', u.level_db < -60, 'listen to them'),
        ('shorter than 0.3 s', u.seconds < 0.3, 'listen to them'),
        ('longer than 30 s', u.seconds > 30, 'cut them into utterances'),
        ('silent for more than 90 % of their time', u.silence > 0.9, 'listen to them'),
    ):
        if odd.any():
            yield Finding(
                'note',
                'odd recordings',
                f'{corpus}: {odd.sum()} of {len(u)} are {what}, e.g. {u.id[odd][0]}',
                do,
                tuple(u.id[odd]),
            )
