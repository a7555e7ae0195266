"""Shaped and expressed vertices of all, or of a few, vertices."""

from __future__ import annotations

import numpy as np
import torch

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
        """(K + 2L,) from (S,): phenotype targets, then the increasing and the decreasing part of each local change."""
        phenotypes = phenotype.coefficients(shape[: self._phenotypes], self._factors)
        local = shape[self._phenotypes :]
        # At zero both parts keep a derivative, so that an optimiser can leave it to either side.
        signed = torch.stack([local * (local >= 0), -local * (local <= 0)], -1)
        return torch.cat([phenotypes, signed.reshape(-1)])


class Vertices:
    """Blend shapes of n vertices.

    Attributes:
        template: (n, 3). expression: (E, 3n).
    """

    def __init__(self, template: torch.Tensor, basis: torch.Tensor, local: _Sparse, expression: torch.Tensor) -> None:
        self.template = template
        self.expression = expression
        self._basis = basis  # (r, 3n)
        self._local = local

    def shaped(self, phenotypes: torch.Tensor, local: torch.Tensor) -> torch.Tensor:
        """(n, 3) from coefficients of the basis (r,) and of the local changes (2L,)."""
        moved = self.template + (phenotypes @ self._basis).reshape(-1, 3)
        return self._local.add(moved, local)

    def subset(self, index: torch.Tensor) -> Vertices:
        """The same for some vertices."""
        columns = (index[:, None] * 3 + torch.arange(3, device=index.device)).reshape(-1)
        return Vertices(
            self.template[index],
            self._basis[:, columns],
            self._local.subset(index, len(self.template)),
            self.expression[:, columns],
        )


class _Sparse:
    """Offsets of the vertices that each of many targets moves: (m,) target, (m,) vertex and (m, 3) offset."""

    def __init__(self, target: torch.Tensor, vertex: torch.Tensor, offset: torch.Tensor) -> None:
        self._target, self._vertex, self._offset = target, vertex, offset

    def add(self, vertices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """``vertices`` (n, 3) moved by targets with ``weights``."""
        return vertices.index_add(0, self._vertex, self._offset * weights[self._target, None])

    def dense(self, targets: int, vertices: int) -> torch.Tensor:
        """(targets, 3 vertices)."""
        out = torch.zeros(targets, vertices, 3, device=self._offset.device)
        out[self._target, self._vertex] = self._offset
        return out.reshape(targets, -1)

    def subset(self, index: torch.Tensor, count: int) -> _Sparse:
        """Restricted to some of ``count`` vertices, which may repeat."""
        order = torch.argsort(index, stable=True)
        wanted = index[order]
        first = torch.searchsorted(wanted, self._vertex)
        repeats = torch.searchsorted(wanted, self._vertex, right=True) - first
        row = torch.repeat_interleave(torch.arange(len(repeats), device=index.device), repeats)
        within = torch.arange(len(row), device=index.device) - (repeats.cumsum(0) - repeats)[row]
        return _Sparse(self._target[row], order[first[row] + within], self._offset[row])


def _sparse(tables: Tables, name: str, device: torch.device) -> _Sparse:
    start = tables[f"{name}_start"].astype(np.int64)
    target = torch.from_numpy(np.repeat(np.arange(len(start) - 1), np.diff(start)))
    vertex = torch.from_numpy(tables[f"{name}_vertex"].astype(np.int64))
    offset = torch.from_numpy(tables[f"{name}_delta"].astype(np.float32) * np.float32(SPARSE_UNIT))
    return _Sparse(target.to(device), vertex.to(device), offset.to(device))


class BlendShapes:
    """All blend shapes of the body, with what was computed last for fixed shapes and subsets.

    What is kept is found by comparing values, never by object identity, so changing a tensor in place is safe.
    """

    def __init__(self, tables: Tables, device: torch.device) -> None:
        template = torch.from_numpy(tables["template"]).to(device)
        basis = torch.from_numpy(tables["basis"]).to(device, torch.float32).reshape(len(tables["basis"]), -1)
        basis *= torch.from_numpy(tables["basis_unit"]).to(device)[:, None]
        expression = _sparse(tables, "expression", device).dense(len(tables["expression_start"]) - 1, len(template))
        self._all = Vertices(template, basis, _sparse(tables, "local", device), expression)
        self._projection = torch.from_numpy(tables["projection"]).to(device)
        self._subsets: list[tuple[torch.Tensor, Vertices]] = []
        self._shaped: list[tuple[torch.Tensor, Vertices, torch.Tensor]] = []

    def vertices(self, subset: torch.Tensor | None) -> Vertices:
        """Blend shapes of all vertices (None) or of ``subset`` (n,)."""
        if subset is None:
            return self._all
        for index, vertices in self._subsets:
            if torch.equal(index, subset):
                return vertices
        vertices = self._all.subset(subset)
        self._subsets = [(subset.clone(), vertices), *self._subsets[: _SUBSETS_KEPT - 1]]
        return vertices

    def shaped(self, shape: torch.Tensor, coefficients: Coefficients, vertices: Vertices) -> torch.Tensor:
        """(n, 3) shaped template; differentiable in ``shape`` (S,)."""
        constant = not (shape.requires_grad and torch.is_grad_enabled())
        if constant:
            for known_shape, known_vertices, known in self._shaped:
                if known_vertices is vertices and torch.equal(known_shape, shape):
                    return known
        weights = coefficients(shape)
        split = len(self._projection)
        result = vertices.shaped(weights[:split] @ self._projection, weights[split:])
        if constant:
            self._shaped = [(shape.detach().clone(), vertices, result), *self._shaped[: _SUBSETS_KEPT - 1]]
        return result
