"""Sounds in time to facial actions: sounds melt into each other, but lips that must close do close."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d

from avatarkit.motion.performance.curves import minimum_jerk
from avatarkit.motion.performance.face import CONSONANTS, shapes_of
from avatarkit.motion.performance.face import VOWELS as VOWEL_SHAPES
from avatarkit.motion.visemes import MOUTH_SHAPES
from avatarkit_speech.audio_features import Voice
from avatarkit_speech.hearing import Phone

__all__ = ["Mouth"]

ACTIONS = tuple(sorted({name for shape in MOUTH_SHAPES.values() for name in shape}))
_TARGETS = {name: np.array([shape.get(a, 0.0) for a in ACTIONS]) for name, shape in MOUTH_SHAPES.items()}
_RATE = 120  # Hz at which sounds melt into each other
_REST = 0.06  # pull of the closed mouth, so that it shuts where nothing is said
_REACH = 4.0  # widths beyond which a sound has no pull
_NARROWEST, _WIDEST = 0.026, 0.065  # seconds, the fastest that lips move, and how far a held sound reaches
_SMOOTH = 0.016  # seconds
_LEAD = 0.01  # seconds that lips are ahead of the sound, as seen in the videos that shapes were chosen with
_FAR = 3.0  # seconds: no sound pulls as far
_SOONEST = 0.4  # seconds before the first phrase in which there is time for a breath
_INHALE, _INHALED = 0.5, 0.08  # seconds of a breath before a phrase, and how far it opens the jaw
_USUAL = 0.11  # seconds of a vowel that opens the jaw as far as it should; shorter ones have no time to

# Sound -> the share of it in which lips, or lip and teeth, touch; what comes after is the breath of its release.
_CLOSING = {"B": 0.9, "P": 0.7, "M": 1.0}
_BITING = {"F": 0.9, "V": 0.9}
_BEFORE, _AFTER = 0.07, 0.06  # seconds that lips take to meet and to part
_SHORTEST = 0.04  # seconds that they touch, so that a frame of a film shows it

_OPENING = ("jawOpen", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "tongueOut")
_ROUND = ("mouthFunnel", "mouthPucker")


@dataclass(frozen=True)
class Mouth:
    """The mouth of one recording.

    Attributes:
        phones: what is said.
        voice: the recording.
    """

    phones: Sequence[Phone]
    voice: Voice

    def actions(self, t: np.ndarray, fps: float) -> dict[str, np.ndarray]:
        """Return facial actions -> (T,), 0 to 1, at evenly spaced moments (T,), seconds."""
        t = t + _LEAD
        fine, inside = self._fine(t)
        curves = self._melted(fine)
        curves = gaussian_filter1d(curves, _SMOOTH * _RATE, axis=0)
        found = {name: np.interp(t, fine[inside], curves[inside, k]) for k, name in enumerate(ACTIONS)}
        found["jawOpen"] = np.maximum(found["jawOpen"], self._breath(t))
        self._touch(found, t, fps)
        return {name: curve.clip(0, 1) for name, curve in found.items()}

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.array([phone.start for phone in self.phones])

    def _near(self, t: np.ndarray) -> Sequence[Phone]:
        """Return the sounds that can move the mouth within ``t``."""
        first, last = np.searchsorted(self._starts, [t[0] - _FAR, t[-1] + _FAR])
        return self.phones[first:last]

    def _fine(self, t: np.ndarray) -> tuple[np.ndarray, slice]:
        """Return moments at the fine rate around ``t``, on one grid for all calls, and those within ``t``."""
        edge = round(6 * _SMOOTH * _RATE) + 1
        first, last = int(np.floor(t[0] * _RATE)) - edge, int(np.ceil(t[-1] * _RATE)) + edge
        return np.arange(first, last + 1) / _RATE, slice(edge - 1, last - first + 2 - edge)

    def _melted(self, t: np.ndarray) -> np.ndarray:
        """Return (T, actions): each sound pulls toward its shape (Cohen and Massaro, 1993, with Gaussians)."""
        total = np.full(len(t), _REST)
        sums = np.zeros((len(t), len(ACTIONS)))
        for phone in self._near(t):
            shapes = shapes_of(phone.name)
            part = (phone.end - phone.start) / len(shapes)
            strength = 1.2 if phone.name in VOWEL_SHAPES else CONSONANTS[phone.name][2]
            width = min(max(0.45 * part, _NARROWEST), _WIDEST)
            hold = max(0.0, 0.5 * part - _WIDEST / 0.9)
            for k, shape in enumerate(shapes):
                center = phone.start + part * (k + 0.5)
                first, last = np.searchsorted(t, [center - hold - _REACH * width, center + hold + _REACH * width])
                away = np.maximum(np.abs(t[first:last] - center) - hold, 0)
                pull = strength * np.exp(-0.5 * (away / width) ** 2)
                total[first:last] += pull
                size = self._size(center, phone.end - phone.start) if phone.name in VOWEL_SHAPES else 1.0
                target = _TARGETS[shape] * np.where(np.array(ACTIONS) == "jawOpen", size, 1.0)
                sums[first:last] += pull[:, None] * target
        return sums / total[:, None]

    def _size(self, center: float, seconds: float) -> float:
        """Return how far a vowel opens the jaw: farther when loud, less when it is too short to get there."""
        loud = float(self.voice.at(self.voice.loudness, np.array([center]))[0])
        return (0.5 + 0.6 * loud) * float(np.clip(seconds / _USUAL, 0.55, 1.1)) ** 0.5

    def _breath(self, t: np.ndarray) -> np.ndarray:
        """Return (T,) how far the jaw hangs as the person breathes in through the mouth, before a phrase."""
        out = np.zeros(len(t))
        before = _SOONEST - 2 * _INHALE
        for start, end in self.voice.phrases:
            if t[0] - 1 < start < t[-1] + 1 and start - before > 2 * _INHALE:
                out = np.maximum(out, np.exp(-0.5 * ((t - start + 0.5 * _INHALE) / (0.4 * _INHALE)) ** 2))
            before = end
        return _INHALED * out

    def _touch(self, actions: dict[str, np.ndarray], t: np.ndarray, fps: float) -> None:
        """Close the lips on p, b and m, and bring the lower lip to the teeth on f and v."""
        closed, bitten = self._contact(_CLOSING, t, fps), self._contact(_BITING, t, fps)
        bitten = np.minimum(bitten, 1 - closed)
        for name in _OPENING:
            actions[name] *= (1 - closed) * (1 - 0.85 * bitten)
        for name in _ROUND:
            actions[name] *= (1 - 0.45 * closed) * (1 - 0.7 * bitten)
        for shape, weight in (("pp", closed), ("ff", bitten)):
            for k, name in enumerate(ACTIONS):
                if _TARGETS[shape][k] > 0:
                    actions[name] = np.maximum(actions[name], weight * _TARGETS[shape][k])

    def _contact(self, shares: dict[str, float], t: np.ndarray, fps: float) -> np.ndarray:
        """Return (T,) 1 while lips touch; each contact lasts at least to the frame nearest to its middle."""
        out = np.zeros(len(t))
        for phone in self._near(t):
            if phone.name not in shares:
                continue
            start = phone.start
            end = max(start + _SHORTEST, start + shares[phone.name] * (phone.end - phone.start))
            frame = np.round(0.5 * (start + end) * fps) / fps
            start, end = min(start + 0.005, frame), max(end - 0.005, frame)
            out = np.maximum(out, minimum_jerk((t - start) / _BEFORE + 1) * minimum_jerk((end - t) / _AFTER + 1))
        return out
