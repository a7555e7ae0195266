"""Isotropic 3D Gaussians and their rendering."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["GaussianRendering", "Gaussians"]


@dataclass(frozen=True)
class Gaussians:
    """N isotropic Gaussians in world space (paper, section 3.4: q = identity, scalar scale).

    Attributes:
        means: (N, 3) meters.
        scales: (N,) standard deviation in meters, positive.
        colors: (N, 3) sRGB, 0 to 1 (not clamped).
        opacities: (N,) 0 to 1; the paper fixes them at 1.
    """

    means: torch.Tensor
    scales: torch.Tensor
    colors: torch.Tensor
    opacities: torch.Tensor

    def __len__(self) -> int:
        return self.means.shape[0]


@dataclass(frozen=True)
class GaussianRendering:
    """A rendering of Gaussians.

    Attributes:
        rgb: (H, W, 3) composited over the background.
        alpha: (H, W) accumulated opacity.
        depth: (H, W) meters along the camera's z, mean weighted by alpha; 0 for empty pixels. No gradient.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
