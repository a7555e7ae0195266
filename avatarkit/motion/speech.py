"""Says a text, and makes a motion of a person who talks along with a sound file."""

from __future__ import annotations

import shutil
import tempfile
import wave
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from avatarkit.config.options import did_you_mean
from avatarkit.errors import ConfigError, InputError
from avatarkit.interfaces import SpeechDriver, SpeechSynthesizer
from avatarkit.io.audio import read_sound
from avatarkit.io.subtitles import read_subtitles
from avatarkit.types.body import Motion
from avatarkit.types.speech import Cue, Sound
from avatarkit.utils.files import write_bytes
from avatarkit.utils.plain import BadText, parse_value
from avatarkit.utils.text import shortened

__all__ = ["RATE", "STYLES", "SpokenText", "options_of_speech", "say", "speech_motion"]

RATE = 16_000
"""Samples per second that speech drivers get."""

STYLES = ("calm", "lively")
"""Styles that every speech driver knows."""

_SILENT = 1e-3  # of full scale


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


def say(synthesizer: SpeechSynthesizer, text: str, path: Path | str, voice: str | None = None) -> str:
    """Write a WAV file in which a voice says a text, and return the text that a speech driver can follow in it.

    Args:
        synthesizer: makes the sound.
        text: what to say.
        path: of the file.
        voice: one of the synthesizer's; None = its first.

    Returns:
        The text if the voice speaks English, which drivers align; else "".

    Raises:
        InputError: there is no such voice, or nothing to say.
        MissingDependency: the synthesizer calls a program that is not on this machine.
    """
    voices = synthesizer.voices()
    if voice is not None and voice not in voices:
        some = ", ".join(sorted(voices, key=lambda name: not voices[name].startswith("en"))[:6])
        raise InputError(f"There is no voice {voice!r}.{did_you_mean(voice, voices)} Some are {some}.")
    sound = synthesizer.synthesize(text, voice)
    samples = np.nan_to_num(np.asarray(sound.samples, np.float32))
    if not (np.abs(samples) > _SILENT).any():
        raise InputError(f"The voice says nothing to {text.strip()[:40]!r}: give words.")
    stream = BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes((samples.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    write_bytes(Path(path), stream.getvalue())
    language = next(iter(voices.values()), "") if voice is None else voices[voice]
    return text if language.lower().split("-")[0] == "en" else ""


class SpokenText:
    """A text that a voice says, in a sound file that lives as long as this object.

    Args:
        choose: ``Components.outside_builds``.
        text: what to say.
        voice: see ``say``.
        engine: a speech synthesizer; None = the one that avatarkit brings.
        settings: of the synthesizer, and of others: see ``options_of_speech``.

    Attributes:
        path: the sound file.
        text: what a speech driver can follow in it; "" = follow the sound alone.
        settings: those of others.
    """

    def __init__(
        self,
        choose: Callable[..., Any],
        text: str,
        voice: str | None = None,
        engine: str | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        own = [setting for setting in settings if setting.startswith("synthesizer.")]
        self.settings = [setting for setting in settings if setting not in own]
        synthesizer = choose("synthesizer", engine, options_of_speech("synthesizer", own))
        folder = tempfile.mkdtemp(prefix="avatarkit-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.path = Path(folder) / "speech.wav"
        self.text = say(synthesizer, text, self.path, voice)


def options_of_speech(kind: str, settings: Iterable[str]) -> dict[str, Any]:
    """Return the options in settings of one kind of component.

    Args:
        kind: ``speech`` (a driver) or ``synthesizer``.
        settings: ``KIND.OPTION=VALUE``; values are TOML or bare words.

    Raises:
        ConfigError: a setting is not of that form, or of another kind.
    """
    out: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        owner, _, option = name.partition(".")
        if owner != kind or not equals or not option:
            known = "speech.gestures=0.5 sets an option of the speech driver, and in talk synthesizer.pitch=60 one of the engine"
            raise ConfigError(f"--set {shortened(setting)!r} is not understood here: {known}.")
        try:
            out[option] = parse_value(value)
        except BadText as error:
            raise ConfigError(f"--set {name}: {error}.") from error
    return out
