"""MELD: 13,708 utterances from the TV series Friends, with speakers (Poria et al., 2019)."""

import re

from ser_jax import emotions
from ser_jax.corpora import builder, text_files

from . import sent_emo

NAME = re.compile(r'dia(\d+)_utt(\d+)')
TABLE = re.compile(r'(?:^|[/:])(train|dev|test)_sent_emo\.csv$')
# In train_splits, dev_splits_complete, output_repeated_splits_test.
SPLIT = re.compile(r'(?<![a-z])(train|dev|test)(?![a-z])')
CHORUS = re.compile(r'\b(?:all|both|everyone|everybody)\b|\band\b|[,&/]', re.IGNORECASE)
SEXES = {
    **dict.fromkeys(('Rachel', 'Monica', 'Phoebe'), 'female'),
    **dict.fromkeys(('Joey', 'Chandler', 'Ross'), 'male'),
}


class Builder(builder.CorpusBuilder):
    """Audio of the clips, decoded from them or extracted beforehand, with the published tables."""

    TITLE = 'MELD, Poria et al. (2019)'
    EMOTIONS = ('neutral', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')
    HOMEPAGE = 'https://affective-meld.github.io'
    LICENSE = (
        'tables GPL-3.0; the clips are of a television series, all rights with its owners: '
        'research only'
    )
    RESEARCH_ONLY = True
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get MELD.Raw.tar.gz from https://affective-meld.github.io, unpack it and the three '
        'archives in it, and give the folder that holds it all as --manual_dir=FOLDER; clips need '
        "PyAV (pip install 'ser_jax[media]')"
    )

    def recordings(self, dl_manager):
        folder = self.manual_dir(dl_manager)
        audio = self.audio(dl_manager, NAME, 'train_splits/dia0_utt0.wav')
        rows, faults = sent_emo.rows(text_files.documents(folder, TABLE))
        yield from faults
        if not rows:
            raise builder.InputError(
                f'{folder} holds clips but none of train_sent_emo.csv, dev_sent_emo.csv and '
                'test_sent_emo.csv, which have their emotions; put these beside them'
            )
        present, extracted = set(), {a.source.removesuffix('.wav') for a in audio}
        for sound in audio:
            if sound.source.endswith('.mp4') and sound.source.removesuffix('.mp4') in extracted:
                reason = 'a clip whose sound was extracted beside it'
                yield builder.Skipped(sound.source, 'ignored', reason)
                continue
            path = folder.name + sound.source.removeprefix(str(folder))
            key = _key(sound.stem, SPLIT.findall(path.lower()))
            if key in rows:
                present.add(key)
                yield _utterance(sound, key[0], rows[key])
            else:
                reason = 'not a MELD name, or in no folder named for its split'
                reason = 'no line in the tables' if key else reason
                yield builder.Skipped(sound.source, 'ignored', reason)
        for split, dialog, turn in sorted(rows.keys() - present):
            yield builder.Skipped(
                f'{split}/dia{dialog}_utt{turn}',
                'ignored',
                f'in the {split} table, but no such clip',
            )


def _key(stem: str, splits: list[str]) -> tuple[str, int, int] | None:
    """Return split, dialog and turn of a file; None without a MELD name or a folder of a split."""
    parts = NAME.fullmatch(stem)
    return (splits[-1], int(parts[1]), int(parts[2])) if parts and splits else None


def _utterance(
    sound: builder.Audio, split: str, row: dict[str, str]
) -> builder.Recording | builder.Skipped:
    """Return the recording of a file by its row, or the reason why it is not used."""
    speaker = ' '.join(row['Speaker'].split())
    emotion = emotions.word(row['Emotion'])
    if emotion not in Builder.EMOTIONS or not speaker:
        reason = f'its line in the {split} table is damaged'
        return builder.Skipped(sound.source, 'unknown name', reason)
    if CHORUS.search(speaker):  # a speaker would be on both sides of a fold
        return builder.Skipped(sound.source, 'ignored', 'several voices at once')
    return builder.Recording(
        id=f'{split}/{sound.stem}',
        speaker=f'meld_{speaker}',
        sex=SEXES.get(speaker, 'unknown'),
        emotion=emotion,
        label=row['Emotion'],
        text=' '.join(row['Utterance'].split()),
        read=sound.read,
        source=sound.source,
    )
