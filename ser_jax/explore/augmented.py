"""A recording before and after each augmentation of training, for plots.

Each augmentation is drawn `DRAWS` times; the draws that change most are shown.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ser_jax.audio import augment, features
from ser_jax.explore.exemplars import LONGEST_S

DRAWS = 32  # draws per augmentation


class Change(NamedTuple):
    """An augmented recording: log-mel dB [F, M], and samples [T] at 16 kHz if they changed."""

    title: str
    mel: np.ndarray
    samples: np.ndarray | None = None


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
    amplified, shifted = drawn['gain'][:, :F], drawn['shift'][:, :F]
    gain_db = (amplified - frames).mean((1, 2))
    changes += [
        Change(f'gain {gain_db[i]:+.1f} dB'.replace('-', '−'), amplified[i])
        for i in (gain_db.argmin(), gain_db.argmax())
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
    most = 0.2
    bands = jnp.arange(frames.shape[1], dtype=jnp.float32)
    bands = jnp.broadcast_to(bands, many[:, :1].shape)
    window = int(frames.shape[0] / (1 - most)) + 2
    speed, lengths = augment.speed(keys[0], many, jnp.full(DRAWS, length), window, most)

    def mask(key, widest, axis):
        return augment.mask(key, jnp.ones_like(many), 2, widest, axis) > 0

    return {
        'speed': speed,
        'length': lengths,
        'gain': augment.gain(keys[1], many, 10.0),
        # The ramp of band indices, shifted by the same key, gives the size of the shift.
        'shift': augment.band_shift(keys[2], many, 5),
        'ramp': augment.band_shift(keys[2], bands, 5),
        'time': mask(keys[3], 30, 1),
        'band': mask(keys[4], 10, 2),
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
