"""RAVDESS: 24 actors speak, and 23 sing, two sentences with up to eight emotions (Livingstone and Russo, 2018)."""

import re

from ser_jax.data import corpus

# 03-01-06-01-02-01-12: modality (03 sound only), channel, emotion, intensity, statement, repetition, actor.
NAME = re.compile(r'03-(0[12])-(0[1-8])-(0[12])-(0[12])-0[12]-(0[1-9]|1\d|2[0-4])')
VIDEO = re.compile(r'0[12]-\d\d-')
ALIKE = re.compile(r'\d\d-\d\d-')
CHANNELS = {'01': 'speech', '02': 'song'}
EMOTIONS = ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')
INTENSITIES = {'01': 'normal', '02': 'strong'}
TEXTS = {'01': 'Kids are talking by the door', '02': 'Dogs are sitting by the door'}

_SEXES = {f'ravdess_{actor:02d}': ('female', 'male')[actor % 2] for actor in range(1, 25)}
_SINGERS = {speaker: sex for speaker, sex in _SEXES.items() if speaker != 'ravdess_18'}
_FILES = 'https://zenodo.org/records/1188976/files/'


class Builder(corpus.CorpusBuilder):
    """Speech and song, from a folder or zips that the user has, else from Zenodo."""

    TITLE = 'RAVDESS, Livingstone and Russo (2018)'
    EMOTIONS = EMOTIONS
    HOMEPAGE = 'https://zenodo.org/records/1188976'
    LICENSE = 'CC BY-NC-SA 4.0'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get Audio_Speech_Actors_01-24.zip and Audio_Song_Actors_01-24.zip from https://zenodo.org/records/1188976 and '
        'give the folder that holds them, unpacked or not, as --manual_dir=FOLDER'
    )
    ARCHIVES = (  # md5 as Zenodo gives it
        corpus.Archive(f'{_FILES}Audio_Speech_Actors_01-24.zip', 208468073, 'bc696df654c87fed845eb13823edef8a'),
        corpus.Archive(f'{_FILES}Audio_Song_Actors_01-24.zip', 225505317, '5411230427d67a21e18aa4d466e6d1b9'),
    )
    PUBLISHED = corpus.Published(  # two statements, two repetitions, two intensities (neutral: one) of each speaker
        utterances={
            'speech': {e: 24 * (4 if e == 'neutral' else 8) for e in EMOTIONS},
            'song': {e: 23 * (4 if e == 'neutral' else 8) for e in EMOTIONS[:6]},
        },
        speakers={'speech': _SEXES, 'song': _SINGERS},
    )

    def recordings(self, dl_manager):
        for audio in self.audio(dl_manager, NAME, '03-01-06-01-02-01-12.wav'):
            if not (parts := NAME.fullmatch(audio.stem)):
                kind = 'unknown name' if ALIKE.match(audio.stem) and not VIDEO.match(audio.stem) else 'ignored'
                why = 'sound of a video' if VIDEO.match(audio.stem) else 'not a RAVDESS name'
                yield corpus.Skipped(audio.source, kind, why)
                continue
            channel, emotion, intensity, statement, actor = parts.groups()
            yield corpus.Recording(
                id=audio.stem,
                speaker=f'ravdess_{actor}',
                sex=_SEXES[f'ravdess_{actor}'],
                emotion=EMOTIONS[int(emotion) - 1],
                label=emotion,
                text=TEXTS[statement],
                intensity=INTENSITIES[intensity],
                channel=CHANNELS[channel],
                read=audio.read,
                source=audio.source,
            )
