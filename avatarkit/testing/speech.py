"""Checks for components that make a person talk: speech drivers and speech synthesizers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from avatarkit import validation
from avatarkit.errors import InputError
from avatarkit.testing.cases import Case, Check, CheckFailed, expect, on_cpu, same
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


def _voices_have_names_and_languages(case: Case) -> None:
    """There is at least one voice; names and languages (BCP 47) are words without spaces at their ends."""
    voices = case.make().voices()
    expect(isinstance(voices, Mapping) and len(voices) > 0, "voices() is empty, or no mapping")
    for name, language in voices.items():
        expect(isinstance(name, str) and name and name == name.strip(), f"{name!r} is no name of a voice")
        expect(re.fullmatch(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", str(language)), f"{language!r} is no language, as en-us is")


def _said(case: Case, text: str, voice: str | None = None) -> Sound:
    """Return what a synthesizer says, after a look at it."""
    sound = case.make().synthesize(text, voice)
    validation.require_type(sound, Sound, "what synthesize() returns")
    expect(sound.samples.dtype == np.float32 and sound.samples.ndim == 1, "the samples are not (n,) float32")
    expect(4000 <= sound.rate <= 192_000, f"{sound.rate} samples per second are none of a voice")
    expect(np.isfinite(sound.samples).all() and np.abs(sound.samples).max(initial=0) <= 1, "samples are not within -1 to 1")
    return sound


def _a_text_becomes_a_sound(case: Case) -> None:
    """Words can be heard, take time, and the longer text takes longer; the first voice is that of ``None``."""
    short, long = _said(case, "hello"), _said(case, "hello hello hello hello hello hello")
    expect(short.seconds > 0.1 and np.abs(short.samples).max() > 0.01, "a word makes no sound")
    expect(long.seconds > short.seconds, "six words take no longer than one")
    expect(same(short, _said(case, "hello", next(iter(case.make().voices())))), "None is not the first voice")


def _the_same_text_gives_the_same_sound(case: Case) -> None:
    """Two fresh instances give the same samples."""
    expect(same(_said(case, "hello, again"), _said(case, "hello, again")), "two sounds of the same text differ")


def _odd_texts_are_data(case: Case) -> None:
    """Nothing, punctuation, markup, options and other alphabets are read or left out; they are no errors."""
    for text in ("", "...", "<speak>&</speak> [[h@l'oU]]", "-v none --help", "\u0434\u043e\u043c", "one\ntwo\x07"):
        _said(case, text)


def _unknown_voices_are_refused(case: Case) -> None:
    """Voices that ``voices`` lacks are an ``InputError``."""
    with suppress(InputError):
        case.make().synthesize("hello", "../no such voice")
        raise CheckFailed("a voice that is none of voices() was accepted")


SPEECH_CHECKS: dict[str, tuple[Check, ...]] = {
    "speech": (
        _a_sound_becomes_visemes_and_a_motion,
        _frames_per_second_are_obeyed,
        _the_same_sound_gives_the_same_motion,
        _both_styles_are_known,
        _sounds_without_a_voice_and_strange_texts_are_no_errors,
    ),
    "synthesizer": (
        _voices_have_names_and_languages,
        _a_text_becomes_a_sound,
        _the_same_text_gives_the_same_sound,
        _odd_texts_are_data,
        _unknown_voices_are_refused,
    ),
}
"""Kind -> its checks."""
