"""The body surface as a graph: regions of one color, limbs, and interpolation along it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import scipy.sparse.linalg
import torch
from scipy.spatial import cKDTree

from avatarkit.interfaces import BodyModel
from avatarkit.utils.moved import former_names

__all__ = [
    "REGIONS",
    "dilate",
    "limb",
    "limb_joints",
    "mesh_edges",
    "near",
    "remove_small_components",
    "screened_poisson",
    "smoothstep",
    "strongest_joint",
    "surface_regions",
    "vertices_below",
]

REGIONS = ("clothes", "skin", "scalp", "hands", "lips", "feet", "mouth", "teeth", "tongue", "eyes")
"""Kinds of surface; those from ``mouth`` on are inside the head."""


def smoothstep(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return 0 below ``low``, 1 above ``high``, smooth between."""
    t = ((x - low) / (high - low)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mesh_edges(faces: torch.Tensor) -> torch.Tensor:
    """Return (E, 2) int64, each edge of the triangles (F, 3) once."""
    pairs = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    count = int(faces.max()) + 1
    keys = torch.unique(pairs.amin(1) * count + pairs.amax(1))  # 100 times as fast as sorting rows
    return torch.stack([keys // count, keys % count], 1)


def dilate(mask: torch.Tensor, faces: torch.Tensor, rings: int) -> torch.Tensor:
    """Return a vertex set (V,) bool, extended by its neighbors."""
    for _ in range(rings):
        near = faces[mask[faces].any(1)].reshape(-1)
        mask = mask.index_fill(0, near, True)
    return mask


def remove_small_components(mask: torch.Tensor, edges: torch.Tensor, least: int) -> torch.Tensor:
    """Return a vertex set (V,) bool without connected parts smaller than ``least``."""
    i, j = edges[mask[edges].all(1)].numpy().T
    graph = scipy.sparse.coo_matrix((np.ones(len(i)), (i, j)), shape=(len(mask), len(mask)))
    part = torch.from_numpy(scipy.sparse.csgraph.connected_components(graph, directed=False)[1]).long()
    return mask & (torch.bincount(part, minlength=len(mask))[part] >= least)


def near(points: torch.Tensor, others: torch.Tensor, distance: float) -> torch.Tensor:
    """Return which points (n, 3) are within a distance of the others (m, 3), (n,) bool."""
    if not len(others):
        return torch.zeros(len(points), dtype=torch.bool)
    off, _ = cKDTree(others.numpy()).query(points.numpy(), distance_upper_bound=distance)
    return torch.from_numpy(off < distance)


def strongest_joint(body: BodyModel) -> torch.Tensor:
    """Return the joint with the largest skinning weight of each vertex, (V,) int64."""
    return body.skinning_indices.gather(1, body.skinning_weights.argmax(1, keepdim=True))[:, 0]


def limb_joints(body: BodyModel, part: str) -> list[int]:
    """Return the joints of the limb that ends in ``part``, from the trunk outward.

    They lead to no other extremity.
    """
    ends = ("head", "left_hand", "right_hand", "left_foot", "right_foot")
    joint = strongest_joint(body)

    def above(name: str) -> set[int]:
        found: set[int] = set()
        for j in joint[body.part(name) > 0.5].unique().tolist():
            while j >= 0 and j not in found:
                found.add(j)
                j = body.parents[j]
        return found

    own = above(part).difference(*(above(e) for e in ends if e != part))
    return sorted(j for j in own if body.parents[j] in own)  # excludes the clavicle and half of the pelvis


def limb(body: BodyModel, part: str, outer: bool = False) -> torch.Tensor:
    """Return the vertices of the limb that ends in ``part``, (V,) bool.

    With ``outer``, the upper arm or thigh is left out.
    """
    joints, end = limb_joints(body, part), body.part(part) > 0.5
    joint = strongest_joint(body)
    if outer:
        chain = [j for j in joints if j not in set(joint[end].tolist())]
        joints = [j for j in joints if j not in chain[: (len(chain) + 1) // 2]]
    return torch.isin(joint, torch.tensor(joints or [-1])) | end


def vertices_below(body: BodyModel, *groups: str) -> torch.Tensor:
    """Return the vertices that move mostly with a joint chain, (V,) bool.

    The chain begins at the first joint of each of these pose groups and includes all its descendants.
    """
    below = {g.joints[0] for g in body.pose_groups if g.name in groups}
    for joint, parent in enumerate(body.parents):  # parents precede children
        if parent in below:
            below.add(joint)
    return torch.isin(strongest_joint(body), torch.tensor(sorted(below) or [-1]))


def surface_regions(body: BodyModel, rest: torch.Tensor) -> torch.Tensor:
    """Return the region of each rest vertex (V, 3), (V,) int64 into ``REGIONS``."""
    region = torch.zeros(len(rest), dtype=torch.int64)

    def put(name: str, mask: torch.Tensor) -> None:
        region[mask] = REGIONS.index(name)

    head, face, ears, eyes = (body.part(name) > 0.5 for name in ("head", "face", "ears", "eyes"))
    put("skin", (body.part("skin") > 0.5) | head)
    if ears.any():  # hair grows above the ear lobes and behind the face
        top = float(rest[face, 1].max()) if face.any() else math.inf
        above = rest[:, 1] > rest[ears, 1].min()
        if eyes.any():  # the eye sockets are not scalp
            above &= torch.cdist(rest, rest[eyes]).amin(1) > 0.015
        # In front of the ears the hairline rises toward the forehead.
        up, ahead = rest[:, 1] - rest[ears, 1].max(), rest[:, 2] - rest[ears, 2].max()
        behind = (body.part("face") < 0.15) | ((up > 0) & (ahead < 0.8 * up + 0.005))
        put("scalp", head & ~ears & ((above & behind) | (rest[:, 1] > top)))
    put("hands", (body.part("left_hand") > 0.5) | (body.part("right_hand") > 0.5))
    put("feet", (body.part("left_foot") > 0.5) | (body.part("right_foot") > 0.5))
    mouth = body.part("mouth_inside") > 0.5
    put("lips", (body.part("lips") > 0.5) | (dilate(mouth, body.faces, 2) & (region == REGIONS.index("skin"))))
    put("mouth", mouth)
    for name in ("teeth", "tongue", "eyes"):
        put(name, body.part(name) > 0.5)
    return region


def screened_poisson(
    edges: torch.Tensor,
    conductance: torch.Tensor,
    value: torch.Tensor,
    weight: torch.Tensor,
    prior: torch.Tensor,
    prior_weight: torch.Tensor,
) -> torch.Tensor:
    """Interpolate known values on a graph as smoothly as possible.

    Solves a screened Poisson equation exactly. Minimizes ``sum_i weight_i |x_i - value_i|^2 + sum_i prior_weight_i
    |x_i - prior_i|^2 + sum_ij conductance_ij |x_i - x_j|^2`` over vertices i and edges ij.

    Args:
        edges: (E, 2) int64.
        conductance: (E,) strength of each edge.
        value: (V, C) known values.
        weight: (V,) of them.
        prior: (V, C) values far from known ones.
        prior_weight: (V,) of them.

    Returns:
        (V, C).
    """
    i, j = edges.numpy().T
    c = conductance.double().numpy()
    count = len(value)
    adjacency = scipy.sparse.coo_matrix((np.r_[c, c], (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
    anchor = (weight + prior_weight).double().numpy() + 1e-9
    system = (scipy.sparse.diags(np.asarray(adjacency.sum(1)).ravel() + anchor) - adjacency).tocsc()
    target = (value * weight[:, None] + prior * prior_weight[:, None]).double().numpy()
    factors = scipy.sparse.linalg.splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    return torch.from_numpy(factors.solve(target)).float()


_FORMER = {"grown": "dilate", "spread": "screened_poisson", "without_specks": "remove_small_components"}
if not TYPE_CHECKING:
    __getattr__ = former_names(__name__, _FORMER)
