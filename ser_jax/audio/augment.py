"""Augmentation inside the compiled step, as pure functions of a key and a batch.

Augmented data is never stored, so it cannot cross a split. Log-mel functions take dB frames [B F M]
with lengths [B]; waveform functions take samples [B T] in [-1, 1].
"""

import jax
import jax.numpy as jnp

from ser_jax.contract import InputError


def check(config, layout, window_s: float) -> None:
    """Raise if a knob of augmentation does not fit the features or windows.

    Args:
      config: the knobs of `augment`.
      layout: `contract.Layout` of the frames.
      window_s: length of a window.

    Raises:
      InputError: gain or shifts of features that are not in decibels; shifts or masks wider than
        their axis.
    """
    for knob in ('gain_db', 'band_shift', 'scored_shifts'):
        if config[knob] and not layout.decibels:
            raise InputError(
                f'augment.{knob} needs features in decibels, which these are not; set it to 0'
            )
    most = {
        'band_shift': max(0, layout.bands - 1),
        'scored_shifts': max(0, layout.bands - 1),
        'band_mask': layout.bands,
    }
    most |= {} if layout.steps else {'time_mask_s': window_s}
    for knob, limit in most.items():
        if config[knob] > limit:
            raise InputError(
                f'augment.{knob} must be at most {limit} with {layout.bands} bands and windows of '
                f'{window_s} s, got {config[knob]}'
            )


def speed(key, frames, length, window: int, most: float):
    """Resample frames along time at a rate drawn from 1 -+ `most`, and cut them to `window` frames.

    Linear interpolation along time changes the tempo, not the pitch.

    Returns:
      Frames [B window M] and lengths [B].
    """
    if not most:
        return frames[:, :window], jnp.minimum(length, window)
    rate = jax.random.uniform(key, (frames.shape[0], 1), minval=1 - most, maxval=1 + most)
    position = rate * jnp.arange(window)
    low = jnp.floor(position).astype(jnp.int32)
    last = jnp.maximum(length - 1, 0)[:, None]

    def take(index):
        return jnp.take_along_axis(frames, jnp.clip(index, 0, last)[..., None], axis=1)

    share = (position - low)[..., None]
    resampled = take(low) * (1 - share) + take(low + 1) * share
    return resampled, jnp.minimum(jnp.floor(last[:, 0] / rate[:, 0]).astype(jnp.int32) + 1, window)


def gain(key, frames, most_db: float):
    """Add an offset drawn from -+ `most_db` to all dB frames of an utterance: a change of level."""
    return frames + jax.random.uniform(
        key, (frames.shape[0], 1, 1), minval=-most_db, maxval=most_db
    )


def band_shift(key, frames, most: int):
    """Shift bands by an integer drawn from -+ `most`, as a shorter or longer vocal tract would.

    The outermost band is repeated.
    """
    return shifted(frames, jax.random.randint(key, (frames.shape[0], 1), -most, most + 1))


def shifted(frames, shift):
    """Return frames [B F M] with bands moved up by `shift` [B 1]; the outermost is repeated."""
    source = jnp.clip(jnp.arange(frames.shape[2]) - shift, 0, frames.shape[2] - 1)
    return jnp.take_along_axis(frames, source[:, None, :], axis=2)


def mask(key, frames, count: int, widest: int, axis: int):
    """Set `count` random stripes of width 0 to `widest` to 0, as SpecAugment (Park et al. 2019).

    `axis` is 1 for time masks, 2 for band masks.
    """
    size = frames.shape[axis]
    width_key, start_key = jax.random.split(key)
    width = jax.random.randint(width_key, (frames.shape[0], count, 1), 0, widest + 1)
    start = jnp.floor(jax.random.uniform(start_key, width.shape) * (size - width + 1))
    index = jnp.arange(size)
    hidden = ((index >= start) & (index < start + width)).any(1)
    return jnp.where(hidden[:, :, None] if axis == 1 else hidden[:, None, :], 0, frames)


def mixup_share(key, batch: int, alpha: float):
    """Return each utterance's weight in its mixup, [B] in [0.5, 1] (Zhang et al. 2018).

    It is drawn from Beta(alpha, alpha) and the larger of share and 1 - share.
    """
    share = jax.random.beta(key, alpha, alpha, (batch,))
    return jnp.maximum(share, 1 - share)


def noise(key, samples, length, snr_db: tuple[float, float], probability: float):
    """Add noise between white and pink to utterances chosen with `probability`.

    The SNR is drawn from `snr_db` (lowest, highest).
    """
    keys = jax.random.split(key, 4)
    batch, size = samples.shape
    spectrum = jnp.fft.rfft(jax.random.normal(keys[0], samples.shape))
    # The amplitude falls as f^-slope: 0 is white noise, 0.5 pink.
    slope = jax.random.uniform(keys[1], (batch, 1), maxval=0.5)
    shaped = jnp.fft.irfft(
        spectrum * jnp.maximum(jnp.arange(spectrum.shape[1]), 1.0) ** -slope, size
    )
    real = jnp.arange(size) < length[:, None]

    def power(x):
        energy = jnp.sum(jnp.where(real, x, 0) ** 2, 1, keepdims=True)
        return energy / jnp.maximum(length, 1)[:, None]

    snr = jax.random.uniform(keys[2], (batch, 1), minval=snr_db[0], maxval=snr_db[1])
    scale = jnp.sqrt(power(samples) / jnp.maximum(power(shaped), 1e-12) * 10 ** (-snr / 10))
    chosen = jax.random.uniform(keys[3], (batch, 1)) < probability
    return jnp.where(real & chosen, samples + scale * shaped, samples)


def reverb(key, samples, length, decay_s: tuple[float, float], probability: float, rate_hz: int):
    """Add reverberation to each utterance with `probability`, by Polack's room model.

    The impulse response is exponentially decaying noise with a T60 drawn from `decay_s`. The direct
    sound keeps its position and level; the tail past the utterance's end is cut.
    """
    keys = jax.random.split(key, 4)
    batch, size = samples.shape
    taps = int(decay_s[1] * rate_hz)
    decay = jax.random.uniform(keys[0], (batch, 1), minval=decay_s[0], maxval=decay_s[1])
    envelope = 10 ** (-3 * jnp.arange(1, taps) / (rate_hz * decay))  # -60 dB at T60
    tail = jax.random.normal(keys[1], (batch, taps - 1)) * envelope
    wet = jax.random.uniform(keys[2], (batch, 1), minval=0.1, maxval=0.7)
    tail = wet * tail / jnp.sqrt(jnp.sum(tail**2, 1, keepdims=True) + 1e-12)
    response = jnp.concatenate([jnp.ones((batch, 1)), tail], 1)
    full = size + taps
    room = jnp.fft.irfft(jnp.fft.rfft(samples, full) * jnp.fft.rfft(response, full), full)[:, :size]
    chosen = jax.random.uniform(keys[3], (batch, 1)) < probability
    real = jnp.arange(size) < length[:, None]
    return jnp.where(chosen & real, room, samples)
