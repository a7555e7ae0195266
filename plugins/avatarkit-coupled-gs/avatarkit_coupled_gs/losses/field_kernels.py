"""Kernels of the losses that look into the fields of all Gaussians; their formulas stand beside the losses."""

# mypy: ignore-errors
# Numba finds the types of kernels, per call; Python's cannot express them.

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from avatarkit_coupled_gs.compiled import array, kernel, run
from avatarkit_coupled_gs.linear import LinearMap

__all__ = ["consistency", "roughness"]

_LANES = 8  # numbers of a Gaussian side by side: position (3), scale, color (3), nothing


def roughness(
    dX: torch.Tensor, scale: torch.Tensor, color: torch.Tensor, difference: LinearMap, weights: torch.Tensor
) -> torch.Tensor:
    """Mean over Gaussians of the weighted squares of what ``difference`` makes of three fields, ().

    Args:
        dX: (N, 3).
        scale: (N,).
        color: (N, 3).
        difference: (N, N), a Gaussian's value minus the mean of its neighbors'.
        weights: (N, 3) of each field; gets no gradient.
    """
    return _Roughness.apply(dX, scale, color, difference, weights)


def _rows(matrix: csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the rows of a matrix start, columns and entries; unsigned, so that no index is checked for counting from the end."""
    return matrix.indptr.view(np.uint32), matrix.indices.view(np.uint32), matrix.data


class _Roughness(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dX: torch.Tensor, scale: torch.Tensor, color: torch.Tensor, difference: LinearMap, weights: torch.Tensor
    ) -> torch.Tensor:
        fields, matrix = [array(t) for t in (dX, scale, color)], difference.forward_matrix
        packed, rough = (np.empty((len(dX), _LANES), fields[0].dtype) for _ in range(2))
        squares = dX.new_empty(len(dX))
        run(_pack, len(dX), *fields, packed)
        run(_differ, len(dX), *_rows(matrix), packed, array(weights), rough, squares.numpy())
        ctx.rough, ctx.matrix = rough, difference.backward_matrix
        return squares.sum() / max(len(dX), 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        matrix, rough = ctx.matrix, ctx.rough
        n = len(rough)
        gradients = upstream.new_empty(n, 3), upstream.new_empty(n), upstream.new_empty(n, 3)
        scale = array(2 * upstream / max(n, 1))[()]
        run(_differ_back, n, *_rows(matrix), rough, scale, *(g.numpy() for g in gradients))
        return *gradients, None, None


@kernel
def _pack(start, stop, dX, scale, color, packed):
    for i in range(start, stop):
        for c in range(3):
            packed[i, c] = dX[i, c]
            packed[i, 4 + c] = color[i, c]
        packed[i, 3] = scale[i]


@kernel
def _combine(first, last, columns, entries, values):
    """Add up rows of values (N, _LANES), times the entries of one row of a matrix."""
    real = values.dtype.type
    a = b = c = d = e = f = g = real(0)
    for n in range(first, last):
        entry, row = real(entries[n]), values[columns[n]]
        a, b, c, d = a + entry * row[0], b + entry * row[1], c + entry * row[2], d + entry * row[3]
        e, f, g = e + entry * row[4], f + entry * row[5], g + entry * row[6]
    return a, b, c, d, e, f, g


@kernel
def _differ(start, stop, starts, columns, entries, packed, weights, rough, squares):
    """Fill rough (N, _LANES), the differences times their weights, and squares (N,), the weighted sums of their squares."""
    for i in range(start, stop):
        a, b, c, d, e, f, g = _combine(starts[i], starts[i + 1], columns, entries, packed)
        u, v, w = weights[i, 0], weights[i, 1], weights[i, 2]
        squares[i] = u * (a * a + b * b + c * c) + v * d * d + w * (e * e + f * f + g * g)
        row = rough[i]
        row[0], row[1], row[2], row[3] = u * a, u * b, u * c, v * d
        row[4], row[5], row[6] = w * e, w * f, w * g


@kernel
def _differ_back(start, stop, starts, columns, entries, rough, scale, d_dX, d_scale, d_color):
    for i in range(start, stop):
        a, b, c, d, e, f, g = _combine(starts[i], starts[i + 1], columns, entries, rough)
        d_dX[i, 0], d_dX[i, 1], d_dX[i, 2] = scale * a, scale * b, scale * c
        d_color[i, 0], d_color[i, 1], d_color[i, 2] = scale * e, scale * f, scale * g
        d_scale[i] = scale * d


def consistency(
    dX: torch.Tensor, dT: torch.Tensor, triangles: torch.Tensor, weights: torch.Tensor, bary: LinearMap
) -> torch.Tensor:
    """Mean over Gaussians of |dX - Bary(dT)|_1, (), by ``bary`` or what it is made of: triangles, weights (N, 3)."""
    return _Consistency.apply(dX, dT, triangles, weights, bary)


class _Consistency(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, dX: torch.Tensor, dT: torch.Tensor, triangles: torch.Tensor, weights: torch.Tensor, bary: LinearMap
    ) -> torch.Tensor:
        signs, norms = torch.empty_like(dX), dX.new_empty(len(dX))
        run(_apart, len(dX), array(dX), array(dT), array(triangles), array(weights), signs.numpy(), norms.numpy())
        ctx.signs, ctx.matrix = signs, bary.backward_matrix
        return norms.sum() / max(len(dX), 1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[Any, ...]:
        scale, matrix = upstream / max(len(ctx.signs), 1), ctx.matrix
        d_dT = upstream.new_empty(matrix.shape[0], 3)
        run(_pull, len(d_dT), *_rows(matrix), ctx.signs.numpy(), array(-scale)[()], d_dT.numpy())
        return ctx.signs * scale, d_dT, None, None, None


@kernel
def _apart(start, stop, dX, dT, triangles, weights, signs, norms):
    """Fill signs (N, 3) of dX - Bary(dT), and norms (N,), the sums of its absolute values."""
    real = dX.dtype.type
    zero = real(0)
    for i in range(start, stop):
        a, b, c = dT[triangles[i, 0]], dT[triangles[i, 1]], dT[triangles[i, 2]]
        u, v, w = weights[i, 0], weights[i, 1], weights[i, 2]
        norm = zero
        for k in range(3):
            difference = dX[i, k] - (u * a[k] + v * b[k] + w * c[k])
            norm += abs(difference)
            signs[i, k] = real(difference > zero) - real(difference < zero)
        norms[i] = norm


@kernel
def _pull(start, stop, starts, columns, entries, signs, scale, d_dT):
    """Multiply a sparse matrix, in compressed rows, with signs (N, 3), and scale."""
    for i in range(start, stop):
        x = y = z = signs.dtype.type(0)
        for n in range(starts[i], starts[i + 1]):
            entry, row = signs.dtype.type(entries[n]), signs[columns[n]]
            x, y, z = x + entry * row[0], y + entry * row[1], z + entry * row[2]
        d_dT[i, 0], d_dT[i, 1], d_dT[i, 2] = scale * x, scale * y, scale * z
