"""Shaped and expressed vertices of all, or of a few, vertices."""

from __future__ import annotations

import numpy as np
import torch

from avatarkit.utils.threads import single_threaded
from avatarkit_anny import phenotype
from avatarkit_anny.build import SPARSE_UNIT, Tables

__all__ = ["BlendShapes", "Coefficients", "Vertices"]

_SUBSETS_KEPT = 4


class Coefficients:
    """Shape parameters to blend-shape coefficients."""

    def __init__(self, tables: Tables, device: torch.device) -> None:
        self._factors = torch.from_numpy(tables["factors"].astype(np.int64)).to(device)
        self._phenotypes = len(phenotype.LABELS)

    def __call__(self, shape: torch.Tensor) -> torch.Tensor:
        """Return coefficients (K + 2L,) from shape parameters (S,).

        They are the phenotype targets, then the increasing and the decreasing part of each local change.
        """
        phenotypes = phenotype.coefficients(shape[: self._phenotypes], self._factors)
        local = shape[self._phenotypes :]
        # At zero both parts keep a derivative, so that an optimizer can leave it to either side.
        signed = torch.stack([local * (local >= 0), -local * (local <= 0)], -1)
        return torch.cat([phenotypes, signed.reshape(-1)])


class Vertices:
    """Blend shapes of n vertices.

    Attributes:
        template: (n, 3).
        expression: (E, 3n).
    """

    def __init__(
        self, template: torch.Tensor, rows: torch.Tensor, expression: torch.Tensor, sparse: _Sparse | None = None
    ) -> None:
        self.template = template
        self.expression = expression
        self._rows = rows  # (R, 3n), of the first R coefficients
        self._sparse = sparse  # of the others

    def shaped(self, weights: torch.Tensor) -> torch.Tensor:
        """Return (n, 3) from coefficients (r + 2L,) of the basis and of the local changes."""
        dense = len(self._rows)
        moved = self.template + (weights[:dense] @ self._rows).reshape(-1, 3)
        return moved if self._sparse is None else self._sparse.add(moved, weights[dense:])

    def subset(self, index: torch.Tensor) -> Vertices:
        """Return the same for some vertices, with all rows dense, which is quicker for a few thousand."""
        rows = _picked(self._rows, index)
        if self._sparse is not None:
            rows = torch.cat([rows, self._sparse.dense(index, len(self.template))])
        return Vertices(self.template[index], rows, _picked(self.expression, index))


def _picked(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return (R, 3n) offsets of some vertices out of (R, 3V)."""
    return rows.unflatten(1, (-1, 3)).index_select(1, index).flatten(1)


class _Sparse:
    """Offsets of the vertices that each of many targets moves: (m,) target, (m,) vertex and (m, 3) offset."""

    def __init__(self, targets: int, target: torch.Tensor, vertex: torch.Tensor, offset: torch.Tensor) -> None:
        self._targets, self._target, self._vertex, self._offset = targets, target, vertex, offset

    def add(self, vertices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return ``vertices`` (n, 3) moved by targets with ``weights``."""
        return vertices.index_add(0, self._vertex, self._offset * weights[self._target, None])

    def dense(self, index: torch.Tensor, count: int) -> torch.Tensor:
        """Return (targets, 3n) offsets of the vertices ``index`` (n,), which may repeat, out of ``count``."""
        used, place = torch.unique(index, return_inverse=True)
        number = torch.full((count,), -1, device=index.device)
        number[used] = torch.arange(len(used), device=index.device)
        kept = number[self._vertex] >= 0
        out = torch.zeros(self._targets, len(used), 3, device=index.device)
        out[self._target[kept], number[self._vertex[kept]]] = self._offset[kept]
        return out.index_select(1, place).flatten(1)


def _sparse(tables: Tables, name: str, device: torch.device) -> _Sparse:
    start = tables[f"{name}_start"].astype(np.int64)
    target = torch.from_numpy(np.repeat(np.arange(len(start) - 1), np.diff(start)))
    vertex = torch.from_numpy(tables[f"{name}_vertex"].astype(np.int64))
    offset = torch.from_numpy(tables[f"{name}_delta"].astype(np.float32) * np.float32(SPARSE_UNIT))
    return _Sparse(len(start) - 1, target.to(device), vertex.to(device), offset.to(device))


class BlendShapes:
    """All blend shapes of the body, with a cache of the last results for fixed shapes and subsets.

    The cache compares values, never object identity, so changing a tensor in place is safe.
    """

    def __init__(self, tables: Tables, device: torch.device) -> None:
        template = torch.from_numpy(tables["template"]).to(device)
        basis = torch.from_numpy(tables["basis"]).to(device, torch.float32).reshape(len(tables["basis"]), -1)
        basis *= torch.from_numpy(tables["basis_unit"]).to(device)[:, None]
        everything = torch.arange(len(template), device=device)
        expression = _sparse(tables, "expression", device).dense(everything, len(template))
        self._all = Vertices(template, basis, expression, _sparse(tables, "local", device))
        self._projection = torch.from_numpy(tables["projection"]).to(device)
        self._subsets: list[tuple[torch.Tensor, Vertices]] = []
        self._shaped: list[tuple[torch.Tensor, Vertices, torch.Tensor]] = []

    # What is kept must serve later steps with gradients too, hence never inference tensors.
    @torch.inference_mode(False)
    def vertices(self, subset: torch.Tensor | None) -> Vertices:
        """Return the blend shapes of all vertices (None) or of ``subset`` (n,)."""
        if subset is None:
            return self._all
        for index, vertices in self._subsets:
            if torch.equal(index, subset):
                return vertices
        vertices = self._all.subset(subset.clone())
        self._subsets = [(subset.clone(), vertices), *self._subsets[: _SUBSETS_KEPT - 1]]
        return vertices

    def shaped(self, shape: torch.Tensor, coefficients: Coefficients, vertices: Vertices) -> torch.Tensor:
        """Return (n, 3) shaped template; differentiable in ``shape`` (S,)."""
        if shape.requires_grad and torch.is_grad_enabled():
            return self._evaluated(shape, coefficients, vertices)
        for known_shape, known_vertices, known in self._shaped:
            if known_vertices is vertices and torch.equal(known_shape, shape):
                return known
        with torch.inference_mode(False), torch.no_grad():
            shape = shape.clone()
            result = self._evaluated(shape, coefficients, vertices)
        self._shaped = [(shape, vertices, result), *self._shaped[: _SUBSETS_KEPT - 1]]
        return result

    @single_threaded()  # cached values must not depend on the first caller
    def _evaluated(self, shape: torch.Tensor, coefficients: Coefficients, vertices: Vertices) -> torch.Tensor:
        weights = coefficients(shape)
        split = len(self._projection)
        return vertices.shaped(torch.cat([weights[:split] @ self._projection, weights[split:]]))
