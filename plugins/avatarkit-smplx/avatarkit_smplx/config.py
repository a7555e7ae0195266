"""Options of the body model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avatarkit.errors import ConfigError

__all__ = ["SmplxConfig"]


@dataclass(frozen=True)
class SmplxConfig:
    """Options of ``smplx``."""

    gender: Literal["neutral", "male", "female"] = "neutral"
    """Which of the model files, where the weights are a folder."""
    shapes: int = 100
    """Components of the shape space that are used, at most 300."""
    expressions: int = 50
    """Components of the expression space that are used, at most 100."""

    def __post_init__(self) -> None:
        if not 1 <= self.shapes <= 300:
            raise ConfigError(f"body.shapes is {self.shapes}; it must be between 1 and 300.")
        if not 1 <= self.expressions <= 100:
            raise ConfigError(f"body.expressions is {self.expressions}; it must be between 1 and 100.")
