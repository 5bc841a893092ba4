"""Recordings of one speaker: labelled in folders of emotions, or without a label.

FOLDER/<emotion>/x.wav is labelled; FOLDER/x.wav and FOLDER/unlabeled/x.wav are not. A manifest.csv
(`path`, `emotion`) is read as for a corpus (`user_folder`); files that it does not list have no
label. `emotions.json` maps other words to emotions.
"""

import os
from pathlib import Path
from typing import NamedTuple

from ser_jax.contract import InputError, Recording
from ser_jax.corpora import audio_files, labels, manifest, user_folder

UNLABELED = 'unlabeled'
HELP = 'expected FOLDER/<emotion>/*.wav for labelled recordings and FOLDER/*.wav for others'


class Personal(NamedTuple):
    """A recording of the speaker: the file, and its emotion, '' without a label."""

    audio: audio_files.Audio
    emotion: str


def recordings(root: Path) -> list[Personal]:
    """Return the recordings of a folder, sorted by path.

    Raises:
      InputError: the folder does not exist, holds no recording, or one lies deeper than expected; a
        line of the manifest cannot be used.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f'{root} is no folder; {HELP}')
    files = audio_files.audio_files(root)
    if not files:
        raise InputError(f'{root} holds no recording; {HELP}')
    meaning = labels.load(root)
    tables = sorted(p for p in root.iterdir() if p.name.lower() in _MANIFESTS and p.is_file())
    if tables:
        return _listed(root, tables, files, meaning)
    found = []
    for audio in files:
        if len(audio.folders) > 1:
            raise InputError(f'{audio.source} lies in a folder of a folder; {HELP}')
        label = audio.folders[0] if audio.folders else UNLABELED
        plain = labels.key(label)
        emotion = '' if plain == UNLABELED else meaning.emotion(label)
        if emotion is not None:  # else emotions.json leaves the label out
            found.append(Personal(audio, emotion))
    return found


_MANIFESTS = {f'manifest{suffix}' for suffix in user_folder.MANIFESTS}


def _listed(
    root: Path, tables: list[Path], files: list[audio_files.Audio], meaning: labels.Labels
) -> list[Personal]:
    """Return the recordings that a manifest labels, and the others without a label."""
    if len(tables) > 1:
        raise InputError(f'{root} holds {tables[0].name} and {tables[1].name}; keep one')
    emotion = {}
    for found in manifest.recordings(tables[0], 'personal', meaning):
        if isinstance(found, Recording):
            emotion[os.path.realpath(found.source)] = found.emotion
        elif found.kind != 'ignored':
            raise InputError(f'{found.source}: {found.kind} ({found.detail}); mend the line')
    known = {os.path.realpath(audio.source) for audio in files}
    if beside := sorted(set(emotion) - known):
        raise InputError(f'{tables[0]} lists {beside[0]}, which is not in {root}; copy it there')
    return [Personal(a, emotion.get(os.path.realpath(a.source), '')) for a in files]
