"""TESS: 2 actresses, 200 words in one carrier phrase, 7 emotions.

Pichora-Fuller and Dupuis (2020).
"""

from ser_jax.corpora import builder, file_names


class Builder(builder.CorpusBuilder):
    """Speech, from the user's folder or zip."""

    TITLE = 'TESS, Pichora-Fuller and Dupuis (2020)'
    EMOTIONS = tuple(file_names.TESS_EMOTIONS.values())
    HOMEPAGE = 'https://doi.org/10.5683/SP2/E8H2MF'
    LICENSE = 'CC BY-NC-ND 4.0'
    RESEARCH_ONLY = True
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get it from https://doi.org/10.5683/SP2/E8H2MF and give the folder that holds it, zipped '
        'or not, as --manual_dir=FOLDER'
    )
    PUBLISHED_COUNTS = builder.PublishedCounts(
        utterances={'speech': dict.fromkeys(EMOTIONS, 400)},
        speakers={'speech': {'tess_oaf': 'female', 'tess_yaf': 'female'}},
    )

    def recordings(self, dl_manager):
        files = self.audio(dl_manager, file_names.TESS, 'OAF_back_angry.wav')
        yield from file_names.recordings(
            files, lambda a: file_names.tess(a.stem), r'(?i)(OA|YA)F?_', 'TESS'
        )
