"""Constant sparse linear maps with a gradient: barycentric look-ups and Laplacians."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

__all__ = ["LinearMap"]


class LinearMap:
    """y = M x for a constant sparse M (rows, columns) and dense x (columns, C); differentiable in x.

    On a CPU SciPy multiplies, which is several times quicker than gathering and scattering and gives the same bits on any number
    of threads; elsewhere torch's sparse matrices do.

    Args:
        rows, columns: (n,) int64 places of the entries; entries at the same place are added. values: (n,).
        shape: of M.
    """

    def __init__(self, rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]) -> None:
        entries = values.cpu().numpy().astype(np.float32), (rows.cpu().numpy(), columns.cpu().numpy())
        self.forward_matrix = csr_matrix(entries, shape=shape)
        self.backward_matrix = self.forward_matrix.T.tocsr()
        self._on_device: dict[tuple[str, bool], torch.Tensor] = {}

    @staticmethod
    def of_triangles(triangles: torch.Tensor, weights: torch.Tensor, vertices: int) -> LinearMap:
        """Bary(.) of eq. 3 for fixed points: triangles, weights (N, 3)."""
        rows = torch.arange(len(triangles)).repeat_interleave(3)
        return LinearMap(rows, triangles.reshape(-1), weights.reshape(-1), (len(triangles), vertices))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(columns, C) -> (rows, C)."""
        return _Apply.apply(x, self)

    def multiply(self, x: torch.Tensor, transposed: bool) -> torch.Tensor:
        """M x or M^T x without a graph."""
        matrix = self.backward_matrix if transposed else self.forward_matrix
        if x.device.type == "cpu":
            product = matrix @ np.ascontiguousarray(x.detach().numpy())
            return torch.from_numpy(product).clone()  # torch aligns its memory, and matrix products round by alignment
        key = (str(x.device), transposed)
        if key not in self._on_device:
            starts, columns, values = (torch.from_numpy(a) for a in (matrix.indptr, matrix.indices, matrix.data))
            self._on_device[key] = torch.sparse_csr_tensor(starts, columns, values, matrix.shape).to(x.device)
        return self._on_device[key] @ x.detach()


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, linear: LinearMap) -> torch.Tensor:
        ctx.linear = linear
        return linear.multiply(x, transposed=False)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.linear.multiply(grad, transposed=True), None
