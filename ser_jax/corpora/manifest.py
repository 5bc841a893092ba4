"""Manifests: tables with one line per recording; a line gives a recording or a problem."""

import collections
import dataclasses
import functools
import os
import unicodedata
from pathlib import Path

from ser_jax.audio import wav
from ser_jax.contract import INTENSITIES, InputError, Recording
from ser_jax.corpora import columns, labels, near_paths, tables
from ser_jax.corpora.inspection import Skipped

_SEXES = {
    **dict.fromkeys(('f', 'female', 'w', 'woman'), 'female'),
    **dict.fromkeys(('m', 'male', 'man'), 'male'),
    **dict.fromkeys(('unknown', 'other', 'x', 'd', 'diverse'), 'unknown'),
    **dict.fromkeys(('n/a', 'na', 'nan', 'none', 'null', '-', '?'), 'unknown'),
}
# Admitted values and the values stored for them; the channel of a recording is never text.
_KNOWN = {
    'sex': _SEXES,
    'intensity': {
        **{i: i for i in INTENSITIES},
        **dict.fromkeys(('nan', 'n/a', '-'), 'unknown'),
    },
    'channel': {c: c for c in ('speech', 'song', 'sound')},
}
_NO_FILE = 'no such file: '
_DEFAULT = {'sex': 'unknown', 'intensity': 'unknown', 'channel': 'speech'}


@dataclasses.dataclass(frozen=True)
class _Entry:
    """Line of a manifest whose file exists."""

    number: int
    row: dict[str, str]
    audio: Path
    emotion: str | None


def recordings(manifest: Path, corpus: str, meaning: labels.Labels) -> list[Recording | Skipped]:
    """Return a recording or a problem for every line that is not blank.

    Args:
      corpus: prefix of the speakers.

    Raises:
      InputError: the manifest cannot be parsed, none of its lines can be used, or its speakers are
        names of splits.
    """
    lines = list(columns.lines(manifest))
    if not lines:
        raise InputError(f'{manifest} has no line below its header; {columns.HELP}')
    entries, problems = _entries(manifest, lines, meaning)
    entries = _without_repeats(manifest, _with_speakers(manifest, entries, problems), problems)
    found = [_recording(entry, manifest, corpus) for entry in entries]
    unused = [f for f in found if isinstance(f, Skipped)]
    if len(unused) == len(found):
        raise InputError(f'{manifest}: {_nothing([*problems, *unused])}')
    present = [line.values['emotion'] for line in lines if line.values]
    return [*found, *problems, *meaning.unused(filter(None, present))]


def paths(manifest: Path) -> set[str]:
    """Return the paths in the lines of a manifest, existing or not."""
    rows = (line.values or {} for line in columns.lines(manifest))
    return {os.path.normpath(manifest.parent / row['path']) for row in rows if row.get('path')}


def _entries(
    manifest: Path, lines: list[tables.Line[str]], meaning: labels.Labels
) -> tuple[list[_Entry], list[Skipped]]:
    """Return the lines whose file exists, and the problems of the others."""
    near = near_paths.NearPaths(manifest.parent)
    entries, problems = [], []
    for line in lines:
        source, row = _source(manifest, line), line.values
        if row is None:
            problems.append(Skipped(source, 'bad line', line.fault))
        elif not any(row.values()):
            problems.append(Skipped(source, 'ignored', 'a line without values'))
        elif problem := _problem(row):
            problems.append(Skipped(source, *problem))
        elif not os.path.isfile(audio := manifest.parent / row['path']):
            hint = near.hint(row['path'])
            reason = f'{_NO_FILE}{" ".join(row["path"].split())}' + (f'; {hint}' if hint else '')
            problems.append(Skipped(source, 'missing', reason))
        else:
            entries.append(_Entry(line.number, row, audio, meaning.emotion(row['emotion'])))
    return entries, problems


def _problem(row: dict[str, str]) -> tuple[str, str] | None:
    """Return (kind, detail) of the first problem that rules a line out, or None."""
    for name, value in row.items():
        if name in columns.COLUMNS and (not labels.utf8(value) or '\0' in value):
            return 'bad line', f'{name} {labels.printable(value)!r} has an invalid character'
    if not row.get('path') or not labels.given(row.get('emotion', '')):
        return 'unknown name', f'no {"emotion" if row.get("path") else "path"}'
    if any(c == '"' or unicodedata.category(c) in ('Cc', 'Zl', 'Zp') for c in row['emotion']):
        return 'bad line', f'emotion {row["emotion"]!r} is no word'
    for name, known in _KNOWN.items():
        if (value := row.get(name, '')) and labels.normal(value).lower() not in known:
            expected = ', '.join(sorted(set(known.values())))
            return 'bad line', f'{name} {value!r} is not known; expected {expected}'
    return None


def _with_speakers(manifest: Path, entries: list[_Entry], problems: list[Skipped]) -> list[_Entry]:
    """Return the entries with a speaker, or all if none has one; add the others to `problems`.

    Raises:
      InputError: all speakers are names of splits or the like.
    """
    with_speaker = [e for e in entries if labels.speaker(e.row.get('speaker', ''))]
    names = sorted({' '.join(e.row['speaker'].split()) for e in with_speaker})
    if names and all(map(labels.no_speaker, names)):
        raise InputError(
            f'{manifest}: the speakers are {", ".join(names[:4])}, which are no persons, so no '
            'score could be independent of the speaker; name the speakers, or leave the column out'
        )
    if not with_speaker:
        return entries
    kept = {e.number for e in with_speaker}
    reason = 'no speaker, while other lines have one: it may be one of those'
    problems += [
        Skipped(_source(manifest, e), 'bad line', reason) for e in entries if e.number not in kept
    ]
    return with_speaker


def _without_repeats(
    manifest: Path, entries: list[_Entry], problems: list[Skipped]
) -> list[_Entry]:
    """Return the first entry of each file, or none if its entries conflict; report the others.

    The other entries are added to `problems`.
    """
    kept, by_file = [], collections.defaultdict(list)
    for entry in entries:
        by_file[os.path.normpath(entry.audio)].append(entry)
    for group in by_file.values():
        first = group[0]
        for name, kind in (('emotion', 'label conflict'), ('speaker', 'bad line')):
            values = [
                e.emotion if name == 'emotion' else labels.speaker(e.row.get(name, ''))
                for e in group
            ]
            if len(set(values)) > 1:
                for e, value in zip(group, values, strict=True):
                    other = next(i for i, v in enumerate(values) if v != value)
                    contrary = f'{values[other]} for the same file in line {group[other].number}'
                    reason = f'{name} {value}, but {contrary}'
                    problems.append(Skipped(_source(manifest, e), kind, reason))
                break
        else:
            kept.append(first)
            reason = f'the same file as in line {first.number}'
            problems += [Skipped(_source(manifest, e), 'duplicate', reason) for e in group[1:]]
    return kept


def _recording(entry: _Entry, manifest: Path, corpus: str) -> Recording | Skipped:
    row = {
        name: unicodedata.normalize('NFC', value)
        for name, value in entry.row.items()
        if name in columns.COLUMNS
    }
    if entry.emotion is None:
        reason = f'label {row["emotion"]!r}, which {labels.NAME} leaves out'
        return Skipped(_source(manifest, entry), 'ignored', reason)
    chosen = {
        n: known[labels.normal(row[n]).lower()] if row.get(n) else _DEFAULT[n]
        for n, known in _KNOWN.items()
    }
    return Recording(
        id=row.get('id') or Path(row['path']).with_suffix('').as_posix(),
        speaker=f'{corpus}_{labels.speaker(row.get("speaker", "")) or "unknown"}',
        emotion=entry.emotion,
        label=labels.normal(row['emotion']),
        read=functools.partial(wav.read, entry.audio),
        source=labels.printable(str(entry.audio)),
        text=row.get('text', ''),
        language=row.get('language') or 'en',
        **chosen,
    )


def _nothing(problems: list[Skipped]) -> str:
    """Return the message for a manifest none of whose lines can be used."""
    used = [p for p in problems if p.kind != 'ignored']
    missing = [p for p in used if p.kind == 'missing']
    other = [p for p in used if p.kind != 'missing']
    total = len(used)
    parts = []
    if missing:
        path = missing[0].detail.removeprefix(_NO_FILE)
        rule = '' if near_paths.RULE in path else f'; {near_paths.RULE}'
        parts.append(f'{len(missing)} of {total} lines name no file, e.g. {path}{rule}')
    if other:
        parts.append(
            f'{len(other)} of {total} lines are bad, e.g. line {_number(other[0])}: '
            f'{other[0].detail}'
        )
    if not total:
        parts.append(
            f'no line of it is used, e.g. line {_number(problems[0])}: {problems[0].detail}; '
            f'{columns.HELP}'
        )
    return '; '.join(parts)


def _source(manifest: Path, line: tables.Line[str] | _Entry) -> str:
    return f'{labels.printable(str(manifest))}:{line.number}'


def _number(problem: Skipped) -> str:
    return problem.source.rpartition(':')[2]
