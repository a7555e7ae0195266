"""Options of the components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from avatarkit.config.options import Range

__all__ = ["KeypointConfig", "MatteConfig"]


@dataclass(frozen=True)
class KeypointConfig:
    """Options of the keypoint detector."""

    second_hand_pass: bool = True
    """Look for hands again on enlarged crops around the wrists, where the first pass misses one that may be seen."""
    second_hand_pass_video: bool = True
    """The same in videos; costs about 20 ms per frame and missing hand."""
    min_head_pixels: Annotated[float, Range(0, 10_000)] = 48.0
    """Photos in which the head is lower than this are refused."""


@dataclass(frozen=True)
class MatteConfig:
    """Options of the matting model."""

    solve_side: Annotated[int, Range(64, 4096)] = 1024
    """Longer side in pixels at which alpha is solved; larger photos are matted at this size and alpha is scaled up."""
    hair_width: Annotated[float, Range(0, 10)] = 0.16
    """Half width of the unknown band around the head, in head heights."""
    body_width: Annotated[float, Range(0, 10)] = 0.045
    """Half width of the unknown band elsewhere, in head heights."""
