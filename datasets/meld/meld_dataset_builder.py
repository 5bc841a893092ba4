"""MELD: 13,708 utterances from the TV series Friends, with speakers (Poria et al., 2019)."""

import re

from ser_jax import emotions
from ser_jax.corpora import builder, text_files

from . import sent_emo

NAME = re.compile(r'dia(\d+)_utt(\d+)')
TABLE = re.compile(r'(?:^|[/:])(train|dev|test)_sent_emo\.csv$')
SPLIT = re.compile(
    r'(?<![a-z])(train|dev|test)(?![a-z])'
)  # train_splits, dev_splits_complete, output_repeated_splits_test
CHORUS = re.compile(r'\b(?:all|both|everyone|everybody)\b|\band\b|[,&/]', re.IGNORECASE)
SEXES = {
    'Rachel': 'female', 'Monica': 'female', 'Phoebe': 'female', 'Joey': 'male', 'Chandler': 'male', 'Ross': 'male',
}  # fmt: skip


class Builder(builder.CorpusBuilder):
    """Audio of the clips, decoded from them or extracted beforehand, with the published tables."""

    TITLE = 'MELD, Poria et al. (2019)'
    EMOTIONS = ('neutral', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')
    HOMEPAGE = 'https://affective-meld.github.io'
    LICENSE = 'tables GPL-3.0; the clips are of a television series, all rights with its owners: research only'
    RESEARCH_ONLY = True
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get MELD.Raw.tar.gz from https://affective-meld.github.io, unpack it and the three archives in it, and give the '
        "folder that holds it all as --manual_dir=FOLDER; clips need PyAV (pip install 'ser_jax[media]')"
    )

    def recordings(self, dl_manager):
        folder = self.manual_dir(dl_manager)
        audio = self.audio(dl_manager, NAME, 'train_splits/dia0_utt0.wav')
        rows, faults = sent_emo.rows(text_files.documents(folder, TABLE))
        yield from faults
        if not rows:
            raise builder.InputError(
                f'{folder} holds clips but none of train_sent_emo.csv, dev_sent_emo.csv and test_sent_emo.csv, where '
                'their emotions are; put these beside them'
            )
        here, extracted = set(), {a.source.removesuffix('.wav') for a in audio}
        for sound in audio:
            if sound.source.endswith('.mp4') and sound.source.removesuffix('.mp4') in extracted:
                yield builder.Skipped(
                    sound.source, 'ignored', 'a clip whose sound was extracted beside it'
                )
                continue
            where = SPLIT.findall((folder.name + sound.source.removeprefix(str(folder))).lower())
            parts = NAME.fullmatch(sound.stem)
            key = (where[-1], *map(int, parts.groups())) if parts and where else None
            if key not in rows:
                why = (
                    'no line in the tables'
                    if key
                    else 'not a MELD name, or in no folder named for its split'
                )
                yield builder.Skipped(sound.source, 'ignored', why)
                continue
            here.add(key)
            row, speaker = rows[key], ' '.join(rows[key]['Speaker'].split())
            emotion = emotions.word(row['Emotion'])
            if emotion not in self.EMOTIONS or not speaker:
                yield builder.Skipped(
                    sound.source, 'unknown name', f'its line in the {key[0]} table is damaged'
                )
                continue
            if CHORUS.search(speaker):  # a speaker would be on both sides of a fold
                yield builder.Skipped(sound.source, 'ignored', 'several voices at once')
                continue
            yield builder.Recording(
                id=f'{key[0]}/{sound.stem}',
                speaker=f'meld_{speaker}',
                sex=SEXES.get(speaker, 'unknown'),
                emotion=emotion,
                label=row['Emotion'],
                text=' '.join(row['Utterance'].split()),
                read=sound.read,
                source=sound.source,
            )
        for split, dialog, turn in sorted(rows.keys() - here):
            yield builder.Skipped(
                f'{split}/dia{dialog}_utt{turn}',
                'ignored',
                f'in the {split} table, but no such clip',
            )
