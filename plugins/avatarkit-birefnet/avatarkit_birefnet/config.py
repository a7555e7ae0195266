"""Options of the matting model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Machine, Range
from avatarkit.errors import ConfigError

__all__ = ["BiRefNetConfig"]


@dataclass(frozen=True)
class BiRefNetConfig:
    """Options of ``birefnet``."""

    network: Annotated[str, Machine] = ""
    """ONNX file of the network; empty = the weights birefnet."""
    side: Annotated[int, Range(256, 4096)] = 1024
    """Side of the network's picture in pixels, if the file does not fix it (BiRefNet_HR: 2048)."""
    margin: Annotated[float, Range(0, 2)] = 0.25
    """Size of the network's window relative to the person's box."""

    def __post_init__(self) -> None:
        if self.side % 32:
            raise ConfigError(f"matting.side is {self.side}; it must be a multiple of 32.")
