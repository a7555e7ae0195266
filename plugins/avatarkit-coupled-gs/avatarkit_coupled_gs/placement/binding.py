"""Where Gaussians sit on the canonical surface (paper, eq. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from avatarkit.appearance.texture import uv_texels
from avatarkit.interfaces import BodyModel
from avatarkit.types.subject import Subject

__all__ = ["Binding", "bind_to_surface", "part_factors", "photo_factors"]

_MARGIN = 0.05  # of the picture's longer side: what ends just outside it is seen as soon as the person moves


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


def photo_factors(subject: Subject, body: BodyModel, resolution: int, fine: torch.Tensor, limit: int) -> torch.Tensor:
    """(F,) int64: as many times finer as the photo has pixels for the surface, were it turned to the camera.

    Hidden surface counts, too: the outline ends there when the person turns, and only small Gaussians draw a sharp one.

    Args:
        subject: the tracked photo.
        body: the body model.
        resolution: side of the map.
        fine: (F,) from ``part_factors``: the most for faces outside the picture.
        limit: faces in the picture get at most so many times that.
    """
    camera = subject.camera
    with torch.no_grad():
        corners = body.vertices(subject.params, subject.vertex_offsets)[0][body.faces]
    edges = corners[:, 1:] - corners[:, :1]
    middle = corners.mean(1)
    at, margin = camera.project(middle), _MARGIN * max(camera.width, camera.height)
    shown = ((at > -margin) & (at < at.new_tensor([camera.width, camera.height]) + margin)).all(-1)
    pixel = camera.to_camera(middle)[:, 2].clamp(min=1e-3) / camera.K[0, 0]  # meters
    pixels = 0.5 * torch.linalg.cross(edges[:, 0], edges[:, 1]).norm(dim=-1) / pixel.square()
    texels = _area(body.uv[body.uv_faces]) * resolution**2
    wanted = (pixels / texels.clamp(min=1e-9)).sqrt().sub(0.2).ceil().clamp(min=1).long()
    return torch.minimum(wanted, torch.where(shown, fine * limit, fine))


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
        row, column, face, weights = uv_texels(body, resolution * factor, fine == factor)
        texel = torch.stack([torch.full_like(row, number), row, column], 1)
        columns.append((body.faces[face], weights, face, texel))
    triangles, weights, face, texel = (torch.cat(c) for c in zip(*columns, strict=True))
    return Binding(triangles, weights, face, texel)
