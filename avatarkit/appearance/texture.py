"""A body's surface in its UV square: which point each texel shows, and a texture made from one photo."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from avatarkit.appearance.painter import PhotoPainter
from avatarkit.interfaces import BodyModel, Renderer
from avatarkit.rendering import sample_uv
from avatarkit.types.subject import Subject

__all__ = ["Texture", "UVMap", "inpaint", "sample_texture", "texture_from_photo", "uv_positions", "uv_texels"]

_EDGE = 1e-9  # barycentric slack, so that a texel center on a shared edge belongs to at least one triangle


@dataclass(frozen=True)
class UVMap:
    """Which surface point lies under each texel center (paper, eq. 3).

    Row 0 is the top of the UV square (v = 1), column 0 its left (u = 0).

    Attributes:
        face_index: (R, R) int64 triangle number, -1 where the square is empty.
        barycentric: (R, R, 3) weights of the triangle's corners; zero where empty.
    """

    face_index: torch.Tensor
    barycentric: torch.Tensor

    @property
    def covered(self) -> torch.Tensor:
        """(R, R) bool, texels that show surface."""
        return self.face_index >= 0


@dataclass(frozen=True)
class Texture:
    """Colors in the UV square, laid out as ``UVMap``.

    Attributes:
        rgb: (R, R, 3) sRGB 0 to 1, defined everywhere (also between the charts, so that look-ups do not bleed).
        confidence: (R, R) 0 to 1; 1 = seen frontally, little where the color was completed, 0 off the charts.
        seen: (R, R) bool, texels whose color is the photo's own.
    """

    rgb: torch.Tensor
    confidence: torch.Tensor
    seen: torch.Tensor


def uv_positions(body: BodyModel, resolution: int) -> UVMap:
    """Rasterizes the UV triangles at texel centers; where charts overlap the lowest triangle number wins.

    Args:
        body: gives ``uv`` and ``uv_faces``.
        resolution: texels along each side of the square (paper, section 3.1: 512).
    """
    row, column, face, weights = uv_texels(body, resolution, torch.ones(len(body.uv_faces), dtype=torch.bool))
    face_index = torch.full((resolution, resolution), -1, dtype=torch.int64)
    barycentric = torch.zeros(resolution, resolution, 3)
    face_index[row, column], barycentric[row, column] = face, weights
    return UVMap(face_index, barycentric)


def uv_texels(
    body: BodyModel, resolution: int, wanted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the texels of ``uv_positions`` that some triangles own; a few triangles of a fine map take little memory.

    Args:
        body, resolution: as of ``uv_positions``.
        wanted: (F,) bool, the triangles.

    Returns:
        row, column (n,), in their order in the map, face (n,) and barycentric (n, 3).
    """
    corners = body.uv.detach().cpu().double()[body.uv_faces.cpu()]  # (F, 3, 2)
    corners = torch.stack([corners[..., 0], 1.0 - corners[..., 1]], -1) * resolution - 0.5  # texel centers at integers
    low = corners.amin(1).sub(1e-6).ceil().long().clamp(0, resolution)
    high = corners.amax(1).add(1e-6).floor().long().clamp(-1, resolution - 1)
    size = (high - low + 1).clamp(min=0)  # (F, 2) texels in each bounding box
    count = size[:, 0] * size[:, 1]
    count *= _touching(low, high, wanted & (count > 0), resolution)
    texels, owners = [], []
    first = 0
    for last in _batches(count, 4_000_000):
        face = torch.repeat_interleave(torch.arange(first, last), count[first:last])
        rank = torch.arange(len(face)) - torch.repeat_interleave(
            count[first:last].cumsum(0) - count[first:last], count[first:last]
        )
        width = size[face, 0]
        texel = torch.stack([low[face, 0] + rank % width, low[face, 1] + rank // width], -1)
        inside = (_barycentric_2d(corners[face], texel.double()) >= -_EDGE).all(-1)
        texels.append(texel[inside, 1] * resolution + texel[inside, 0])
        owners.append(face[inside])
        first = last
    flat, place = torch.cat(texels).unique(return_inverse=True)
    face = torch.full((len(flat),), len(corners)).scatter_reduce(0, place, torch.cat(owners), "amin")
    flat, face = flat[wanted[face]], face[wanted[face]]
    row, column = flat // resolution, flat % resolution
    weights = _barycentric_2d(corners[face], torch.stack([column, row], -1).double()).clamp(min=0.0)
    return row, column, face, (weights / weights.sum(-1, keepdim=True)).float()


def _touching(low: torch.Tensor, high: torch.Tensor, wanted: torch.Tensor, resolution: int) -> torch.Tensor:
    """Return which bounding boxes (F, 2) to (F, 2) come near those of ``wanted`` triangles, (F,) bool; more than do is fine."""
    grid = 256
    a, b = (low * grid // resolution).clamp(0, grid - 1), (high * grid // resolution).clamp(0, grid - 1) + 1
    marks = torch.zeros(grid + 1, grid + 1, dtype=torch.int64)
    for x, y, sign in ((a, a, 1), (a, b, -1), (b, a, -1), (b, b, 1)):
        marks.index_put_((y[wanted, 1], x[wanted, 0]), torch.full((int(wanted.sum()),), sign), accumulate=True)
    near = functional.pad((marks.cumsum(0).cumsum(1) > 0).long(), (1, 0, 1, 0)).cumsum(0).cumsum(1)
    return near[b[:, 1], b[:, 0]] - near[a[:, 1], b[:, 0]] - near[b[:, 1], a[:, 0]] + near[a[:, 1], a[:, 0]] > 0


def _batches(count: torch.Tensor, limit: int) -> list[int]:
    """Return the ends of runs of triangles whose bounding boxes together hold about ``limit`` texels."""
    run = (count.cumsum(0) // limit).tolist()
    return [i for i in range(1, len(run)) if run[i] != run[i - 1]] + [len(run)]


def _barycentric_2d(corners: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """Weights (n, 3) of points (n, 2) in triangles (n, 3, 2); -1 for triangles without area."""
    a, b, c = corners.unbind(-2)

    def cross(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]

    area = cross(b - a, c - a)
    flat = area.abs() < 1e-12
    area = torch.where(flat, torch.ones_like(area), area)
    weights = torch.stack([cross(c - b, point - b), cross(a - c, point - c), cross(b - a, point - a)], -1)
    return torch.where(flat[:, None], -torch.ones_like(weights), weights / area[:, None])


def texture_from_photo(
    subject: Subject, body: BodyModel, renderer: Renderer, resolution: int = 512, painter: PhotoPainter | None = None
) -> Texture:
    """Colors the whole surface of a tracked person: what the photo shows, then what can be completed from it.

    Args:
        subject: the tracked photo.
        body: its body model.
        renderer: its mesh rasterizer decides what is visible.
        resolution: texels along each side.
        painter: of the same subject, where there is one already.
    """
    uv_map = uv_positions(body, resolution)
    painter = painter or PhotoPainter(subject, body, renderer)
    covered = uv_map.covered
    paint = painter.paint(uv_map.face_index[covered], uv_map.barycentric[covered])
    rgb = torch.zeros(resolution, resolution, 3)
    confidence = torch.zeros(resolution, resolution)
    seen = torch.zeros(resolution, resolution, dtype=torch.bool)
    rgb[covered], confidence[covered], seen[covered] = paint.rgb, paint.confidence, paint.seen
    return Texture(inpaint(rgb, covered.float()), confidence, seen)


def inpaint(image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Fill (H, W, C) smoothly where ``weight`` (H, W) is 0 by push-pull over a pyramid of halved images."""
    levels = [(image.permute(2, 0, 1)[None] * weight[None, None], weight[None, None])]
    while max(levels[-1][1].shape[-2:]) > 1:
        color, w = (
            functional.avg_pool2d(t, 2, ceil_mode=True, count_include_pad=False) for t in levels[-1]
        )  # premultiplied colors and their weights shrink alike
        levels.append((color, w))
    color, w = levels.pop()
    filled = color / w.clamp(min=1e-8)
    while levels:
        color, w = levels.pop()
        coarse = functional.interpolate(filled, size=w.shape[-2:], mode="bilinear", align_corners=False)
        known = w.clamp(max=1.0)
        filled = torch.where(w > 0, color / w.clamp(min=1e-8), coarse) * known + coarse * (1 - known)
    return filled[0].permute(1, 2, 0)


def sample_texture(texture: torch.Tensor, body: BodyModel, face_index: torch.Tensor, barycentric: torch.Tensor) -> torch.Tensor:
    """Bilinear look-up of surface points in a texture.

    Args:
        texture: (R, R, C), laid out as ``UVMap``.
        body: gives ``uv`` and ``uv_faces``.
        face_index: (n,) triangle numbers.
        barycentric: (n, 3).

    Returns:
        (n, C).
    """
    return sample_uv(texture, (body.uv[body.uv_faces[face_index]] * barycentric[..., None]).sum(-2))
