"""Options of the matting model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Machine
from avatarkit.errors import ConfigError

__all__ = ["BiRefNetConfig"]


@dataclass(frozen=True)
class BiRefNetConfig:
    """Options of ``birefnet``."""

    network: Annotated[str, Machine] = ""
    """ONNX file of the network; empty = the weights birefnet."""
    side: int = 1024
    """Side in pixels of the network's picture, where the file leaves it open (BiRefNet_HR: 2048)."""
    margin: float = 0.25
    """How much larger than the person's box the part of the photo is that the network sees."""

    def __post_init__(self) -> None:
        if self.side % 32 or not 256 <= self.side <= 4096:
            raise ConfigError(f"matting.side is {self.side}; it must be a multiple of 32 between 256 and 4096.")
        if not 0 <= self.margin <= 2:
            raise ConfigError(f"matting.margin is {self.margin}; it must be between 0 and 2.")
