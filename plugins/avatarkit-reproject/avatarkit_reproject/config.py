"""Options of the geometric labeller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Config"]


@dataclass(frozen=True)
class Config:
    """Options of ``reproject``."""

    region: Literal["body", "head"] = "body"
    """What the frames show."""
    frames: int = 12
    """Frames per clip, taken evenly from the motion."""
    height: int | None = None
    """Height of the frames in pixels; none = 512 for the body, 384 for the head."""
    supersampling: int = 2
    """Samples per pixel along each side."""
    yaw: float = 40.0
    """Degrees that the camera goes to either side of the photo's view, besides what the motion does."""
    pitch: float = 8.0
    """Degrees that the camera goes up or down."""
    pan: float = 30.0
    """Degrees of yaw that the camera travels during a clip."""
    margin: float = 0.12
    """Free border around the person as a share of the frame."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.supersampling < 1:
            raise ValueError("frames and supersampling must be at least 1")
        if self.height is not None and self.height < 16:
            raise ValueError("height must be at least 16")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames: 9:16 for bodies (paper, section 4), square for heads; even numbers."""
        if self.region == "head":
            height = self.height or 384
            return height, height
        height = self.height or 512
        return 2 * round(height * 9 / 32), height
