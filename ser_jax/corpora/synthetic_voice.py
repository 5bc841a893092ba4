"""Synthesis of a line of `synthetic_script` by eSpeak NG, with prosody added to its samples."""

import numpy as np

from ser_jax.corpora import espeak
from ser_jax.corpora.synthetic_script import Line, generator


def perform(line: Line) -> tuple[np.ndarray, int]:
    """Synthesize a line: samples of 16 bits as float32 [T] in (-1, 1), about 1 to 4 s; rate in Hz.

    Raises:
      InputError: eSpeak NG is not installed.
    """
    p, speaker = line.prosody, line.speaker
    rng = generator(line.seed, 'performance', line.id)
    rising, exclaimed = rng.random(2) < 1 / (1 + np.exp([-p.rise, -p.stress]))
    samples, rate_hz = espeak.speak(
        line.text[:-1] + ('?' if rising else '!' if exclaimed else '.'),
        speaker.voice,
        rate=_within('rate', speaker.rate * 2**p.rate),
        # eSpeak's pitch doubles over 50 units.
        pitch=_within('pitch', 50 + 50 / 12 * (speaker.pitch + p.pitch)),
        range=_within('range', 50 * 2**p.range),
        word_gap=_within('word_gap', p.pause),
    )
    voice = _trim(samples / 32768, rate_hz)
    voice = _tremble(
        voice, rate_hz, np.clip(p.tremor, 0, 0.6), rng.uniform(5, 8), rng.uniform(0, 2 * np.pi)
    )
    voice = _tilt(voice, rate_hz, p.tilt)
    voice = voice + 10 ** (p.breath / 20) * _envelope(voice, rate_hz) * _hiss(rng, voice.size)
    voice *= 10 ** ((-30 + p.level) / 20) / np.sqrt(np.mean(voice**2))
    before, after = (round(rate_hz * s) for s in rng.uniform(0.05, 0.25, 2))
    sound = np.pad(voice, (before, after))
    # Microphone noise, so that a pause is not digital silence.
    sound += 10 ** (rng.uniform(-75, -65) / 20) * rng.standard_normal(sound.size)
    sound *= min(1, 0.99 / np.abs(sound).max())
    return (np.rint(sound * 32768) / 32768).astype(np.float32), rate_hz


def _within(setting: str, value: float) -> int:
    return round(float(np.clip(value, *espeak.LIMITS[setting])))


def _trim(voice: np.ndarray, rate_hz: int) -> np.ndarray:
    """Trim leading and trailing silence, which eSpeak NG lengthens at low rates."""
    loud = np.flatnonzero(_envelope(voice, rate_hz) > 1e-3)
    return voice[loud[0] : loud[-1] + 1]


def _tremble(
    voice: np.ndarray, rate_hz: int, depth: float, trembles_hz: float, phase: float
) -> np.ndarray:
    """Modulate loudness by `depth` and pitch by up to a sixth of it."""
    t = np.arange(voice.size)
    step = 2 * np.pi * trembles_hz / rate_hz
    shift = depth / 6 / step * (np.sin(step * t + phase) - np.sin(phase))
    return np.interp(t + shift, t, voice) * (1 + depth * np.cos(step * t + phase))


def _tilt(voice: np.ndarray, rate_hz: int, db_per_octave: float) -> np.ndarray:
    """Tilt the spectrum about 500 Hz, up to three octaves from it."""
    size = 1 << (voice.size - 1).bit_length()  # an FFT of any other length can be 50 times slower
    octaves = np.clip(np.log2(np.maximum(np.fft.rfftfreq(size, 1 / rate_hz), 1) / 500), -3, 3)
    turned = np.fft.rfft(voice, size) * np.exp(np.log(10) / 20 * db_per_octave * octaves)
    return np.fft.irfft(turned, size)[: voice.size]


def _envelope(voice: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the RMS over 20 ms around each sample."""
    half = rate_hz // 100
    power = np.cumsum(np.pad(voice**2, (half + 1, half)))
    return np.sqrt(np.maximum(power[2 * half + 1 :] - power[: -2 * half - 1], 0) / (2 * half + 1))


def _hiss(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Draw noise of unit power whose density rises with frequency, like that of breath."""
    return np.diff(rng.standard_normal(samples + 1)) / np.sqrt(2)
