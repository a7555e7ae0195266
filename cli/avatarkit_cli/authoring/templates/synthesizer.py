"""Says a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from avatarkit import Context
from avatarkit.config.options import Range
from avatarkit.errors import InputError
from avatarkit.types.speech import Sound

RATE = 16_000


@dataclass(frozen=True)
class Config:
    """Options of the speech synthesizer."""

    seconds: Annotated[float, Range(0.02, 1)] = 0.1
    """How long each letter is."""


class Example:
    """Hums a note for each letter; vowels are louder."""

    def __init__(self, config: Config, context: Context) -> None:
        self.config = config

    def voices(self) -> Mapping[str, str]:
        return {"low": "en", "high": "en"}

    def synthesize(self, text: str, voice: str | None = None) -> Sound:
        known = self.voices()
        if voice is not None and voice not in known:
            raise InputError(f"There is no voice {voice!r}: use {' or '.join(known)}.")
        letters = [letter for letter in text.lower() if letter.isalpha()]
        note = 220.0 if voice == "high" else 110.0
        t = np.arange(round(self.config.seconds * RATE)) / RATE
        hum = (np.sin(2 * np.pi * note * t) * np.sin(np.pi * t / self.config.seconds)).astype(np.float32)
        parts = [(0.5 if letter in "aeiouy" else 0.2) * hum for letter in letters]
        return Sound(np.concatenate([np.zeros(0, np.float32), *parts]).astype(np.float32), RATE)
