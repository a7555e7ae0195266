"""The mesh rasterizer: the kernels in order, threads and the derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from avatarkit.types.camera import Camera
from avatarkit.types.mesh import Mesh, MeshRendering
from avatarkit.utils.threads import Workers, spans
from avatarkit_cpu.projection import camera_numbers
from avatarkit_cpu.triangles import antialias, cover, project_vertices, shade, silhouettes, vertex_gradients

__all__ = ["CpuMeshRasterizer"]

_KEPT = 3  # meshes


@dataclass(frozen=True)
class _Topology:
    """Edges of a mesh.

    Attributes:
        faces: (F, 3) of which it was made.
        vertices: how many there are.
        edges: (E, 2) lower end first, sorted.
        firsts: (E + 1,) into neighbors.
        neighbors: (3F, 2) by edge: a face, and its corner off the edge.
    """

    faces: torch.Tensor
    vertices: int
    edges: np.ndarray
    firsts: np.ndarray
    neighbors: np.ndarray

    @classmethod
    def of(cls, faces: torch.Tensor, vertices: int) -> _Topology:
        f = faces.numpy()
        if len(f) and not (f.min() >= 0 and f.max() < vertices):
            raise ValueError(f"faces name vertices {f.min()} to {f.max()}, but there are {vertices}")
        corners = np.concatenate([f[:, [0, 1, 2]], f[:, [1, 2, 0]], f[:, [2, 0, 1]]])
        ends = np.sort(corners[:, :2], axis=1)
        keys = ends[:, 0] * vertices + ends[:, 1]
        order = np.argsort(keys, kind="stable")
        edges, counts = np.unique(keys, return_counts=True)
        edges = np.stack([edges // max(vertices, 1), edges % max(vertices, 1)], axis=1)
        firsts = np.concatenate([[0], np.cumsum(counts)])
        neighbors = np.stack([np.tile(np.arange(len(f)), 3), corners[:, 2]], axis=1)[order]
        return cls(faces.clone(), vertices, edges, firsts, neighbors)

    def fits(self, faces: torch.Tensor, vertices: int) -> bool:
        return self.vertices == vertices and torch.equal(self.faces, faces)


class CpuMeshRasterizer:
    """Draws meshes on the CPU; the same bits on any number of threads.

    Implements ``MeshRasterizer``. Works in the floating type of the vertices: float32, or float64 for checks of
    gradients. The edges of the last few meshes are kept, so drawing poses of one mesh, or of parts of it, finds them once.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._topologies: tuple[_Topology, ...] = ()  # the last one first

    def render(self, mesh: Mesh, camera: Camera) -> MeshRendering:
        """Draw a mesh, see ``avatarkit.reference.meshes``.

        Args:
            mesh: V vertices and F faces on the CPU; both may be 0.
            camera: whose picture to take.
        """
        vertices, faces = mesh.vertices, mesh.faces
        if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
            raise ValueError(f"a mesh has (V, 3) vertices and (F, 3) faces, not {vertices.shape} and {faces.shape}")
        kept = self._topologies
        topology = next((t for t in kept if t.fits(faces, len(vertices))), None)
        if topology is None:
            topology = _Topology.of(faces.contiguous(), len(vertices))
        self._topologies = (topology, *(t for t in kept if t is not topology))[:_KEPT]
        return MeshRendering(*_Draw.apply(vertices, camera, topology, self._workers))


class _Draw(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, vertices: torch.Tensor, camera: Camera, topology: _Topology, workers: Workers
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        height, width = camera.height, camera.width
        faces = topology.faces.numpy()
        v = vertices.detach().contiguous().numpy()
        view = camera_numbers(camera, v.dtype)
        points, drawn = np.empty_like(v), np.empty(len(faces), np.bool_)
        project_vertices(v, view, faces, points, drawn)

        hit = torch.empty(height, width, dtype=torch.int64)
        barycentric, depth = vertices.new_empty(height, width, 3), vertices.new_empty(height, width)
        rows = spans(height, workers.threads)
        workers.run(cover, rows, points, faces, drawn, hit.numpy(), depth.numpy())
        workers.run(shade, rows, points, faces, hit.numpy(), barycentric.numpy())

        chosen = np.empty(len(topology.edges), np.int64)
        count = silhouettes(points, drawn, topology.edges, topology.firsts, topology.neighbors, chosen)
        mask = vertices.new_empty(height, width)
        count, links, slopes = antialias(points, topology.edges, chosen[:count], hit.numpy(), mask.numpy())
        ctx.saved = links[:count].copy(), slopes[:count].copy(), points, view
        ctx.mark_non_differentiable(hit, barycentric, depth)
        return mask, hit, barycentric, depth

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_mask: torch.Tensor, *_: torch.Tensor) -> tuple[Any, ...]:
        links, slopes, points, view = ctx.saved
        d_vertices = d_mask.new_zeros(points.shape)
        vertex_gradients(links, slopes, d_mask.contiguous().numpy(), points, view, d_vertices.numpy())
        return d_vertices, None, None, None
