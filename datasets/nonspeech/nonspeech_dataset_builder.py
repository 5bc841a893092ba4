"""Sounds other than speech, for the class `unknown`: ESC-50 and its part ESC-10 (Piczak, 2015)."""

import csv
import pathlib
import re

from ser_jax.corpora import builder

# 1-100032-A-0: fold, Freesound clip, take, class number (left out in some copies).
NAME = re.compile(r'[1-5]-(?P<clip>\d+)-[A-Z](-(?P<target>\d{1,2}))?')


class Builder(builder.CorpusBuilder):
    """Sounds in the layout of ESC (audio/ and meta/esc50.csv), or in folders named by class."""

    TITLE = 'ESC-50, Piczak (2015)'
    EMOTIONS = ('unknown',)
    HOMEPAGE = 'https://github.com/karolpiczak/ESC-50'
    LICENSE = 'CC BY-NC 3.0 (its part ESC-10: CC BY 3.0)'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get https://github.com/karolpiczak/ESC-50/archive/master.zip and give the folder that '
        'holds it, unpacked or not, as --manual_dir=FOLDER'
    )

    def recordings(self, dl_manager):
        files = self.audio(dl_manager, NAME, '1-100032-A-0.wav')
        classes = _classes(self.manual_dir(dl_manager))
        for audio in files:
            if not (m := NAME.fullmatch(audio.stem)):
                yield builder.Skipped(audio.source, 'ignored', 'no ESC name')
                continue
            folder = audio.folders[-1] if audio.folders else ''
            label = (
                classes.get(audio.stem)
                or (m['target'] if m['target'] or folder in ('', 'audio') else None)
                or folder
            )
            yield builder.Recording(
                id=audio.stem,
                # Keeps all takes of a Freesound recording on one side of a fold.
                speaker=f'nonspeech_{m["clip"]}',
                emotion='unknown',
                label=re.sub(r'^\d+ - ', '', label).strip().lower().replace(' ', '_'),
                channel='sound',
                language='',
                read=audio.read,
                source=audio.source,
            )


def _classes(root: pathlib.Path | None) -> dict[str, str]:
    """Return class names by stem from esc50.csv, {} if there is none.

    Raises:
      InputError: the table cannot be read.
    """
    tables = sorted(root.rglob('esc50.csv')) if root and root.is_dir() else []
    if not tables:
        return {}
    try:
        with tables[0].open(encoding='utf-8-sig', newline='') as f:
            rows = list(csv.DictReader(f, strict=True))
        return {pathlib.Path(row['filename']).stem: row['category'].strip() for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError, TypeError) as e:
        reason = f'no column {e}' if isinstance(e, KeyError) else e
        raise builder.InputError(
            f'{tables[0]} cannot be read ({reason}); copy it again from ESC-50'
        ) from e
