"""Options of the geometric labeller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from avatarkit.config.options import Range

__all__ = ["Config"]


@dataclass(frozen=True)
class Config:
    """Options of ``reproject``."""

    region: Literal["body", "head"] = "body"
    """What the frames show."""
    frames: Annotated[int, Range(1, 10_000)] = 12
    """Frames per clip, taken evenly from the motion."""
    height: Annotated[int, Range(16, 4096)] | None = None
    """Height of the frames in pixels; none = 512 for the body, 384 for the head."""
    supersampling: Annotated[int, Range(1, 8)] = 2
    """Samples per pixel along each side."""
    yaw: Annotated[float, Range(0, 180)] = 40.0
    """Degrees that the camera goes to either side of the photo's view, besides what the motion does."""
    pitch: Annotated[float, Range(0, 90)] = 8.0
    """Degrees that the camera goes up or down."""
    pan: Annotated[float, Range(0, 360)] = 30.0
    """Degrees of yaw that the camera travels during a clip."""
    margin: Annotated[float, Range(0, 10)] = 0.12
    """Free border around the person as a share of the frame."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames: 9:16 for bodies (paper, section 4), square for heads; even numbers."""
        if self.region == "head":
            height = self.height or 384
            return height, height
        height = self.height or 512
        return 2 * round(height * 9 / 32), height
