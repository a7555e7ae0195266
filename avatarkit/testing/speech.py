"""Checks for components that make a person talk: speech drivers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from avatarkit import validation
from avatarkit.testing.cases import Case, Check, expect, on_cpu, same
from avatarkit.types.speech import VISEMES, Cue, Sound, Viseme

__all__ = ["SPEECH_CHECKS"]

_RATE = 16_000
_SAID = "ah, oh"


def _voice(seconds: float = 1.2) -> Sound:
    """Return a buzz with two resonances, which swells twice."""
    t = np.arange(round(seconds * _RATE)) / _RATE
    buzz = sum(np.sin(2 * np.pi * 125 * k * t) / (1 + ((125 * k - 700) / 200) ** 2) for k in range(1, 25))
    swell = np.sin(2 * np.pi * t / seconds) ** 2
    return Sound((0.3 * buzz * swell / np.abs(buzz).max()).astype(np.float32), _RATE, "voice.wav")


def _driven(case: Case, sound: Sound, text: str | Sequence[Cue] | None = None, **options: Any) -> tuple[Sequence[Viseme], Any]:
    """Return what a driver makes of a sound, after a look at both parts."""
    made = case.make().drive(sound, text, **options)
    expect(isinstance(made, tuple) and len(made) == 2, "drive() does not return visemes and a motion")
    visemes, motion = made
    validation.require_motion(on_cpu(motion), case.material.body)
    wanted = max(1, round(sound.seconds * motion.fps))
    expect(abs(len(motion) - wanted) <= 1, f"the motion has {len(motion)} frames, the sound is as long as {wanted}")
    end = 0.0
    for viseme in visemes:
        validation.require_type(viseme, Viseme, "a viseme")
        expect(viseme.name in VISEMES, f"there is no viseme {viseme.name!r}")
        expect(0 <= viseme.strength <= 1, f"the strength of a viseme is {viseme.strength}")
        expect(end - 1e-6 <= viseme.start < viseme.end, "visemes are out of order, overlap or take no time")
        end = viseme.end
    expect(end <= sound.seconds + 0.1, f"the last viseme ends at {end:.2f} s, the sound at {sound.seconds:.2f} s")
    return visemes, motion


def _a_sound_becomes_visemes_and_a_motion(case: Case) -> None:
    """Visemes are known, in order and within the sound; the motion fits the body model and is as long as the sound."""
    for text in (None, _SAID, [Cue(0.0, 1.2, _SAID)]):
        _driven(case, _voice(), text)


def _frames_per_second_are_obeyed(case: Case) -> None:
    """``fps`` is the motion's."""
    for fps in (12.5, 25.0):
        expect(_driven(case, _voice(), fps=fps)[1].fps == fps, f"the motion has another rate than {fps} frames per second")


def _the_same_sound_gives_the_same_motion(case: Case) -> None:
    """Two fresh instances give the same numbers for the same seed; the sound is not modified."""
    sound = _voice()
    before = sound.samples.copy()
    once, again = (_driven(case, sound, _SAID, seed=5) for _ in range(2))
    expect(np.array_equal(before, sound.samples), "the sound that was handed over was changed")
    expect(same(once, again), "two motions of the same sound and seed differ")


def _both_styles_are_known(case: Case) -> None:
    """``calm`` and ``lively`` are accepted."""
    for style in ("calm", "lively"):
        _driven(case, _voice(), style=style)


def _sounds_without_a_voice_and_strange_texts_are_no_errors(case: Case) -> None:
    """Silence, noise, a very short sound, and unreadable text are followed as far as they go."""
    noise = np.random.default_rng(0).normal(size=_RATE).astype(np.float32)
    for samples in (np.zeros(_RATE, np.float32), 0.2 * noise, 0.2 * noise[: _RATE // 20]):
        _driven(case, Sound(np.clip(samples, -1, 1), _RATE, "odd.wav"))
    for text in ("", "...", "\u0434\u043e\u043c", "one two three four five six seven eight nine ten eleven twelve thirteen"):
        _driven(case, _voice(), text)


SPEECH_CHECKS: dict[str, tuple[Check, ...]] = {
    "speech": (
        _a_sound_becomes_visemes_and_a_motion,
        _frames_per_second_are_obeyed,
        _the_same_sound_gives_the_same_motion,
        _both_styles_are_known,
        _sounds_without_a_voice_and_strange_texts_are_no_errors,
    ),
}
"""Kind -> its checks."""
