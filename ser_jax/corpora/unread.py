"""Tables among recordings that have the content of a manifest but are not read as one."""

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ser_jax.audio import wav
from ser_jax.contract import InputError
from ser_jax.corpora import audio_files, labels
from ser_jax.emotions import VALENCE, word

TEXTS = (
    *('.csv', '.tsv', '.tab', '.txt', '.jsonl', '.ndjson', '.json'),
    *('.psv', '.dat', '.lst', '.list', '.scp'),
)
SHEETS = ('.xlsx', '.xls', '.xlsm', '.ods', '.numbers', '.parquet', '.feather', '.arrow')
_PATHS = {
    'path', 'file', 'files', 'filename', 'file name', 'filepath', 'file path', 'audio',
    'audio path', 'audio file', 'wav', 'wav path', 'wav file', 'wavfile', 'clip', 'recording',
    'name', 'fname', 'id', 'utterance id', 'utt id', 'key', 'src',
}  # fmt: skip
_EMOTIONS = {
    'emotion', 'emotions', 'label', 'labels', 'emo', 'class', 'category', 'target', 'emotion label',
    'emotion id', 'sentiment', 'affect', 'mood',
}  # fmt: skip
_HEAD = 'the columns path, emotion, speaker'
_SAMPLE = 20_000  # bytes of a table that are inspected


def refuse(root: Path) -> None:
    """Refuse a folder or zip with a table of recordings and their emotions that is not read.

    Labels would have two sources, and the table may have the speakers that folders lack.

    Raises:
      InputError: there is such a table (the message names it).
    """
    for source, suffix, stem, sample in _tables(root):
        if suffix in SHEETS:
            problem = (
                f'is a table of an unsupported format; save it as manifest.csv (UTF-8) with {_HEAD}'
            )
        elif stem == 'manifest' or _lists_emotions(sample, suffix):
            problem = (
                'looks like a manifest and is not read; make it manifest.csv, .tsv or .jsonl with '
                f'{_HEAD}, in the folder that is given (unpacked)'
            )
        else:
            continue
        raise InputError(f'{labels.printable(source)} {problem}, to use it, or move it away')


def _tables(root: Path) -> Iterator[tuple[str, str, str, str]]:
    """Iterate over (source, suffix, stem, beginning) of the tables."""
    for parent, name in audio_files.walk(root):
        path = Path(name)
        suffix = path.suffix.lower()
        if suffix not in (*TEXTS, *SHEETS) or path.name.lower() == labels.NAME:
            continue
        source = str(parent / name) if isinstance(parent, Path) else f'{parent.filename}:{name}'
        try:
            with _open(parent, name) as f:
                sample = b'' if suffix in SHEETS else f.read(_SAMPLE)
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
            continue  # cannot be inspected; reading the recordings of a damaged archive raises
        coding = 'utf-16' if sample.startswith((b'\xff\xfe', b'\xfe\xff')) else 'utf-8-sig'
        yield source, suffix, path.stem.lower(), sample.decode(coding, 'replace')


def _open(parent: Path | zipfile.ZipFile, name: str) -> IO[bytes]:
    return open(parent / name, 'rb') if isinstance(parent, Path) else parent.open(name)


def _lists_emotions(sample: str, suffix: str) -> bool:
    """Return True if a table begins with columns, or values, of audio paths and of emotions."""
    if suffix in ('.json', '.jsonl', '.ndjson'):
        words = [_unquoted(w) for w in re.findall(r'"(?:[^"\\]|\\.)*"', sample)]
        return _has_paths_and_emotions({w for w in words if len(w) < 30}, words)
    lines = [line for line in re.split(r'[\r\n]+', sample) if line.strip()][:3]
    heads = {c.strip(' "\'') for c in re.split(r'[\t;,|]', lines[0])} if lines else set()
    cells = [c.strip(' "\'') for c in re.split(r'[\t;,| ]', '\t'.join(lines))]
    return _has_paths_and_emotions(heads if len(heads) > 1 else set(), cells)


def _has_paths_and_emotions(heads: set[str], cells: list[str]) -> bool:
    keys = set(map(labels.key, heads))
    if keys & _PATHS and keys & _EMOTIONS:
        return True
    has_path = any(cell.lower().endswith(wav.SUFFIXES) for cell in cells)
    return has_path and any(word(cell) in VALENCE for cell in cells)


def _unquoted(text: str) -> str:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip('"')
