"""RAVDESS: 24 actors speak and 23 sing 2 sentences with up to 8 emotions.

Livingstone and Russo (2018).
"""

import re

from ser_jax.corpora import builder, file_names

VIDEO = re.compile(r'0[12]-\d\d-')
EMOTIONS = file_names.RAVDESS_EMOTIONS

_SEXES = {f'ravdess_{actor:02d}': file_names.ravdess_sex(actor) for actor in range(1, 25)}
_SINGERS = {speaker: sex for speaker, sex in _SEXES.items() if speaker != 'ravdess_18'}
_FILES = 'https://zenodo.org/records/1188976/files/'


class Builder(builder.CorpusBuilder):
    """Speech and song, from the user's folder or zips, else from Zenodo."""

    TITLE = 'RAVDESS, Livingstone and Russo (2018)'
    EMOTIONS = EMOTIONS
    HOMEPAGE = 'https://zenodo.org/records/1188976'
    LICENSE = 'CC BY-NC-SA 4.0'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get Audio_Speech_Actors_01-24.zip and Audio_Song_Actors_01-24.zip from '
        'https://zenodo.org/records/1188976 and give the folder that holds them, unpacked or not, '
        'as --manual_dir=FOLDER'
    )
    ARCHIVES = (  # md5 from Zenodo
        builder.Archive(
            f'{_FILES}Audio_Speech_Actors_01-24.zip', 208468073, 'bc696df654c87fed845eb13823edef8a'
        ),
        builder.Archive(
            f'{_FILES}Audio_Song_Actors_01-24.zip', 225505317, '5411230427d67a21e18aa4d466e6d1b9'
        ),
    )
    # Per speaker and emotion: 2 statements x 2 repetitions x 2 intensities (neutral: 1).
    PUBLISHED_COUNTS = builder.PublishedCounts(
        utterances={
            'speech': {e: 24 * (4 if e == 'neutral' else 8) for e in EMOTIONS},
            'song': {e: 23 * (4 if e == 'neutral' else 8) for e in EMOTIONS[:6]},
        },
        speakers={'speech': _SEXES, 'song': _SINGERS},
    )

    def recordings(self, dl_manager):
        files = self.audio(dl_manager, file_names.RAVDESS, '03-01-06-01-02-01-12.wav')
        videos = [a for a in files if VIDEO.match(a.stem)]
        yield from (builder.Skipped(a.source, 'ignored', 'sound of a video') for a in videos)
        others = [a for a in files if not VIDEO.match(a.stem)]
        yield from file_names.recordings(
            others, lambda a: file_names.ravdess(a.stem), r'\d\d-\d\d-', 'RAVDESS'
        )
