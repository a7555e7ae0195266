"""A pair of rasterizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from avatarkit import Camera, Context, Gaussians, Mesh
from avatarkit.config.options import Range
from avatarkit.reference.gaussians import render_gaussians
from avatarkit.reference.meshes import render_mesh
from avatarkit.types.gaussians import GaussianRendering
from avatarkit.types.mesh import MeshRendering


@dataclass(frozen=True)
class Config:
    """Options of the renderer."""

    least_opacity: Annotated[float, Range(0, 1)] = 0.0
    """Opacity, 0 to 1, below which Gaussians are not rendered."""


class Splats:
    """Rasterizes Gaussians with the readable reference.

    Replace it with your kernel; the tests compare the two.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        g, keep = gaussians, gaussians.opacities >= self.config.least_opacity
        kept = g.map(lambda tensor: tensor[keep])
        return render_gaussians(kept, camera, background)


class Meshes:
    """Rasterizes meshes with the readable reference."""

    def render(self, mesh: Mesh, camera: Camera) -> MeshRendering:
        return render_mesh(mesh, camera)


class Example:
    """The pair of rasterizers."""

    def __init__(self, config: Config, context: Context) -> None:
        self.gaussians, self.meshes = Splats(config), Meshes()
