"""Mouth shapes of speech, blinks, glances and named expressions, in ARKit's facial actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avatarkit.motion.performance.curves import bump, noise, smooth
from avatarkit.motion.performance.performance import Performance

__all__ = [
    "CONSONANTS",
    "EXPRESSIONS",
    "VISEMES",
    "VOWELS",
    "Sounds",
    "Speech",
    "add_blinks",
    "add_expression",
    "add_glances",
    "both_sides",
    "follow_gaze_with_lids",
    "shapes_of",
    "speak",
]


def both_sides(**actions: float) -> dict[str, float]:
    """Return actions with names such as ``mouthSmile_`` given to the left and the right."""
    out: dict[str, float] = {}
    for name, value in actions.items():
        if name.endswith("_"):
            out |= {name[:-1] + "Left": value, name[:-1] + "Right": value}
        else:
            out[name] = value
    return out


# Mouth shapes; the lips of consonants matter more than their jaws.
VISEMES = {
    "sil": {},
    "pp": both_sides(mouthPress_=0.3, mouthRollLower=0.28, mouthRollUpper=0.22),
    "ff": both_sides(jawOpen=0.05, mouthRollLower=0.5, mouthUpperUp_=0.14, mouthShrugLower=0.15),
    "th": both_sides(jawOpen=0.2, mouthLowerDown_=0.16, mouthUpperUp_=0.08, tongueOut=0.1),
    "dd": both_sides(jawOpen=0.26, mouthLowerDown_=0.16, mouthUpperUp_=0.08, mouthStretch_=0.1),
    "kk": both_sides(jawOpen=0.3, mouthLowerDown_=0.1, mouthStretch_=0.06),
    "ch": both_sides(jawOpen=0.1, mouthFunnel=0.45, mouthPucker=0.15, mouthLowerDown_=0.1),
    "ss": both_sides(jawOpen=0.12, mouthStretch_=0.16, mouthLowerDown_=0.35, mouthUpperUp_=0.2, mouthSmile_=0.08),
    "rr": both_sides(jawOpen=0.13, mouthFunnel=0.25, mouthPucker=0.22),
    "w": both_sides(jawOpen=0.08, mouthPucker=0.7, mouthFunnel=0.18),
    "aa": both_sides(jawOpen=0.6, mouthLowerDown_=0.2, mouthUpperUp_=0.1),
    "ae": both_sides(jawOpen=0.54, mouthLowerDown_=0.22, mouthUpperUp_=0.14, mouthStretch_=0.22, mouthSmile_=0.08),
    "ah": both_sides(jawOpen=0.42, mouthLowerDown_=0.15, mouthUpperUp_=0.06),
    "eh": both_sides(jawOpen=0.4, mouthLowerDown_=0.2, mouthStretch_=0.2, mouthUpperUp_=0.1),
    "ih": both_sides(jawOpen=0.36, mouthLowerDown_=0.16, mouthStretch_=0.18, mouthSmile_=0.08),
    "ee": both_sides(jawOpen=0.28, mouthLowerDown_=0.18, mouthStretch_=0.25, mouthSmile_=0.3),
    "oh": both_sides(jawOpen=0.44, mouthFunnel=0.5, mouthPucker=0.28),
    "uu": both_sides(jawOpen=0.17, mouthPucker=0.7, mouthFunnel=0.32),
}  # fmt: skip

# ARPAbet -> shapes in turn; consonants: shape, seconds, how strongly they pull their neighbors
VOWELS = {
    "AA": ("aa",), "AE": ("ae",), "AH": ("ah",), "AO": ("oh",), "AW": ("aa", "uu"), "AY": ("aa", "ih"), "EH": ("eh",),
    "ER": ("rr",), "EY": ("eh", "ee"), "IH": ("ih",), "IY": ("ee",), "OW": ("oh", "uu"), "OY": ("oh", "ih"),
    "UH": ("uu",), "UW": ("uu",),
}  # fmt: skip
CONSONANTS = {
    "B": ("pp", 0.075, 2.6), "P": ("pp", 0.085, 2.6), "M": ("pp", 0.085, 2.4), "F": ("ff", 0.09, 1.8),
    "V": ("ff", 0.07, 1.6), "TH": ("th", 0.08, 1.1), "DH": ("th", 0.055, 0.9), "T": ("dd", 0.065, 0.8),
    "D": ("dd", 0.06, 0.8), "N": ("dd", 0.065, 0.7), "L": ("dd", 0.065, 0.8), "K": ("kk", 0.075, 0.6),
    "G": ("kk", 0.065, 0.6), "NG": ("kk", 0.07, 0.6), "HH": ("ah", 0.05, 0.3), "Y": ("ee", 0.06, 0.7),
    "CH": ("ch", 0.1, 1.4), "JH": ("ch", 0.09, 1.3), "SH": ("ch", 0.11, 1.4), "ZH": ("ch", 0.09, 1.3),
    "S": ("ss", 0.095, 1.1), "Z": ("ss", 0.08, 1.0), "R": ("rr", 0.07, 1.0), "W": ("w", 0.08, 1.4),
}  # fmt: skip
_PAUSES = {",": 0.22, ".": 0.5}

EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": both_sides(mouthSmile_=0.75, cheekSquint_=0.45, eyeSquint_=0.3, mouthDimple_=0.15, mouthUpperUp_=0.08),
    "friendly": both_sides(mouthSmile_=0.3, cheekSquint_=0.12, eyeSquint_=0.06),
    "surprise": both_sides(browInnerUp=0.8, browOuterUp_=0.75, eyeWide_=0.75, jawOpen=0.4, mouthFunnel=0.15),
    "frown": both_sides(browDown_=0.8, mouthFrown_=0.5, eyeSquint_=0.3, mouthPress_=0.2, noseSneer_=0.15,
                   mouthShrugLower=0.25),
    "wink": {"eyeBlinkLeft": 1.0, "eyeSquintLeft": 0.4, "cheekSquintLeft": 0.6, "mouthSmileLeft": 0.55,
             "mouthSmileRight": 0.3, "browDownLeft": 0.2},
    "pucker": both_sides(mouthPucker=0.85, mouthFunnel=0.1, browInnerUp=0.15),
    "tongue": both_sides(jawOpen=0.3, tongueOut=0.7, mouthLowerDown_=0.1, eyeSquint_=0.15, mouthSmile_=0.15),
    "wide": both_sides(jawOpen=0.85, mouthLowerDown_=0.25, mouthUpperUp_=0.2, browInnerUp=0.25, eyeWide_=0.2),
    "sneer": both_sides(noseSneer_=0.7, mouthUpperUp_=0.35, browDown_=0.35),
    "cheeks": both_sides(cheekPuff=0.8, mouthPress_=0.25, mouthClose=0.05),
    "doubt": both_sides(browInnerUp=0.45, mouthShrugLower=0.45, mouthPress_=0.15, mouthFrown_=0.2),
}  # fmt: skip


def shapes_of(sound: str) -> tuple[str, ...]:
    """Return mouth shapes of an ARPAbet sound, in turn."""
    return VOWELS[sound] if sound in VOWELS else (CONSONANTS[sound][0],)


class Sounds(Protocol):
    """Timed sounds of speech: ``Speech`` made from text, or recognized in a recording."""

    @property
    def phrases(self) -> list[tuple[float, float]]:
        """(start, end) between pauses, seconds."""
        ...

    @property
    def stresses(self) -> list[tuple[float, float]]:
        """(seconds, 0 to 1) of stressed syllables."""
        ...

    def actions(self, t: np.ndarray, period: float) -> dict[str, np.ndarray]:
        """Return facial actions -> (T,) at times (T,) within ``period`` seconds."""
        ...


@dataclass(frozen=True)
class Speech:
    """Sounds in time, made from text.

    Attributes:
        seconds: how long it takes.
        sounds: (center, width, strength, mouth shape), seconds.
        phrases: (start, end) between pauses, seconds.
        stresses: (seconds, 0 to 1) of stressed syllables.
    """

    seconds: float
    sounds: list[tuple[float, float, float, str]]
    phrases: list[tuple[float, float]]
    stresses: list[tuple[float, float]]

    def actions(self, t: np.ndarray, period: float) -> dict[str, np.ndarray]:
        """Return facial actions -> (T,), neighboring sounds melting into each other.

        Each sound pulls every action toward its target with a dominance that fades with time (Cohen and Massaro,
        1993, with Gaussians), so that lips round before a rounded vowel and a closed mouth stays closed.
        """
        total = np.full_like(t, 0.06)  # at rest the mouth is closed
        sums = {n: np.zeros_like(t) for n in sorted({n for shape in VISEMES.values() for n in shape})}
        for center, width, strength, shape in self.sounds:
            away = (t - center + period / 2) % period - period / 2
            dominance = strength * np.exp(-0.5 * (away / max(width, 0.026)) ** 2)
            total += dominance
            for name, value in VISEMES[shape].items():
                sums[name] += value * dominance
        return {n: smooth(s / total, t, 0.02) for n, s in sums.items()}


def speak(phonemes: str, rng: np.random.Generator, start: float = 0.0, rate: float = 1.0) -> Speech:
    """Return the timing of the sounds of a text."""
    now = began = start
    sounds: list[tuple[float, float, float, str]] = []
    phrases: list[tuple[float, float]] = []
    stresses: list[tuple[float, float]] = []
    for symbol in (*phonemes.split(), "."):
        name, pace = symbol.rstrip("012"), float(rng.uniform(0.85, 1.2)) / rate
        if symbol in _PAUSES:
            length = _PAUSES[symbol] * pace
            sounds.append((now + length / 2, length / 2.2, 1.2, "sil"))
            if now > began:
                phrases.append((began, now))
            began = now + length
        elif name in VOWELS:
            length = (0.095 if name == symbol else 0.17) * pace
            shapes = VOWELS[name]
            for k, shape in enumerate(shapes):
                part = length / len(shapes)
                sounds.append((now + part * (k + 0.5), part * 0.4, 0.95 if name == symbol else 1.7, shape))
            if name != symbol:
                stresses.append((now + length / 2, float(rng.uniform(0.6, 1.0))))
        else:
            shape, length, strength = CONSONANTS[name]
            length *= pace
            sounds.append((now + length / 2, length * 0.45, strength, shape))
        now += length
    return Speech(now - start, sounds, phrases, stresses)


def add_expression(p: Performance, name: str, weight: np.ndarray) -> None:
    """Add a named expression with a weight (T,)."""
    for action, value in EXPRESSIONS[name].items():
        p.add(action, value * weight)


def add_blinks(p: Performance, rng: np.random.Generator, every: float = 3.2, at: tuple[float, ...] = ()) -> None:
    """Blinks every few seconds (0 = never) and at given moments: 90 ms to close, 170 ms to open, now and then twice."""
    moments = list(at)
    now = float(rng.uniform(0.6, 1.6))
    while every and now < p.period - 0.5:
        moments.append(now)
        if rng.random() < 0.12:
            moments.append(now + 0.32)
        now += float(np.clip(rng.gamma(4, every / 4), 1.1, 8))
    lid = np.zeros_like(p.t)
    for moment in moments:
        lid = np.maximum(lid, bump(p.t, p.period, moment, 0.09, 0.17, 0.035))
    for side in ("Left", "Right"):
        p.mix(f"eyeBlink{side}", 1.0, lid)
        p.add(f"browDown{side}", 0.04 * lid)


def add_glances(p: Performance, rng: np.random.Generator, size: float = 1.0) -> None:
    """Micro-saccades and small glances (degrees times ``size``).

    Lids follow eyes that look down.
    """
    steps = max(3, round(p.period / 0.55))
    edges = np.sort(rng.uniform(0, p.period, steps))
    for axis, spread in (("yaw", 1.6), ("pitch", 0.9)):
        target = rng.normal(0, spread * size, steps)
        index = (np.searchsorted(edges, p.t, side="right") - 1) % steps
        p.add(f"gaze.{axis}", smooth(target[index], p.t, 0.018) + 0.15 * noise(p.t, p.period, rng, 1.0, 4.0, 0.5))


def follow_gaze_with_lids(p: Performance) -> None:
    """Upper lids sink with eyes that look down and rise with eyes that look up."""
    pitch = p.get("gaze.pitch")
    for side in ("Left", "Right"):
        blink = p.get(f"eyeBlink{side}")
        p.channels[f"eyeBlink{side}"] = np.clip(blink + np.clip(pitch, 0, 30) / 30 * 0.45 * (1 - blink), 0, 1)
        p.add(f"eyeWide{side}", np.clip(-pitch, 0, 30) / 30 * 0.35)
