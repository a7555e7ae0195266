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
    """Search again for hands that the first pass missed, on enlarged crops around the wrists."""
    second_hand_pass_video: bool = True
    """The same in videos; takes about 20 ms per frame and missing hand."""
    min_head_pixels: Annotated[float, Range(0, 10_000)] = 48.0
    """Smallest head height in pixels; photos with a smaller head are refused."""


@dataclass(frozen=True)
class MatteConfig:
    """Options of the matting model."""

    solve_side: Annotated[int, Range(64, 4096)] = 1024
    """Longer side in pixels at which alpha is solved; for larger photos alpha is scaled up."""
    hair_width: Annotated[float, Range(0, 10)] = 0.16
    """Half width of the unknown band around the head, in head heights."""
    body_width: Annotated[float, Range(0, 10)] = 0.045
    """Half width of the unknown band elsewhere, in head heights."""
