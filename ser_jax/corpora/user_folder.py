"""Recordings of the user: speakers and emotions from sub-folders or from a manifest.

Sub-folders: `<emotion>/x.wav`, `<speaker>/<emotion>/x.wav` or `<emotion>/<speaker>/x.wav`, also in
zips. A manifest is a CSV (comma, semicolon or tab) or JSONL with `path`, `emotion` and optional
columns (`manifest.py`). `emotions.json` beside them, e.g. {"Wut": "angry", "noise": null}, maps
labels to emotions; null leaves a label out (`labels.py`).
"""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from ser_jax.contract import InputError, Recording
from ser_jax.corpora import columns, labels, manifest, unread
from ser_jax.corpora.audio_files import Audio, audio_files, other_files
from ser_jax.corpora.inspection import Skipped
from ser_jax.emotions import VALENCE, word

MANIFESTS = columns.SUFFIXES
HELP = (
    'expected sub-folders <emotion>/, <speaker>/<emotion>/ or <emotion>/<speaker>/, or a '
    'manifest.csv with the columns path and emotion (speaker, text, sex ... where known)'
)


def recordings(root: Path, corpus: str) -> Iterator[Recording | Skipped]:
    """Iterate over the recordings of a folder, a zip or a manifest, and over the files not used.

    Args:
      root: the folder, zip or manifest.
      corpus: prefix of the speakers.

    Raises:
      InputError: no folder is an emotion, folders of speakers are names of splits, the manifest
        cannot be used, or there is a table like a manifest that is not read.
    """
    given = root.is_file() and root.suffix.lower() in MANIFESTS
    table = root if given else _manifest(root)
    meaning = labels.load(root if root.is_dir() else root.parent)
    if table is None:
        unread.refuse(root)
    if not given:
        yield from _other_files(root, table, meaning)
    if table is None:
        yield from _sorted(audio_files(root), root, corpus, meaning)
        return
    yield from manifest.recordings(table, corpus, meaning)
    if not given:
        yield from _unlisted(root, table)


def _manifest(root: Path) -> Path | None:
    """Return the manifest of a folder (its name in any case), or None."""
    if not root.is_dir():
        return None
    names = {f'manifest{suffix}' for suffix in MANIFESTS}
    found = sorted(p for p in root.iterdir() if p.name.lower() in names and p.is_file())
    if len(found) > 1:
        raise InputError(f'{root} holds {found[0].name} and {found[1].name}; keep one')
    return found[0] if found else None


def _other_files(root: Path, table: Path | None, meaning: labels.Labels) -> Iterator[Skipped]:
    """Iterate over the files that are not audio."""
    for name in other_files(root):
        path = Path(name)
        if path in (table, meaning.path):
            continue
        if path.name.lower() == labels.NAME:
            raise InputError(f'{name} is not read; put it at {meaning.path}, or move it away')
        suffix = path.suffix.lower() or 'without suffix'
        if table and suffix in (*unread.TEXTS, *unread.SHEETS):
            reason = f'not read beside {table.name} ({suffix})'
        else:
            reason = f'no sound ({suffix})'
        yield Skipped(name, 'ignored', reason)


def _unlisted(root: Path, table: Path) -> Iterator[Skipped]:
    """Iterate over the audio files that no line of a manifest names."""
    listed = manifest.paths(table)
    for audio in audio_files(root):
        if os.path.normpath(audio.source) not in listed:
            yield Skipped(audio.source, 'ignored', f'no line of {table.name} names it')


def _sorted(
    files: list[Audio], root: Path, corpus: str, meaning: labels.Labels
) -> Iterator[Recording | Skipped]:
    """Iterate over the recordings, with labels and speakers from the names of folders."""
    level = _emotion_level(files, root, meaning)
    no_speaker = 'is in no folder of a speaker, while others are: it may be of one of those'
    speakers = _speakers(files, level, root)
    for audio in files:
        names = (*audio.folders, audio.stem)
        source = audio.source
        if not all(map(labels.utf8, names)):
            yield Skipped(source, 'unknown name', 'its name is not UTF-8; rename it')
        elif len(audio.folders) < -level:
            yield Skipped(source, 'unknown name', 'is in no folder of an emotion')
        elif (label := audio.folders[level]) not in meaning and labels.no_emotion(label):
            yield Skipped(source, 'unknown name', f'{label}/ is no emotion')
        elif (emotion := meaning.emotion(label)) is None:
            yield Skipped(source, 'ignored', f'label {label!r}, which {labels.NAME} leaves out')
        elif speakers and not (speaker := _speaker(audio, level)):
            yield Skipped(source, 'unknown name', no_speaker)
        else:
            yield Recording(
                id=unicodedata.normalize('NFC', '/'.join(names)),
                speaker=f'{corpus}_{speaker if speakers else "unknown"}',
                emotion=emotion,
                label=labels.normal(label),
                read=audio.read,
                source=source,
            )
    found = {a.folders[level] for a in files if len(a.folders) >= -level}
    yield from meaning.unused(filter(labels.utf8, found))


def _folder(audio: Audio, level: int) -> str:
    """Return the name of the folder above or below that of the emotion: the speaker's folder."""
    return ''.join({-1: audio.folders[-2:-1], -2: audio.folders[-1:]}[level])


def _speaker(audio: Audio, level: int) -> str:
    return labels.speaker(_folder(audio, level))


def _speakers(files: list[Audio], level: int, root: Path) -> set[str]:
    """Return the speakers; empty if no folder is one.

    Raises:
      InputError: folders are named for a split, a container or a sex: one speaker may be in
        several of them, and so on both sides of a fold.
    """
    folders = {_folder(a, level) for a in files if len(a.folders) >= -level} - {''}
    impersonal = sorted(f for f in folders if labels.no_speaker(f))
    if impersonal and len(folders) > 1:
        raise InputError(
            f'{root}: the folders {", ".join(impersonal[:4])} are at the level of the speakers '
            'and are no speakers, so no score could be independent of the speaker; sort by '
            '<speaker>/<emotion>/, name the speakers in a manifest.csv (path, emotion, speaker), '
            'or leave them unknown with only <emotion>/ (a person of that name: rename the folder)'
        )
    return set() if impersonal else {labels.speaker(f) for f in folders} - {''}


def _emotion_level(files: list[Audio], root: Path, meaning: labels.Labels) -> int:
    """Return the level of the emotion folders: -1 is the nearest to a file, -2 the one above."""
    if not files:
        raise InputError(f'{root} holds no recording; {HELP}')
    names, emotions = {}, {}
    for level in (-1, -2):
        found = {a.folders[level] for a in files if len(a.folders) >= -level}
        names[level] = found
        emotions[level] = {n for n in found if n in meaning or word(labels.normal(n)) in VALENCE}
    candidates = [level for level in names if emotions[level]]
    if len(candidates) == 1:
        return candidates[0]
    if (
        not candidates
        and names[-1]
        and not names[-2]
        and not all(map(labels.no_emotion, names[-1]))
    ):
        return -1  # one level of folders: their names are the user's own labels
    shown = ', '.join(sorted(names[-1] | names[-2])[:6]) or 'files in no folder'
    problem = 'no folder is an emotion'
    if candidates:
        inner, outer = (', '.join(sorted(emotions[level])[:2]) for level in (-1, -2))
        problem = f'the folders of emotions are ambiguous: {inner} or {outer}'
    raise InputError(
        f'{root}: {problem} (found {shown}); {HELP}; other names of emotions are given in '
        f'{labels.NAME}'
    )
