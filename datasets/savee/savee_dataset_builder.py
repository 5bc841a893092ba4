"""SAVEE: 4 Englishmen, 7 emotions, 15 sentences per emotion and 30 neutral ones.

Haq and Jackson (2010).
"""

import re
from pathlib import PurePath

from ser_jax.corpora import builder, file_names

_SPEAKERS = {f'savee_{name.lower()}': 'male' for name in file_names.SAVEE_SPEAKERS}


class Builder(builder.CorpusBuilder):
    """Speech, from the user's folder or zip: AudioData/DC/a01.wav, or flat as DC_a01.wav."""

    TITLE = 'SAVEE, Haq and Jackson (2010)'
    EMOTIONS = tuple(file_names.SAVEE_EMOTIONS.values())
    HOMEPAGE = 'http://kahlan.eps.surrey.ac.uk/savee/'
    LICENSE = 'research use only, on registration with the University of Surrey'
    RESEARCH_ONLY = True
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'register at http://kahlan.eps.surrey.ac.uk/savee/ to get it, and give the folder that '
        'holds it, zipped or not, as --manual_dir=FOLDER'
    )
    PUBLISHED_COUNTS = builder.PublishedCounts(
        utterances={'speech': {e: 4 * (30 if e == 'neutral' else 15) for e in EMOTIONS}},
        speakers={'speech': _SPEAKERS},
    )

    def recordings(self, dl_manager):
        files = self.audio(dl_manager, file_names.SAVEE, 'DC/a01.wav or DC_a01.wav')
        yield from file_names.recordings(
            files, _parse, r'(DC|JE|JK|KL)_|(sa|su|[adfhn])\d\d', 'SAVEE'
        )


def _parse(audio: builder.Audio) -> file_names.FileName | None:
    # The speaker's folder may be the given folder itself, or a zip.
    path = PurePath(re.sub(r'(?i)\.zip:', '/', audio.source))
    return file_names.savee(audio.stem, path.parent.name)
