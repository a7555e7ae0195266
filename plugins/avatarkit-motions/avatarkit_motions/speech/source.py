"""Talking along with a recording, as a ``MotionSource``: mouth by what is heard, gestures on the beat, blinks and glances."""

from __future__ import annotations

import logging
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np

from avatarkit.io.audio import read_sound
from avatarkit.types.body import Motion
from avatarkit_motions.config import SpeechConfig
from avatarkit_motions.performances.clips import CLIPS, GESTURES, Stage, finish, perform, stand
from avatarkit_motions.performances.face import CONSONANTS, VISEMES, VOWELS, Speech, shapes_of
from avatarkit_motions.performances.performance import Performance
from avatarkit_motions.source import BuiltinMotions
from avatarkit_motions.speech.audio_features import RATE, Voice, listen
from avatarkit_motions.speech.forced_alignment import VOWEL_PLACES, align
from avatarkit_motions.speech.g2p import phonemes
from avatarkit_motions.speech.loudness import normalize_loudness

__all__ = ["HeardSpeech", "ReadSpeech", "SpeechMotions"]

log = logging.getLogger("avatarkit.motions.speech")

_LONGEST_STROKE = 2.4  # seconds that one gesture is held
_SHORTEST_STROKE = 0.6

_LIPS = 0.6  # of closures are made by the lips, the others by the tongue
_BASE, _MORE = 0.3, 0.5  # share of a vowel's mouth shape in soft and in loud speech
_SHAPES = {name: place for name, place in VOWEL_PLACES.items() if name not in ("rr", "w")}
_SHARPNESS = 0.2  # distance at which a vowel loses most of its say


class HeardSpeech:
    """Implements ``face.Sounds`` for a recording.

    Args:
        voice: what was heard.
    """

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self.seconds, self.stresses = voice.seconds, voice.stresses
        self.phrases = _strokes(voice)

    def actions(self, t: np.ndarray, period: float) -> dict[str, np.ndarray]:
        """Return facial actions -> (T,).

        Vowels follow from their resonances and loudness, consonants from hissing or gaps in the sound.
        """
        v = self._voice
        opened, high, front, hiss, closed, speaking = (
            v.at(c, t) for c in (v.open, v.high, v.front, v.hiss, v.closed, v.speaking)
        )
        shares = {
            name: np.exp(-0.5 * (((high - h) / _SHARPNESS) ** 2 + ((front - f) / (1.6 * _SHARPNESS)) ** 2))
            for name, (h, f) in _SHAPES.items()
        }
        total = sum(shares.values()) + 1e-6
        vowel = speaking * (1 - hiss) * (1 - closed)
        weights = {name: vowel * share / total for name, share in shares.items()}
        weights |= {"ss": hiss * (1 - closed), "pp": _LIPS * closed, "dd": (1 - _LIPS) * closed}
        out = {n: np.zeros_like(t) for n in sorted({n for shape in VISEMES.values() for n in shape})}
        for name, weight in weights.items():
            size = _BASE + _MORE * opened if name in _SHAPES else np.ones_like(t)
            for action, value in VISEMES[name].items():
                out[action] += value * weight * size
        return {n: c.clip(0, 1) for n, c in out.items()}


class ReadSpeech(HeardSpeech):
    """Speech with known text: its sounds are located in the recording and shape the mouth."""

    def __init__(self, voice: Voice, text: str) -> None:
        super().__init__(voice)
        sounds = []
        for start, end, sound in align(voice, phonemes(text)):
            shapes = shapes_of(sound)
            part = (end - start) / len(shapes)
            strength = 1.2 if sound in VOWELS else CONSONANTS[sound][2]
            for k, shape in enumerate(shapes):
                sounds.append((start + part * (k + 0.5), 0.45 * part, strength, shape))
        self._speech = Speech(voice.seconds, sounds, self.phrases, self.stresses)

    def actions(self, t: np.ndarray, period: float) -> dict[str, np.ndarray]:
        """Return facial actions -> (T,): mouth shapes of the sounds, with the jaw wider for loud ones."""
        said = self._speech.actions(t, period)
        speaking = self._voice.at(self._voice.speaking, t)
        loud = self._voice.at(self._voice.open, t)
        size = {"jawOpen": _BASE + 0.15 + _MORE * loud}
        return {n: (c * size.get(n, 1.0) * speaking).clip(0, 1) for n, c in said.items()}


def _strokes(voice: Voice) -> list[tuple[float, float]]:
    """Return the phrases for gestures: long ones split, none beyond the end of the sound."""
    first, last = 0.45, voice.seconds - 0.75
    out: list[tuple[float, float]] = []
    for start, end in voice.phrases:
        parts = max(1, round((end - start) / _LONGEST_STROKE))
        for edge, next_edge in pairwise(np.linspace(start, end, parts + 1).tolist()):
            a, b = max(edge, first), min(next_edge, last)
            if out:
                a = max(a, out[-1][1] + 0.1)
            if b - a >= _SHORTEST_STROKE:
                out.append((a, b))
    return out


class SpeechMotions(BuiltinMotions):
    """Implements ``MotionSource`` and ``SpeechSource``: the name of a sound file is a motion that matches it."""

    config: SpeechConfig

    def motion(self, name: str) -> Motion:
        """Return a person who speaks along with a sound file; the lengths are equal."""
        if name in CLIPS and not Path(name).is_file():
            return super().motion(name)
        return self.from_sound(Path(name), self.config.text)

    def from_sound(self, path: Path, text: str = "") -> Motion:
        """See ``SpeechSource``."""
        samples = read_sound(path, RATE)
        stage = self._stage(zlib.crc32(samples.tobytes()))
        voice = listen(normalize_loudness(samples, RATE))
        if not voice.phrases:
            log.warning("No speech was heard in %s: the mouth stays shut.", path.name)
        speech = ReadSpeech(voice, text) if text.strip() else HeardSpeech(voice)
        return self._perform(stage, speech).motion(path.stem, self._solver, loop=False)

    def _perform(self, stage: Stage, speech: HeardSpeech) -> Performance:
        if not speech.phrases:  # too short for a gesture, or no speech
            p = stand(stage, speech.seconds)
            for name, curve in speech.actions(p.t, p.period).items():
                p.add(name, curve)
            return finish(p, stage)
        count = len(speech.phrases)
        left, right = (stage.rng.choice(GESTURES, count) for _ in range(2))
        same = stage.rng.random(count) < 0.55  # both hands often do the same
        plan = [(str(a), str(a if alike else b)) for a, b, alike in zip(left, right, same, strict=True)]
        return perform(stage, speech, speech.seconds, plan, "ready", "friendly")
