"""Inspection of a corpus before training: each file is read once, checked, counted and reported."""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ser_jax.audio import wav
from ser_jax.contract import InputError, Recording
from ser_jax.corpora import soundness

LISTED = 8  # maximum number of skipped files listed on screen per kind
# Kinds of skipped files that are no fault of the user's copy: not counted toward the tolerance.
HARMLESS = ('duplicate', 'label conflict', 'ignored')


@dataclasses.dataclass(frozen=True)
class PublishedCounts:
    """Counts of the published corpus, the reference for a copy.

    Attributes:
      utterances: channel -> emotion -> number of utterances.
      speakers: channel -> speaker -> sex.
    """

    utterances: Mapping[str, Mapping[str, int]]
    speakers: Mapping[str, Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A file that is not used.

    `kind` is one of HARMLESS, or counts toward the tolerance: unknown name | name conflict |
    bad line | missing | empty | silent | not finite | out of range | truncated | undecodable.
    """

    source: str
    kind: str
    detail: str = ''


@dataclasses.dataclass
class Inspected:
    """Result of inspecting one recording: its measures and prepared samples, or its defect."""

    recording: Recording
    sha256: str = ''
    measures: dict = dataclasses.field(default_factory=dict)  # see `measures` below
    prepared: Any = None
    defect: Skipped | None = None


def sha256(samples: np.ndarray) -> str:
    """Return the hash of decoded samples, the same for every lossless container.

    It covers little-endian int16 (C order) if all samples are 16-bit values / 32768, else
    little-endian float32.
    """
    scaled = samples * np.float32(32768)
    exact = scaled.astype('<i2') if samples.size and np.abs(scaled).max() <= 32768 else None
    if exact is None or not np.array_equal(exact, scaled):
        return hashlib.sha256(np.ascontiguousarray(samples, '<f4')).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(exact)).hexdigest()


def clipped(samples: np.ndarray) -> bool:
    """Return True if three samples in a row are at full scale.

    A single peak is normalization, a plateau is clipping.
    """
    full = np.abs(samples) >= 32766 / 32768
    return bool((full[:-2] & full[1:-1] & full[2:]).any())


def measures(samples: np.ndarray | None, rate_hz: int) -> dict:
    """Return the measured fields of an example: zeros if `samples` is None.

    They are seconds, rate_hz, level_db, peak, clipped, and silence (share of 10 ms stretches that
    are 40 dB or more below the loudest).
    """
    if samples is None:
        return {
            'seconds': 0.0,
            'rate_hz': 0,
            'level_db': 0.0,
            'peak': 0.0,
            'clipped': 0,
            'silence': 0.0,
        }
    power = np.square(samples, dtype=np.float32)
    power = power if power.ndim == 1 else power.mean(axis=1)
    stretch = max(1, rate_hz // 100)
    whole = len(power) // stretch * stretch
    stretches = power[:whole].reshape(-1, stretch).mean(axis=1) if whole else power
    return {
        'seconds': len(samples) / rate_hz,
        'rate_hz': rate_hz,
        'level_db': float(10 * np.log10(max(power.mean(dtype=np.float64), 1e-12))),
        'peak': float(np.abs(samples).max()),
        'clipped': int(clipped(samples)),
        'silence': float((stretches <= stretches.max() * 1e-4).mean()),
    }


def inspect(
    rate_hz: int | None, prepare: Callable[[np.ndarray, str], Any], recording: Recording
) -> Inspected:
    """Decode, measure and check one recording.

    Args:
      rate_hz: rate of the stored samples; None: the recorded rate, with all channels.
      prepare: function of (samples at that rate, id); its result becomes `Inspected.prepared`.
      recording: the recording to read.
    """
    if recording.read is None:
        words = ' '.join(recording.text.split())
        defect = None if words else Skipped(recording.source, 'empty')
        return Inspected(
            recording, hashlib.sha256(words.encode()).hexdigest(), measures(None, 0), {}, defect
        )
    try:
        samples, from_hz = recording.read()
        prepared = soundness.checked(samples, from_hz, rate_hz, recording.source)
        kept = prepare(prepared, recording.id)
    except wav.SoundError as e:
        reason = '' if e.reason == e.kind else e.reason
        return Inspected(recording, defect=Skipped(recording.source, e.kind, reason))
    return Inspected(recording, sha256(samples), measures(samples, from_hz), kept)


def without_duplicates(heard: Sequence[Inspected]) -> tuple[list[Inspected], list[Skipped]]:
    """Return the recordings to keep, in order, and the others with reasons.

    Of recordings with equal samples the first is kept, or none if their labels disagree, since the
    right label is unknown. Of recordings with one id and different samples none is kept.
    """
    by_content, by_id = collections.defaultdict(list), collections.defaultdict(list)
    for h in heard:
        by_content[h.sha256].append(h)
        by_id[h.recording.id].append(h)
    kept, skipped, first = [], [], {}
    for h in heard:
        r = h.recording
        others = [g.recording for g in by_content[h.sha256] if g.recording.emotion != r.emotion]
        namesakes = [g.recording for g in by_id[r.id] if g.sha256 != h.sha256]
        if others:
            other = others[0]
            detail = f'labeled {r.emotion}, the same content is {other.emotion} in {other.source}'
            skipped.append(Skipped(r.source, 'label conflict', detail))
        elif namesakes:
            detail = f'another content than {namesakes[0].source}, which has the same name, {r.id}'
            skipped.append(Skipped(r.source, 'name conflict', detail))
        elif h.sha256 in first:
            detail = f'the same content as {first[h.sha256].source}'
            skipped.append(Skipped(r.source, 'duplicate', detail))
        else:
            first[h.sha256] = r
            kept.append(h)
    return kept, skipped


def check_tolerance(
    skipped: Iterable[Skipped], files: int, tolerance: float, namesakes: str = ''
) -> None:
    """Check that at most the share `tolerance` of the files is bad, and not all of them.

    Args:
      skipped: the skipped files.
      files: number of files found, with the skipped but not the ignored ones.
      tolerance: maximum share of bad files.
      namesakes: advice of the corpus for different recordings of one name.

    Raises:
      InputError: too many files are bad; the message has an example of each kind.
    """
    kinds = collections.defaultdict(list)
    for s in skipped:
        if s.kind not in HARMLESS:
            kinds[s.kind].append(s)
    bad = sum(map(len, kinds.values()))
    if not bad or tolerance * files >= bad < files:
        return
    found = [
        f'{len(some)} {kind}, e.g. ' + ': '.join(filter(None, (some[0].source, some[0].detail)))
        for kind, some in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]
    share = ', all of them'
    if bad < files:
        share = f', {bad / files:.1%} where {tolerance:.1%} are tolerated'
    advice = 'repair or remove them'
    if 'name conflict' in kinds:
        one = namesakes or 'give the folder that holds only one of each as --manual_dir'
        advice = f'where a name stands for different contents, {one}; {advice} otherwise'
    if bad < files:
        advice += ', or allow more with --tolerance=SHARE (under stock `tfds build`: '
        advice += 'SER_JAX_TOLERANCE=SHARE)'
    raise InputError(f'{bad} of {files} files are bad{share} ({"; ".join(found)}); {advice}')


def summary(
    kept: Sequence[Inspected],
    skipped: Sequence[Skipped],
    audible: Sequence[Inspected],
    published: PublishedCounts | None,
) -> dict:
    """Return a JSON-ready report: counts, differences from the published corpus, skipped files.

    Args:
      kept: the recordings of the corpus.
      skipped: the other files, with reasons.
      audible: `kept` and its duplicates, since a corpus may publish a recording under two names.
      published: counts to compare `audible` with, None if there are none.
    """

    def of(field, items=kept):
        return dict(sorted(collections.Counter(getattr(h.recording, field) for h in items).items()))

    channels = {}
    for channel in of('channel'):
        here = [h for h in kept if h.recording.channel == channel]
        channels[channel] = {
            'utterances': len(here),
            'emotions': of('emotion', here),
            'speakers': of('speaker', here),
        }
    loud = collections.Counter(h.recording.speaker for h in kept if h.measures['clipped'])
    here = {h.recording.id: h.recording for h in audible}.values()
    return {
        'files': len(kept) + sum(s.kind != 'ignored' for s in skipped),
        'utterances': len(kept),
        'hours': round(sum(h.measures['seconds'] for h in kept) / 3600, 4),
        'speakers': of('speaker'),
        'sexes': of('sex'),
        'emotions': of('emotion'),
        'channels': channels,
        'published': None if published is None else _against(published, here),
        'clipped': {'utterances': sum(loud.values()), 'speakers': dict(sorted(loud.items()))},
        'skipped': [dataclasses.asdict(s) for s in skipped if s.kind != 'ignored'],
        'ignored': dict(collections.Counter(s.detail for s in skipped if s.kind == 'ignored')),
    }


def _against(published: PublishedCounts, recordings: Iterable[Recording]) -> dict[str, dict]:
    """Return by channel the number of utterances here and published, and the other differences."""
    out = {}
    for channel, emotions in published.utterances.items():
        here = [r for r in recordings if r.channel == channel]
        counts, speakers = (
            collections.Counter(r.emotion for r in here),
            {r.speaker: r.sex for r in here},
        )
        expected = published.speakers[channel]
        differences = {
            'missing speakers': sorted(set(expected) - set(speakers)),
            'unknown speakers': sorted(set(speakers) - set(expected)),
            'other sex': sorted(s for s, sex in speakers.items() if expected.get(s, sex) != sex),
            'unknown emotions': sorted(set(counts) - set(emotions)),
            'emotions': [f'{e} {counts[e]} of {n}' for e, n in emotions.items() if counts[e] != n],
        }
        found = {what: names for what, names in differences.items() if names}
        out[channel] = {'here': len(here), 'published': sum(emotions.values()), **found}
    return out


def lines(report: dict) -> list[str]:
    """Return about a dozen lines for the screen; `inspection.json` lists every skipped file."""
    sexes = ', '.join(f'{n:,} {s}' for s, n in report['sexes'].items())
    speakers = len(report['speakers'])
    out = [
        f'{report["utterances"]:,} utterances ({sexes}), {report["hours"]:.2f} hours, {speakers} speakers'
    ]
    if speakers == 1:
        out.append(
            f'  one speaker ({next(iter(report["speakers"]))}): no score can be independent of the speaker'
        )
    for channel, counts in report['channels'].items():
        emotions = ', '.join(f'{e} {n}' for e, n in counts['emotions'].items())
        out.append(
            f'  {channel}: {counts["utterances"]:,} of {len(counts["speakers"])} speakers: {emotions}'
        )
    published = report['published'] or {}
    for channel, found in published.items():
        if set(found) == {'here', 'published'} and found['here'] == found['published']:
            out.append(f'  {channel}: complete, {found["published"]:,} files as published')
            continue
        words = [f'{found["here"]:,} of the {found["published"]:,} published files']
        if found['here']:
            # Missing speakers explain missing emotions, so these are listed only without them.
            unsaid = 'emotions' if 'missing speakers' in found else ''
            words += [
                f'{what}: {_few(v)}'
                for what, v in found.items()
                if isinstance(v, list) and what != unsaid
            ]
        out.append(f'  {channel}: ' + '; '.join(words))
    if any(found['here'] < found['published'] for found in published.values()):
        out.append(
            '  a partial corpus is fine to work with; its scores do not compare with published ones'
        )
    if n := report['clipped']['utterances']:
        out.append(
            f'  clipped (three samples or more in a row at full scale): {n:,}, {n / report["utterances"]:.1%}'
        )
    by_kind = collections.defaultdict(list)
    for s in report['skipped']:
        by_kind[s['kind']].append(s['source'] + (f' ({s["detail"]})' if s['detail'] else ''))
    for kind, items in sorted(by_kind.items()):
        out.append(f'  skipped, {kind}: {len(items):,}')
        out += [f'    {item}' for item in items[:LISTED]]
        out += (
            [f'    and {len(items) - LISTED:,} more, all in inspection.json']
            if len(items) > LISTED
            else []
        )
    out += [f'  ignored, {why}: {n:,} files' for why, n in report['ignored'].items()]
    return out


def _few(names: list[str], most: int = 8) -> str:
    return ', '.join(names[:most]) + (
        f' and {len(names) - most:,} more' if len(names) > most else ''
    )
