"""Report of an inspection: counts, differences from the published corpus, skipped files."""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from ser_jax.contract import Recording
from ser_jax.corpora.inspection import Inspected, Skipped

LISTED = 8  # maximum number of skipped files listed on screen per kind


@dataclasses.dataclass(frozen=True)
class PublishedCounts:
    """Counts of the published corpus, the reference for a copy.

    Attributes:
      utterances: channel -> emotion -> number of utterances.
      speakers: channel -> speaker -> sex.
    """

    utterances: Mapping[str, Mapping[str, int]]
    speakers: Mapping[str, Mapping[str, str]]


def summary(
    kept: Sequence[Inspected],
    skipped: Sequence[Skipped],
    usable: Sequence[Inspected],
    published: PublishedCounts | None,
) -> dict:
    """Return a JSON-ready report: counts, differences from the published corpus, skipped files.

    Args:
      kept: the recordings of the corpus.
      skipped: the other files, with reasons.
      usable: `kept` and its duplicates, since a corpus may publish a recording under two names.
      published: counts to compare `usable` with, None if there are none.
    """
    recordings = [result.recording for result in kept]
    channels = {}
    for channel in _counts(recordings, 'channel'):
        selected = [r for r in recordings if r.channel == channel]
        channels[channel] = {
            'utterances': len(selected),
            'emotions': _counts(selected, 'emotion'),
            'speakers': _counts(selected, 'speaker'),
        }
    clipped = [result.recording for result in kept if result.measures['clipped']]
    present = {result.recording.id: result.recording for result in usable}.values()
    return {
        'files': len(kept) + sum(s.kind != 'ignored' for s in skipped),
        'utterances': len(kept),
        'hours': round(sum(result.measures['seconds'] for result in kept) / 3600, 4),
        'speakers': _counts(recordings, 'speaker'),
        'sexes': _counts(recordings, 'sex'),
        'emotions': _counts(recordings, 'emotion'),
        'channels': channels,
        'published': None if published is None else _against(published, present),
        'transcripts': {r.id: r.text_origin for r in recordings if r.text_origin},
        'clipped': {'utterances': len(clipped), 'speakers': _counts(clipped, 'speaker')},
        'skipped': [dataclasses.asdict(s) for s in skipped if s.kind != 'ignored'],
        'ignored': dict(collections.Counter(s.detail for s in skipped if s.kind == 'ignored')),
    }


def _counts(recordings: Iterable[Recording], field: str) -> dict[str, int]:
    """Return the number of recordings by the value of a field, sorted by value."""
    return dict(sorted(collections.Counter(getattr(r, field) for r in recordings).items()))


def _against(published: PublishedCounts, recordings: Iterable[Recording]) -> dict[str, dict]:
    """Return by channel the number of utterances here and published, and the other differences."""
    out = {}
    for channel, emotions in published.utterances.items():
        selected = [r for r in recordings if r.channel == channel]
        counts = collections.Counter(r.emotion for r in selected)
        speakers = {r.speaker: r.sex for r in selected}
        expected = published.speakers[channel]
        differences = {
            'missing speakers': sorted(set(expected) - set(speakers)),
            'unknown speakers': sorted(set(speakers) - set(expected)),
            'other sex': sorted(s for s, sex in speakers.items() if expected.get(s, sex) != sex),
            'unknown emotions': sorted(set(counts) - set(emotions)),
            'emotions': [f'{e} {counts[e]} of {n}' for e, n in emotions.items() if counts[e] != n],
        }
        found = {kind: names for kind, names in differences.items() if names}
        out[channel] = {'here': len(selected), 'published': sum(emotions.values()), **found}
    return out


def lines(report: dict) -> list[str]:
    """Return about a dozen lines for the screen; `inspection.json` lists every skipped file."""
    out = [*_content_lines(report), *_published_lines(report['published'] or {})]
    if origins := report.get('transcripts', {}):
        made = sum(origin.startswith('automatic') for origin in origins.values())
        out.append(f'  texts: {made:,} automatic, {len(origins) - made:,} without a sure one')
    if n := report['clipped']['utterances']:
        share = n / report['utterances']
        out.append(f'  clipped (three samples or more in a row at full scale): {n:,}, {share:.1%}')
    out += _skipped_lines(report['skipped'])
    out += [f'  ignored, {reason}: {n:,} files' for reason, n in report['ignored'].items()]
    return out


def _content_lines(report: dict) -> list[str]:
    sexes = ', '.join(f'{n:,} {sex}' for sex, n in report['sexes'].items())
    speakers = report['speakers']
    out = [
        f'{report["utterances"]:,} utterances ({sexes}), {report["hours"]:.2f} hours, '
        f'{len(speakers)} speakers'
    ]
    if len(speakers) == 1:
        (name,) = speakers
        out.append(f'  one speaker ({name}): no score can be independent of the speaker')
    for channel, counts in report['channels'].items():
        emotions = ', '.join(f'{e} {n}' for e, n in counts['emotions'].items())
        of_channel = len(counts['speakers'])
        out.append(f'  {channel}: {counts["utterances"]:,} of {of_channel} speakers: {emotions}')
    return out


def _published_lines(published: dict[str, dict]) -> list[str]:
    out = []
    for channel, found in published.items():
        if set(found) == {'here', 'published'} and found['here'] == found['published']:
            out.append(f'  {channel}: complete, {found["published"]:,} files as published')
            continue
        parts = [f'{found["here"]:,} of the {found["published"]:,} published files']
        if found['here']:
            # Missing speakers explain missing emotions, so these are listed only without them.
            explained = 'emotions' if 'missing speakers' in found else ''
            parts += [
                f'{kind}: {_few(names)}'
                for kind, names in found.items()
                if isinstance(names, list) and kind != explained
            ]
        out.append(f'  {channel}: ' + '; '.join(parts))
    if any(found['here'] < found['published'] for found in published.values()):
        out.append('  a partial corpus can be used; its scores do not compare with published ones')
    return out


def _skipped_lines(skipped: list[dict]) -> list[str]:
    out = []
    by_kind = collections.defaultdict(list)
    for s in skipped:
        by_kind[s['kind']].append(s['source'] + (f' ({s["detail"]})' if s['detail'] else ''))
    for kind, items in sorted(by_kind.items()):
        out.append(f'  skipped, {kind}: {len(items):,}')
        out += [f'    {item}' for item in items[:LISTED]]
        if len(items) > LISTED:
            out.append(f'    and {len(items) - LISTED:,} more, all in inspection.json')
    return out


def _few(names: list[str], most: int = 8) -> str:
    rest = f' and {len(names) - most:,} more' if len(names) > most else ''
    return ', '.join(names[:most]) + rest
