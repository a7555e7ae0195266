"""Measures a voice: when it speaks, how open and how round the mouth must be, which syllables are stressed.

Nothing is learned here. Loudness, between the quiet and the loud parts of the recording, opens the jaw. The energy of a vowel
gives its shape: the first resonance of the mouth rises as the jaw opens, the second as the tongue comes forward and the lips
spread. Hiss above 4 kHz means teeth that almost touch; a short gap in the sound means closed lips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, minimum_filter1d
from scipy.signal import find_peaks

__all__ = ["RATE", "STEP", "Voice", "listen"]

RATE = 16_000
HOP = 160  # samples: 100 looks per second
_WINDOW = 512
_LOOKS = 4096  # that are taken together
STEP = HOP / RATE
_SILENT = -55.0  # decibels below full scale; speech into a microphone is louder
_CONTRAST = 9.0  # decibels between the loud and the quiet parts of a recording of speech
_RANGE = 26.0  # decibels from a closed mouth to the loudest vowels
_WHOLE, _VOICE = (80, 7800), (200, 3600)  # hertz
_BALANCES = (
    ((550, 1100), (180, 450)),  # the first resonance
    ((1700, 2800), (700, 1300)),  # the second
    ((3800, 7500), (200, 2500)),  # hiss
)
_PAUSE = 0.22  # seconds of silence that end a phrase


@dataclass(frozen=True)
class Voice:
    """A recording as the mouth sees it, 100 values per second.

    Attributes:
        seconds: how long it is.
        speaking: (n,) 0 to 1.
        open: (n,) 0 to 1, loudness of vowels.
        high: (n,) 0 to 1, how high the first resonance lies: 0 as in "see", 1 as in "father".
        front: (n,) -1 to 1, how high the second lies: -1 as in "who", 1 as in "see".
        hiss: (n,) 0 to 1, "s" and "sh".
        closed: (n,) 0 to 1, holes as in "p", "b", "t", "d".
        phrases: (start, end) seconds between pauses.
        stresses: (seconds, 0 to 1) of syllables that stand out.
    """

    seconds: float
    speaking: np.ndarray
    open: np.ndarray
    high: np.ndarray
    front: np.ndarray
    hiss: np.ndarray
    closed: np.ndarray
    phrases: list[tuple[float, float]]
    stresses: list[tuple[float, float]]

    def at(self, curve: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Return a curve of this recording at moments (T,), seconds; 0 outside."""
        return np.interp(t, (np.arange(len(curve)) + 0.5) * STEP, curve, left=0.0, right=0.0)


def listen(samples: np.ndarray) -> Voice:
    """Hear a recording of one voice.

    Args:
        samples: (n,) float, -1 to 1, ``RATE`` per second.
    """
    heard = _energies(samples)
    whole, voice = (_decibels(heard[band]) for band in (_WHOLE, _VOICE))
    loud, quiet = np.percentile(voice, 95), np.percentile(voice, 10)
    reference = max(quiet + 6, loud - 34, _SILENT)
    speaks = loud > _SILENT + 6 and (loud - quiet > _CONTRAST)
    sounding = (np.maximum(voice, whole - 3) > reference) & speaks
    speaking = _bridged(sounding)
    level = np.clip((voice - (loud - _RANGE)) / _RANGE, 0, 1) * speaking
    first, second, hiss = (_decibels(heard[above]) - _decibels(heard[below]) for above, below in _BALANCES)
    hiss = hiss * speaking
    hiss = np.clip((hiss + 3) / 14, 0, 1) * (whole > reference)
    high = np.clip((first + 9) / 12, 0, 1)
    front = np.clip((second + 7) / 11, -1, 1)
    hole = maximum_filter1d(level, 25) - level
    closed = np.clip((hole - 0.45) / 0.3, 0, 1) * speaking * (1 - hiss)
    count = len(voice)
    opened = gaussian_filter1d(level * (1 - 0.75 * hiss), 2.0)
    phrases = _phrases(speaking)
    return Voice(
        seconds=len(samples) / RATE,
        speaking=gaussian_filter1d(speaking.astype(float), 4.0),
        open=opened,
        high=gaussian_filter1d(high, 3.0),
        front=gaussian_filter1d(front, 3.0),
        hiss=gaussian_filter1d(hiss, 1.5),
        closed=gaussian_filter1d(closed, 1.2),
        phrases=phrases,
        stresses=_stresses(opened, count) if phrases else [],
    )


def _energies(samples: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Return (n,) power in each of the bands, a look every ``HOP`` samples.

    A part of the recording at a time.
    """
    count = max(1, len(samples) // HOP)
    emphasized = np.append(samples[:1], samples[1:] - 0.6 * samples[:-1])
    padded = np.pad(emphasized, (_WINDOW // 2, _WINDOW))
    bands = {_WHOLE, _VOICE, *(band for pair in _BALANCES for band in pair)}
    out: dict[tuple[int, int], np.ndarray] = {band: np.empty(count) for band in bands}
    for start in range(0, count, _LOOKS):
        looks = np.arange(start, min(count, start + _LOOKS))
        index = HOP // 2 + HOP * looks[:, None] + np.arange(_WINDOW)
        power = np.abs(np.fft.rfft(padded[index] * np.hanning(_WINDOW), axis=1)) ** 2 / _WINDOW**2
        for low, high in bands:
            first, last = (round(f * _WINDOW / RATE) for f in (low, high))
            out[low, high][looks] = power[:, first:last].sum(1)
    return out


def _decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power + 1e-10)


def _bridged(sounding: np.ndarray) -> np.ndarray:
    """Return (n,) bool without clicks, and without the holes of consonants within words."""
    pause = max(1, round(_PAUSE / STEP))
    bridged = minimum_filter1d(maximum_filter1d(sounding.astype(np.uint8), pause), pause).astype(bool)
    out = np.zeros_like(bridged)
    for start, end in _runs(bridged):
        if sounding[start:end].sum() * STEP >= 0.05:
            out[start:end] = True
    return out


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _phrases(speaking: np.ndarray) -> list[tuple[float, float]]:
    return [(a * STEP, b * STEP) for a, b in _runs(speaking) if (b - a) * STEP > 0.15]


def _stresses(opened: np.ndarray, count: int) -> list[tuple[float, float]]:
    """Return syllables that stand out of their surroundings, at least 0.35 seconds apart."""
    around = gaussian_filter1d(opened, 60.0)
    peaks, _ = find_peaks(opened - 0.8 * around, height=0.12, distance=35, prominence=0.1)
    top = max(float(opened.max()), 1e-6)
    return [((k + 0.5) * STEP, float(np.clip(0.4 + 0.6 * opened[k] / top, 0, 1))) for k in peaks if k < count]
