"""IEMOCAP: 10 actors in pairs, scripted and improvised dialogs (Busso et al., 2008)."""

import itertools
import re

from ser_jax.corpora import builder, text_files

from . import dialogs

# Ses01F_impro01_M003: session, sex of the actor with the markers (not the speaker), dialog,
# sex of the speaker, turn.
NAME = re.compile(r'(Ses0[1-5])[FM]_(?:impro|script)\w*_([FM])\d+')
DIALOG = re.compile(r'Ses0[1-5][FM]_(?:impro\d+|script\d+_\d+)[a-z]?')
EMOTIONS = {
    'neu': 'neutral', 'hap': 'happy', 'sad': 'sad', 'ang': 'angry', 'fea': 'fearful',
    'dis': 'disgust', 'sur': 'surprised', 'exc': 'excited', 'fru': 'frustrated',
}  # fmt: skip
IGNORED = {'xxx': 'the evaluators did not agree (xxx)', 'oth': 'another emotion (oth)'}
SEXES = {'F': 'female', 'M': 'male'}
WHOLE = 'Session1 ... Session5 with sentences/wav, dialog/EmoEvaluation and dialog/transcriptions'

_SPEAKERS = {
    f'iemocap_Ses0{session}{sex}': SEXES[sex]
    for session, sex in itertools.product(range(1, 6), SEXES)
}


class Builder(builder.CorpusBuilder):
    """Utterances of the dialogs, as segmented in the full release."""

    TITLE = 'IEMOCAP, Busso et al. (2008)'
    EMOTIONS = tuple(EMOTIONS.values())
    HOMEPAGE = 'https://sail.usc.edu/iemocap/'
    LICENSE = (
        'research only, on request to the University of Southern California; not to be passed on'
    )
    RESEARCH_ONLY = True
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'ask for it at https://sail.usc.edu/iemocap/ and give IEMOCAP_full_release, unpacked, as '
        '--manual_dir=FOLDER'
    )
    # 10,039 with 2,507 xxx and 3 oth, which are left out.
    PUBLISHED_COUNTS = builder.PublishedCounts(
        utterances={
            'speech': {
                'neutral': 1708, 'happy': 595, 'sad': 1084, 'angry': 1103, 'fearful': 40,
                'disgust': 2, 'surprised': 107, 'excited': 1041, 'frustrated': 1849,
            },
        },
        speakers={'speech': _SPEAKERS},
    )  # fmt: skip

    def recordings(self, dl_manager):
        audio = self.audio(
            dl_manager, NAME, 'Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav'
        )
        found = list(text_files.documents(self.manual_dir(dl_manager), dialogs.TEXTS))
        labels, faults = dialogs.evaluations(d for d in found if d.match[1])
        texts, more = dialogs.transcripts(d for d in found if not d.match[1])
        yield from faults + more
        if not labels:
            raise builder.InputError(
                f'{self.manual_dir(dl_manager)} holds IEMOCAP recordings but no dialog/'
                f'EmoEvaluation/*.txt with their emotions; give the folder that holds {WHOLE}'
            )
        for sound in audio:
            yield _utterance(sound, labels.get(sound.stem, ['']), texts.get(sound.stem, ''))
        for name in sorted(labels.keys() - {sound.stem for sound in audio}):
            yield builder.Skipped(name, 'ignored', 'in EmoEvaluation, but no such sound')


def _utterance(
    sound: builder.Audio, labels: list[str], text: str
) -> builder.Recording | builder.Skipped:
    """Return the recording of a file, or the reason why it is not used."""
    if not (parts := NAME.fullmatch(sound.stem)):
        if DIALOG.fullmatch(sound.stem):
            return builder.Skipped(sound.source, 'ignored', 'sound of a whole dialog')
        kind = 'unknown name' if sound.stem.startswith('Ses') else 'ignored'
        return builder.Skipped(sound.source, kind, 'not an IEMOCAP name')
    label, *others = labels
    if others:
        reason = f'is {" and ".join(labels)} in EmoEvaluation'
        return builder.Skipped(sound.source, 'unknown name', reason)
    if label in IGNORED:
        return builder.Skipped(sound.source, 'ignored', IGNORED[label])
    if label not in EMOTIONS:
        reason = f'emotion {label!r} is not known' if label else 'has no line in EmoEvaluation'
        return builder.Skipped(sound.source, 'unknown name', reason)
    return builder.Recording(
        id=sound.stem,
        speaker=f'iemocap_{"".join(parts.groups())}',
        sex=SEXES[parts[2]],
        emotion=EMOTIONS[label],
        label=label,
        text=text,
        read=sound.read,
        source=sound.source,
    )
