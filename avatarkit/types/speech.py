"""Sound, what is said in it, and the mouth shapes that are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["VISEMES", "Cue", "Sound", "Viseme"]

VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "ih", "oh", "ou")
"""Names of visemes: the 15 of Oculus Lipsync, which players of talking heads know. ``sil`` is a closed mouth at rest."""


@dataclass(frozen=True)
class Sound:
    """A recording of a voice.

    Attributes:
        samples: (n,) float32, -1 to 1, one channel.
        rate: samples per second.
        name: for notes to the user.
    """

    samples: np.ndarray
    rate: int = 16_000
    name: str = "the sound"

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Cue:
    """A line of subtitles.

    Attributes:
        start: seconds.
        end: seconds.
        text: what is said.
    """

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Viseme:
    """A mouth shape in time.

    Attributes:
        start: seconds.
        end: seconds.
        name: one of ``VISEMES``.
        strength: 0 to 1, how far the mouth goes: 1 for a loud stressed syllable.
    """

    start: float
    end: float
    name: str
    strength: float = 1.0
