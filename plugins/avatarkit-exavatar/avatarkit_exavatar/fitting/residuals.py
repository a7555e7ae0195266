"""What a fit minimizes: each term compares posed points with something seen, or with what bodies can do.

A term is called with the kinematics and a pose and answers with weighted residuals and, if asked, their derivative by
all unknowns. Terms hold data only and know nothing of stages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from avatarkit.types.camera import Camera
from avatarkit_exavatar.body.kinematics import Kinematics, Posed
from avatarkit_exavatar.body.points import Points

_BACK = -0.6  # of the trunk's depth: what lies behind may stay behind, hands meet there too

__all__ = ["Block", "Clearance", "Directions", "Gaps", "Lines", "Places", "Reprojection", "Term", "projection"]


@dataclass(frozen=True)
class Block:
    """Residuals in groups that are judged together.

    Attributes:
        residual: (m, k). jacobian: (m, k, P), or None where it was not asked for.
        weight: (m,). scale: residual norm at which a group begins to count as an outlier (Geman-McClure).
    """

    residual: torch.Tensor
    jacobian: torch.Tensor | None
    weight: torch.Tensor
    scale: float = float("inf")

    def cost(self) -> torch.Tensor:
        """() robust weighted sum of squares."""
        square = self.residual.square().sum(-1)
        if self.scale != float("inf"):
            square = square / (1 + square / self.scale**2)
        return (self.weight * square).sum()

    def trust(self) -> torch.Tensor:
        """(m,) weights that make a plain least-squares step go downhill on the robust cost."""
        if self.scale == float("inf"):
            return self.weight
        return self.weight / (1 + self.residual.square().sum(-1) / self.scale**2).square()


class Term(Protocol):
    """One part of the objective."""

    def __call__(self, body: Kinematics, posed: Posed, derive: bool) -> Block: ...


def projection(camera: Camera, world: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (n, 2) of world points (n, 3), and their derivative (n, 2, 3)."""
    R = camera.T_camera_world[:3, :3]
    x, y, z = camera.to_camera(world).unbind(-1)
    z = z.clamp_min(0.05)
    fx, fy = camera.K[0, 0], camera.K[1, 1]
    pixels = torch.stack([fx * x / z + camera.K[0, 2], fy * y / z + camera.K[1, 2]], -1)
    zero = torch.zeros_like(z)
    rows = torch.stack([fx / z, zero, -fx * x / z**2, zero, fy / z, -fy * y / z**2], -1).reshape(-1, 2, 3)
    return pixels, rows @ R


def _difference(pairs: torch.Tensor) -> torch.Tensor:
    """(n, ...) first half of the rows (2n, ...) minus the second."""
    first, second = pairs.chunk(2)
    return first - second


@dataclass(frozen=True)
class Reprojection:
    """Landmarks fall on their pixels.

    Attributes:
        points: n landmarks on the body. target: (n, 2) pixels. unit: (n,) pixels that count as a residual of one.
        weight: (n,). scale: as in ``Block``.
    """

    points: Points
    camera: Camera
    target: torch.Tensor
    unit: torch.Tensor
    weight: torch.Tensor
    scale: float

    def __call__(self, body: Kinematics, posed: Posed, derive: bool) -> Block:
        pixels, rows = projection(self.camera, body.world(posed, self.points))
        residual = (pixels - self.target) / self.unit[:, None]
        jacobian = body.derivative(posed, self.points, rows / self.unit[:, None, None]) if derive else None
        return Block(residual, jacobian, self.weight, self.scale)


@dataclass(frozen=True)
class Gaps:
    """Pairs of landmarks lie as far apart as seen, e.g. upper and lower lid, wherever the face itself is.

    Attributes:
        pairs: 2n landmarks, the first of every pair and then the second. target: (n, 2) pixels from second to first.
        unit: pixels that count as one. weight: (n,).
    """

    pairs: Points
    camera: Camera
    target: torch.Tensor
    unit: float
    weight: torch.Tensor
    scale: float

    def __call__(self, body: Kinematics, posed: Posed, derive: bool) -> Block:
        pixels, rows = projection(self.camera, body.world(posed, self.pairs))
        a, b = pixels.chunk(2)
        jacobian = _difference(body.derivative(posed, self.pairs, rows / self.unit)) if derive else None
        return Block((a - b - self.target) / self.unit, jacobian, self.weight, self.scale)


@dataclass(frozen=True)
class Directions:
    """Limbs point where the detector's rough 3D says; tells forward from backward, which pixels cannot.

    Attributes:
        bones: 2n joints as points, where the bones end and then where they start.
        target: (n, 3) unit vectors in the world. rows: (3, 3) what differences are measured along. weight: (n,).
    """

    bones: Points
    target: torch.Tensor
    rows: torch.Tensor
    weight: torch.Tensor

    def __call__(self, body: Kinematics, posed: Posed, derive: bool) -> Block:
        bone = _difference(body.world(posed, self.bones))
        length = bone.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        unit = bone / length
        jacobian = None
        if derive:
            rows = self.rows @ (torch.eye(3) - unit[:, :, None] * unit[:, None, :]) / length[..., None]
            jacobian = _difference(body.derivative(posed, self.bones, rows.repeat(2, 1, 1)))
        return Block((unit - self.target) @ self.rows.T, jacobian, self.weight)


@dataclass(frozen=True)
class Lines:
    """Points lie on lines of the picture, measured across them: the mesh's silhouette on the matte's border, edges on edges.

    Attributes:
        points: n points. target: (n, 2) pixels on the lines. normal: (n, 2) of the lines.
        covered: (n,) bool, points inside the matte. Clothes may cover them, so they may widen the body but not pose it.
        unit: pixels that count as one. weight: (n,).
    """

    points: Points
    camera: Camera
    target: torch.Tensor
    normal: torch.Tensor
    covered: torch.Tensor
    unit: float
    weight: torch.Tensor
    scale: float

    def __call__(self, body: Kinematics, posed: Posed, derive: bool) -> Block:
        pixels, rows = projection(self.camera, body.world(posed, self.points))
        across = self.normal[:, None, :] / self.unit
        residual = (across @ (pixels - self.target)[..., None])[..., 0]
        jacobian = None
        if derive:
            jacobian = body.derivative(posed, self.points, across @ rows)
            jacobian[self.covered, :, : body.parameters.layout.expression.start] = 0.0
        return Block(residual, jacobian, self.weight, self.scale)


@dataclass(frozen=True)
class Places:
    """Points lie at places in the world, as far as some directions tell.

    Attributes:
        points: n points. target: (n, 3) meters.
        rows: (n, k, 3) what each point is measured along, divided by the meters that count as one.
    """

    points: Points
    target: torch.Tensor
    rows: torch.Tensor

    def __call__(self, body: Kinematics, posed: Posed, derive: bool) -> Block:
        away = body.world(posed, self.points) - self.target
        jacobian = body.derivative(posed, self.points, self.rows) if derive else None
        return Block((self.rows @ away[..., None])[..., 0], jacobian, torch.ones(len(away)))


@dataclass(frozen=True)
class Clearance:
    """Arms stay out of the trunk, which is a stack of ellipsoids. They leave it sideways or to the front.

    Attributes:
        limbs: n points of arms and hands. radius: (n,) meters of flesh around each.
        trunk: m points, centers of the ellipsoids. joint: (m,) joints whose turn they take.
        axes: (m, 3) half axes in rest space (across, up, forward).
        unit: meters that count as one. weight: (n,).
    """

    limbs: Points
    radius: torch.Tensor
    trunk: Points
    joint: torch.Tensor
    axes: torch.Tensor
    unit: float
    weight: torch.Tensor

    def __call__(self, body: Kinematics, posed: Posed, derive: bool) -> Block:
        limbs, centers = body.world(posed, self.limbs), body.world(posed, self.trunk)
        turn = posed.transforms[self.joint, :3, :3]
        axes = self.axes[None] + self.radius[:, None, None]  # (n, m, 3)
        local = ((limbs[:, None] - centers)[:, :, None, :] @ turn)[..., 0, :] / axes
        x, y, z = local.unbind(-1)
        inside = (local.square().sum(-1) < 1) & (z > _BACK)
        aside = ((1 - y * y - z * z).clamp_min(0.0).sqrt() - x.abs()) * axes[..., 0]
        ahead = ((1 - x * x - y * y).clamp_min(0.0).sqrt() - z) * axes[..., 2]
        depth, nearest = torch.where(inside, torch.minimum(aside, ahead), 0.0).max(1)  # of each limb point
        jacobian = None
        if derive:
            row = torch.arange(len(limbs))
            sideways = (aside < ahead)[row, nearest]
            out = torch.where(sideways, x[row, nearest].sign(), 0.0), torch.where(sideways, 0.0, 1.0)
            exit_ = torch.stack([out[0], torch.zeros_like(out[0]), out[1]], -1)
            rows = -(turn[nearest] @ exit_[..., None])[..., 0] * (depth > 0)[:, None] / self.unit
            jacobian = body.derivative(posed, self.limbs, rows[:, None])
            jacobian = jacobian - body.derivative(posed, self.trunk[nearest], rows[:, None])
        return Block((depth / self.unit)[:, None], jacobian, self.weight)
