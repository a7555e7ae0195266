"""A finished picture of an animation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from avatarkit.camera import Camera

__all__ = ["Frame"]


@dataclass(frozen=True)
class Frame:
    """One picture.

    Attributes:
        image: (H, W, 3) or (H, W, 4) float32 sRGB, 0 to 1; with four channels alpha is straight, not premultiplied.
        camera: that it was seen by.
        time: seconds from the start.
    """

    image: torch.Tensor
    camera: Camera
    time: float
