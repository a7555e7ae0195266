"""Pieces of surface that synthetic people are made of: skin, garments and hair that move with a body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from avatarkit.geometry.mesh_graph import mesh_edges, vertices_below
from avatarkit.interfaces import BodyModel
from avatarkit.testing.wardrobe.fabric import Pattern
from avatarkit.types.body import BodyParams
from avatarkit.types.mesh import vertex_normals

__all__ = ["Figure", "Piece", "clipped", "loft", "shell", "smoothed"]

_NEAR = 24  # body vertices whose skinning weights a point of a loft takes the mean of


@dataclass(frozen=True)
class Piece:
    """Surface with one pattern.

    Attributes:
        rest: (V, 3) in the body's rest space, meters.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        weights: (V, J) of skinning, rows sum to one.
        pattern: colors by rest place.
        tint: (V, 3) factors on those colors; None = ones.
        arm: (V,) 1 on the left arm, -1 on the right one, 0 elsewhere; None = zeros.
    """

    rest: torch.Tensor
    faces: torch.Tensor
    weights: torch.Tensor
    pattern: Pattern
    tint: torch.Tensor | None = None
    arm: torch.Tensor | None = None

    @property
    def extra(self) -> torch.Tensor:
        """(V, 4) tint and arm."""
        tint = torch.ones(len(self.rest), 3) if self.tint is None else self.tint
        arm = torch.zeros(len(self.rest)) if self.arm is None else self.arm
        return torch.cat([tint, arm[:, None]], 1)


class Figure:
    """A body of one shape at rest, with what dressing it needs.

    Attributes:
        body: the model. shape: (S,) of the person. rest: (V, 3). normals: (V, 3). edges: (E, 2).
        weights: (V, J) dense skinning weights. joints: group name -> (3,) its first joint at rest.
        arms: side -> (V,) bool, from the shoulder to the fingertips. hands: (V,) bool. head: (V,) bool.
        reach: (V,) how far along its arm a vertex lies: 0 at the shoulder, 1 at the elbow, 2 at the wrist; 0 elsewhere.
    """

    def __init__(self, body: BodyModel, shape: torch.Tensor) -> None:
        self.body, self.shape = body, shape
        self.rest = body.rest(shape, body.neutral().expression[None])[0]
        self.normals = vertex_normals(self.rest, body.faces)
        self.edges = mesh_edges(body.faces)
        blank = torch.zeros(len(self.rest), len(body.joint_names))
        self.weights = blank.scatter_add(1, body.skinning_indices, body.skinning_weights)
        positions = body.skeleton(shape).positions
        self.joints = {g.name: positions[g.joints[0]] for g in body.pose_groups}
        self.head = body.part("head") > 0.5
        self.hands = (body.part("left_hand") > 0.5) | (body.part("right_hand") > 0.5)
        self.arms = {side: vertices_below(body, f"{side}_shoulder") for side in ("left", "right")}
        self.reach = torch.zeros(len(self.rest))
        for side, arm in self.arms.items():
            self.reach[arm] = self._along(side, self.rest[arm])

    def _along(self, side: str, places: torch.Tensor) -> torch.Tensor:
        shoulder, elbow, wrist = (self.joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
        upper, lower = elbow - shoulder, wrist - elbow
        first = ((places - shoulder) @ upper / upper.square().sum()).clamp(max=1)
        second = ((places - elbow) @ lower / lower.square().sum()).clamp(min=0)
        return torch.where(second > 0, 1 + second, first)

    @property
    def arm(self) -> torch.Tensor:
        """(V,) bool, either arm with its hand."""
        return self.arms["left"] | self.arms["right"]

    def flat(self, places: torch.Tensor, arm: torch.Tensor) -> torch.Tensor:
        """(n, 2) meters where rest places (n, 3) lie on cloth laid flat: around the trunk or an arm, and along it.

        Args:
            places: in rest space.
            arm: (n,) see ``Piece``; sleeves are sewn on where it passes one half.
        """
        x, y, z = places.unbind(1)
        girth = 0.16 + 0.33 * (self.joints["left_hip"][1] + 0.10 - y).clamp(min=0)  # skirts widen by a third of their length
        out = torch.stack([torch.atan2(x, z - self.joints["spine2"][2]) * girth, y], 1)
        for side, sign in (("left", 1), ("right", -1)):
            rows = (sign * arm > 0.5).nonzero()[:, 0]
            shoulder, elbow, wrist = (self.joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist"))
            along = torch.nn.functional.normalize(wrist - shoulder, dim=0)
            ahead = torch.nn.functional.normalize(torch.tensor([0.0, 0.0, 1.0]) - along[2] * along, dim=0)
            off = places[rows] - shoulder
            bow = ((elbow - shoulder) @ ahead) * (1 - (self._along(side, places[rows]) - 1).abs()).clamp(0, 1)
            angle = torch.atan2(off @ torch.linalg.cross(along, ahead), off @ ahead - bow)
            out[rows] = torch.stack([0.055 * angle, off @ along], 1)  # an arm in a sleeve is 11 cm thick
        return out

    def transforms(self, params: BodyParams) -> torch.Tensor:
        """(J, 4, 4) rest space to world of one frame."""
        p = params.batched()
        return self.body.joint_transforms(self.body.skeleton(p.shape), p.root, p.translation, p.joints)[0]


def smoothed(values: torch.Tensor, edges: torch.Tensor, rounds: int) -> torch.Tensor:
    """Means of values (V,) or (V, C) over neighbors along edges (E, 2), taken several times."""
    both = torch.cat([edges, edges.flip(1)])
    count = torch.zeros(len(values)).index_add(0, both[:, 0], torch.ones(len(both))).clamp(min=1)
    flat = values.reshape(len(values), -1)
    for _ in range(rounds):
        around = torch.zeros_like(flat).index_add(0, both[:, 0], flat[both[:, 1]]) / count[:, None]
        flat = 0.5 * (flat + around)
    return flat.reshape(values.shape)


def shell(figure: Figure, inside: torch.Tensor, thickness: torch.Tensor, pattern: Pattern) -> Piece:
    """Return a garment as offset geometry: the body's surface where ``inside`` is positive, moved outwards.

    Args:
        figure: that wears it.
        inside: (V,) meters to the hem, positive on the garment; edges of the piece run where it is zero.
        thickness: (V,) meters.
        pattern: of the cloth.
    """
    outward = torch.nn.functional.normalize(smoothed(figure.normals, figure.edges, 6), dim=1)
    moved = figure.rest + thickness[:, None] * outward
    arm = figure.arms["left"].float() - figure.arms["right"].float()
    return clipped(Piece(moved, figure.body.faces, figure.weights, pattern, arm=arm), inside)


def clipped(piece: Piece, inside: torch.Tensor) -> Piece:
    """Return the part of a piece where ``inside`` (V,) is positive, cut through triangles."""
    sides = (inside > 0)[piece.faces]
    kept = sides.sum(1)
    faces = [piece.faces[kept == 3]]
    values, count = [torch.cat([piece.rest, piece.extra, piece.weights], 1)], len(piece.rest)
    for number in (1, 2):  # vertices of the triangle on this side
        some = piece.faces[kept == number]
        if not len(some):
            continue
        own = sides[kept == number]
        lone = (own if number == 1 else ~own).long().argmax(1)  # the corner that is alone on its side
        order = (lone[:, None] + torch.arange(3)) % 3
        a, b, c = some.gather(1, order).unbind(1)
        cuts = []
        for other in (b, c):
            t = (inside[a] / (inside[a] - inside[other]))[:, None]
            values.append(torch.lerp(values[0][a], values[0][other], t))
            cuts.append(torch.arange(count, count + len(a)))
            count += len(a)
        ab, ac = cuts
        if number == 1:
            faces.append(torch.stack([a, ab, ac], 1))
        else:
            faces += [torch.stack([ab, b, c], 1), torch.stack([ab, c, ac], 1)]
    used, packed = torch.unique(torch.cat(faces), return_inverse=True)
    rest, tint, arm, weights = torch.cat(values)[used].split([3, 3, 1, piece.weights.shape[1]], 1)
    return Piece(rest, packed, weights, piece.pattern, tint, arm[:, 0])


def loft(figure: Figure, rows: torch.Tensor, closed: bool, gap: float, pattern: Pattern, near: torch.Tensor) -> Piece:
    """Return a sheet through rows of points, for instance a skirt or long hair, that is kept off the body.

    Args:
        figure: that wears it.
        rows: (R, C, 3) rest places, from top to bottom and counter-clockwise seen from above.
        closed: whether the last column meets the first.
        gap: meters to the body that the sheet keeps.
        pattern: of the cloth or hair.
        near: (V,) bool, body vertices that may move the sheet.
    """
    R, C = rows.shape[:2]
    places = rows.reshape(-1, 3)
    _, at = cKDTree(figure.rest.numpy()).query(places.numpy())
    nearest, normal = figure.rest[at], figure.normals[at]
    depth = ((places - nearest) * normal).sum(1)
    places = places + (gap - depth).clamp(min=0)[:, None] * normal
    i, j = torch.meshgrid(torch.arange(R - 1), torch.arange(C if closed else C - 1), indexing="ij")
    a, b = (i * C + j).flatten(), (i * C + (j + 1) % C).flatten()
    faces = torch.cat([torch.stack([a, a + C, b], 1), torch.stack([b, a + C, b + C], 1)])
    moving = near.nonzero()[:, 0]
    off, rows_near = cKDTree(figure.rest[moving].numpy()).query(places.numpy(), k=_NEAR)
    say = torch.from_numpy(1 / (np.square(off) + 1e-4)).float()
    weights = (figure.weights[moving[torch.from_numpy(rows_near)]] * say[..., None]).sum(1) / say.sum(1)[:, None]
    weights = smoothed(weights, mesh_edges(faces), 4 * R)
    return Piece(places, faces, weights / weights.sum(1, keepdim=True), pattern)
