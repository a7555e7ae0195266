"""Where Gaussians sit on the canonical surface (paper, eq. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from avatarkit.interfaces import BodyModel
from avatarkit.texture import uv_positions

__all__ = ["Binding", "bind_to_surface"]


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


def bind_to_surface(body: BodyModel, resolution: int, factors: Mapping[str, int]) -> Binding:
    """One point per covered texel of the UV map.

    Args:
        body: whose atlas is sampled.
        resolution: side of the map.
        factors: part of the body -> its points come from a map so many times finer; later parts win over earlier ones.
    """
    fine = torch.ones(len(body.faces), dtype=torch.int64)
    for part, factor in factors.items():
        fine[body.part(part)[body.faces].mean(-1) > 0.5] = max(factor, 1)
    columns: list[tuple[torch.Tensor, ...]] = []
    for number, factor in enumerate(sorted(set(fine.tolist()))):
        uv_map = uv_positions(body, resolution * factor)
        covered = uv_map.face_index >= 0
        covered &= fine[uv_map.face_index.clamp(min=0)] == factor
        row, column = covered.nonzero(as_tuple=True)
        face = uv_map.face_index[row, column]
        weights = uv_map.barycentric[row, column]
        texel = torch.stack([torch.full_like(row, number), row, column], 1)
        columns.append((body.faces[face], weights, face, texel))
    triangles, weights, face, texel = (torch.cat(c) for c in zip(*columns, strict=True))
    return Binding(triangles, weights.float(), face, texel)
