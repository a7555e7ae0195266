"""Where Gaussians sit on the canonical surface (paper, eq. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from avatarkit.appearance.texture import uv_positions
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.types.mesh import Mesh
from avatarkit.types.subject import Subject

__all__ = ["Binding", "bind_to_surface", "part_factors", "photo_factors"]


@dataclass(frozen=True)
class Binding:
    """N points on the surface.

    Attributes:
        triangles: (N, 3) int64 vertex numbers. barycentric: (N, 3).
        face: (N,) int64 face of the body model.
        texel: (N, 3) int64 map number, row, column, for connectivity.
    """

    triangles: torch.Tensor
    barycentric: torch.Tensor
    face: torch.Tensor
    texel: torch.Tensor

    def __len__(self) -> int:
        return len(self.triangles)


def part_factors(body: BodyModel, factors: Mapping[str, int]) -> torch.Tensor:
    """(F,) int64: how many times finer a map each face of the body asks for.

    Args:
        body: whose faces.
        factors: part of the body -> factor; later parts win over earlier ones.
    """
    fine = torch.ones(len(body.faces), dtype=torch.int64)
    for part, factor in factors.items():
        fine[body.part(part)[body.faces].mean(-1) > 0.5] = max(factor, 1)
    return fine


def photo_factors(
    subject: Subject, body: BodyModel, renderer: Renderer, resolution: int, fine: torch.Tensor, limit: int
) -> torch.Tensor:
    """``fine``, raised where the photo has more pixels than the map has texels: what is seen can be shown as sharp.

    Args:
        subject: the tracked photo.
        body: the body model.
        renderer: finds the faces that the photo shows.
        resolution: side of the map.
        fine: (F,) from ``part_factors``.
        limit: faces get at most so many times their factor in ``fine``.
    """
    with torch.no_grad():
        vertices = body.vertices(subject.params, subject.vertex_offsets)[0]
        drawn = renderer.meshes.render(Mesh(vertices, body.faces), subject.camera)
        pixels = _area(subject.camera.project(vertices)[body.faces])
    shown = torch.zeros(len(body.faces), dtype=torch.bool)
    shown[drawn.face_index[(drawn.face_index >= 0) & (subject.matte.alpha > 0.5)].unique()] = True
    texels = _area(body.uv[body.uv_faces]) * (resolution * fine).square()
    wanted = (pixels / texels.clamp(min=1e-9)).sqrt().sub(0.2).ceil().clamp(1, max(limit, 1)).long()
    return torch.where(shown, fine * wanted, fine)


def _area(corners: torch.Tensor) -> torch.Tensor:
    """(F,) of triangles (F, 3, 2) in the plane."""
    (a, b), (c, d) = (corners[:, 1] - corners[:, 0]).unbind(1), (corners[:, 2] - corners[:, 0]).unbind(1)
    return 0.5 * (a * d - b * c).abs()


def bind_to_surface(body: BodyModel, resolution: int, fine: torch.Tensor) -> Binding:
    """One point per covered texel of the UV map.

    Args:
        body: whose atlas is sampled.
        resolution: side of the map.
        fine: (F,) int64, the points of a face come from a map so many times finer.
    """
    columns: list[tuple[torch.Tensor, ...]] = []
    for number, factor in enumerate(sorted(set(fine.tolist()))):
        uv_map = uv_positions(body, resolution * factor, fine == factor)
        covered = uv_map.face_index >= 0
        covered &= fine[uv_map.face_index.clamp(min=0)] == factor
        row, column = covered.nonzero(as_tuple=True)
        face = uv_map.face_index[row, column]
        weights = uv_map.barycentric[row, column]
        texel = torch.stack([torch.full_like(row, number), row, column], 1)
        columns.append((body.faces[face], weights, face, texel))
    triangles, weights, face, texel = (torch.cat(c) for c in zip(*columns, strict=True))
    return Binding(triangles, weights.float(), face, texel)
