"""Options of the perceptual losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from avatarkit.config.options import Machine, Range

__all__ = ["LpipsConfig", "StLpipsConfig"]


@dataclass(frozen=True)
class StLpipsConfig:
    """Options of ``st-lpips``."""

    trunk: Literal["alex", "vgg"] = "alex"
    """Network whose features are compared; alex is about eight times faster on a CPU."""
    crop: Annotated[int, Range(0, 4096)] = 160
    """Side of the random square crops in pixels; 0 compares whole pictures."""
    crops: Annotated[int, Range(1, 1000)] = 1
    """Crops per step."""


@dataclass(frozen=True)
class LpipsConfig:
    """Options of ``lpips``."""

    weights: Annotated[str, Machine] = ""
    """Path of torchvision's vgg16 checkpoint; empty = the weights vgg16."""
    crop: Annotated[int, Range(0, 4096)] = 0
    """Side of the random square crops in pixels; 0 compares whole pictures."""
    crops: Annotated[int, Range(1, 1000)] = 1
    """Crops per step."""
