"""Rasterizing of triangle meshes with antialiased, differentiable silhouettes, as formulas.

Coverage: with ``p`` a pixel center and ``a, b`` the projections of two corners, ``E(a, b) = (a - p) x (b - p)``. A face
covers p where its three E have one sign (zero belongs to both, so neighbors leave no gap). Each corner's share of
the weight is the E of the opposite edge; with w_k these shares and z_k the corners' depths::

    depth = sum_k w_k / sum_k (w_k / z_k)        barycentric_k = (w_k / z_k) / sum_j (w_j / z_j)

The nearest face wins, of equals the one with the lower number. Both sides of a face are drawn. A face is left out
when a corner is nearer than 1 cm or not finite, or when its area in the picture is zero.

Antialiasing (after Laine et al. 2020, "Modular Primitives for High-Performance Differentiable Rendering", section
3.5): an edge is a silhouette when all faces at it lie on one side of it in the picture. Take two neighboring pixels
of which one is covered. Some silhouette edge crosses the line between their centers; ``d`` is how far from the
covered center, 0 to 1::

    d < 1/2: the covered pixel's mask is 1 - (1/2 - d)        d >= 1/2: the other pixel's mask is d - 1/2

which is the area that a moving vertical edge leaves. What pairs along one axis give to one pixel is summed; of the two
axes the larger change counts, which is the one across the edge; the sum is clamped to 0..1. Where several edges cross
one pair, the outermost (largest d) is the border of the union. Edges are walked instead of the faces that were hit, so
triangles smaller than a pixel do not lose their silhouette. The gradient is that of d in the two ends of the edge;
which edge, which pair and which axis are constants.
"""

from __future__ import annotations

import torch

from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, MeshRendering

__all__ = ["NEAR", "render_mesh", "silhouette_edges"]

NEAR = 0.01  # meters


def render_mesh(mesh: Mesh, camera: Camera) -> MeshRendering:
    """Draws a mesh in plain torch; ``mask`` is differentiable in the vertices.

    Args:
        mesh: V vertices of any floating type, F faces; both may be 0.
        camera: whose picture to take.
    """
    K, T = camera.K.to(mesh.vertices), camera.T_camera_world.to(mesh.vertices)
    points = mesh.vertices @ T[:3, :3].T + T[:3, 3]
    z = points[:, 2].detach()
    # Points behind the camera belong to no face that is drawn: any finite place keeps NaN out of the gradients.
    in_front = (z > NEAR) & torch.isfinite(points.detach()).all(-1)
    points = torch.where(in_front[:, None], points, torch.ones_like(points))
    pixels = points[:, :2] / points[:, 2:] * torch.stack([K[0, 0], K[1, 1]]) + K[:2, 2]
    with torch.no_grad():
        a, b, c = (pixels[mesh.faces[:, k]] for k in range(3))
        drawn = in_front[mesh.faces].all(-1) & (_cross(b - a, c - a) != 0)
        numbers = drawn.nonzero()[:, 0]
        faces = mesh.faces[numbers]
        hit, barycentric, depth = _nearest(pixels, points[:, 2], faces, camera)
        hit = torch.where(hit >= 0, numbers[hit.clamp(min=0)] if len(numbers) else hit, hit)
        edges = silhouette_edges(pixels, faces)
    mask = _antialias(hit >= 0, pixels, edges)
    return MeshRendering(mask, hit, barycentric, depth)


def _cross(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _nearest(
    pixels: torch.Tensor, z: torch.Tensor, faces: torch.Tensor, camera: Camera
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the nearest face at each pixel center: index (H, W) or -1, barycentric (H, W, 3), depth (H, W)."""
    H, W = camera.height, camera.width
    hit = torch.full((H * W,), -1, device=z.device)
    barycentric, depth = z.new_zeros(H * W, 3), z.new_zeros(H * W)
    if not len(faces):
        return hit.reshape(H, W), barycentric.reshape(H, W, 3), depth.reshape(H, W)
    columns = torch.arange(W, dtype=z.dtype, device=z.device) + 0.5
    top, bottom = pixels[faces][..., 1].aminmax(dim=-1)
    for y in range(H):
        reach = ((top <= y + 0.5) & (bottom >= y + 0.5)).nonzero()[:, 0]  # faces that this row of pixels can meet
        if len(reach):
            row = slice(y * W, (y + 1) * W)
            centers = torch.stack([columns, torch.full_like(columns, y + 0.5)], -1)
            found, barycentric[row], depth[row] = _nearest_in_row(centers, pixels[faces[reach]], z[faces[reach]])
            hit[row] = torch.where(found >= 0, reach[found.clamp(min=0)], -1)
    return hit.reshape(H, W), barycentric.reshape(H, W, 3), depth.reshape(H, W)


def _nearest_in_row(
    centers: torch.Tensor, corners: torch.Tensor, z: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the nearest of F faces at P points: index (P,) or -1, barycentric (P, 3), depth (P,).

    Args:
        centers: (P, 2).
        corners: (F, 3, 2) pixels.
        z: (F, 3) depths.
    """
    a, b, c = (corners - centers[:, None, None]).unbind(-2)  # (P, F, 2) each
    w = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=-1)
    inside = (w >= 0).all(-1) | (w <= 0).all(-1)
    share = w / z
    distance = (w[..., 0] + w[..., 1] + w[..., 2]) / (share[..., 0] + share[..., 1] + share[..., 2])
    distance = torch.where(inside & (distance > 0), distance, torch.inf)  # rounding may leave 0 / 0
    nearest = distance.amin(-1, keepdim=True)  # ten times faster than ``min``, which also finds the index
    index = torch.arange(len(corners), device=z.device)
    first = torch.where(distance == nearest, index, len(corners) - 1).amin(-1)
    found = torch.isfinite(nearest[:, 0])
    chosen = share[torch.arange(len(first), device=z.device), first]
    barycentric = torch.where(found[:, None], chosen / chosen.sum(-1, keepdim=True), 0)
    return torch.where(found, first, -1), barycentric, torch.where(found, nearest[:, 0], 0)


def silhouette_edges(pixels: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Return (S, 2) int64: ends (lower number first) of the edges whose faces all lie on one side, sorted.

    Args:
        pixels: (V, 2) projected vertices.
        faces: (F, 3) those that are drawn.
    """
    corners = torch.cat([faces[:, [0, 1, 2]], faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]])  # two ends, opposite corner
    ends = corners[:, :2].sort(-1).values
    edges, edge_of = ends.unique(dim=0, return_inverse=True)
    side = _cross(pixels[ends[:, 1]] - pixels[ends[:, 0]], pixels[corners[:, 2]] - pixels[ends[:, 0]])
    left, right = torch.zeros(2, len(edges), dtype=torch.bool, device=faces.device)
    left[edge_of[side > 0]] = True
    right[edge_of[side < 0]] = True
    return edges[~(left & right)]


def _antialias(covered: torch.Tensor, pixels: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """Blends a hard coverage (H, W) at silhouette edges (S, 2) of vertices ``pixels`` (V, 2): mask (H, W)."""
    ends = pixels[edges]
    horizontal = _pair_gains(covered, ends)
    vertical = _pair_gains(covered.T, ends.flip(-1)).T
    change = torch.where(horizontal.abs() >= vertical.abs(), horizontal, vertical)
    return (covered.to(pixels.dtype) + change).clamp(0, 1)


def _pair_gains(covered: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """Return what horizontal pairs of pixels add to the mask (H, W), by edges with ends (S, 2 ends, 2 xy)."""
    H, W = covered.shape
    y = torch.arange(H, dtype=ends.dtype, device=ends.device) + 0.5
    a, b = ends[:, 0, :, None], ends[:, 1, :, None]  # (S, 2, 1)
    crosses = (torch.minimum(a[:, 1], b[:, 1]) <= y) & (y < torch.maximum(a[:, 1], b[:, 1]))  # (S, H)
    edge, row = crosses.nonzero().unbind(-1)
    a, b = ends[edge, 0], ends[edge, 1]
    x = a[:, 0] + (y[row] - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])  # (C,) where they cross
    column = (x.detach() - 0.5).floor()
    useful = (column >= 0) & (column < W - 1)
    x, row, column = x[useful], row[useful], column[useful].long()
    left, right = covered[row, column], covered[row, column + 1]
    d = torch.where(left, x - (column + 0.5), (column + 1.5) - x)
    with torch.no_grad():
        pair = row * W + column
        outermost = torch.full((H * W,), -torch.inf, dtype=d.dtype, device=d.device)
        outermost = outermost.scatter_reduce(0, pair, d, "amax")
        number = torch.arange(len(d), device=d.device)
        best = (left != right) & (d == outermost[pair])
        first = torch.full((H * W,), len(d), device=d.device).scatter_reduce(0, pair[best], number[best], "amin")
        winner = best & (first[pair] == number)
        inner, outer = torch.where(left, pair, pair + 1), torch.where(left, pair + 1, pair)
        target = torch.where(d < 0.5, inner, outer)
    return d.new_zeros(H * W).index_add(0, target[winner], d[winner] - 0.5).reshape(H, W)
