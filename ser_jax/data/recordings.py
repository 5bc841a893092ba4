"""Samples of a built corpus by id, from a build beside the one that a run reads."""

from collections.abc import Iterator

import numpy as np

from ser_jax.audio import conditions, front_ends, wav
from ser_jax.contract import InputError
from ser_jax.corpora import schema, shards
from ser_jax.data.utterances import Utterances, data_dir, decoded


class Recordings:
    """Samples of a built corpus by id, at one rate, after a check of its fingerprint.

    Args:
      corpus: its name.
      directory: folder of the builds, see `utterances.data_dir`.
      rate_hz: rate of the samples; `waveform` has 16 kHz, others are made from `native`.

    Raises:
      InputError: the build is missing (the message has the command that makes it) or damaged.
    """

    def __init__(self, corpus: str, directory: str, rate_hz: int):
        stored = rate_hz == front_ends.WAVEFORM.rate_hz
        self.config = front_ends.WAVEFORM.name if stored else 'native'
        self.rate_hz = rate_hz
        name = corpus.partition('/')[0]
        try:
            self._opened = shards.opened(name, data_dir(directory), self.config)
        except InputError as e:
            raise InputError(f'--conditions distorts samples: {e}') from e
        self.place: dict[str, int] = {}
        self.sha256: list[str] = []
        self.speaker: list[str] = []
        self._rates: list[int] = []
        self._spoken: list[str] = []
        self._others: dict[str, list[str]] = {}
        found = schema.fingerprint(self._examples())
        shards.compare(found, self._opened.fingerprint, self._opened.title)

    def _examples(self) -> Iterator[dict]:
        """Yield the examples after their fields were kept."""
        for at, example in enumerate(shards.examples(self._opened.data, self._opened.title)):
            id = decoded(example['id'])
            self.place[id] = at
            self.sha256.append(decoded(example['source_sha256']))
            self.speaker.append(decoded(example['speaker']))
            self._rates.append(int(example['rate_hz']))
            if decoded(example['channel']) == conditions.SPEECH:
                self._spoken.append(id)
            yield example

    def check(self, utterances: Utterances, indices: np.ndarray) -> None:
        """Raise InputError if the samples of an utterance are missing or of another recording."""
        for i in indices:
            id = utterances.id[i]
            at = self.place.get(id)
            if at is None or self.sha256[at] != utterances.source_sha256[i]:
                problem = 'is missing there' if at is None else 'is another recording there'
                raise InputError(
                    f'--conditions distorts the samples of {self._opened.title}, which was built '
                    f'from other recordings than the features of the run: {id} {problem}; build '
                    'both configs from the same recordings'
                )

    def samples(self, id: str) -> np.ndarray:
        """Return mono samples, float32 [T], as front ends take them."""
        at = self.place[id]
        values = np.asarray(self._opened.values(at), np.float32) / 32768
        if self.config == front_ends.WAVEFORM.name:
            return values
        return wav.prepare(values, self._rates[at], self.rate_hz)

    def others(self, speaker: str) -> list[str]:
        """Return the ids of the speech of other speakers, sorted."""
        if speaker not in self._others:
            found = [id for id in self._spoken if self.speaker[self.place[id]] != speaker]
            self._others[speaker] = sorted(found)
        return self._others[speaker]

    def __len__(self) -> int:
        return len(self.place)
