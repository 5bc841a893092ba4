"""Example recordings for plots and listening.

Every emotion has the recordings at five quantiles of duration; one recording is shown before and
after augmentation.
"""

import bisect
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import augment, features, mel, wav
from ser_jax.contract import InputError
from ser_jax.data import utterances as opening
from ser_jax.data.utterances import Utterances
from ser_jax.emotions import ordered

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
DRAWS = 32  # draws per augmentation, of which those that change most are shown
LONGEST_S = 5.0  # maximum duration of the augmented recording


class Spectrogram(NamedTuple):
    """Front end for `features.extract`: power spectrogram in dB relative to a full-scale square.

    Hann windows of 25 ms, hop 10 ms.
    """

    rate_hz: int
    window_s: float = 0.025
    hop_s: float = 0.010

    @property
    def hop(self) -> int:
        return round(self.hop_s * self.rate_hz)

    def __call__(self, samples):
        """Return [..., 1 + T // hop, fft // 2 + 1] dB of [..., T]; bins: 0 Hz to rate / 2."""
        window = round(self.window_s * self.rate_hz)
        return mel.decibel(
            mel.power_spectrogram(samples, window, self.hop, 1 << (window - 1).bit_length()), 1e-10
        )


@dataclasses.dataclass(frozen=True)
class Example:
    """One recording at a quantile of the durations of its emotion.

    Attributes:
      mel: float32 [F, M] dB, as in the shards.
      samples: float32 [T] mono at `rate_hz`; None if the corpus has no build with samples.
      spectrogram: float32 [F, bins] dB, 0 Hz to `rate_hz` / 2; None if `samples` is.
    """

    corpus: str
    emotion: str
    quantile: float
    id: str
    seconds: float
    mel: np.ndarray
    samples: np.ndarray | None = None
    rate_hz: int = 0
    spectrogram: np.ndarray | None = None


class Change(NamedTuple):
    """An augmented recording: log-mel dB [F, M], and samples [T] at 16 kHz if they changed."""

    title: str
    mel: np.ndarray
    samples: np.ndarray | None = None


def built(name: str, directory: str = '') -> tuple[str, ...]:
    """Return the built configs of a corpus, the fastest to read first."""
    root = opening.data_dir(directory) / name
    return tuple(
        c
        for c in ('text', 'log_mel', 'waveform', 'native')
        if any((root / c).glob('[0-9]*.[0-9]*.[0-9]*'))
    )


class Sounds:
    """Samples of a built corpus, read by index or id from `native` or `waveform` shards."""

    def __init__(self, name: str, directory: str = ''):
        """Open the `native` build if there is one, else `waveform`.

        Raises:
          InputError: neither is built, or the build is damaged or fails its fingerprint.
        """
        there = built(name, directory)
        self.name, self.config = name, 'native' if 'native' in there else 'waveform'
        self._data = opening.data_source(name, opening.data_dir(directory), self.config).data

    def __call__(self, index: int, id: str, sha256: str = '') -> tuple[np.ndarray, int] | None:
        """Return the recording `id`, float32 [T] mono, and its rate; None if it is missing.

        Args:
          index: the index tried before a search.
          id: the id of the utterance.
          sha256: hash of its decoded samples, as in `Utterances.source_sha256`; '' = any.

        Raises:
          InputError: its record is damaged, or `id` has other samples in this build.
        """
        with self._readable():
            if not (index < len(self._data) and self._id(index) == id):
                # Shards are sorted by id.
                index = bisect.bisect_left(range(len(self._data)), id, key=self._id)
                if index == len(self._data) or self._id(index) != id:
                    return None
            example = self._data[index]
        if sha256 not in ('', _text(example['source_sha256'])):
            raise InputError(
                f'{self.name}/{id} is another sound in the {self.config} build than in the one '
                f'beside '
                'it; build both again from the same recordings, with --overwrite'
            )
        samples = example[self.config].astype(np.float32) / 32768
        return wav.mono(samples), int(
            example['rate_hz']
        ) if self.config == 'native' else features.RATE_HZ

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except Exception as e:  # a damaged record raises any error of its decoder
            raise InputError(
                f'corpus {self.name!r} ({self.config}) cannot be read ({type(e).__name__}: {e}); '
                'build it again with --overwrite'
            ) from e

    def _id(self, index: int) -> str:
        return _text(self._data[index]['id'])


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def examples(corpus: Utterances, sounds: Sounds | None = None) -> list[Example]:
    """Return the recordings nearest to five quantiles of duration for every emotion, each once.

    Spectrograms are computed in one batch per rate; without `sounds` there are only log-mels.
    """
    found = []
    for emotion in ordered(corpus.emotion):
        at = np.flatnonzero((corpus.emotion == emotion) & (corpus.seconds > 0))
        at = at[np.lexsort((at, corpus.seconds[at]))]
        chosen = {at[round(q * (len(at) - 1))]: q for q in reversed(QUANTILES) if len(at)}
        for index, quantile in reversed(chosen.items()):
            id, seconds = corpus.id[index], float(corpus.seconds[index])
            example = Example(corpus.names[0], emotion, quantile, id, seconds, _mel(corpus, index))
            if heard := sounds and sounds(int(index), id, corpus.source_sha256[index]):
                example = dataclasses.replace(example, samples=heard[0], rate_hz=heard[1])
            found.append(example)
    for rate_hz in sorted({e.rate_hz for e in found if e.samples is not None}):
        same = [i for i, e in enumerate(found) if e.rate_hz == rate_hz]
        for i, s in zip(
            same,
            features.extract([found[i].samples for i in same], Spectrogram(rate_hz)),
            strict=True,
        ):
            found[i] = dataclasses.replace(found[i], spectrogram=s)
    return found


def median_recording(
    corpus: Utterances, sounds: Sounds | None = None
) -> tuple[str, np.ndarray, np.ndarray | None]:
    """Return the first 5 s of the recording of median duration.

    Returns:
      (id, log-mel dB [F, M], samples [T] at 16 kHz or None without `sounds`).
    """
    at = np.flatnonzero(corpus.seconds > 0)
    index = int(at[np.lexsort((at, corpus.seconds[at]))][len(at) // 2])
    heard = sounds and sounds(index, corpus.id[index], corpus.source_sha256[index])
    samples = (
        wav.prepare(*heard, features.RATE_HZ)[: round(LONGEST_S * features.RATE_HZ)]
        if heard
        else None
    )
    return (
        corpus.id[index],
        _mel(corpus, index)[: round(LONGEST_S / features.LOG_MEL.hop_s)],
        samples,
    )


def changed_mel(frames: np.ndarray, mean: np.ndarray, key: int = 0) -> list[Change]:
    """Return log-mel augmentations of up to 5 s of dB frames [F, M]: the strongest of DRAWS draws.

    Masks are filled with the corpus mean, `mean` [M]: zero in the normalized frames that training
    masks.
    """
    F, M = frames.shape
    padded = np.pad(
        frames.astype(np.float32),
        ((0, round(LONGEST_S / features.LOG_MEL.hop_s) - F), (0, 0)),
        mode='edge',
    )
    drawn = {
        name: np.asarray(values)
        for name, values in _drawn_mel(jax.random.key(key), padded, F).items()
    }
    changes, lengths = [Change('as recorded', frames)], drawn['length']
    for i, word in ((lengths.argmax(), 'slower'), (lengths.argmin(), 'faster')):
        title = f'speed × {(F - 1) / max(1, lengths[i] - 1):.2f}: {word}'
        changes.append(Change(title, drawn['speed'][i][: lengths[i]]))
    louder, shifted = drawn['gain'][:, :F], drawn['shift'][:, :F]
    by = (louder - frames).mean((1, 2))
    changes += [
        Change(f'gain {by[i]:+.1f} dB'.replace('-', '−'), louder[i])
        for i in (by.argmin(), by.argmax())
    ]
    moved = drawn['ramp'][:, 0, M // 2] - M // 2
    for i in (moved.argmax(), moved.argmin()):
        what = 'down: a longer tract' if moved[i] > 0 else 'up: a shorter tract'
        changes.append(Change(f'{abs(moved[i]):.0f} bands {what}', shifted[i]))
    for word in ('time', 'band'):
        masked = np.where(drawn[word][:, :F], frames, mean)
        changes.append(
            Change(f'2 {word} masks', masked[((masked - frames) ** 2).sum((1, 2)).argmax()])
        )
    return changes


@jax.jit
def _drawn_mel(key, frames, length) -> dict:
    """Return DRAWS draws of every log-mel augmentation of frames [F M], `length` of them unpadded.

    Padded frames have one shape, so that one program serves every corpus.
    """
    keys = jax.random.split(key, 5)
    many = jnp.repeat(frames[None], DRAWS, 0)
    most, bands = (
        0.2,
        jnp.broadcast_to(jnp.arange(frames.shape[1], dtype=jnp.float32), many[:, :1].shape),
    )
    window = int(frames.shape[0] / (1 - most)) + 2
    speed, lengths = augment.speed(keys[0], many, jnp.full(DRAWS, length), window, most)
    kept = lambda key, widest, axis: augment.mask(key, jnp.ones_like(many), 2, widest, axis) > 0
    return {
        'speed': speed,
        'length': lengths,
        'gain': augment.gain(keys[1], many, 10.0),
        # The ramp of band indices, shifted by the same key, gives the size of the shift.
        'shift': augment.band_shift(keys[2], many, 5),
        'ramp': augment.band_shift(keys[2], bands, 5),
        'time': kept(keys[3], 30, 1),
        'band': kept(keys[4], 10, 2),
    }


def changed_samples(samples: np.ndarray, key: int = 0) -> list[Change]:
    """Return waveform augmentations of up to 5 s of samples [T] at 16 kHz.

    Noise at two SNRs and reverberation of two rooms; the strongest of DRAWS draws each.
    """
    T = len(samples)
    padded = np.pad(samples.astype(np.float32), (0, round(LONGEST_S * features.RATE_HZ) - T))
    made = {'as recorded': samples}
    for title, drawn in _drawn_samples(jax.random.key(key), padded, T).items():
        sounds = np.asarray(drawn)[:, :T]
        # The largest change; for rooms, the most reverberant draw.
        made[title] = sounds[((sounds - samples) ** 2).sum(1).argmax()]
    mels = features.extract(list(made.values()))
    return [Change(title, m, s) for (title, s), m in zip(made.items(), mels, strict=True)]


@jax.jit
def _drawn_samples(key, samples, length) -> dict:
    """Return title -> DRAWS waveform augmentations of samples [T], `length` of them unpadded."""
    keys, drawn = jax.random.split(key, 4), {}
    many, lengths = jnp.repeat(samples[None], DRAWS, 0), jnp.full(DRAWS, length)
    for k, snr_db in zip(keys[:2], (20.0, 5.0), strict=True):
        drawn[f'noise, {snr_db:.0f} dB SNR'] = augment.noise(
            k, many, lengths, (snr_db, snr_db), 1.0
        )
    for k, decay_s in zip(keys[2:], (0.3, 0.8), strict=True):
        room = augment.reverb(k, many, lengths, (decay_s, decay_s), 1.0, features.RATE_HZ)
        drawn[f'reverberation, T60 {decay_s} s'] = room
    return drawn


def _mel(corpus: Utterances, index: int) -> np.ndarray:
    """Return the log-mel of one utterance of log-mel or waveform shards: float32 [F, M] dB."""
    values = corpus.read(index)
    return (
        features.extract([values])[0] if corpus.source == 'waveform' else values.astype(np.float32)
    )


def shown(found: Sequence[Example]) -> list[dict]:
    """Return the table of the recordings on the sheets."""
    fields = ('corpus', 'emotion', 'quantile', 'id', 'seconds', 'rate_hz')
    return [{f: getattr(e, f) for f in fields} for e in found]
