"""The user's photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Photo"]


@dataclass(frozen=True)
class Photo:
    """An upright picture.

    Attributes:
        image: (H, W, 3) float32 sRGB, 0 to 1.
        alpha: (H, W) float32 where the file itself carries a matte, else None.
        sha256: of the file's bytes.
        name: file name without its folder.
        focal: focal length in pixels from the file's metadata, else None.
    """

    image: torch.Tensor
    alpha: torch.Tensor | None
    sha256: str
    name: str
    focal: float | None = None

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        return int(self.image.shape[1])

    def to_uint8(self) -> np.ndarray:
        """(H, W, 3) uint8 sRGB, as detectors want it."""
        return (self.image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
