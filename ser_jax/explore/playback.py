"""Samples of utterances for playback: those that the model of a run reads."""

import numpy as np

from ser_jax.audio import features, front_ends, wav
from ser_jax.contract import InputError
from ser_jax.data.utterances import Utterances
from ser_jax.explore.exemplars import Sounds, built

RATE_HZ = features.RATE_HZ


class Playback:
    """Samples at 16 kHz of opened utterances, from their own shards or from another build.

    Args:
      utterances: as a run opens them.
      directory: folder of the built corpora, see `data.utterances.data_dir`.
      trim_db: threshold at which `utterances` were trimmed.
    """

    def __init__(self, utterances: Utterances, directory: str, trim_db: float):
        self.utterances, self.directory, self.trim_db = utterances, directory, trim_db
        self._sounds: dict[str, Sounds | str] = {}

    def __call__(self, index: int) -> tuple[np.ndarray | None, str]:
        """Return the samples of an utterance, float32 [T], and a remark.

        Without samples the remark is the reason: no build holds them, or they are others.
        """
        u = self.utterances
        if u.source == front_ends.WAVEFORM.name:
            return u.read(index).astype(np.float32) / 32768, ''
        name, id = u.names[u.corpus[index]], str(u.id[index])
        sounds = self._opened(name)
        if isinstance(sounds, str):
            return None, sounds
        try:
            found = sounds(index, id, str(u.source_sha256[index]))
        except InputError as e:
            return None, f'without audio: {e}'
        if found is None:
            return None, f'without audio: {name}/{id} is missing in the {sounds.config} build'
        samples = wav.prepare(*found, RATE_HZ)
        if u.source != features.LOG_MEL.name:
            return samples, 'the audio is the whole recording, of which the model reads an excerpt'
        frames = features.LOG_MEL.stored(samples)
        first, last = features.audible_span(frames, self.trim_db)
        hop = features.LOG_MEL.hop
        return samples[first * hop : last * hop], ''

    def _opened(self, name: str) -> Sounds | str:
        """Return the samples of a corpus, or the reason why there are none."""
        if name not in self._sounds:
            config = {'native', 'waveform'} & set(built(name, self.directory))
            where = f' --data_dir={self.directory}' if self.directory else ''
            reason = (
                f'without audio: no build of {name} holds samples; python -m ser_jax.build '
                f'datasets/{name} --config=waveform{where} adds one'
            )
            try:
                self._sounds[name] = Sounds(name, self.directory) if config else reason
            except InputError as e:
                self._sounds[name] = f'without audio: {e}'
        return self._sounds[name]


def picture(samples: np.ndarray) -> np.ndarray:
    """Return the log-mel spectrogram of samples at 16 kHz, float32 [F, M] dB."""
    return features.extract([samples])[0]
