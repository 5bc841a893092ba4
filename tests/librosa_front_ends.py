"""The published front ends by librosa alone, and generated recordings for comparison."""

import warnings

import librosa
import numpy as np


def signals(rate_hz: int) -> dict[str, np.ndarray]:
    """Name -> float32 [T]; none has a whole number of hops."""
    random = np.random.default_rng(11)
    # With some noise: far below a frame's peak, FFTs of different libraries differ.

    def noisy(x, level=1e-3):
        return (x + level * random.standard_normal(len(x))).astype(np.float32)

    def seconds(s):
        return int(s * rate_hz) + 1

    t = np.arange(int(4.37 * rate_hz)) / rate_hz
    tones = sum(np.sin(2 * np.pi * hz * t) for hz in (220.5, 311.1, 659.3)) * 0.1 * (t < 1.9)
    burst = np.zeros(seconds(2.1))
    burst[seconds(1.0) : seconds(1.2)] = 0.3 * random.standard_normal(seconds(1.2) - seconds(1.0))
    return {
        'chirp': noisy(0.1 * np.sin(2 * np.pi * (80 * t + 700 * t**2))),
        'tones': noisy(tones),
        'burst': noisy(burst),
        'quiet': noisy(np.zeros(seconds(3.3)), 1e-4),
        'short': noisy(0.2 * np.sin(2 * np.pi * 300 * t[: seconds(0.713)])),
    }


def quietly(function, *args, **kwargs):
    """Call without librosa's warnings about short signals and signals without a pitch."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return function(*args, **kwargs)


def heard(samples, rate_hz, start_s, duration_s):
    start = round(start_s * rate_hz)
    return samples[start if len(samples) > start else 0 :][: round(duration_s * rate_hz)]


def mfcc_curve(samples):
    part = heard(samples, 44100, 0.5, 2.5)
    curve = quietly(librosa.feature.mfcc, y=part, sr=44100, n_mfcc=13).mean(0)
    return np.pad(curve, (0, 216 - len(curve)))


def stats162(samples, cut=True):
    part = heard(samples, 22050, 0.6, 2.5) if cut else samples
    parts = [
        librosa.feature.zero_crossing_rate(part),
        quietly(librosa.feature.chroma_stft, y=part, sr=22050),
        quietly(librosa.feature.mfcc, y=part, sr=22050),
        librosa.feature.rms(y=part),
        quietly(librosa.feature.melspectrogram, y=part, sr=22050),
    ]
    return np.concatenate([p.mean(1) for p in parts])


def linear_power(samples):
    part = samples[:50000]
    # librosa centers a window in its FFT, so the signal is moved by as much.
    framed = np.pad(part, (50000 - len(part) + 96, 96))
    return (
        np.abs(librosa.stft(framed, n_fft=512, win_length=320, hop_length=32, center=False)).T ** 2
    )


def linear_spectrogram(samples):
    return np.sqrt(linear_power(samples))


def log_mel_100(samples):
    return 10 * np.log10(
        np.maximum(
            linear_power(samples) @ librosa.filters.mel(sr=16000, n_fft=512, n_mels=100).T, 1e-10
        )
    )


def log_mel_40(samples):
    power = quietly(
        librosa.feature.melspectrogram,
        y=samples[:83333],
        sr=16000,
        n_fft=400,
        hop_length=200,
        n_mels=40,
        fmax=8000,
    )
    return 10 * np.log10(np.maximum(power.T, 1e-10))


def log_mel_40_published(samples):
    padded = np.pad(samples[:250000], (0, max(0, 250000 - len(samples))))
    return librosa.feature.melspectrogram(
        y=padded,
        sr=16000,
        n_fft=400,
        hop_length=200,
        n_mels=40,
        htk=True,
        norm=None,
        pad_mode='reflect',
    ).T


def bank_as_published():
    return librosa.filters.mel(sr=16000, n_fft=400, n_mels=40, htk=True, norm=None).T


def vsr_spectrogram(samples):
    windows = []
    for start in range(0, len(samples), 88200):
        window = librosa.util.pad_center(samples[start : start + 88200], size=88200)
        magnitude = librosa.feature.melspectrogram(
            y=window, sr=22050, n_mels=128, fmax=11025, power=1.0
        )
        windows.append(np.clip(librosa.amplitude_to_db(magnitude, ref=1.0, top_db=None), -80, 20))
    return np.stack(windows)


# Front end -> its rate, and which part of its result is kept in tests/golden/front_ends.npz.
KEPT = {
    'mfcc_curve': (44100, np.s_[:]),
    'stats162': (22050, np.s_[:]),
    'linear_spectrogram': (16000, np.s_[::41, ::7]),
    'log_mel_100': (16000, np.s_[::41, ::3]),
    'log_mel_40': (16000, np.s_[::11]),
    'log_mel_40_published': (48000, np.s_[::33]),
    'vsr_spectrogram': (22050, np.s_[:, ::5, ::7]),
}
