"""Makes a motion of a person who talks along with a sound file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from avatarkit.errors import ConfigError
from avatarkit.interfaces import SpeechDriver
from avatarkit.io.audio import read_sound
from avatarkit.io.subtitles import read_subtitles
from avatarkit.types.body import Motion
from avatarkit.types.speech import Cue, Sound

__all__ = ["RATE", "STYLES", "speech_motion"]

RATE = 16_000
"""Samples per second that speech drivers get."""

STYLES = ("calm", "lively")
"""Styles that every speech driver knows."""


def speech_motion(
    driver: SpeechDriver,
    path: Path | str,
    text: str = "",
    subtitles: Path | str | None = None,
    fps: float = 30.0,
    seed: int = 0,
    style: str = "lively",
) -> Motion:
    """Return the motion of a person who talks along with a sound file; it is as long to the frame.

    Args:
        driver: makes the motion.
        path: sound file, or a video with sound.
        text: what is said; "" = not known.
        subtitles: file of subtitles instead of ``text``.
        fps: frames per second.
        seed: the same seed gives the same motion.
        style: one of ``STYLES``.

    Raises:
        ConfigError: both text and subtitles are given, or the style is unknown.
        InputError: a file cannot be read.
    """
    if text and subtitles is not None:
        raise ConfigError("Use only one of --text and --subtitles.")
    if style not in STYLES:
        raise ConfigError(f"There is no style {style!r} of talking: use {' or '.join(STYLES)}.")
    said: str | Sequence[Cue] | None = text or None
    if subtitles is not None:
        said = read_subtitles(subtitles)
    path = Path(path)
    sound = Sound(read_sound(path, RATE), RATE, path.name)
    _, motion = driver.drive(sound, said, fps, seed, style)
    return replace(motion, name=path.stem)
