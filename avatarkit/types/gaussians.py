"""Isotropic 3D Gaussians and what a rasteriser makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["GaussianRendering", "Gaussians"]


@dataclass(frozen=True)
class Gaussians:
    """N isotropic Gaussians in world space (paper, section 3.4: q = identity, one scalar scale).

    Attributes:
        means: (N, 3) metres.
        scales: (N,) standard deviation in metres, positive.
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
    """A splatted picture.

    Attributes:
        rgb: (H, W, 3) composited over the background.
        alpha: (H, W) accumulated opacity.
        depth: (H, W) metres along the camera's z, weighted mean over alpha; 0 where nothing is hit. No gradient.
    """

    rgb: torch.Tensor
    alpha: torch.Tensor
    depth: torch.Tensor
