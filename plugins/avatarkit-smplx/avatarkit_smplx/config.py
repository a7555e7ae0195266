"""Options of the body model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from avatarkit.config.options import Range

__all__ = ["SmplxConfig"]


@dataclass(frozen=True)
class SmplxConfig:
    """Options of ``smplx``."""

    gender: Literal["neutral", "male", "female"] = "neutral"
    """Which of the model files, where the weights are a folder."""
    shapes: Annotated[int, Range(1, 300)] = 100
    """Components of the shape space that are used."""
    expressions: Annotated[int, Range(1, 100)] = 50
    """Components of the expression space that are used."""
