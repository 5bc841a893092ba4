"""Recordings of the user, with emotions and speakers from sub-folders or a manifest."""

import pathlib

from ser_jax.corpora import builder, user_folder


class Builder(builder.CorpusBuilder):
    """Speech, from a folder, a zip or a manifest; the emotions are those found there."""

    LICENSE = 'as its owner says'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f'give the folder that holds your recordings as --manual_dir=FOLDER: {user_folder.HELP}'
    )
    TOLERANCE = 0.5  # not curated: bad files are reported, refused only if they are most

    def recordings(self, dl_manager):
        yield from user_folder.recordings(self.manual_dir(dl_manager), self.name)

    def manual_dir(self, dl_manager):
        """Return the given folder, zip or manifest.

        Raises:
          InputError: none is given, or --manual_dir is another file.
        """
        given = pathlib.Path(self._given_manual_dir or '').expanduser()
        suffix = given.suffix.lower()
        if given.is_file() and suffix in user_folder.MANIFESTS:
            return given
        if given.is_file() and suffix != '.zip':
            manifests = ', '.join(user_folder.MANIFESTS)
            raise builder.InputError(
                f'--manual_dir={given} is neither folder, zip nor manifest ({manifests}); save a '
                f'table as one of these (UTF-8); {self.MANUAL_DOWNLOAD_INSTRUCTIONS}'
            )
        folder = super().manual_dir(dl_manager)
        if folder is None:
            raise builder.InputError(self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        return folder
