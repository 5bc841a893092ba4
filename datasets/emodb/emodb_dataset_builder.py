"""EMO-DB: 10 German actors, 10 sentences, 7 emotions with boredom (Burkhardt et al., 2005)."""

from ser_jax.corpora import builder, file_names

_COUNTS = {
    'neutral': 79,
    'happy': 71,
    'sad': 62,
    'angry': 127,
    'fearful': 69,
    'disgust': 46,
    'boredom': 81,
}
_SPEAKERS = {
    f'emodb_{number}': file_names.emodb_sex(number) for number in file_names.EMODB_SPEAKERS
}


class Builder(builder.CorpusBuilder):
    """Speech, from the user's folder or zip."""

    TITLE = 'EMO-DB, Burkhardt et al. (2005)'
    EMOTIONS = tuple(file_names.EMODB_EMOTIONS.values())
    HOMEPAGE = 'http://emodb.bilderbar.info/'
    LICENSE = 'free for research use'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get download.zip from http://emodb.bilderbar.info/download/ and give the folder that '
        'holds it, unpacked or not, as --manual_dir=FOLDER'
    )
    NAMESAKES = (
        'give the folder wav as --manual_dir: EMO-DB 2.0 has laryngograms, which are no speech, '
        'under the same names in the folder laryngo'
    )
    PUBLISHED_COUNTS = builder.PublishedCounts(
        utterances={'speech': _COUNTS}, speakers={'speech': _SPEAKERS}
    )

    def recordings(self, dl_manager):
        files = self.audio(dl_manager, file_names.EMODB, '03a01Fa.wav')
        yield from file_names.recordings(
            files, lambda a: file_names.emodb(a.stem), r'\d\d[ab]\d\d', 'EMO-DB'
        )
