"""Linear blend skinning of points that are bound to triangles (paper, eq. 3 to 5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from avatarkit_coupled_gs.compiled import kernel, run

__all__ = ["AFFINE", "POSITION", "ROW", "STRETCH", "skin_bound", "transform"]

ROW = 16
"""Numbers per vertex."""
POSITION, AFFINE, STRETCH = slice(0, 3), slice(3, 15), 15
"""Which of them are T at rest, the rows of the blended 3x4 transform from rest to world, and how far the surface is stretched."""


def transform(rows: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Apply (N, 12) row-major 3x4 transforms to (N, 3) points."""
    A = rows.reshape(-1, 3, 4)
    # no matrix product: its rounding is not the same in every run
    return (A[..., :3] * points[:, None, :]).sum(-1) + A[..., 3]


def skin_bound(
    vertices: torch.Tensor, triangles: torch.Tensor, weights: torch.Tensor, offset: torch.Tensor, dX: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bary(W) (Bary(T) + offset + dX) of eq. 4 and Bary(stretch): blending is linear, so transforms may be interpolated.

    On a CPU one compiled pass, without the (N, 16) table between; elsewhere torch.

    Args:
        vertices: (V, ROW), without a graph.
        triangles: (N, 3) int64.
        weights: (N, 3).
        offset: (N, 3).
        dX: (N, 3), the only one with a gradient.

    Returns:
        (N, 3) means in the world and (N,) stretch.
    """
    if dX.device.type == "cpu":
        means, stretch = _Skin.apply(dX, vertices.contiguous(), triangles, weights, offset)
        return means, stretch
    rows = (vertices[triangles] * weights[..., None]).sum(1)
    return transform(rows[:, AFFINE], rows[:, POSITION] + offset + dX), rows[:, STRETCH]


class _Skin(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dX: torch.Tensor, *constants: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means, stretch = torch.empty_like(dX), dX.new_empty(len(dX))
        arrays = [t.numpy() for t in constants]
        run(_skin, len(dX), *arrays, dX.detach().contiguous().numpy(), means.numpy(), stretch.numpy())
        ctx.arrays = arrays[:3]
        ctx.mark_non_differentiable(stretch)
        return means, stretch

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_means: torch.Tensor, _: torch.Tensor) -> tuple[Any, ...]:
        d_dX = torch.empty_like(d_means, memory_format=torch.contiguous_format)
        run(_skin_backward, len(d_dX), *ctx.arrays, d_means.contiguous().numpy(), d_dX.numpy())
        return d_dX, None, None, None, None


@kernel
def _skin(
    start: int,
    stop: int,
    vertices: np.ndarray,
    triangles: np.ndarray,
    weights: np.ndarray,
    offset: np.ndarray,
    dX: np.ndarray,
    means: np.ndarray,
    stretch: np.ndarray,
) -> None:
    """Fill means (N, 3) and stretch (N,)."""
    for i in range(start, stop):
        a, b, c = vertices[triangles[i, 0]], vertices[triangles[i, 1]], vertices[triangles[i, 2]]
        u, v, w = weights[i, 0], weights[i, 1], weights[i, 2]
        x = u * a[0] + v * b[0] + w * c[0] + offset[i, 0] + dX[i, 0]
        y = u * a[1] + v * b[1] + w * c[1] + offset[i, 1] + dX[i, 1]
        z = u * a[2] + v * b[2] + w * c[2] + offset[i, 2] + dX[i, 2]
        for k in range(3):
            n = 3 + 4 * k
            turned = (u * a[n] + v * b[n] + w * c[n]) * x
            turned += (u * a[n + 1] + v * b[n + 1] + w * c[n + 1]) * y
            turned += (u * a[n + 2] + v * b[n + 2] + w * c[n + 2]) * z
            means[i, k] = turned + (u * a[n + 3] + v * b[n + 3] + w * c[n + 3])
        stretch[i] = u * a[15] + v * b[15] + w * c[15]


@kernel
def _skin_backward(
    start: int,
    stop: int,
    vertices: np.ndarray,
    triangles: np.ndarray,
    weights: np.ndarray,
    d_means: np.ndarray,
    d_dX: np.ndarray,
) -> None:
    """dL/dX = A^T dL/dmeans."""
    row = np.empty(ROW, vertices.dtype)
    for i in range(start, stop):
        a, b, c = triangles[i, 0], triangles[i, 1], triangles[i, 2]
        u, v, w = weights[i, 0], weights[i, 1], weights[i, 2]
        for k in range(3, 15):
            row[k] = u * vertices[a, k] + v * vertices[b, k] + w * vertices[c, k]
        for k in range(3):
            d_dX[i, k] = row[3 + k] * d_means[i, 0] + row[7 + k] * d_means[i, 1] + row[11 + k] * d_means[i, 2]
