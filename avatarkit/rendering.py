"""Draws a posed avatar, whatever it is made of, with the rasterizers of any renderer."""

from __future__ import annotations

import torch
from torch.nn import functional

from avatarkit.interfaces import MeshRasterizer, Posed, Renderer
from avatarkit.types.camera import Camera
from avatarkit.types.gaussians import GaussianRendering
from avatarkit.types.mesh import Mesh

__all__ = ["render_posed", "render_textured_mesh", "sample_uv"]


def render_posed(renderer: Renderer, posed: Posed, camera: Camera, background: torch.Tensor) -> GaussianRendering:
    """Draw the Gaussians of an avatar; its textured mesh if it has no Gaussians. Differentiable.

    Args:
        renderer: draws both.
        posed: the avatar.
        camera: whose picture to take.
        background: (3,).
    """
    if not len(posed.gaussians) and posed.mesh is not None and posed.mesh.texture is not None:
        return render_textured_mesh(renderer.meshes, posed.mesh, camera, background)
    return renderer.gaussians.render(posed.gaussians, camera, background)


def render_textured_mesh(rasterizer: MeshRasterizer, mesh: Mesh, camera: Camera, background: torch.Tensor) -> GaussianRendering:
    """Draw a mesh in the colors of its texture, with smooth silhouettes.

    Differentiable in the texture everywhere and in the vertices at silhouettes.

    Args:
        rasterizer: finds the triangle under each pixel.
        mesh: with a texture.
        camera: whose picture to take.
        background: (3,).
    """
    assert mesh.texture is not None
    seen = rasterizer.render(mesh, camera)
    hit = seen.face_index >= 0
    corners = mesh.texture.uv[mesh.texture.uv_faces[seen.face_index[hit]]]
    inside = sample_uv(mesh.texture.rgb, (corners * seen.barycentric[hit][..., None]).sum(1))
    rgb = inside.new_zeros(*hit.shape, 3).index_put(hit.nonzero(as_tuple=True), inside)
    # Antialiasing covers parts of pixels whose centers lie beside the mesh: they take the colors of their neighbors.
    planes = torch.cat([rgb, hit[..., None].to(rgb)], -1).permute(2, 0, 1)[None]
    near = functional.avg_pool2d(planes, 3, 1, 1)[0].permute(1, 2, 0)
    rgb = torch.where(hit[..., None], rgb, near[..., :3] / near[..., 3:].clamp(min=1e-6))
    mask = seen.mask.clamp(0, 1)[..., None]
    return GaussianRendering(mask * rgb + (1 - mask) * background.to(rgb), mask[..., 0], seen.depth)


def sample_uv(image: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
    """Look up points of the UV square bilinearly; differentiable in the image.

    Args:
        image: (H, W, C); row 0 is v = 1, column 0 is u = 0.
        uv: (n, 2) 0 to 1.

    Returns:
        (n, C).
    """
    grid = torch.stack([2.0 * uv[:, 0] - 1.0, 1.0 - 2.0 * uv[:, 1]], -1)[None, None]
    picked = functional.grid_sample(
        image.permute(2, 0, 1)[None], grid.to(image.dtype), padding_mode="border", align_corners=False
    )
    return picked[0, :, 0].T
