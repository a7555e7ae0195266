"""The user's photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Photo"]


@dataclass(frozen=True)
class Photo:
    """An upright photo.

    Attributes:
        image: (H, W, 3) float32 sRGB, 0 to 1.
        alpha: (H, W) float32 if the file contains a matte, else None.
        sha256: digest of the file's bytes.
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
        """Height in pixels."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.image.shape[1])

    def to_uint8(self) -> np.ndarray:
        """Return (H, W, 3) uint8 sRGB, the input of detectors."""
        return (self.image.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
