"""A finished picture of an animation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatarkit.types.camera import Camera

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

    def pixels(self, alpha: bool = False) -> np.ndarray:
        """(H, W, 3) uint8, or (H, W, 4) with ``alpha``, as files keep them."""
        # numpy, since torch would start threads for so little
        return np.rint(self.image[..., : 4 if alpha else 3].cpu().numpy().clip(0, 1) * 255).astype(np.uint8)
