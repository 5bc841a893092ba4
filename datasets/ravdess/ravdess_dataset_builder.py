"""RAVDESS: 24 actors speak and 23 sing two sentences with eight (song: six) emotions (Livingstone and Russo, 2018)."""

import re

from ser_jax.data import corpus

# The fields of a file name such as 03-01-06-01-02-01-12: modality, channel, emotion, intensity, statement, take, actor.
NAME = re.compile(r'03-0[12]-0[1-8]-0[12]-0[12]-0[12]-(0[1-9]|1\d|2[0-4])')
LIKE = re.compile(r'\d\d-\d\d-')
CHANNELS = {'01': 'speech', '02': 'song'}
EMOTIONS = dict(
    zip(
        ('01', '02', '03', '04', '05', '06', '07', '08'),
        ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised'),
        strict=True,
    )
)
INTENSITIES = {'01': 'normal', '02': 'strong'}
STATEMENTS = {'01': 'Kids are talking by the door', '02': 'Dogs are sitting by the door'}
SEXES = ('female', 'male')  # by the parity of the actor's number


class Builder(corpus.CorpusBuilder):
    """Speech and song, from a folder or zips the user has, else from Zenodo."""

    HOMEPAGE = 'https://zenodo.org/records/1188976'
    LICENSE = 'CC BY-NC-SA 4.0'

    def recordings(self, dl_manager):
        folder = self.manual_dir(dl_manager)
        for audio in corpus.audio_files(folder):
            if not NAME.fullmatch(audio.stem):
                kind = 'unknown name' if LIKE.match(audio.stem) else 'ignored'
                yield corpus.Skipped(audio.source, kind, 'not a RAVDESS name')
                continue
            modality, channel, emotion, intensity, statement, _, actor = audio.stem.split('-')
            yield corpus.Recording(
                id=audio.stem,
                speaker=f'ravdess_{actor}',
                sex=SEXES[int(actor) % 2],
                emotion=EMOTIONS[emotion],
                label=emotion,
                text=STATEMENTS[statement],
                intensity=INTENSITIES[intensity],
                channel=CHANNELS[channel],
                read=audio.read,
                source=audio.source,
            )
