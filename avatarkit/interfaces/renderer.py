"""Rasterizers of Gaussians and meshes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import GaussianRendering, Gaussians
from avatarkit.types.mesh import Mesh, MeshRendering

__all__ = ["GaussianRasterizer", "MeshRasterizer", "Renderer"]


@runtime_checkable
class GaussianRasterizer(Protocol):
    """Rasterizes Gaussians (EWA, 0.3 px dilation, front to back, sorted by depth).

    Spheres of one color must be drawn; what else it draws the descriptor's ``features`` say.
    """

    def render(self, gaussians: Gaussians, camera: Camera, background: torch.Tensor) -> GaussianRendering:
        """Render Gaussians with a camera over ``background`` (3,).

        Differentiable in all tensors of the Gaussians. Empty sets and Gaussians outside the view are allowed.
        """


@runtime_checkable
class MeshRasterizer(Protocol):
    """Rasterizes a triangle mesh."""

    def render(self, mesh: Mesh, camera: Camera) -> MeshRendering:
        """Render a mesh with a camera.

        ``mask`` is differentiable in the vertices at silhouettes; the rest has no gradient.
        """


@runtime_checkable
class Renderer(Protocol):
    """The two rasterizers of one backend."""

    gaussians: GaussianRasterizer
    meshes: MeshRasterizer
