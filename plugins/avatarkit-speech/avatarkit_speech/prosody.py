"""Which syllables stand out of a recording: louder, higher and longer than those around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from avatarkit_speech.audio_features import STEP, Voice
from avatarkit_speech.hearing import Phone
from avatarkit_speech.transcript import Transcript
from avatarkit_speech.visemes import VOWELS

__all__ = ["Stress", "stresses"]

_APART = 0.34  # seconds between two stresses
_AROUND = 0.6  # seconds, standard deviation of what a syllable is compared with
_WORDS = """
    a an the of to in on at by for from with and or but nor so as if than that this is are was were be been am do does did has
    have had he she it we they i you me him her us them his its our your my their will would can could shall should may might
    there then
"""
_WEAK = frozenset(_WORDS.split())  # words that are rarely stressed


@dataclass(frozen=True)
class Stress:
    """A syllable that stands out.

    Attributes:
        time: seconds, middle of its vowel.
        strength: 0 to 1.
        rise: semitones above the voice's median.
    """

    time: float
    strength: float
    rise: float


def stresses(voice: Voice, transcript: Transcript) -> list[Stress]:
    """Return the stressed syllables, ascending and at least 0.34 seconds apart."""
    weak = {word.phones[0].start for name, word in transcript.words if name in _WEAK}
    lone = {phone.start for _, word in transcript.words if word.phones[0].start in weak for phone in word.phones}
    vowels = [phone for phone in transcript.phones if phone.name in VOWELS]
    if not vowels:
        return _by_loudness(voice)
    times = np.array([0.5 * (v.start + v.end) for v in vowels])
    columns = [_standing_out(times, values) for values in _features(voice, vowels)]
    score = 0.9 * columns[0] + 0.8 * columns[1] + 0.5 * columns[2] - np.array([1.0 if v.start in lone else 0.0 for v in vowels])
    rises = voice.at(voice.pitch, times)
    chosen: list[int] = []
    for k in np.argsort(-score, kind="stable").tolist():
        if score[k] > 0.1 and all(abs(times[k] - times[j]) >= _APART for j in chosen):
            chosen.append(k)
    return [Stress(float(times[k]), float(np.clip(0.45 + 0.25 * score[k], 0, 1)), float(rises[k])) for k in sorted(chosen)]


def _features(voice: Voice, vowels: list[Phone]) -> list[np.ndarray]:
    """Return loudness, pitch and seconds of each vowel: three of (n,)."""
    spans = [(int(v.start / STEP), max(int(v.start / STEP) + 1, round(v.end / STEP))) for v in vowels]
    empty = np.zeros(1)
    loudness = np.array([(voice.loudness[a:b] if a < len(voice.loudness) else empty).max() for a, b in spans])
    pitch = np.array([(voice.pitch[a:b] if a < len(voice.pitch) else empty).max() for a, b in spans])
    return [loudness, pitch, np.array([min(v.end - v.start, 0.3) for v in vowels])]


def _standing_out(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return (n,) how far each value lies above those around it, in standard deviations of all."""
    out = np.empty(len(times))
    for k, time in enumerate(times):
        first, last = np.searchsorted(times, [time - 3 * _AROUND, time + 3 * _AROUND])
        near = np.exp(-0.5 * ((times[first:last] - time) / _AROUND) ** 2)
        out[k] = values[k] - (near * values[first:last]).sum() / near.sum()
    return out / max(float(out.std()), 1e-3)


def _by_loudness(voice: Voice) -> list[Stress]:
    """Return peaks of loudness, where no vowels are known."""
    around = gaussian_filter1d(voice.loudness, _AROUND / STEP)
    peaks, _ = find_peaks(voice.loudness - 0.8 * around, height=0.12, distance=round(_APART / STEP), prominence=0.1)
    return [
        Stress((k + 0.5) * STEP, float(np.clip(0.4 + 0.6 * voice.loudness[k], 0, 1)), float(voice.pitch[k]))
        for k in peaks.tolist()
    ]
