"""Triangle meshes, their rendering, barycentric interpolation and skinning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from avatarkit.utils.moved import former_names

__all__ = ["Mesh", "MeshRendering", "MeshTexture", "barycentric", "faces_of", "linear_blend_skinning", "vertex_normals"]


@dataclass(frozen=True)
class MeshTexture:
    """Colors of a mesh's surface.

    Attributes:
        uv: (U, 2) 0 to 1, v up.
        uv_faces: (F, 3) int64 into ``uv``, corner by corner of the mesh's faces.
        rgb: (H, W, 3) sRGB 0 to 1; row 0 is v = 1.
    """

    uv: torch.Tensor
    uv_faces: torch.Tensor
    rgb: torch.Tensor


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) world, meters.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        texture: its colors; None = it has none.
    """

    vertices: torch.Tensor
    faces: torch.Tensor
    texture: MeshTexture | None = None


@dataclass(frozen=True)
class MeshRendering:
    """A rasterized mesh.

    Attributes:
        mask: (H, W) coverage 0 to 1, antialiased, with gradients to the vertices at silhouettes.
        face_index: (H, W) int64, -1 for empty pixels. No gradient.
        barycentric: (H, W, 3) perspective-correct weights of the face's corners. No gradient.
        depth: (H, W) meters along the camera's z, 0 for empty pixels. No gradient.
    """

    mask: torch.Tensor
    face_index: torch.Tensor
    barycentric: torch.Tensor
    depth: torch.Tensor


def barycentric(values: torch.Tensor, triangles: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Interpolate per-vertex values at points on triangles: Bary(.) of eq. 3.

    Args:
        values: (..., V, C) per vertex.
        triangles: (N, 3) vertex numbers of each point's triangle.
        weights: (N, 3) barycentric weights, summing to one.

    Returns:
        (..., N, C).
    """
    corners = values.index_select(-2, triangles.reshape(-1))
    corners = corners.reshape(*values.shape[:-2], *triangles.shape, values.shape[-1])
    return (corners * weights[..., None]).sum(-2)


def faces_of(triangles: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Return the numbers (N,) of triangles (N, 3) among ``faces`` (F, 3), with the same order of corners; -1 where none is."""
    if not len(faces):
        return torch.full((len(triangles),), -1, device=triangles.device)
    count = int(max(faces.max(), triangles.max() if len(triangles) else 0)) + 1

    def key(corners: torch.Tensor) -> torch.Tensor:
        return (corners[:, 0] * count + corners[:, 1]) * count + corners[:, 2]

    keys, order = key(faces).sort()
    found = order[torch.searchsorted(keys, key(triangles)).clamp(max=len(keys) - 1)]
    return torch.where((faces[found] == triangles).all(1), found, -1)


def vertex_normals(vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Return area-weighted unit normals (..., V, 3) of vertices (..., V, 3)."""
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    n = torch.linalg.cross(b - a, c - a)
    out = torch.zeros_like(vertices)
    for k in range(3):
        out = out.index_add(-2, faces[:, k], n)
    return torch.nn.functional.normalize(out, dim=-1)


def linear_blend_skinning(
    points: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor, transforms: torch.Tensor
) -> torch.Tensor:
    """Pose points by linear blend skinning with sparse weights: W(.) of eq. 1, 4, 5.

    Args:
        points: (B, N, 3) in the rest pose.
        indices: (N, K) int64, joints that move each point.
        weights: (N, K), summing to one.
        transforms: (B, J, 4, 4) rest to posed.

    Returns:
        (B, N, 3) posed points.
    """
    B, J = transforms.shape[:2]
    N = len(indices)
    flat = transforms[:, :, :3, :].reshape(B, J, 12)
    blend = torch.zeros(N, J, dtype=weights.dtype, device=weights.device)
    blend = blend.scatter_add(1, indices, weights)  # dense (N, J): one matrix product beats K gathers
    A = (blend @ flat).reshape(B, N, 3, 4)
    return (A[..., :3] * points[..., None, :]).sum(-1) + A[..., 3]


if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, {"skin": "linear_blend_skinning"})
