"""Options of the speech driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Range

__all__ = ["SpeechConfig"]


@dataclass(frozen=True)
class SpeechConfig:
    """Options of ``phonemes``."""

    mouth: Annotated[float, Range(0.3, 1.5)] = 1.0
    """Scale of the jaw; 1 = as people speak."""
    gestures: Annotated[float, Range(0, 1.5)] = 1.0
    """Scale of gestures, head movements and sway; 0 = none."""
