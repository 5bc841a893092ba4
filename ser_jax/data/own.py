"""Somebody's own recordings: who speaks with which emotion, told by sub-folders or by a manifest.

Sub-folders: `<emotion>/x.wav`, `<speaker>/<emotion>/x.wav` or `<emotion>/<speaker>/x.wav`, also in zips. A manifest is a CSV
(comma, semicolon or tab) or JSONL with `path` and `emotion`, and what else is known. `emotions.json` beside them, e.g.
{"Wut": "angry", "noise": null}, says what labels mean; null leaves a label out.
"""

import csv
import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ser_jax.audio import wav
from ser_jax.contract import CHANNELS, INTENSITIES, InputError, Recording
from ser_jax.data.emotions import VALENCE, word
from ser_jax.data.inspection import Skipped
from ser_jax.data.sources import Audio, audio_files, strangers

COLUMNS = ('path', 'emotion', 'speaker', 'text', 'sex', 'language', 'intensity', 'channel', 'id')
_OTHER_NAMES = {'file': 'path', 'filename': 'path', 'label': 'emotion', 'transcript': 'text', 'gender': 'sex'}
_SEXES = {
    'f': 'female',
    'female': 'female',
    'w': 'female',
    'woman': 'female',
    'm': 'male',
    'male': 'male',
    'man': 'male',
}
MANIFESTS = ('.csv', '.tsv', '.jsonl')
HELP = (
    'expected sub-folders <emotion>/, <speaker>/<emotion>/ or <emotion>/<speaker>/, or a manifest.csv with the columns path '
    'and emotion (speaker, text, sex ... where known)'
)


def recordings(place: Path, corpus: str) -> Iterator[Recording | Skipped]:
    """The recordings of a folder, a zip or a manifest, and what of it is not used.

    Args:
      place: the folder or zip, or the manifest itself. corpus: the name that speakers carry.

    Raises:
      InputError: the folders do not tell the emotion, or the manifest cannot be understood.
    """
    manifest = place if place.suffix.lower() in MANIFESTS else None
    if place.is_dir():
        there = [p for p in (place / f'manifest{suffix}' for suffix in MANIFESTS) if p.is_file()]
        if len(there) > 1:
            raise InputError(f'{place} holds {there[0].name} and {there[1].name}; keep one')
        manifest = there[0] if there else None
    meaning = _meaning(manifest.parent if manifest else place)
    known = (manifest.name if manifest else '', 'emotions.json')
    for name in strangers(place) if place != manifest else ():
        if Path(name).name not in known:
            yield Skipped(name, 'ignored', f'no sound ({Path(name).suffix.lower() or "without suffix"})')
    yield from _told(manifest, corpus, meaning) if manifest else _sorted(audio_files(place), place, corpus, meaning)


def _meaning(folder: Path) -> Mapping[str, str | None]:
    path = folder / 'emotions.json'
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding='utf-8-sig'))
        return {str(k).strip().lower(): v if v is None else word(str(v)) for k, v in table.items()}
    except (ValueError, AttributeError) as e:
        raise InputError(f'{path} cannot be read ({e}); expected e.g. {{"Wut": "angry", "noise": null}}') from e


def _recording(read, source, corpus, meaning, label, speaker, **fields) -> Recording | Skipped:
    """The recording under the emotion that its label means."""
    plain = label.strip().lower()
    emotion = meaning.get(plain, word(label))
    if emotion is None:
        return Skipped(source, 'ignored', f'label {label!r}, which emotions.json leaves out')
    name = re.sub(r'\W+', '_', speaker.strip().lower()).strip('_') or 'unknown'
    return Recording(
        speaker=f'{corpus}_{name}', emotion=emotion, label=label.strip(), read=read, source=source, **fields
    )


def _sorted(files: list[Audio], place: Path, corpus: str, meaning) -> Iterator[Recording | Skipped]:
    """By the names of folders."""
    level = _emotion_level(files, place, meaning)
    for audio in files:
        depth = len(audio.folders)
        if depth < -level:
            yield Skipped(audio.source, 'unknown name', 'lies in no folder that tells an emotion')
            continue
        other = {-1: audio.folders[:-1][-1:], -2: audio.folders[-1:]}[level]
        yield _recording(
            audio.read, audio.source, corpus, meaning, audio.folders[level], other[0] if other else '',
            id='/'.join((*audio.folders, audio.stem)),
        )  # fmt: skip


def _emotion_level(files: list[Audio], place: Path, meaning) -> int:
    """Which folder above a file tells the emotion: -1 the nearest, -2 the one above it."""
    if not files:
        raise InputError(f'{place} holds no recording; {HELP}')
    names = {level: {a.folders[level] for a in files if len(a.folders) >= -level} for level in (-1, -2)}
    said = {level: {n for n in of if n.strip().lower() in meaning or word(n) in VALENCE} for level, of in names.items()}
    telling = [level for level in names if said[level]]
    if len(telling) == 1:
        return telling[0]
    if not telling and names[-1] and not names[-2]:
        return -1  # one level of folders: their names are the user's own labels
    seen = ', '.join(sorted(names[-1] | names[-2])[:6]) or 'files in no folder'
    why = (
        f'{", ".join(sorted(said[-1])[:2])} and {", ".join(sorted(said[-2])[:2])} could both be'
        if telling
        else 'none is'
    )
    raise InputError(f'{place}: which folders are emotions? {why} (seen: {seen}); {HELP}; emotions.json names others')


def _told(manifest: Path, corpus: str, meaning) -> Iterator[Recording | Skipped]:
    """By a manifest, line by line."""
    ids: dict[str, int] = {}
    for number, row in _rows(manifest):
        where = f'{manifest}:{number}'
        path = Path(row.get('path') or '')
        if not row.get('path') or not row.get('emotion'):
            missing = 'path' if not row.get('path') else 'emotion'
            yield Skipped(where, 'unknown name', f'no {missing}')
            continue
        audio = path if path.is_absolute() else manifest.parent / path
        if not audio.is_file():
            yield Skipped(where, 'missing', f'no such file: {audio}')
            continue
        own_id = row.get('id') or path.with_suffix('').as_posix()
        if own_id in ids:
            yield Skipped(where, 'duplicate', f'id {own_id} is in line {ids[own_id]} too')
            continue
        ids[own_id] = number
        fields = {
            'sex': _SEXES.get((row.get('sex') or '').lower(), 'unknown'),
            'intensity': row['intensity'] if row.get('intensity') in INTENSITIES else 'unknown',
            'channel': row['channel'] if row.get('channel') in CHANNELS else 'speech',
            'text': row.get('text') or '',
            'language': row.get('language') or 'en',
        }
        read = functools.partial(wav.read, audio)
        yield _recording(
            read, str(audio), corpus, meaning, row['emotion'], row.get('speaker') or '', id=own_id, **fields
        )


def _rows(manifest: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, column -> value) of a manifest."""
    try:
        text = manifest.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f'{manifest} cannot be read ({e}); save it as UTF-8') from e
    lines = text.splitlines()
    if manifest.suffix.lower() == '.jsonl':
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                    yield number, {_column(k, manifest): str(v).strip() for k, v in row.items() if v is not None}
                except (ValueError, AttributeError) as e:
                    raise InputError(f'{manifest}:{number} is no JSON object ({e}); {HELP}') from e
        return
    if not lines:
        raise InputError(f'{manifest} is empty; {HELP}')
    delimiter = max('\t;,', key=lines[0].count)
    table = csv.reader(lines, delimiter=delimiter)
    header = [_column(name, manifest) for name in next(table)]
    if absent := [c for c in ('path', 'emotion') if c not in header]:
        raise InputError(f'{manifest} has no column {absent[0]}; it has {", ".join(header)}; {HELP}')
    for values in table:
        if any(v.strip() for v in values):
            yield table.line_num, {k: v.strip() for k, v in zip(header, values, strict=False)}


def _column(name: str, manifest: Path) -> str:
    """The column that a heading names; one that is only nearly ours is taken for a slip, others are nobody's business."""
    plain = name.strip().lower()
    plain = _OTHER_NAMES.get(plain, plain)
    if plain not in COLUMNS and (near := difflib.get_close_matches(plain, COLUMNS, 1, 0.8)):
        raise InputError(f'{manifest} has a column {name!r}; did you mean {near[0]}? known are {", ".join(COLUMNS)}')
    return plain
