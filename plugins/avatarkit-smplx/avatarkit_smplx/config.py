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
    """Model file to use if the weights are a folder."""
    shapes: Annotated[int, Range(1, 300)] = 100
    """Number of components of the shape space."""
    expressions: Annotated[int, Range(1, 100)] = 50
    """Number of components of the expression space."""
