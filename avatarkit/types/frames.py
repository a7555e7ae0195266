"""A rendered frame of an animation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from avatarkit.types.camera import Camera

__all__ = ["Frame"]


@dataclass(frozen=True)
class Frame:
    """One rendered frame.

    Attributes:
        image: (H, W, 3) or (H, W, 4) float32 sRGB, 0 to 1; with four channels alpha is straight, not premultiplied.
        camera: camera of the frame.
        time: seconds from the start.
    """

    image: torch.Tensor
    camera: Camera
    time: float

    def pixels(self, alpha: bool = False) -> np.ndarray:
        """Return (H, W, 3) uint8, or (H, W, 4) with ``alpha``, as stored in files."""
        # numpy: torch would start threads for this small operation
        return np.rint(self.image[..., : 4 if alpha else 3].cpu().numpy().clip(0, 1) * 255).astype(np.uint8)
