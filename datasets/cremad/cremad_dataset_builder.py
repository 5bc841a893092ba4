"""CREMA-D: 91 actors, 12 sentences, 6 emotions at up to 3 intensities (Cao et al., 2014)."""

from ser_jax.corpora import builder, file_names

_SPEAKERS = {f'cremad_{actor}': file_names.cremad_sex(actor) for actor in range(1001, 1092)}


class Builder(builder.CorpusBuilder):
    """Speech, from the user's folder or zip."""

    TITLE = 'CREMA-D, Cao et al. (2014)'
    EMOTIONS = tuple(file_names.CREMAD_EMOTIONS.values())
    HOMEPAGE = 'https://github.com/CheyneyComputerScience/CREMA-D'
    LICENSE = 'Open Database License (ODbL) 1.0'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get it with git and git-lfs: `GIT_LFS_SKIP_SMUDGE=1 git clone '
        'https://github.com/CheyneyComputerScience/CREMA-D`, then in it `git lfs pull '
        "--include='AudioWAV/*'`, and give the folder as --manual_dir=FOLDER"
    )
    PUBLISHED_COUNTS = builder.PublishedCounts(  # 7,442 files, of which 1076_MTI_SAD_XX is silent
        utterances={'speech': {e: {'neutral': 1087, 'sad': 1270}.get(e, 1271) for e in EMOTIONS}},
        speakers={'speech': _SPEAKERS},
    )

    def recordings(self, dl_manager):
        files = self.audio(dl_manager, file_names.CREMAD, '1001_DFA_ANG_XX.wav')
        # A clone also has the mp3 presented to raters; some are silent or have other emotions.
        mp3 = [a for a in files if a.source.lower().endswith('.mp3')]
        yield from (builder.Skipped(a.source, 'ignored', 'mp3, made for the raters') for a in mp3)
        files = [a for a in files if not a.source.lower().endswith('.mp3')]
        yield from file_names.recordings(
            files, lambda a: file_names.cremad(a.stem), r'1\d\d\d_[A-Z]{3}_', 'CREMA-D'
        )
