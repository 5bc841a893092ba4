"""Distortions of recordings: noise at a ratio to the speech, level, band, codecs, room, tempo.

Pure functions on samples [T], float32 in [-1, 1]. All but `silence` and `speed` keep the length and
the position of the speech. A result beyond full scale is scaled down to it rather than clipped.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import soundfile

from ser_jax.audio import wav

# Function of (samples [T], rate_hz, rng); returns samples [T'].
Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
# The same with other recordings [T_i] as further argument, which are mixed in.
Mixture = Callable[[np.ndarray, int, np.random.Generator, Sequence[np.ndarray]], np.ndarray]

_FRAME_S = 0.02  # frames whose power decides whether there is speech in them
_ACTIVE_DB = 30.0  # frames this far below the loudest are pauses
_CODED_HZ = 16_000  # rate of coded speech
_STEEPNESS = 8  # order of the band's edges
# Range of bit rates, bit/s, that libsndfile maps to compression levels 0 ... 1, for mono at 16 kHz.
_RATES = {'MP3': (160_000, 8_000), 'OGG': (256_000, 6_000)}


def active_power(samples: np.ndarray, rate_hz: int) -> float:
    """Return the mean power of the frames of 20 ms at most 30 dB below the loudest; 0 of silence.

    Unlike the mean power of a recording it does not depend on the pauses before and after the
    words, whose length differs between corpora.
    """
    size = round(_FRAME_S * rate_hz)
    padded = np.pad(np.asarray(samples, float), (0, -len(samples) % size))
    power = (padded.reshape(-1, size) ** 2).mean(1)
    active = power >= power.max(initial=0.0) * 10 ** (-_ACTIVE_DB / 10)
    return float(power[active].mean()) if power.any() else 0.0


def mixed(samples: np.ndarray, noise: np.ndarray, snr_db: float, rate_hz: int) -> np.ndarray:
    """Return the sum of samples and noise [T], scaled so that their ratio is `snr_db`.

    The ratio is that of the speech's `active_power` to the mean power of the noise. Samples without
    speech, or with a silent noise, are unchanged.
    """
    power = float(np.mean(np.square(noise, dtype=float))) if noise.size else 0.0
    if not power:
        return np.asarray(samples, np.float32)
    scale = np.sqrt(active_power(samples, rate_hz) / power * 10 ** (-snr_db / 10))
    return _within(samples + scale * noise)


def white(snr_db: float) -> Change:
    """Add white noise."""

    def change(samples, rate_hz, rng):
        return mixed(samples, rng.standard_normal(samples.size), snr_db, rate_hz)

    return change


def babble(snr_db: float) -> Mixture:
    """Add the other recordings at equal levels, each repeated from a random start."""

    def change(samples, rate_hz, rng, others):
        noise = np.zeros(samples.size)
        for other in others:
            power = active_power(other, rate_hz)
            if power:
                noise += _repeated(other, samples.size, rng) / np.sqrt(power)
        return mixed(samples, noise, snr_db, rate_hz)

    return change


def sounds(snr_db: float) -> Mixture:
    """Add one other recording, without the zeros at its ends, repeated from a random start."""

    def change(samples, rate_hz, rng, others):
        sound = np.trim_zeros(others[0])
        noise = _repeated(sound, samples.size, rng)
        if sound.size and not noise.any():  # a pause longer than the speech
            noise = np.resize(np.roll(sound, -int(np.abs(sound).argmax())), samples.size)
        return mixed(samples, noise, snr_db, rate_hz)

    return change


def gain(db: float) -> Change:
    """Change the level; if it rises, at most until the loudest sample is at full scale."""

    def change(samples, rate_hz, rng):
        peak = float(np.abs(samples).max(initial=0.0))
        factor = min(10 ** (db / 20), max(1.0, 1 / peak)) if db > 0 and peak else 10 ** (db / 20)
        return (samples * factor).astype(np.float32)

    return change


def clip(below_db: float) -> Change:
    """Limit samples to `below_db` dB below the largest."""

    def change(samples, rate_hz, rng):
        most = np.abs(samples).max(initial=0.0) * 10 ** (-below_db / 20)
        return np.clip(samples, -most, most).astype(np.float32)

    return change


def band(low_hz: float, high_hz: float) -> Change:
    """Keep a band of frequencies, without delay; its edges are those of a Butterworth filter."""

    def change(samples, rate_hz, rng):
        size = samples.size + rate_hz // 10  # zeros, so that the end does not reach the beginning
        hz = np.fft.rfftfreq(size, 1 / rate_hz)
        low = (low_hz / np.maximum(hz, 1e-3)) ** (2 * _STEEPNESS)
        high = (hz / high_hz) ** (2 * _STEEPNESS)
        kept = np.fft.rfft(samples, size) / np.sqrt((1 + low) * (1 + high))
        return _within(np.fft.irfft(kept, size)[: samples.size])

    return change


def rate(lower_hz: int) -> Change:
    """Resample to a lower rate and back."""

    def change(samples, rate_hz, rng):
        return _within(
            _resampled(_resampled(samples, rate_hz, lower_hz), lower_hz, rate_hz, samples.size)
        )

    return change


def codec(container: str, subtype: str, bits_per_s: int) -> Change:
    """Encode at 16 kHz with libsndfile, and decode.

    Args:
      container: 'MP3' or 'OGG'.
      subtype: of the container, 'MPEG_LAYER_III' or 'OPUS'.
      bits_per_s: bit rate of the mono signal.
    """
    most, least = _RATES[container]
    level = (most - bits_per_s) / (most - least)
    # Of mp3, files of a constant rate have no header with the delay of the encoder.
    mode = {'bitrate_mode': 'AVERAGE'} if container == 'MP3' else {}

    def change(samples, rate_hz, rng):
        coded, stream = _resampled(samples, rate_hz, _CODED_HZ), io.BytesIO()
        if not coded.any():
            return np.asarray(samples, np.float32)
        form = {'format': container, 'subtype': subtype}
        soundfile.write(stream, coded, _CODED_HZ, **form, compression_level=level, **mode)
        stream.seek(0)
        decoded, _ = soundfile.read(stream, dtype='float32')
        return _within(_resampled(decoded, _CODED_HZ, rate_hz, samples.size))

    return change


def reverb(decay_s: float) -> Change:
    """Add the reverberation of a room with this T60, as strong as the direct sound.

    The model is that of `augment.reverb`: noise that decays exponentially (Polack). The direct
    sound keeps its position and level; the tail past the end is cut.
    """

    def change(samples, rate_hz, rng):
        tail = rng.standard_normal(round(decay_s * rate_hz))
        tail *= 10 ** (-3 * np.arange(1, len(tail) + 1) / (rate_hz * decay_s))  # -60 dB at T60
        response = np.concatenate([[1.0], tail / np.sqrt(np.sum(tail**2))])
        size = samples.size + len(response)
        room = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
        return _within(room[: samples.size])

    return change


def speed(percent: int) -> Change:
    """Play at `percent` of the speed, tempo and pitch together: T' = ceil(100 T / percent)."""

    def change(samples, rate_hz, rng):
        from scipy.signal import resample_poly

        return resample_poly(np.asarray(samples, np.float32), 100, percent).astype(np.float32)

    return change


def silence(seconds: float) -> Change:
    """Put digital silence before the recording."""

    def change(samples, rate_hz, rng):
        return np.pad(np.asarray(samples, np.float32), (round(seconds * rate_hz), 0))

    return change


def _within(samples: np.ndarray) -> np.ndarray:
    """Return float32 samples, scaled down if they are beyond full scale."""
    return (samples / max(1.0, np.abs(samples).max(initial=0.0))).astype(np.float32)


def _repeated(samples: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return `size` samples from a random start on, going on at the beginning after the end."""
    if not samples.size:
        return np.zeros(size)
    return np.resize(np.roll(samples, -int(rng.integers(samples.size))), size)


def _resampled(
    samples: np.ndarray, from_hz: int, to_hz: int, size: int | None = None
) -> np.ndarray:
    """Return samples at another rate; with `size`, cut or padded with zeros to that length."""
    values = wav.resample(np.asarray(samples, np.float32), from_hz, to_hz)
    return values if size is None else np.pad(values[:size], (0, max(0, size - values.size)))
