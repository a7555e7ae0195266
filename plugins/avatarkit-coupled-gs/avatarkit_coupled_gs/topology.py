"""What is connected to what: Gaussians on the canonical surface, and faces across mesh edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from avatarkit_coupled_gs.linear import LinearMap

__all__ = ["Topology", "neighbors"]


@dataclass
class Topology:
    """Constant connectivity of an avatar.

    Attributes:
        neighbors: (N, 4) int64 neighboring Gaussians; an absent one is the Gaussian itself.
        edges: two maps from vertices to the sides (F, 3) of each face, from its first corner.
        flanks: two maps from faces to those on either side of each of the E inner mesh edges.
        rest_bend: (E,) 1 - cos between the normals of those faces on the undeformed mesh.
        difference: a Gaussian's value minus the mean of its neighbors'.
    """

    neighbors: torch.Tensor
    edges: tuple[LinearMap, LinearMap]
    flanks: tuple[LinearMap, LinearMap]
    rest_bend: torch.Tensor
    difference: LinearMap

    @staticmethod
    def build(neighbors: torch.Tensor, faces: torch.Tensor, template: torch.Tensor) -> Topology:
        """Find inner edges of ``faces`` (F, 3) and their bend on ``template`` (V, 3)."""
        f = faces.cpu().numpy()
        edges = np.sort(np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]), axis=1)
        owner = np.tile(np.arange(len(f)), 3)
        order = np.lexsort((owner, edges[:, 1], edges[:, 0]))
        edges, owner = edges[order], owner[order]
        same = (edges[1:] == edges[:-1]).all(1)
        pairs = torch.from_numpy(np.stack([owner[:-1][same], owner[1:][same]], 1))
        N, k = neighbors.shape
        own = torch.arange(N)
        rows, columns = torch.cat([own, own.repeat_interleave(k)]), torch.cat([own, neighbors.reshape(-1)])
        values = torch.cat([torch.ones(N), torch.full((N * k,), -1 / k)])
        difference = LinearMap(rows, columns, values, (N, N))
        # Sparse maps instead of indexing: the gradient of indexing adds up in whatever order threads come.
        F, V, one = len(faces), len(template), torch.ones(len(faces))
        row = torch.arange(F).repeat(2)
        sides = [LinearMap(row, torch.cat([faces[:, k], faces[:, 0]]), torch.cat([one, -one]), (F, V)) for k in (1, 2)]
        E = len(pairs)
        flanks = [LinearMap(torch.arange(E), pairs[:, k], torch.ones(E), (E, F)) for k in (0, 1)]
        topology = Topology(neighbors, (sides[0], sides[1]), (flanks[0], flanks[1]), torch.zeros(E), difference)
        topology.rest_bend = topology.edge_bend(template).detach()
        return topology

    def edge_bend(self, vertices: torch.Tensor) -> torch.Tensor:
        """1 - cos between the normals on both sides of each inner edge: (V, 3) -> (E,)."""
        n = torch.linalg.cross(self.edges[0](vertices), self.edges[1](vertices))
        n = n * torch.rsqrt((n * n).sum(-1, keepdim=True) + 1e-16)
        return 1 - (self.flanks[0](n) * self.flanks[1](n)).sum(-1)

    def laplacian(self, values: torch.Tensor) -> torch.Tensor:
        """Value minus mean of the neighbors: (N, C) -> (N, C)."""
        return self.difference(values)


def neighbors(texel: torch.Tensor, positions: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """Four neighbors of each Gaussian.

    Texels that touch in the UV map are neighbors; where a chart ends, the gap is closed by the nearest Gaussians in space that
    face the same way (the other side of a seam), not farther than twice the local spacing.

    Args:
        texel: (N, 3) int64: map number, row, column; -1 in all three for Gaussians that belong to no map.
        positions: (N, 3) canonical, meters.
        normals: (N, 3) unit.

    Returns:
        (N, 4) int64; an absent neighbor is the Gaussian itself.
    """
    N = len(texel)
    t = texel.cpu().numpy()
    own = np.arange(N)
    out = np.tile(own[:, None], (1, 4))
    on_map = t[:, 0] >= 0
    side = int(t.max(initial=0)) + 3
    code = ((t[:, 0] * side) + t[:, 1] + 1) * side + t[:, 2] + 1
    known = np.sort(code[on_map])
    who = own[on_map][np.argsort(code[on_map], kind="stable")]
    for k, (dy, dx) in enumerate(((0, 1), (0, -1), (1, 0), (-1, 0))):
        wanted = code + dy * side + dx
        at = np.searchsorted(known, wanted).clip(max=len(known) - 1) if len(known) else np.zeros(N, int)
        hit = on_map & (known[at] == wanted) if len(known) else np.zeros(N, bool)
        out[hit, k] = who[at[hit]]
    open_ = np.nonzero((out == own[:, None]).any(1))[0]
    if len(open_) and N > 8:
        p, n = positions.cpu().numpy().astype(np.float64), normals.cpu().numpy()
        distance, near = cKDTree(p).query(p[open_], k=9)
        limit = 2 * distance[:, 1:5].mean(1, keepdims=True)
        agree = (n[near] * n[open_][:, None]).sum(-1) > 0.3
        there = (near[:, :, None] == out[open_][:, None]).any(2) | (near == open_[:, None])
        fit = agree & (distance <= limit) & ~there
        free = out[open_] == open_[:, None]
        row, column = np.nonzero(free)
        candidate, place = np.cumsum(fit, 1), np.cumsum(free, 1)[row, column]  # the first that fits goes to the first free place
        row, column, place = (values[place <= candidate[row, -1]] for values in (row, column, place))
        out[open_[row], column] = near[row, (candidate[row] == place[:, None]).argmax(1)]
    return torch.from_numpy(out)
